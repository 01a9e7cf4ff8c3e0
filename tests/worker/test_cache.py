import hashlib
import multiprocessing
import os
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from datarun_worker.cache import Cache, Folder, hash_file
from datarun_worker.claims import FileEntry
from datarun_worker.errors import CacheError

CAPACITY = 1000


def describe(content: bytes, name: str = "file") -> FileEntry:
    return FileEntry(name, hashlib.sha256(content).hexdigest(), len(content))


class Source:
    """Where files are fetched from; counts how often."""

    def __init__(self, *contents: bytes) -> None:
        self.contents = {describe(content).sha256: content for content in contents}
        self.fetched: list[str] = []

    def fetch(self, entry, file) -> None:
        self.fetched.append(entry.sha256)
        file.write(self.contents[entry.sha256])


def list_files(root: Path) -> list[Path]:
    return [path for folder in Folder for path in (root / folder.value).iterdir()]


def count_bytes(root: Path) -> int:
    return sum(path.stat().st_size for path in list_files(root))


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(tmp_path, CAPACITY)


def test_a_file_is_fetched_once(cache, tmp_path):
    source = Source(b"content")
    entry = describe(b"content")

    for worker in (cache, cache, Cache(tmp_path, CAPACITY)):
        assert worker.read(Folder.FOLDS, entry, source.fetch) == b"content"

    assert source.fetched == [entry.sha256]


def test_folds_and_data_jobs_have_folders_of_their_own(cache):
    source = Source(b"content")
    entry = describe(b"content")

    cache.read(Folder.FOLDS, entry, source.fetch)
    cache.read(Folder.DATA_JOBS, entry, source.fetch)

    assert len(source.fetched) == 2


@pytest.mark.parametrize("broken", [b"brokenn", b"short", b""])
def test_a_file_that_was_changed_on_disk_is_fetched_again(cache, tmp_path, broken):
    source = Source(b"content")
    entry = describe(b"content")
    cache.read(Folder.FOLDS, entry, source.fetch)
    path = tmp_path / "folds" / entry.sha256
    path.chmod(0o600)
    path.write_bytes(broken)

    assert cache.read(Folder.FOLDS, entry, source.fetch) == b"content"
    assert Cache(tmp_path, CAPACITY).read(Folder.FOLDS, entry, source.fetch) == b"content"

    assert len(source.fetched) == 2


@pytest.mark.parametrize("size", [7, 8])
def test_what_is_not_as_promised_is_not_kept(cache, tmp_path, size):
    entry = FileEntry("file", describe(b"content").sha256, size)

    with pytest.raises(CacheError):
        cache.read(Folder.FOLDS, entry, lambda _, file: file.write(b"other"))

    assert list_files(tmp_path) == []


def test_a_fetch_that_fails_leaves_nothing(cache, tmp_path):
    def fail(entry, file) -> None:
        file.write(b"half")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        cache.read(Folder.FOLDS, describe(b"content"), fail)

    assert list_files(tmp_path) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "a" * 63 + "/"])
def test_only_a_hash_becomes_a_name(cache, name):
    with pytest.raises(CacheError):
        cache.read(Folder.FOLDS, FileEntry("x", name, 1), Source().fetch)


def test_the_longest_unused_goes_first(cache, tmp_path):
    contents = [bytes([number]) * 400 for number in range(3)]
    source = Source(*contents)
    first, second, third = map(describe, contents)
    cache.read(Folder.FOLDS, first, source.fetch)
    cache.read(Folder.FOLDS, second, source.fetch)
    cache.read(Folder.FOLDS, first, source.fetch)

    cache.read(Folder.FOLDS, third, source.fetch)

    assert {path.name for path in list_files(tmp_path)} == {first.sha256, third.sha256}


def test_what_is_in_use_stays(cache, tmp_path):
    contents = [bytes([number]) * 600 for number in range(2)]
    source = Source(*contents)
    first, second = map(describe, contents)

    with cache.open(Folder.FOLDS, first, source.fetch):
        Cache(tmp_path, CAPACITY).read(Folder.FOLDS, second, source.fetch)
        assert (tmp_path / "folds" / first.sha256).exists()
    cache.read(Folder.FOLDS, second, source.fetch)
    Cache(tmp_path, CAPACITY)._make_room(0)

    assert count_bytes(tmp_path) <= CAPACITY


def test_the_descriptor_cannot_write(cache):
    source = Source(b"content")

    with (
        cache.open(Folder.FOLDS, describe(b"content"), source.fetch) as descriptor,
        pytest.raises(OSError, match="Bad file descriptor"),
    ):
        os.write(descriptor, b"x")


def test_two_workers_fetch_a_file_once(tmp_path):
    """The second waits until the first has it."""
    source = Source(b"content")
    entry = describe(b"content")
    begun, go_on = threading.Event(), threading.Event()

    def fetch_slowly(entry, file) -> None:
        begun.set()
        assert go_on.wait(10)
        source.fetch(entry, file)

    def read() -> None:
        Cache(tmp_path, CAPACITY).read(Folder.FOLDS, entry, fetch_slowly)

    threads = [threading.Thread(target=read) for _ in range(2)]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(10)

    assert len(source.fetched) == 1


def die_while_fetching(root: Path) -> None:
    Cache(root, CAPACITY).read(
        Folder.FOLDS, describe(b"content"), lambda _, file: os.kill(os.getpid(), 9)
    )


def test_a_worker_that_dies_while_fetching_holds_nobody_up(cache, tmp_path):
    process = multiprocessing.get_context("spawn").Process(
        target=die_while_fetching, args=(tmp_path,)
    )
    process.start()
    process.join()
    assert process.exitcode == -9
    source = Source(b"content")

    assert cache.read(Folder.FOLDS, describe(b"content"), source.fetch) == b"content"

    (left,) = (tmp_path / "folds").glob("*.part")
    os.utime(left, (0, 0))
    Cache(tmp_path, CAPACITY)._make_room(0)
    assert not left.exists()


def test_what_was_made_here_is_kept_without_fetching(cache, tmp_path):
    with cache.create(Folder.DATA_JOBS) as file:
        os.write(file.fileno(), b"made here")
        entry = hash_file("X_train", file)
        cache.keep(Folder.FOLDS, entry, file)
        cache.keep(Folder.FOLDS, entry, file)

    assert entry == describe(b"made here", "X_train")
    assert cache.read(Folder.FOLDS, entry, Source().fetch) == b"made here"
    assert len(list_files(tmp_path)) == 1


class CacheMachine(RuleBasedStateMachine):
    """One worker that uses files of some sizes, and now and then one is broken on disk."""

    contents = [bytes([number]) * (40 * number + 1) for number in range(12)]

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.cache = Cache(self.root, CAPACITY)
        self.source = Source(*self.contents)

    @rule(content=st.sampled_from(contents), folder=st.sampled_from(Folder))
    def read(self, content, folder):
        assert self.cache.read(folder, describe(content), self.source.fetch) == content

    @rule()
    def restart(self):
        self.cache = Cache(self.root, CAPACITY)

    @rule(choice=st.integers(0, 99))
    def break_file(self, choice):
        # Which files are kept depends on the clock, so what is drawn mustn't depend on them.
        if files := sorted(list_files(self.root)):
            path = files[choice % len(files)]
            path.unlink()
            path.write_bytes(b"broken")

    @invariant()
    def is_bounded(self):
        assert count_bytes(self.root) <= CAPACITY + len(b"broken")

    def teardown(self):
        self.folder.cleanup()


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
