"""What the API hears of a fold that runs, and what it needn't hear."""

import threading

import pytest

from datarun_client.states import State
from datarun_worker import reporting
from datarun_worker.reporting import Reporter
from datarun_worker.results import Phase
from tests.conftest import wait_until


class Listening:
    """Stands for the API and the sandbox: keeps what is reported, and has no log."""

    path = "folds/1/1/1"

    def __init__(self) -> None:
        self.reported: list[State] = []

    def report_phase(self, claim: object, state: State) -> None:
        self.reported.append(state)

    def read_log(self) -> str:
        return ""


def list_reporters() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "reporter"]


def test_a_phase_that_the_result_follows_at_once_is_not_reported(monkeypatch: pytest.MonkeyPatch):
    # Given a fold whose training was reported
    listening = Listening()
    with Reporter(listening, listening, listening, listening) as reporter:
        reporter.end_phase(Phase.TRAIN)
        wait_until(lambda: listening.reported, "the report of its training")
        monkeypatch.setattr(reporting, "PATIENCE", 30.0)

        # When the next phase ends, and soon the fold
        reporter.end_phase(Phase.VALIDATE)
        (thread,) = list_reporters()
        thread.join(0.1)

    # Then nothing more is reported, and the thread ends at once
    wait_until(lambda: not list_reporters(), "the reporter to end", 10.0)
    assert listening.reported == [State.TRAINED]


def test_phases_are_reported_one_after_the_other_if_each_takes_its_time():
    listening = Listening()
    with Reporter(listening, listening, listening, listening) as reporter:
        for n_reported, phase in enumerate((Phase.TRAIN, Phase.VALIDATE), 1):
            reporter.end_phase(phase)
            wait_until(lambda n=n_reported: len(listening.reported) == n, "the report")

    assert listening.reported == [State.TRAINED, State.VALIDATED]
