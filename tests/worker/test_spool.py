import errno
import multiprocessing
import os
from pathlib import Path

import pytest

from datarun_worker.spool import Spool

PATH = "folds/1/2/3"


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A spool's root; scratch folders lie beside it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "spool"


def keep_and_wait(root: Path, connection) -> None:
    """Be a worker that has kept a result and left a file in its scratch folder."""
    spool = Spool(root)
    spool.keep(PATH, b"body")
    (spool.scratch / "large").touch()
    connection.send("ready")
    connection.recv()


@pytest.fixture
def other_worker(root):
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=keep_and_wait, args=(root, theirs))
    process.start()
    ours.recv()
    yield process
    process.kill()
    process.join()
    ours.close()
    theirs.close()


def list_all(root: Path) -> list[str]:
    return [path.name for path in root.rglob("*.*")]


def test_a_result_is_kept_until_it_is_removed(root):
    spool = Spool(root)

    result = spool.keep(PATH, b"body")

    (kept,) = spool.list_results()
    assert (kept.path, kept.read()) == (result.path, result.read()) == (PATH, b"body")
    spool.remove(result)
    assert spool.list_results() == []


def test_a_result_that_is_kept_again_takes_the_first_ones_place(root):
    spool = Spool(root)
    spool.keep(PATH, b"first")
    spool.keep(PATH, b"second")

    (result,) = spool.list_results()

    assert result.read() == b"second"


def test_results_come_in_their_order(root):
    spool = Spool(root)
    paths = ["splits/7/1", "folds/1/9/1", "scorings/1/3/2", "folds/1/8/1"]
    for number, path in enumerate(paths):
        file = spool.keep(path, b"body").file
        os.utime(file, (number, number))

    assert [result.path for result in spool.list_results()] == paths


def test_what_is_no_result_is_left_alone(root):
    spool = Spool(root)
    folder = spool.keep(PATH, b"body").file.parent
    for name in ("folds-1-2.json", "folds-1-2-4.part", "folds-1-2-x.json", "notes.txt"):
        (folder / name).touch()

    assert [result.path for result in spool.list_results()] == [PATH]


def test_a_living_workers_results_are_its_own(root, other_worker):
    spool = Spool(root)

    spool.adopt()

    assert spool.list_results() == []
    assert "folds-1-2-3.json" in list_all(root)


def test_a_dead_workers_results_are_taken_over(root, other_worker):
    spool = Spool(root)
    other_worker.kill()
    other_worker.join()

    spool.adopt()

    (result,) = spool.list_results()
    assert (result.path, result.read()) == (PATH, b"body")
    assert len(list(root.glob("worker-*"))) == 1
    # Its scratch folder is gone, and with it what was in it.
    assert list((root.parent / "tmp").iterdir()) == [spool.scratch]


def test_a_worker_that_ends_leaves_nothing_behind(root):
    spool = Spool(root)
    (spool.scratch / "large").touch()

    spool.close()

    assert list(root.iterdir()) == []
    assert not spool.scratch.exists()


def test_a_worker_that_ends_leaves_undelivered_results(root):
    first = Spool(root)
    first.keep(PATH, b"body")
    first.close()

    second = Spool(root)
    second.adopt()

    assert [result.read() for result in second.list_results()] == [b"body"]


def test_a_result_that_the_disk_cannot_take_is_kept_in_memory(root, monkeypatch):
    spool = Spool(root)

    def refuse(file: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        spool.keep(PATH, b"body")

    (result,) = spool.list_results()
    assert (result.file, result.read()) == (None, b"body")
    spool.remove(result)
    assert spool.list_results() == []
