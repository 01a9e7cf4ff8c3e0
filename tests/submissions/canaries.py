"""What a case may do harm to: made for it, and looked at afterwards."""

import contextlib
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

KINDS = ("user", "mnt", "pid", "net", "ipc", "uts")
CONTENT = "nobody has changed this"
SHARED_FOLDERS = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path("/run"), Path.home())
_MASK = 0x5A
_SECRETS = (
    "train labels",
    "validation labels",
    "test labels",
    "train features",
    "validation features",
    "test features",
)


class Canaries:
    """A file, a process and sockets that everybody may reach, and words that nobody may know.

    Parameters
    ----------
    folder : Path
        To make files in; everybody must be able to get there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "open-to-all"
        self._file = self._folder / "canary"
        # Short enough for a process's name.
        self.name = f"canary{secrets.token_hex(4)}"
        self.neighbour = secrets.token_hex(8)
        self.environment = {"DATARUN_TEST_CANARY": secrets.token_hex(8)}
        self.patterns = {name: _make_pattern() for name in _SECRETS}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._folder.mkdir()
        self._folder.chmod(0o777)
        self._file.write_text(CONTENT)
        self._file.chmod(0o666)
        self._stack.callback(self._clean)
        self._process = self._start_process()
        self._port = self._listen(socket.AF_INET, ("127.0.0.1", 0))
        self._datagrams = self._listen(socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM)
        path = str(self._folder / "socket")
        self._unix = self._listen(socket.AF_UNIX, path)
        Path(path).chmod(0o777)
        self._abstract = self._listen(socket.AF_UNIX, f"\0{self.name}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def describe(self, **more: Any) -> dict[str, Any]:
        """Say where they are, as JSON for a submission; words masked or backwards."""
        words = list(self.environment.values())
        described: dict[str, Any] = {
            "name": self.name,
            "folder": str(self._folder),
            "file": str(self._file),
            "process": self._process.pid,
            "socket": self._unix.getsockname(),
            "abstract_socket": self.name,
            "neighbour": reverse(self.neighbour),
            "environment": [reverse(word) for word in words],
            "ports": {
                "canary": self._port.getsockname()[1],
                "datagrams": self._datagrams.getsockname()[1],
            },
            "masked": {name: mask(pattern) for name, pattern in self.patterns.items()},
            "namespaces": {name: str(Path(f"/proc/self/ns/{name}").readlink()) for name in KINDS},
            "host": socket.gethostname(),
        }
        for key, value in more.items():
            known = described.get(key)
            described[key] = known | value if isinstance(known, Mapping) else value
        return described

    def describe_alone(self) -> dict[str, Any]:
        """Say the same where no datarun runs: the canaries stand for what it would have."""
        secret = self._folder.parent / "secrets"
        secret.mkdir(exist_ok=True)
        token = secret / "token"
        token.write_text(self.neighbour)
        token.chmod(0o644)
        names = ("storage", "cache", "secrets", "postgresql", "valkey", "home")
        return self.describe(
            workers=[self._process.pid],
            ports=dict.fromkeys(("api", "redis"), self._port.getsockname()[1]),
            server_sockets=[self._unix.getsockname()],
            folders=dict.fromkeys(names, str(secret)),
            data_files=[str(token)],
            cached_file=str(token),
            secrets=[reverse(self.neighbour)],
            masked={"worker-token": mask(self.neighbour[:6].encode())},
        )

    def check(self, wait_until: Callable[..., Any]) -> None:
        """Check that all is as it was, and nothing was left anywhere."""
        names = [path.name for path in self._folder.iterdir()]
        assert sorted(names) == ["canary", "socket"], names
        assert self._file.read_text() == CONTENT
        assert self._process.poll() is None, "the canary was killed"
        for listener in (self._port, self._unix, self._abstract):
            with contextlib.suppress(BlockingIOError):
                listener.accept()[0].close()
                raise AssertionError(f"somebody connected to {listener.getsockname()!r}")
        with contextlib.suppress(BlockingIOError):
            raise AssertionError(f"somebody sent {self._datagrams.recv(64)!r}")
        assert not [path for path in self._list_leftovers() if path.exists()]
        wait_until(lambda: not self._find_daemons(), "the end of what a submission started", 5)

    def _find_daemons(self) -> list[int]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.name() == self.name:
                    found.append(process.pid)
        return found

    def _list_leftovers(self) -> list[Path]:
        return [folder / self.name for folder in SHARED_FOLDERS]

    def clear(self) -> None:
        """Take away what a case that got through has left, for the next one."""
        for path in (*self._list_leftovers(), *self._folder.iterdir()):
            if path.name not in ("canary", "socket"):
                with contextlib.suppress(OSError):
                    path.rmdir() if path.is_dir() else path.unlink()
        self._file.write_text(CONTENT)
        for pid in self._find_daemons():
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()

    def _clean(self) -> None:
        self.clear()
        for path in self._folder.iterdir():
            path.unlink()
        self._folder.rmdir()

    def _start_process(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def _listen(self, family: int, address: Any, kind: int = socket.SOCK_STREAM) -> socket.socket:
        listener = self._stack.enter_context(socket.socket(family, kind))
        listener.bind(address)
        listener.setblocking(False)
        if kind == socket.SOCK_STREAM:
            listener.listen()
        return listener


def reverse(word: str) -> str:
    """Write a word backwards that must not stand in a submission's own files."""
    return word[::-1]


def mask(pattern: bytes) -> str:
    """Mask six bytes that must not stand in a submission's own memory."""
    return bytes(byte ^ _MASK for byte in pattern).hex()


def make_secret(pattern: bytes, number: int) -> int:
    """Make a number of 64 bits with a pattern for its upper six bytes, low to high."""
    return int.from_bytes(number.to_bytes(2, "little") + pattern, "little")


def _make_pattern() -> bytes:
    # The number stays positive, and no byte is a common one.
    return bytes(secrets.choice(range(0x21, 0x7E)) for _ in range(6))


def find_processes(root: int, words: str) -> list[psutil.Process]:
    """Find a process's descendants that have some words in their command line."""
    found = []
    for process in psutil.Process(root).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if words in " ".join(process.cmdline()):
                found.append(process)
    return found
