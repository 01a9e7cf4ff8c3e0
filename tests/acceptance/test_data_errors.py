"""Broken and hostile uploads: a clear refusal, or `data_error` once only the data can tell."""

import base64
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarun_client.codec import encode_bytes, encode_indices
from tests.acceptance.conftest import ADMIN, Site, Stack, call
from tests.conftest import numbers
from tests.submissions.canaries import find_processes

MIB = 1024 * 1024
SOURCE = "class Classifier:\n    pass\n"
GOOD = b"a,target\n" + b"".join(b"%d,%d\n" % (row, row % 2) for row in range(20))

# What can only be seen when the data is read, and what its owner must be told.
BROKEN = {
    "no target column": (b"a,b\n1,2\n3,4\n5,6\n", "no column 'target'; the columns are a, b"),
    "nothing but the target": (b"target\n1\n2\n3\n4\n", "no column but the target"),
    "ragged": (b"a,target\n1,2\n3,4,5,6\n", "can't be read as CSV"),
    "empty": (b"", "can't be read as CSV"),
    "a header only": (b"a,target\n", "0 rows"),
    "one row": (b"a,target\n1,2\n", "1 rows can't be split"),
    "binary": (bytes(range(256)) * 20, "can't be read as CSV"),
    "only NULs": (bytes(1000), "no column 'target'"),
    "Latin-1": ("a,target\n1,é\n2,é\n3,è\n4,è\n".encode("latin-1"), "can't be read as CSV"),
    "UTF-16": ("a,target\n1,2\n3,4\n5,6\n".encode("utf-16"), "can't be read as CSV"),
    "an open quote": (b'a,target\n1,"2\n3,4\n5,6\n7,8\n', "can't be"),
    "another separator": (b"a;target\n1;2\n3;4\n5;6\n", "the columns are a;target"),
}


def post_data(site: Site, content: bytes, name: str = "data.csv", **options: Any) -> int:
    payload = {
        "name": f"data-{next(numbers)}",
        "target_column": "target",
        "workflow_elements": "classifier",
        "files": {name: encode_bytes(content)},
        **options,
    }
    answer = call(site, "POST", "rawdata/", json=payload)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


@pytest.mark.parametrize("kind", list(BROKEN))
def test_a_broken_csv_is_told_and_ends_its_folds_as_data_error(site, kind):
    content, words = BROKEN[kind]
    raw_data = post_data(site, content)

    row = site.split(raw_data)
    fold = site.run(raw_data, {"classifier.py": SOURCE}, [0, 1])

    assert row["split_state"] == "ERROR"
    assert words in row["split_error"]
    assert "Traceback" not in row["split_error"]
    assert (fold["state"], fold["failure_kind"]) == ("ERROR", "data_error")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xef\xbb\xbf" + GOOD, id="a byte order mark"),
        pytest.param(GOOD.replace(b"\n", b"\r\n"), id="line ends of another system"),
        pytest.param(GOOD.rstrip(), id="no end of the last line"),
        pytest.param(GOOD.replace(b"1,1", b",1"), id="a missing value"),
        pytest.param(GOOD.replace(b"a,", "größe 😀,".encode()), id="a name in Unicode"),
    ],
)
def test_an_unusual_csv_is_split(site, content):
    row = site.split(post_data(site, content), 0.25)

    assert (row["split_state"], row["n_train"], row["n_test"]) == ("DONE", 15, 5)


def test_a_line_without_end_is_a_data_error_within_the_memory_limit(site):
    content = b"a,target\n" + b"x" * (200 * MIB) + b",1\n2,3\n4,5\n"

    row = site.split(post_data(site, content, memory_limit=128 * MIB))

    assert row["split_state"] == "ERROR"
    assert re.search(r"emory.* limit", row["split_error"])


def test_a_csv_that_unfolds_too_far_is_a_data_error(site):
    content = zip_zeros(1024)

    row = site.split(post_data(site, content, "data.csv.gz", memory_limit=128 * MIB))

    assert row["split_state"] == "ERROR"
    assert "emory" in row["split_error"] or "CSV" in row["split_error"]


def zip_zeros(n_mib: int, wbits: int = 31) -> bytes:
    """Compress zeros, as many as one likes: the pieces of a stream can be repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    start = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + piece * (n_mib - 2) + packer.compress(bytes(MIB)) + packer.flush()


@pytest.fixture
def watched(stack, site):
    """Check that a request left nothing in the storage and the API's memory as it was."""
    before, stored = read_peak(stack), list_storage(stack)
    yield site
    assert list_storage(stack) == stored
    assert read_peak(stack) - before < 64 * MIB


def read_peak(stack: Stack) -> int:
    """Read how much memory the API's processes held at most."""
    peak = 0
    for process in find_processes(stack.process.pid, "gunicorn"):
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = max(peak, int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024)
    return peak


def list_storage(stack: Stack) -> list[Path]:
    return sorted(path for path in (stack.home / "storage").rglob("*") if path.is_file())


def make_data(**changes: Any) -> dict[str, Any]:
    return {
        "name": f"data-{next(numbers)}",
        "target_column": "target",
        "workflow_elements": "classifier",
        "files": {"data.csv": encode_bytes(GOOD)},
    } | changes


