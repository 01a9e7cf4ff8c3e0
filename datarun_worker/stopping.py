"""How a worker stops: its running job gets a time of grace, and is given back after it.

A signal's handler runs in the middle of whatever the main thread does, perhaps while that holds a
lock. So it only puts a word into a queue that is made for that; a thread does the rest.
"""

import logging
import queue
import threading
from collections.abc import Callable

logger = logging.getLogger("rq.worker.datarun")


class Stopper:
    """Ends a worker's job after a time of grace, or at once when it is asked a second time.

    Parameters
    ----------
    grace : float
        Seconds.

    Attributes
    ----------
    is_stopping : threading.Event
        Set when the worker takes nothing new.
    """

    def __init__(self, grace: float) -> None:
        self.is_stopping = threading.Event()
        self._grace = grace
        self._requests: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._give_back: Callable[[str], None] = lambda reason: None

    def start(self, give_back: Callable[[str], None]) -> None:
        """Begin to listen.

        Parameters
        ----------
        give_back : callable
            Gives the running job back, and all that come; called with the reason.
        """
        self._give_back = give_back
        threading.Thread(target=self._run, name="stopper", daemon=True).start()

    def request(self) -> None:
        """Ask to stop; a signal's handler may call it."""
        self._requests.put(None)

    def _run(self) -> None:
        self._requests.get()
        logger.info("the worker stops; what runs has %g s", self._grace)
        self.is_stopping.set()
        reason = "The worker was told twice to stop."
        try:
            self._requests.get(timeout=self._grace)
        except queue.Empty:
            reason = f"The worker was told to stop, and {self._grace:g} s were over."
        self._give_back(reason)
