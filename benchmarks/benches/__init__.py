"""What can be measured, in the order in which it is."""

from benchmarks.benches.accepting import AcceptingBench
from benchmarks.benches.authentication import AuthenticationBench
from benchmarks.benches.bench import Bench, Results
from benchmarks.benches.events import EventsBench
from benchmarks.benches.folds import FoldsBench
from benchmarks.benches.growth import GrowthBench
from benchmarks.benches.latency import LatencyBench
from benchmarks.benches.reading import ReadingBench
from benchmarks.benches.uploading import UploadingBench

BENCHES: dict[str, Bench] = {
    bench.name: bench
    for bench in (
        LatencyBench(),
        FoldsBench(),
        AcceptingBench(),
        AuthenticationBench(),
        ReadingBench(),
        UploadingBench(),
        EventsBench(),
        GrowthBench(),
    )
}

__all__ = ["BENCHES", "Bench", "FoldsBench", "Results"]
