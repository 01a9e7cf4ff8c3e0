"""What goes on beside a running fold, against a small real server."""

import contextlib
import json
import threading
from collections.abc import Iterator

import pytest
from test_api import CLAIM

from datarun_worker import fold_series
from datarun_worker.api import Api
from datarun_worker.claims import FoldClaim
from datarun_worker.config import load_settings
from datarun_worker.delivery import Delivery, FoldJob
from datarun_worker.errors import ApiRefusalError
from datarun_worker.fold_series import FinishedFold, FoldSeries
from datarun_worker.laps import Laps
from datarun_worker.results import FoldResult
from datarun_worker.spool import Spool
from tests.conftest import wait_until
from tests.small_server import Answer, Server

NOTHING = Answer(body=b'{"claim": null}')


def make_claim(number: int) -> dict:
    return CLAIM | {"databoard_sf_id": number, "attempt": 1}


def give(number: int, **options) -> Answer:
    """Answer a claim."""
    return Answer(body=json.dumps(make_claim(number)).encode(), **options)


def give_next(number: int, **options) -> Answer:
    """Answer a result with the next claim."""
    return Answer(body=json.dumps({"claim": make_claim(number)}).encode(), **options)


class Runner:
    """Keeps a result of each fold that it is to run, and remembers all that happens."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.began: list[int] = []
        self.given_back: list[int] = []
        self.dropped: set[int] = set()
        self.held: set[int] = set()
        self.n_prepared = 0
        self.is_well = True
        self.while_running: dict[int, threading.Event] = {}

    def run_claimed(self, claim: FoldClaim, queue: str, laps: Laps) -> FinishedFold | None:
        number = claim.databoard_sf_id
        self.began.append(number)
        if number in self.while_running:
            assert self.while_running[number].wait(30)
        if number in self.dropped:
            return None
        holding = contextlib.ExitStack()
        self.held.add(number)
        holding.callback(self.held.remove, number)
        kept = self.delivery.keep(claim.path, FoldResult(None, "").to_wire(), laps)
        return FinishedFold(kept, holding, "tested")

    def may_begin(self) -> bool:
        return self.is_well

    def prepare(self) -> None:
        self.n_prepared += 1

    def give_back(self, claim: FoldClaim, reason: str) -> None:
        self.given_back.append(claim.databoard_sf_id)


class Jobs:
    """Jobs on a queue."""

    def __init__(self, *numbers: int) -> None:
        self.jobs = [FoldJob(1, number, "low") for number in numbers]
        self.plenty = True
        self.n_ended = 0

    def take(self, *, ends_one: bool, ahead: bool) -> FoldJob | None:
        if not self.jobs or (ahead and not self.plenty):
            return None
        self.n_ended += ends_one
        return self.jobs.pop(0)


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    api = Api(load_settings({"DATARUN_URL": server.url, "DATARUN_TOKEN": "secret"}), "w1")
    yield api
    api.close()


@pytest.fixture
def runner(api, tmp_path) -> Iterator[Runner]:
    spool = Spool(tmp_path / "spool")
    yield Runner(Delivery(api, spool, threading.Event()))
    spool.close()


@pytest.fixture
def series(api, runner) -> Iterator[FoldSeries]:
    series = FoldSeries(api, runner.delivery, runner)
    yield series
    series.close()


@pytest.fixture
def quick_series(series, server, runner) -> FoldSeries:
    """A series that knows folds to be quick."""
    server.answers = [give(100), Answer()]
    series.run(FoldJob(1, 100, "low"), Jobs().take)
    server.requests.clear()
    runner.began.clear()
    return series


def start_first(series: FoldSeries, jobs: Jobs) -> threading.Thread:
    """Run fold 1 and those that follow it in a thread."""
    thread = threading.Thread(target=series.run, args=(FoldJob(1, 1, "low"), jobs.take))
    thread.start()
    return thread


def list_calls(server: Server) -> list[str]:
    """Name what was asked for, without the address's beginning."""
    return [request.path.removeprefix("/runapp/worker/folds/") for request in server.requests]


def read_timings(server: Server, number: int) -> set[str]:
    (request,) = [r for r in server.requests if f"/1/{number}/1/result/" in r.path]
    return set(json.loads(request.body)["timings"])


def test_a_first_fold_is_followed_by_what_its_result_brings(series, server, runner):
    server.answers = [give(1), give_next(2), NOTHING]

    series.run(FoldJob(1, 1, "low"), Jobs(2).take)

    assert runner.began == [1, 2]
    assert list_calls(server) == [
        "claim/",
        "1/1/1/result/?queue=low&worker=w1&ahead=false",
        "1/2/1/result/",
    ]
    assert not runner.held


def test_quick_folds_are_claimed_while_another_runs(quick_series, server, runner):
    jobs = Jobs(2, 3)
    # Given a first fold that runs until the next one is claimed
    runner.while_running[1] = threading.Event()
    server.answers = [give(1), give(2), give_next(3), Answer(), Answer()]
    thread = start_first(quick_series, jobs)
    wait_until(lambda: runner.n_prepared == 1, "the second fold to be claimed")
    assert runner.began == [1]

    # When it ends
    runner.while_running[1].set()
    thread.join(30)

    # Then the next one begins without having to be asked for, and its result says so
    assert runner.began == [1, 2, 3]
    assert list_calls(server) == [
        "claim/",
        "claim/",
        "1/1/1/result/?queue=low&worker=w1&ahead=true",
        "1/2/1/result/",
        "1/3/1/result/",
    ]
    assert "ahead" not in read_timings(server, 1)
    assert "ahead" in read_timings(server, 2)
    # Of three jobs one had ended when the last was taken.
    assert jobs.n_ended == 1
    assert not runner.held


