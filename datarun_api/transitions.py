"""What may happen to a fold: the state table, once.

A fold is in one of four situations (`Status`); the wire's ``TRAINED`` and ``VALIDATED`` are how
far a running one got. Every function that changes a fold asks `decide` first and does what it
says. Writes of an attempt that isn't the newest never get that far: they are refused before.
"""

from enum import Enum

from datarun_client.states import State


class Status(Enum):
    """The situation of a fold."""

    TODO = "waits for a worker"
    RUNNING = "an attempt runs"
    TESTED = "has its predictions; final"
    ERROR = "has failed; final"

    @classmethod
    def of(cls, state: State, running: bool) -> "Status":
        """Tell the situation from the wire's state and whether an attempt runs."""
        if state.is_final:
            return cls[state.name]
        return cls.RUNNING if running else cls.TODO


class Event(Enum):
    """What happens to a fold."""

    CLAIM = "a worker asks for it"
    PHASE = "the newest attempt reports the end of a phase"
    RESULT = "the newest attempt delivers its result"
    LOSS = "the newest attempt was lost, or failed by our fault"
    CANCEL = "its account cancels it"
    REPEAT = "its account posts it again, the same"
    CHANGE = "its account posts it again, another"
    FORCE = "its account posts it again with force"


class Act(Enum):
    """What follows."""

    RUN = "give it to the worker"
    NOTHING = "tell the worker that there is nothing to do"
    ADVANCE = "show the next wire state"
    FINISH = "keep the result; final"
    COMPARE = "200 if it is the result that was kept, else 409"
    RETRY = "next attempt; after the third, ERROR platform_error"
    STOP = "ERROR cancelled; whatever runs is stopped"
    KEEP = "200, unchanged"
    RESTART = "next attempt, from the beginning"
    REFUSE = "409"


TRANSITIONS: dict[tuple[Event, Status], Act] = {
    (Event.CLAIM, Status.TODO): Act.RUN,
    (Event.CLAIM, Status.RUNNING): Act.NOTHING,
    (Event.CLAIM, Status.TESTED): Act.NOTHING,
    (Event.CLAIM, Status.ERROR): Act.NOTHING,
    (Event.PHASE, Status.TODO): Act.REFUSE,
    (Event.PHASE, Status.RUNNING): Act.ADVANCE,
    (Event.PHASE, Status.TESTED): Act.REFUSE,
    (Event.PHASE, Status.ERROR): Act.REFUSE,
    (Event.RESULT, Status.TODO): Act.REFUSE,
    (Event.RESULT, Status.RUNNING): Act.FINISH,
    (Event.RESULT, Status.TESTED): Act.COMPARE,
    (Event.RESULT, Status.ERROR): Act.COMPARE,
    (Event.LOSS, Status.TODO): Act.REFUSE,
    (Event.LOSS, Status.RUNNING): Act.RETRY,
    (Event.LOSS, Status.TESTED): Act.REFUSE,
    (Event.LOSS, Status.ERROR): Act.COMPARE,
    (Event.CANCEL, Status.TODO): Act.STOP,
    (Event.CANCEL, Status.RUNNING): Act.STOP,
    (Event.CANCEL, Status.TESTED): Act.REFUSE,
    (Event.CANCEL, Status.ERROR): Act.REFUSE,
    (Event.REPEAT, Status.TODO): Act.KEEP,
    (Event.REPEAT, Status.RUNNING): Act.KEEP,
    (Event.REPEAT, Status.TESTED): Act.KEEP,
    (Event.REPEAT, Status.ERROR): Act.KEEP,
    (Event.CHANGE, Status.TODO): Act.REFUSE,
    (Event.CHANGE, Status.RUNNING): Act.REFUSE,
    (Event.CHANGE, Status.TESTED): Act.REFUSE,
    (Event.CHANGE, Status.ERROR): Act.REFUSE,
    (Event.FORCE, Status.TODO): Act.RESTART,
    (Event.FORCE, Status.RUNNING): Act.RESTART,
    (Event.FORCE, Status.TESTED): Act.RESTART,
    (Event.FORCE, Status.ERROR): Act.RESTART,
}


def decide(event: Event, status: Status) -> Act:
    """Say what follows when something happens to a fold."""
    return TRANSITIONS[event, status]
