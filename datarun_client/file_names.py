"""Names of a submission's and a data set's files: relative POSIX paths that stay in their folder.

Everyone who turns such a name into a path checks it here first: the client before it sends,
the API before it stores, the worker before it writes.
"""

import unicodedata
from collections.abc import Iterable

from datarun_client.errors import FileNameError

READER_FILE = "specific.py"
"""The name under which a data set's own reader is kept, whatever it was called."""

KIT_FILES = "kit_files"
TRAIN_FILES = "train_files"
TEST_FILES = "test_files"
"""The parts of a split RAMP kit that hold files of it; `datarun_worker.kit_files` says which."""

FOLD_PARTS = ("X_train", "y_train", "X_test", KIT_FILES, TRAIN_FILES, TEST_FILES)
"""The parts of a split data set that its folds are given: `y_test` goes to data jobs alone."""

SCORING_PARTS = ("y_train", "y_test", KIT_FILES)
"""The parts that the scoring of a submission is given."""

MAX_NAME_BYTES = 255
MAX_PART_BYTES = 128


def check_file_name(name: str) -> None:
    """Check one file name.

    Parameters
    ----------
    name : str
        A relative POSIX path.

    Raises
    ------
    FileNameError
        If a part is empty, ``.`` or ``..``, begins with a dash, holds a control character, a
        backslash or something that UTF-8 can't say, or is too long.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise FileNameError(f"{name[:60]!r} can't be written in UTF-8; rename the file.") from None
    if size > MAX_NAME_BYTES:
        raise FileNameError(
            f"{name[:60]!r}… is longer than {MAX_NAME_BYTES} bytes; use a shorter name."
        )
    for part in name.split("/"):
        if part in ("", ".", ".."):
            raise FileNameError(
                f"{name!r} is no relative path of plain names (no empty part, '.' or '..')."
            )
        if part.startswith("-"):
            raise FileNameError(f"{name!r} has a part that begins with a dash; rename it.")
        if len(part.encode()) > MAX_PART_BYTES:
            raise FileNameError(
                f"{name[:60]!r}… has a part longer than {MAX_PART_BYTES} bytes; use a shorter name."
            )
        if "\\" in part or any(unicodedata.category(character)[0] == "C" for character in part):
            raise FileNameError(f"{name!r} holds a backslash or a control character; rename it.")


def check_file_names(names: Iterable[str]) -> None:
    """Check all file names of one folder.

    Parameters
    ----------
    names : iterable of str
        Relative POSIX paths.

    Raises
    ------
    FileNameError
        If one is refused by `check_file_name`, if two differ only by case or by the way in which
        Unicode writes them, or if one is the folder of another.
    """
    seen: dict[str, str] = {}
    for name in names:
        check_file_name(name)
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in seen:
            raise FileNameError(f"{seen[folded]!r} and {name!r} are the same file; rename one.")
        seen[folded] = name
    for folded, name in seen.items():
        parts = folded.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder in seen:
                raise FileNameError(f"{seen[folder]!r} is a file and the folder of {name!r}.")