def check_refusal(answer: Any, field: str | None = None) -> None:
    assert 400 <= answer.status_code < 500, answer.text
    assert set(answer.json()) == {"error", "errors"}
    assert answer.json()["error"].endswith(".")
    if field is not None:
        assert field in answer.json()["errors"], answer.text


def test_a_file_that_unfolds_too_far_is_refused(watched):
    # Two megabytes that become two gigabytes; the limit is one.
    bomb = base64.b64encode(zip_zeros(2048, zlib.MAX_WBITS)).decode()

    answer = call(watched, "POST", "rawdata/", json=make_data(files={"data.csv": bomb}))

    check_refusal(answer)


@pytest.mark.parametrize(
    "names",
    [
        ["../up.csv"],
        ["a/../../up.csv"],
        ["/etc/passwd"],
        [""],
        ["."],
        [".."],
        ["a//b.csv"],
        ["a/"],
        ["-rf"],
        ["a\\b.csv"],
        ["a\x00.csv"],
        ["a\n.csv"],
        ["a\u202ecsv"],
        ["x" * 300],
        ["d/" * 200 + "x"],
        ["data.csv", "DATA.csv"],
        ["é.csv", "e\u0301.csv"],
        ["a", "a/b.csv"],
        [f"{number}.csv" for number in range(1000)],
    ],
    ids=ascii,
)
def test_file_names_that_could_do_harm_are_refused(watched, names):
    files = {name: encode_bytes(b"a") for name in names}

    check_refusal(call(watched, "POST", "rawdata/", json=make_data(files=files)), "files")
    check_refusal(call(watched, "POST", "submissionfold/", json=make_fold(files=files)), "files")


def test_half_a_character_is_refused(watched):
    files = {"\ud800.csv": encode_bytes(b"a")}

    check_refusal(call(watched, "POST", "rawdata/", json=make_data(files=files)))


@pytest.fixture(scope="module")
def split_data(stack, tmp_path_factory) -> int:
    """A data set to post folds for."""
    site = Site(stack.url, ADMIN, tmp_path_factory.mktemp("split"))
    raw_data = post_data(site, GOOD)
    assert site.split(raw_data)["split_state"] == "DONE"
    return raw_data


def make_fold(**changes: Any) -> dict[str, Any]:
    return {
        "databoard_sf_id": next(numbers),
        "databoard_s_id": next(numbers),
        "raw_data": 1,
        "files": {"classifier.py": encode_bytes(SOURCE.encode())},
        "train_is": encode_indices(np.arange(3)),
        "test_is": encode_indices(np.arange(3)),
        "priority": "L",
    } | changes


@pytest.mark.parametrize(
    "train_is",
    [
        "not base64 §",
        "QUJD=QUJD",
        base64.b64encode(b"not zlib").decode(),
        base64.b64encode(zlib.compress(b"x" * 80)[:-4]).decode(),
        encode_bytes(b"seven b"),
        encode_indices([-1]),
        encode_indices([2**62]),
        base64.b64encode(zip_zeros(8 * 1000, zlib.MAX_WBITS)).decode(),
        17,
        {},
    ],
    ids=lambda text: str(text)[:12],
)
def test_row_numbers_that_are_none_are_refused(split_data, watched, train_is):
    answer = call(
        watched, "POST", "submissionfold/", json=make_fold(raw_data=split_data, train_is=train_is)
    )

    check_refusal(answer, "train_is")


@pytest.mark.parametrize("path", ["rawdata/", "submissionfold/", "testpredictions/list/"])
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deeply_nested_json_is_refused(watched, path, opening):
    answer = call(
        watched,
        "POST",
        path,
        data=opening * 100_000,
        headers={"Content-Type": "application/json"},
    )

    check_refusal(answer)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a\x00b"),
        ("target_column", "a\x00b"),
        ("workflow_elements", "classifier\x00"),
        ("workflow_elements", "\x00"),
    ],
)
def test_nul_in_text_is_refused(watched, field, value):
    check_refusal(call(watched, "POST", "rawdata/", json=make_data(**{field: value})), field)


@pytest.mark.parametrize("number", [2**31, 2**63, 2**70, -1, "1", 1.5, True, None, [], "\x00"])
def test_a_number_that_is_none_is_refused(watched, number):
    split = {"raw_data_id": number, "held_out_test": 0.5}
    requests = {
        ("rawdata/split/", "raw_data_id"): split,
        ("rawdata/customsplit/", "raw_data_id"): {"raw_data_id": number},
        ("submissionfold/", "raw_data"): make_fold(raw_data=number),
        ("submissionfold/", "databoard_sf_id"): make_fold(databoard_sf_id=number),
        ("submissionfold/", "databoard_s_id"): make_fold(databoard_s_id=number),
        ("testpredictions/list/", "list_submission_fold"): {"list_submission_fold": [number]},
    }
    for (path, field), payload in requests.items():
        check_refusal(call(watched, "POST", path, json=payload), field)


@pytest.mark.parametrize(
    "number", ["2147483648", "9223372036854775808", "-1", "1.5", "true", "%00"]
)
def test_a_number_in_an_address_that_is_none_is_404(watched, number):
    answer = call(watched, "GET", f"submissionfold/{number}/")

    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "errors"}
