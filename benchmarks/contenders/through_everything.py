"""datarun itself: HTTP, PostgreSQL, RQ, a full sandbox, checked results."""

import time
from collections.abc import Sequence

import numpy as np
import orjson

from benchmarks.contenders.contender import Contender, Run
from benchmarks.fold_work import TARGET, Codec, Predictions
from benchmarks.site import Site
from benchmarks.stack import FoldEntry, Stack
from benchmarks.workloads import HELD_OUT, SPLIT_SEED, Kit
from datarun_client.codec import decode_base64, encode_bytes, encode_indices


class Datarun(Contender):
    """Posts folds to a stack.

    Parameters
    ----------
    site : Site
    stack : Stack
        Has as many workers as the peers.

    Attributes
    ----------
    last_run : list of int
        The numbers of the folds that were run last.
    last_posted : float
        When they were posted, in seconds since 1970.
    """

    key = "datarun"
    title = "datarun"

    def __init__(self, site: Site, stack: Stack) -> None:
        super().__init__(site, Codec.DATARUN)
        self.stack = stack
        self.last_run: list[int] = []
        self.last_posted = 0.0
        self._raw_data: dict[str, int] = {}

    @property
    def name(self) -> str:
        """Its name in the results; it has no other codec."""
        return self.key

    def prepare(self, kit: Kit) -> None:
        """Upload the data, have it split, and run a few folds."""
        self._raw_data[kit.workload.name] = self.upload(kit)
        super().prepare(kit)

    def upload(self, kit: Kit) -> int:
        """Upload a workload's data and ask for the split."""
        payload = {
            "name": kit.workload.name,
            "target_column": TARGET,
            "workflow_elements": "classifier",
            "files": {"data.csv": encode_bytes(kit.csv)},
        }
        raw_data = self.stack.ask("POST", "rawdata/", json=payload)["id"]
        split = {"raw_data_id": raw_data, "held_out_test": HELD_OUT, "random_state": SPLIT_SEED}
        self.stack.ask("POST", "rawdata/split/", json=split)
        return raw_data

    def describe_folds(self, kit: Kit, numbers: Sequence[int]) -> list[FoldEntry]:
        """Make the entries to post for folds of a workload, of one new submission.

        Parameters
        ----------
        kit : Kit
        numbers : sequence of int
            Folds of the workload.
        """
        ours = self.stack.take_numbers(len(numbers))
        rows = np.arange(kit.n_train)
        source = encode_bytes(kit.workload.source.encode())
        return [
            {
                "databoard_sf_id": our_number,
                "databoard_s_id": ours[0],
                "raw_data": self._raw_data[kit.workload.name],
                "files": {"classifier.py": source},
                "train_is": encode_indices(kit.folds[number]),
                "test_is": encode_indices(np.setdiff1d(rows, kit.folds[number])),
            }
            for our_number, number in zip(ours, numbers, strict=True)
        ]

    def run(self, kit: Kit, numbers: Sequence[int]) -> Run:
        """Post all folds in one request and wait for the last."""
        folds = self.describe_folds(kit, numbers)
        self.last_run = [fold["databoard_sf_id"] for fold in folds]
        text = orjson.dumps(folds)
        self.last_posted, start = time.time(), time.perf_counter()
        self.stack.post_text("submissionfold/", text)
        self.stack.wait_for_folds(folds[-1]["databoard_s_id"], self.last_run[-1])
        seconds = time.perf_counter() - start
        entries = {
            entry["databoard_sf_id"]: entry for entry in self.stack.get_predictions(self.last_run)
        }
        made = {}
        for our_number, number in zip(self.last_run, numbers, strict=True):
            entry = entries[our_number]
            made[number] = Predictions(
                decode_base64(entry["full_train_predictions"]),
                decode_base64(entry["test_predictions"]),
            )
        return Run(seconds, made)
