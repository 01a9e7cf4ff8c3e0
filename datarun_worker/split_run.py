"""One run of a split, from a data set's raw files to its parts: with or without a server."""

import os
from collections.abc import Mapping
from typing import BinaryIO

from datarun_client.file_names import KIT_FILES, READER_FILE, TEST_FILES, TRAIN_FILES
from datarun_client.states import FailureKind, Reader
from datarun_worker.claims import SplitClaim
from datarun_worker.errors import PartError, ProgramError
from datarun_worker.parts import Labels
from datarun_worker.results import read_metrics
from datarun_worker.sandbox import Reply, Sandbox

FILES_PER_MESSAGE = 32
"""How many open files go to a sandbox at once."""

SPLIT_PARTS = ("X_train", "y_train", "X_test", "y_test")
PREPARED = "prepared"
MAX_LABELS = 1 << 30
"""Bytes of labels that are read outside a sandbox: a file with holes costs a reader nothing."""


_MORE_PARTS = {
    Reader.CSV: (),
    Reader.SPECIFIC: (PREPARED,),
    Reader.KIT: (KIT_FILES, TRAIN_FILES, TEST_FILES),
}
_EMPTY_UNLESS = {
    PREPARED: "n_prepared",
    TRAIN_FILES: "n_train_files",
    TEST_FILES: "n_test_files",
}


def name_parts(claim: SplitClaim) -> tuple[str, ...]:
    """Name the files that a split may write."""
    return (*SPLIT_PARTS, *_MORE_PARTS[claim.reader])


def run_split(
    claim: SplitClaim,
    sandbox: Sandbox,
    files: Mapping[str, int],
    outputs: dict[str, BinaryIO],
) -> tuple[str, ...]:
    """Split a data set in a sandbox.

    Parameters
    ----------
    claim : SplitClaim
    sandbox : Sandbox
    files : mapping of str to int
        Descriptors of the raw files.
    outputs : dict of str to binary file
        Empty files for `name_parts`; those that hold nothing are taken out.

    Returns
    -------
    tuple of str
        The names of a kit's score types.

    Raises
    ------
    SubmissionFailure
        If the data set or its reader is at fault.
    ProgramError
        If it has not the files that it needs.
    """
    split = _split_with_reader if claim.reader.is_own else _split_csv
    reply = split(claim, sandbox, files, outputs)
    for part, count in _EMPTY_UNLESS.items():
        if not reply.value.get(count):
            outputs.pop(part, None)
    return read_metrics(reply.value)


def _split_csv(
    claim: SplitClaim,
    sandbox: Sandbox,
    files: Mapping[str, int],
    outputs: Mapping[str, BinaryIO],
) -> Reply:
    if len(files) != 1:
        raise ProgramError(
            FailureKind.DATA_ERROR, "A data set without a reader has exactly one CSV file."
        )
    (name, descriptor), *_ = files.items()
    arguments = {
        "name": name,
        "target_column": claim.target_column,
        "held_out_test": claim.held_out_test,
        "random_state": claim.random_state,
    }
    return sandbox.call("split_csv", arguments, {"data": descriptor}, _descriptors(outputs))


def _split_with_reader(
    claim: SplitClaim,
    sandbox: Sandbox,
    files: Mapping[str, int],
    outputs: Mapping[str, BinaryIO],
) -> Reply:
    names = [name for name in files if name != READER_FILE]
    for start in range(0, len(names), FILES_PER_MESSAGE):
        batch = names[start : start + FILES_PER_MESSAGE]
        sandbox.call("add_files", {}, {name: files[name] for name in batch})
    inputs = {READER_FILE: files[READER_FILE]}
    command = "split_kit" if claim.reader is Reader.KIT else "split_reader"
    return sandbox.call(command, {}, inputs, _descriptors(outputs))


def _descriptors(files: Mapping[str, BinaryIO]) -> dict[str, int]:
    return {name: file.fileno() for name, file in files.items()}


def count_rows(labels: BinaryIO) -> int:
    """Count the rows of a part of labels.

    Raises
    ------
    ProgramError
        `data_error`, if a reader wrote something else there, or too much.
    """
    size = os.fstat(labels.fileno()).st_size
    if size > MAX_LABELS:
        raise ProgramError(
            FailureKind.DATA_ERROR, f"The labels have {size} bytes; at most {MAX_LABELS} are taken."
        )
    try:
        return Labels.read(labels.fileno()).n_rows
    except PartError as error:
        raise ProgramError(
            FailureKind.DATA_ERROR, f"The reader left no labels behind: {error}"
        ) from error
