"""A submission on its folds, from the post to the predictions."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from datarun_client.errors import (
    EventsLostError,
    MissingExtraError,
    UnavailableError,
    UnreachableError,
    WaitTimeoutError,
)
from datarun_client.events import EventStream
from datarun_client.html import write_html_table
from datarun_client.progress import NoDisplay, open_display
from datarun_client.records import (
    FOLD_COLUMNS,
    Fold,
    FoldPredictions,
    FoldState,
    Submission,
    describe_fold,
)
from datarun_client.states import ScoringState, State
from datarun_client.waiting import SILENCE, Patience

if TYPE_CHECKING:
    from datarun_client.client import Client

Entry = TypeVar("Entry", Fold, FoldState, FoldPredictions)

ROUND = 60.0
"""Seconds after which who waits for events looks at the folds themselves again."""

MAX_ROWS_SHOWN = 50
"""Folds that a notebook shows of a run."""


class Run:
    """A submission on its folds; `Client.submit` and `Client.get_run` make it.

    Parameters
    ----------
    client : Client
    databoard_s_id : int
        The submission's number.
    databoard_sf_ids : sequence of int
        The folds' numbers.

    Attributes
    ----------
    databoard_s_id, databoard_sf_ids
        The parameters.
    """

    def __init__(
        self,
        client: "Client",
        databoard_s_id: int,
        databoard_sf_ids: Sequence[int],
    ) -> None:
        self._client = client
        self.databoard_s_id = databoard_s_id
        self.databoard_sf_ids = tuple(databoard_sf_ids)

    def __repr__(self) -> str:
        return f"Run(submission {self.databoard_s_id}, {len(self.databoard_sf_ids)} folds)"

    def _repr_html_(self) -> str:
        return write_html_table(FOLD_COLUMNS, map(describe_fold, self.folds()[:MAX_ROWS_SHOWN]))

    def states(self) -> list[FoldState]:
        """Ask for the folds' states, in their order."""
        return self._sort(self._client.list_fold_states(self.databoard_s_id))

    def folds(self) -> list[Fold]:
        """Ask for the folds, in their order; `Client.get_fold` tells what one waits for."""
        return self._sort(self._client.list_folds(self.databoard_s_id))

    def wait(
        self, timeout: float | None = None, progress: bool = False, silence: float = SILENCE
    ) -> Self:
        """Wait until every fold has ended, well or not.

        Parameters
        ----------
        timeout : float, optional
            Seconds; as long as it takes by default.
        progress : bool, optional
            Whether to show a bar: tqdm's, if it is installed, else lines on stderr.
        silence : float, optional
            Seconds for which the API may be away at a stretch, for instance to start again.

        Returns
        -------
        Run
            Itself.

        Raises
        ------
        WaitTimeoutError
            If the time is over; the folds go on.
        """
        n_folds = len(self.databoard_sf_ids)
        display = open_display(n_folds) if progress else NoDisplay()
        try:
            for ended in _watch([self], timeout, silence, display.show):
                if len(ended) == n_folds:
                    return self
        finally:
            display.close()
        raise WaitTimeoutError(
            f"Submission {self.databoard_s_id} hasn't ended after {timeout:g} s; it goes on, and "
            "fold.progress says what each fold waits for."
        )

    def predictions(self) -> list[FoldPredictions]:
        """Get the folds' predictions, in the folds' order; those of a failed fold are None."""
        return self._sort(self._client.get_predictions(self.databoard_sf_ids))

    def logs(self) -> dict[int, str]:
        """Get what each fold has printed, and why it failed, by its number."""
        return {fold.databoard_sf_id: fold.log_messages for fold in self.folds()}

    def wait_for_scores(self, timeout: float | None = 600) -> Submission:
        """Wait until the folds that have ended are scored, if their data set has metrics.

        Returns
        -------
        Submission
            With its ``scores``.

        Raises
        ------
        WaitTimeoutError
            If it takes longer.
        """
        patience = Patience(timeout)
        for _ in patience.tries():
            found = patience.ask(lambda: self._client.get_submission(self.databoard_s_id))
            if found is not None and found.scoring_state is not ScoringState.TODO:
                return found
        raise WaitTimeoutError(
            f"Submission {self.databoard_s_id} isn't scored after {timeout:g} s; is there a worker "
            "that runs data jobs?"
        )

    def to_frame(self) -> Any:
        """Make a pandas DataFrame with a row for each fold: state, reason, times, memory.

        Raises
        ------
        MissingExtraError
            If pandas isn't installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise MissingExtraError(
                "to_frame needs pandas; install datarun with the extra `notebook`."
            ) from None
        rows = [
            {
                "databoard_sf_id": fold.databoard_sf_id,
                "state": str(fold.state),
                "failure_kind": fold.failure_kind and str(fold.failure_kind),
                "attempt": fold.attempt,
                **vars(fold.measures),
                "created_at": fold.created_at,
                "started_at": fold.started_at,
                "finished_at": fold.finished_at,
            }
            for fold in self.folds()
        ]
        return pd.DataFrame(rows).set_index("databoard_sf_id")

    def cancel(self) -> None:
        """Cancel every fold that hasn't ended."""
        for state in self.states():
            if not state.state.is_final:
                self._client.cancel_fold(state.databoard_sf_id)

    def _sort(self, entries: Iterable[Entry]) -> list[Entry]:
        """Put what was found of this run's folds into their order."""
        known = {entry.databoard_sf_id: entry for entry in entries}
        return [known[number] for number in self.databoard_sf_ids if number in known]