def test_a_fold_begins_while_the_result_before_it_is_under_way(quick_series, server, runner):
    # Given an API that lets a result wait
    is_answered = threading.Event()
    server.answers = [give(1), give(2), Answer(waits_for=is_answered), Answer()]

    # When another fold is at hand
    thread = start_first(quick_series, Jobs(2))

    # Then it runs meanwhile, and the attempt before it is held until its result is delivered
    wait_until(lambda: 2 in runner.held, "the second fold to have run")
    assert 1 in runner.held
    is_answered.set()
    thread.join(30)
    assert not runner.held


def test_none_is_claimed_ahead_where_few_wait(quick_series, server, runner):
    jobs = Jobs(2)
    jobs.plenty = False
    server.answers = [give(1), give_next(2), NOTHING]

    quick_series.run(FoldJob(1, 1, "low"), jobs.take)

    assert runner.began == [1, 2]
    assert runner.n_prepared == 0


def test_none_is_claimed_ahead_after_a_slow_fold(quick_series, server, runner, monkeypatch):
    monkeypatch.setattr(fold_series, "QUICK", 0.0)
    server.answers = [give(1), give(2), give_next(3), Answer(), Answer()]

    quick_series.run(FoldJob(1, 1, "low"), Jobs(2, 3).take)

    # The first one was believed to be quick; with its result one came, and then none.
    assert runner.began == [1, 2, 3]
    assert sum("claim/" in call for call in list_calls(server)) == 2


def test_a_fold_that_waits_for_too_long_is_given_back(quick_series, server, runner, monkeypatch):
    monkeypatch.setattr(fold_series, "LONGEST_WAIT", 0.0)
    runner.while_running[1] = threading.Event()
    server.answers = [give(1), give(2), Answer()]
    thread = start_first(quick_series, Jobs(2))

    wait_until(lambda: runner.given_back == [2], "the second fold to be given back")

    runner.while_running[1].set()
    thread.join(30)
    assert runner.began == [1]
    assert list_calls(server)[-1].startswith("1/1/1/result/")


def test_a_worker_that_is_not_well_gives_back_what_waits(quick_series, server, runner):
    runner.while_running[1] = threading.Event()
    server.answers = [give(1), give(2), Answer()]
    thread = start_first(quick_series, Jobs(2))
    wait_until(lambda: runner.n_prepared == 1, "the second fold to be claimed")

    runner.is_well = False
    runner.while_running[1].set()
    thread.join(30)

    assert runner.began == [1]
    assert runner.given_back == [2]


def test_a_dropped_attempt_is_followed_by_the_one_at_hand(quick_series, server, runner):
    runner.dropped.add(1)
    runner.while_running[1] = threading.Event()
    server.answers = [give(1), give(2), Answer()]
    thread = start_first(quick_series, Jobs(2))
    wait_until(lambda: runner.n_prepared == 1, "the second fold to be claimed")

    runner.while_running[1].set()
    thread.join(30)

    assert runner.began == [1, 2]
    assert list_calls(server) == ["claim/", "claim/", "1/2/1/result/"]


@pytest.mark.parametrize(
    "lost", [Answer(503), Answer(body=json.dumps(make_claim(2)).encode(), cut_off=True)]
)
def test_a_claim_ahead_that_is_not_answered_is_repeated_with_empty_hands(
    quick_series, server, runner, lost
):
    """Only then can what a lost answer gave be told from what this worker runs."""
    server.answers = [give(1), lost, Answer(), give(2), Answer()]

    quick_series.run(FoldJob(1, 1, "low"), Jobs(2).take)

    assert runner.began == [1, 2]
    assert list_calls(server)[2:4] == ["1/1/1/result/", "claim/"]
    wishes = json.loads(server.requests[3].body)
    assert wishes.get("resumes", False) is lost.cut_off


def test_a_job_that_was_good_for_nothing_ahead_is_asked_for_again(quick_series, server, runner):
    server.answers = [give(1), Answer(204, b""), Answer(), give(2), Answer()]

    quick_series.run(FoldJob(1, 1, "low"), Jobs(2).take)

    assert runner.began == [1, 2]


def test_an_error_of_ours_leaves_no_fold_behind(quick_series, server, runner):
    """The results are in the spool, from where they are delivered."""
    jobs = Jobs(2)
    server.answers = [give(1), give(2)]

    def take(*, ends_one: bool, ahead: bool) -> FoldJob | None:
        if ends_one:
            raise ZeroDivisionError
        return jobs.take(ends_one=ends_one, ahead=ahead)

    with pytest.raises(ZeroDivisionError):
        quick_series.run(FoldJob(1, 1, "low"), take)

    assert runner.began == [1, 2]
    assert not runner.held
    kept = {kept.path for kept in runner.delivery._spool.list_results()}
    assert kept == {"folds/1/1/1", "folds/1/2/1"}


def test_a_refusal_ends_the_series(series, server):
    server.answers = [Answer(403, headers={})]

    with pytest.raises(ApiRefusalError):
        series.run(FoldJob(1, 1, "low"), Jobs().take)
