"""Who runs when."""

from benchmarks.benches.folds import plan_repeat
from benchmarks.contenders import ColdRQ, Datarun, JoblibParallel, PreloadedRQ
from benchmarks.fold_work import Codec
from benchmarks.site import Site


def test_whom_the_floor_compares_runs_there_and_back(tmp_path):
    site = Site(tmp_path, "")
    joblib, cold, twin, plain, datarun = contenders = [
        JoblibParallel(site),
        ColdRQ(site),
        PreloadedRQ(site, Codec.DATARUN),
        PreloadedRQ(site),
        Datarun(site, stack=None),
    ]

    there_and_back = [twin, plain, datarun, datarun, plain, twin]
    assert plan_repeat(contenders) == [joblib, cold, *there_and_back, *there_and_back]
