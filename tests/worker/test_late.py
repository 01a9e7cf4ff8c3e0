"""Threads that begin late, or not at all."""

import threading

from datarun_worker.late import LateStarter

PATIENCE = 30.0
"""Seconds after which a test gives up."""


def test_a_thread_begins_when_its_time_has_come():
    starter, begun = LateStarter(), threading.Event()

    starter.start(0.0, threading.Event(), begun.set, "late")

    assert begun.wait(PATIENCE)


def test_a_thread_that_is_not_needed_any_more_never_begins():
    # Given a thread that is called off before its time
    starter, over, begun, after = (LateStarter(), *(threading.Event() for _ in range(3)))
    starter.start(0.1, over, begun.set, "called off")
    over.set()

    # When one that is due later has begun
    starter.start(0.2, threading.Event(), after.set, "later")
    assert after.wait(PATIENCE)

    # Then the first one hasn't
    assert not begun.is_set()


def test_the_starter_can_be_used_again_when_nothing_is_left():
    starter = LateStarter()
    for _ in range(2):
        begun = threading.Event()

        starter.start(0.0, threading.Event(), begun.set, "again")

        assert begun.wait(PATIENCE)


def test_a_thread_that_is_due_sooner_does_not_wait_for_the_others():
    # Given a starter that waits for a thread which is due in an hour
    starter, over, begun = LateStarter(), threading.Event(), threading.Event()
    starter.start(3600.0, over, begun.clear, "in an hour")

    # When one is wanted sooner
    starter.start(0.1, over, begun.set, "soon")

    # Then it begins
    assert begun.wait(PATIENCE)
