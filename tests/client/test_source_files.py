import pytest

from datarun_client import FileNameError, SourceFilesError
from datarun_client.source_files import read_source_files


def test_a_folder_is_read_with_its_subfolders_but_without_what_tools_leave(tmp_path):
    for name in (
        "classifier.py",
        "parts/helper.py",
        "__pycache__/classifier.pyc",
        ".git/config",
        ".ipynb_checkpoints/classifier.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\xff" + name.encode())

    assert read_source_files(tmp_path) == {
        "classifier.py": b"\xffclassifier.py",
        "parts/helper.py": b"\xffparts/helper.py",
    }


def test_files_and_contents_will_do(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(b"x,y\n")

    assert read_source_files(path) == {"data.csv": b"x,y\n"}
    assert read_source_files([str(path)]) == {"data.csv": b"x,y\n"}
    assert read_source_files({"a/b.py": "ü", "c": b"\x00"}) == {"a/b.py": b"\xc3\xbc", "c": b"\x00"}


def test_what_cannot_be_sent_says_why(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.py").touch()

    with pytest.raises(SourceFilesError, match="no files"):
        read_source_files(tmp_path / "empty")
    with pytest.raises(SourceFilesError, match=r"missing\.csv can't be read: there"):
        read_source_files(tmp_path / "missing.csv")
    with pytest.raises(SourceFilesError, match=r"Two files are called 'x\.py'"):
        read_source_files([tmp_path / "one" / "x.py", tmp_path / "two" / "x.py"])
    with pytest.raises(FileNameError, match="relative path"):
        read_source_files({"../x.py": ""})


def test_files_elsewhere_are_sent_by_the_names_that_they_are_given(tmp_path):
    (tmp_path / "x").write_bytes(b"1")

    contents = read_source_files({"data/train.csv": tmp_path / "x", "notes": "2"})

    assert contents == {"data/train.csv": b"1", "notes": b"2"}
