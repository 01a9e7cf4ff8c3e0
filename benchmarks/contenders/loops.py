"""The bare minimum: processes that keep the data, and no queue between them and their caller."""

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from joblib import Parallel, delayed

from benchmarks.contenders.contender import Contender, Run
from benchmarks.fold_work import Codec, Predictions, run_loaded_fold
from benchmarks.site import N_WORKERS
from benchmarks.workloads import Kit


class PlainLoop(Contender):
    """A ``for`` loop over the folds, split in two."""

    key = "loop"
    title = "plain loop split in 2"

    def start(self) -> None:
        """Start the processes; the data they load on the first run."""
        context = multiprocessing.get_context("spawn")
        self._pool = self.resources.enter_context(
            ProcessPoolExecutor(N_WORKERS, mp_context=context)
        )

    def run(self, kit: Kit, numbers: Sequence[int]) -> Run:
        """Give each process its part."""
        start = time.perf_counter()
        parts = [numbers[place::N_WORKERS] for place in range(N_WORKERS)]
        halves = [self._pool.submit(run_loop, kit.folder, part, self.codec) for part in parts]
        made = {number: fold for half in halves for number, fold in half.result().items()}
        return Run(time.perf_counter() - start, made)


class JoblibParallel(Contender):
    """The limit: `joblib.Parallel` with data that each process loads once."""

    key = "joblib"
    title = "joblib, data loaded once"

    def run(self, kit: Kit, numbers: Sequence[int]) -> Run:
        """Let joblib share out the folds; its processes live on for the next run."""
        start = time.perf_counter()
        made = Parallel(n_jobs=N_WORKERS)(
            delayed(run_loaded_fold)(kit.folder, number, self.codec) for number in numbers
        )
        return Run(time.perf_counter() - start, dict(zip(numbers, made, strict=True)))


def run_loop(folder: Path, numbers: Sequence[int], codec: Codec) -> dict[int, Predictions]:
    """Do folds one after the other."""
    return {number: run_loaded_fold(folder, number, codec) for number in numbers}
