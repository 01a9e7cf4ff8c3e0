import pytest
from sqlalchemy import bindparam, func, select

from datarun_api.byte_arrays import ByteArray
from datarun_api.extensions import db


@pytest.mark.parametrize("strings", [[], [b""], [bytes(range(256)), b'{"\\x41",NULL}', b"\0"]])
def test_bytes_arrive_as_they_were(context, strings):
    query = select(func.unnest(bindparam("strings", type_=ByteArray())).column_valued("string"))

    assert db.session.scalars(query, {"strings": strings}).all() == strings
