import itertools

import pytest

from datarun_api.transitions import TRANSITIONS, Act, Event, Status, decide
from datarun_client.states import State


def test_every_event_has_an_answer_in_every_status():
    assert set(TRANSITIONS) == set(itertools.product(Event, Status))


@pytest.mark.parametrize("status", [Status.TESTED, Status.ERROR])
def test_nothing_but_force_changes_an_end_state(status):
    changing = {Act.RUN, Act.ADVANCE, Act.FINISH, Act.RETRY, Act.STOP, Act.RESTART}

    events = {event for event in Event if decide(event, status) in changing}

    assert events == {Event.FORCE}


@pytest.mark.parametrize(
    ("state", "running", "status"),
    [
        (State.TODO, False, Status.TODO),
        (State.TODO, True, Status.RUNNING),
        (State.TRAINED, True, Status.RUNNING),
        (State.VALIDATED, True, Status.RUNNING),
        (State.TESTED, False, Status.TESTED),
        (State.ERROR, False, Status.ERROR),
    ],
)
def test_the_wires_states_are_one_of_four_situations(state, running, status):
    assert Status.of(state, running) is status
