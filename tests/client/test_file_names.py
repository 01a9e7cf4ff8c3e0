import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarun_client.errors import FileNameError
from datarun_client.file_names import check_file_name, check_file_names


@pytest.mark.parametrize(
    "name", ["classifier.py", "package/__init__.py", "données.csv.gz", "a b.txt", ".hidden"]
)
def test_a_plain_relative_path_is_a_file_name(name):
    check_file_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../classifier.py",
        "a/../../b",
        "/etc/passwd",
        "a//b",
        "a/",
        "-rf",
        "a/-rf",
        "a\\b",
        "a\nb",
        "a\x00b",
        "\x1b[31m",
        "a\u202eb",
        "\ud800",
        "x" * 129,
        "/".join(["x" * 100] * 3),
    ],
)
def test_a_name_that_could_leave_its_folder_or_fool_a_reader_is_refused(name):
    with pytest.raises(FileNameError):
        check_file_name(name)


@pytest.mark.parametrize(
    "names",
    [
        ["A.py", "a.py"],
        ["stra\u00dfe", "STRASSE"],
        ["e\u0301.py", "\u00e9.py"],
        ["a", "a/b.py"],
        ["a/b.py", "A"],
    ],
)
def test_names_that_would_be_one_file_are_refused(names):
    with pytest.raises(FileNameError):
        check_file_names(names)


def test_a_folder_of_different_names_is_accepted():
    check_file_names(["classifier.py", "helpers/__init__.py", "helpers/trees.py"])


@given(st.text())
def test_an_accepted_name_stays_in_its_folder(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp()
    try:
        check_file_name(name)
    except FileNameError:
        return
    assert folder in (folder / name).resolve().parents
