import pytest

from datarun_api.accounts import make_account, narrow_role
from datarun_api.models import Token, User
from datarun_client.states import Role


@pytest.mark.parametrize(
    ("account", "token", "role"),
    [
        (Role.ADMIN, Role.ADMIN, Role.ADMIN),
        (Role.ADMIN, Role.PLATFORM, Role.PLATFORM),
        (Role.PLATFORM, Role.VIEWER, Role.VIEWER),
        (Role.PLATFORM, Role.ADMIN, Role.PLATFORM),
        (Role.VIEWER, Role.PLATFORM, Role.VIEWER),
        (Role.WORKER, Role.WORKER, Role.WORKER),
        (Role.WORKER, Role.ADMIN, None),
        (Role.ADMIN, Role.WORKER, None),
    ],
)
def test_a_token_never_has_more_than_its_account(account, token, role):
    assert narrow_role(account, token) is role


def test_a_reading_token_of_a_platform_reads_the_platforms_own_data():
    user = User(id=7, name="databoard", role=Role.PLATFORM)

    account = make_account(user, Token(role=Role.VIEWER, runs_data_jobs=True))

    assert (account.role, account.namespace) == (Role.VIEWER, 7)
