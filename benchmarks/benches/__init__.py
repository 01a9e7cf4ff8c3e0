"""What can be measured, in the order in which it is."""

from benchmarks.benches.bench import Bench, Results
from benchmarks.benches.folds import FoldsBench
from benchmarks.benches.latency import LatencyBench

BENCHES: dict[str, Bench] = {bench.name: bench for bench in (LatencyBench(), FoldsBench())}

__all__ = ["BENCHES", "Bench", "Results"]
