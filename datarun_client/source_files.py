"""Reads the files that are sent: a submission's folder, a data set's files."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path

from datarun_client.errors import SourceFilesError
from datarun_client.file_names import check_file_names

StrPath = str | PathLike[str]
Files = StrPath | Iterable[StrPath] | Mapping[str, str | bytes | Path]
"""A folder, files, or contents or paths by name."""

LEFT_OUT = frozenset({"__pycache__"})
"""Folders that are never sent, besides those whose name begins with a dot."""


def read_source_files(files: Files) -> dict[str, bytes]:
    """Read files as bytes; parameters and errors as of `find_source_files`."""
    return {
        name: content if isinstance(content, bytes) else _read(content)
        for name, content in find_source_files(files).items()
    }


def find_source_files(files: Files) -> dict[str, bytes | Path]:
    """Find the files that are to be sent, without reading them.

    Parameters
    ----------
    files : path-like, iterable of path-like, or mapping of str to str, bytes or Path
        A folder, whose files keep their places in it; one file or several, of which only the last
        part of the name is kept; or by name contents, and as `Path` files that have them.

    Returns
    -------
    dict of str to bytes or Path
        By relative POSIX path; contents that were given are bytes.

    Raises
    ------
    SourceFilesError
        If there is nothing to send, or a file isn't there.
    FileNameError
        If the API would refuse a name.
    """
    found: dict[str, bytes | Path]
    if isinstance(files, Mapping):
        found = {name: _take(content) for name, content in files.items()}
    elif isinstance(files, str | PathLike) and Path(files).is_dir():
        folder = Path(files)
        found = {path.relative_to(folder).as_posix(): path for path in list_files(folder)}
        if not found:
            raise SourceFilesError(f"{folder} holds no files to send.")
    else:
        paths = [files] if isinstance(files, str | PathLike) else list(files)
        found = _name_each(Path(path) for path in paths)
    check_file_names(found)
    return found


def _take(content: str | bytes | Path) -> bytes | Path:
    if isinstance(content, Path):
        return content
    return content.encode() if isinstance(content, str) else bytes(content)


def _name_each(paths: Iterable[Path]) -> dict[str, bytes | Path]:
    named: dict[str, bytes | Path] = {}
    for path in paths:
        if path.name in named:
            raise SourceFilesError(f"Two files are called {path.name!r}; rename one.")
        if not path.is_file():
            raise SourceFilesError(f"{path} can't be read: there is no such file.")
        named[path.name] = path
    return named


def _read(path: Path) -> bytes:
    # As bytes: a text mode would harm whatever isn't text.
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceFilesError(f"{path} can't be read: {error.strerror}.") from error


def list_files(folder: Path, without: Collection[Path] = ()) -> Iterator[Path]:
    """List a folder's files, without what tools leave behind, and without some of its folders."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in LEFT_OUT or path in without:
            continue
        if path.is_dir():
            yield from list_files(path, without)
        else:
            yield path
