import tempfile

import pytest

from datarun_client.states import FailureKind
from datarun_worker.errors import ProgramError
from datarun_worker.split_run import MAX_LABELS, count_rows


@pytest.mark.parametrize(("size", "words"), [(MAX_LABELS + 1, "at most"), (0, "no labels")])
def test_what_a_reader_leaves_in_place_of_labels_is_the_data_sets_fault(size, words):
    with tempfile.TemporaryFile() as file:
        # Holes take no room.
        file.truncate(size)

        with pytest.raises(ProgramError, match=words) as caught:
            count_rows(file)

    assert caught.value.kind is FailureKind.DATA_ERROR