def as_completed(
    runs: "Run | Sequence[Run]", timeout: float | None = None, silence: float = SILENCE
) -> Iterator[Fold]:
    """Give the folds of runs, each as soon as it has ended.

    Parameters
    ----------
    runs : Run or sequence of Run
        All of one client.
    timeout, silence : float, optional
        As of `Run.wait`.

    Raises
    ------
    WaitTimeoutError
        If the time is over before all have ended.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    given: set[int] = set()
    n_folds = sum(len(run.databoard_sf_ids) for run in runs)
    if not n_folds:
        return
    client = runs[0]._client
    for ended in _watch(runs, timeout, silence):
        for number in ended:
            if number not in given:
                given.add(number)
                yield client.get_fold(number)
        if len(given) == n_folds:
            return
    raise WaitTimeoutError(f"{n_folds - len(given)} folds haven't ended after {timeout:g} s.")


def _watch(
    runs: Sequence[Run],
    timeout: float | None,
    silence: float,
    show: Callable[[int, str], None] = lambda n_done, note: None,
) -> Iterator[list[int]]:
    """Give the numbers of the folds that have ended, again and again, until the time is over.

    The API tells of each fold's end as it happens, on a stream of events. What was missed because
    there is no stream for the moment is seen by the look at all folds that begins each round.
    """
    patience = Patience(timeout, silence)
    states: dict[int, State] = {}
    for _ in patience.tries():
        with contextlib.ExitStack() as stack:
            # Opened before the look, so that nothing can happen in between.
            stream = _open_stream(runs[0]._client, patience, stack)
            found = patience.ask(lambda: [state for run in runs for state in run.states()])
            if found is None:
                show(_count_ended(states), "the API doesn't answer; trying again")
                continue
            states = {state.databoard_sf_id: state.state for state in found}
            show(_count_ended(states), _describe_states(states))
            yield _list_ended(states)
            for state in _follow(stream, states):
                show(_count_ended(states), _describe_states(states))
                if state.is_final:
                    yield _list_ended(states)


def _open_stream(
    client: "Client", patience: Patience, stack: contextlib.ExitStack
) -> EventStream | None:
    """Open a stream of events; None if there is none for the moment, or no time for it."""
    if patience.left < 1:
        return None
    try:
        return stack.enter_context(client.open_events(seconds=min(patience.left, ROUND)))
    except (UnreachableError, UnavailableError):
        return None


def _follow(stream: EventStream | None, states: dict[int, State]) -> Iterator[State]:
    """Note what a stream tells of some folds, and give it, until the stream ends."""
    try:
        for event in stream or ():
            if event.databoard_sf_id in states:
                states[event.databoard_sf_id] = event.state
                yield event.state
    except (UnreachableError, UnavailableError, EventsLostError):
        # The next round looks at the folds themselves.
        return


def _list_ended(states: Mapping[int, State]) -> list[int]:
    return [number for number, state in states.items() if state.is_final]


def _count_ended(states: Mapping[int, State]) -> int:
    return len(_list_ended(states))


def _describe_states(states: Mapping[int, State]) -> str:
    counts: Counter[State] = Counter(states.values())
    del counts[State.TESTED]
    return ", ".join(f"{counts[state]} {state}" for state in State if counts[state])
