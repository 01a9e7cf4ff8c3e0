"""What a fold is for the peers, and that somebody who cheats is found out."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks.benches.folds import check_predictions
from benchmarks.contenders import JoblibParallel
from benchmarks.fold_work import Codec, Predictions, run_job
from benchmarks.site import BenchError, Site
from benchmarks.workloads import WORKLOADS, write_kit
from datarun_client.codec import unpack_predictions


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return write_kit(WORKLOADS[1], tmp_path_factory.mktemp("kits") / "W1", n_folds=2)


def test_a_fold_predicts_the_train_set_and_the_held_out_set(kit):
    full_train, test = run_job(str(kit.folder), 0, Codec.ZLIB)

    assert kit.n_train + kit.n_test == 150
    for packed, n_rows in ((full_train, kit.n_train), (test, kit.n_test)):
        proba = unpack_predictions(packed, (n_rows, kit.n_classes))
        np.testing.assert_allclose(proba.sum(axis=1), 1)


def test_codecs_differ_in_bytes_only(kit):
    (slow, _), (quick, _) = (run_job(str(kit.folder), 0, codec) for codec in Codec)

    shape = (kit.n_train, kit.n_classes)
    np.testing.assert_array_equal(*(unpack_predictions(packed, shape) for packed in (slow, quick)))


def test_predictions_of_another_fold_are_found_out(kit, tmp_path):
    first, second = (Predictions(*run_job(str(kit.folder), number, "zlib")) for number in (0, 1))
    contender = JoblibParallel(Site(tmp_path, ""))
    expected = {}

    check_predictions(kit, contender, [0], {0: first}, expected)
    check_predictions(kit, contender, [0], {0: first}, expected)

    with pytest.raises(BenchError, match="did the folds"):
        check_predictions(kit, contender, [0, 1], {0: first}, expected)
    with pytest.raises(BenchError, match="fold 0 of W1"):
        check_predictions(kit, contender, [0], {0: second}, expected)


@pytest.mark.parametrize("module", ["benchmarks.workers.rq_worker", "benchmarks.fold_work"])
def test_a_cold_worker_has_not_imported_what_folds_need(module):
    program = (
        f"import sys, {module}; print(*{{'sklearn', 'pandas', 'joblib'}} & sys.modules.keys())"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert done.stdout.split() == []
