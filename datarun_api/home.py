"""The folder of `datarun up`: who may use it, and the few small facts that it keeps.

::

    home/
    ├── lock             held by the `datarun up` that runs here
    ├── programs.json    what runs, for the next start if this one is killed
    ├── url              the API's address while it answers (or until the start after a kill)
    ├── secrets/         passwords and tokens, one a file, for the owner's eyes only
    ├── postgresql/      the database
    ├── valkey/          the queues
    ├── storage/         uploaded files
    └── cache/           the workers' copies of them
"""

import fcntl
import os
import pwd
import shutil
import tempfile
from pathlib import Path

from datarun_client.errors import DatarunError

DATABASE_SECRET, REDIS_SECRET = "database-url", "redis-url"
"""The secrets that say where the servers are, for commands that come later."""


class HomeError(DatarunError):
    """The folder can't be the home of `datarun up`; the message says why and what to do."""


class HomeInUseError(HomeError):
    """Another process holds the home."""


class Home:
    """The folder, open to this process alone until `close`.

    Parameters
    ----------
    path : Path
        Made if it doesn't exist.

    Raises
    ------
    HomeError
        If it is another account's.
    HomeInUseError
        If another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise HomeError(
                f"{self.path} can't be made ({error.strerror}); name another folder with --home."
            ) from None
        self._check_owner()
        self._lock = self._take_lock()
        self.secrets = self._make_private("secrets")
        self.storage = self._make_private("storage")
        self._short_folders: list[Path] = []
        self.url.unlink(missing_ok=True)

    @property
    def record(self) -> Path:
        """The file that names the running programs."""
        return self.path / "programs.json"

    @property
    def cache(self) -> Path:
        """The folder of the workers' copies; they make it."""
        return self.path / "cache"

    @property
    def url(self) -> Path:
        """The file with the API's address."""
        return self.path / "url"

    def close(self) -> None:
        """Leave the home to others."""
        self.url.unlink(missing_ok=True)
        for folder in self._short_folders:
            shutil.rmtree(folder, ignore_errors=True)
        os.close(self._lock)

    def make_short_folder(self) -> Path:
        """Make a folder with a short name, for what has no room for the home's; gone at `close`."""
        folder = Path(tempfile.mkdtemp(prefix="datarun-", dir="/tmp"))
        self._short_folders.append(folder)
        return folder

    def let_others_through(self) -> None:
        """Let other accounts walk through the home to a folder of theirs in it.

        The folders above the home are not ours, so they are not opened.

        Raises
        ------
        HomeError
            If one of those is closed.
        """
        self.path.chmod(0o711)
        closed = find_closed_folder(self.path)
        if closed is not None:
            raise HomeError(
                "PostgreSQL doesn't run as root but under an account of its own, which may not "
                f"walk through {closed}. Name another folder, such as --home /var/lib/datarun, or "
                "run as an ordinary user."
            )

    def load_secret(self, name: str) -> str | None:
        """Read a secret; None if there is none of that name."""
        try:
            return (self.secrets / name).read_text()
        except FileNotFoundError:
            return None

    def save_secret(self, name: str, secret: str) -> str:
        """Keep a secret, whole or not at all."""
        write_private(self.secrets / name, secret)
        return secret

    def _check_owner(self) -> None:
        owner = self.path.stat().st_uid
        if owner == os.geteuid():
            return
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = str(owner)
        raise HomeError(
            f"{self.path} belongs to {name}; run as {name}, or name another folder with --home."
        )

    def _take_lock(self) -> int:
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(lock, 32).decode(errors="replace").strip()
            os.close(lock)
            raise HomeInUseError(
                f"Another `datarun up` (process {pid}) runs in {self.path}; "
                "stop it, or name another folder with --home."
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        return lock

    def _make_private(self, name: str) -> Path:
        path = self.path / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path


def load_servers(path: Path) -> dict[str, str]:
    """Say where the servers of the `datarun up` are that runs in a folder.

    Returns
    -------
    dict
        By the names of the API's settings.

    Raises
    ------
    HomeError
        If none runs there, or the folder is another account's.
    """
    try:
        if not (path / "url").exists():
            raise HomeError(f"No `datarun up` runs in {path}; start it, or name its folder.")
        return {
            "DATABASE_URL": (path / "secrets" / DATABASE_SECRET).read_text(),
            "REDIS_URL": (path / "secrets" / REDIS_SECRET).read_text(),
            "STORAGE": str(path.resolve() / "storage"),
        }
    except OSError as error:
        raise HomeError(f"{path} can't be read ({error.strerror}); run as its owner.") from None


def find_closed_folder(path: Path) -> Path | None:
    """Find the topmost folder on the way to `path`, itself included, that is closed to others."""
    for folder in reversed([path, *path.parents]):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
