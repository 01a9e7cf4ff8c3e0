"""Who takes part, in the order in which they run, and of the table's columns.

A machine is never equally quick for long, so what is held against each other most runs one right
after the other: the plain loops, and datarun after plain RQ, which is the last of the peers.
"""

from benchmarks.contenders.celery_prefork import CeleryPrefork
from benchmarks.contenders.contender import Contender, Run
from benchmarks.contenders.loops import JoblibParallel, PlainLoop
from benchmarks.contenders.plain_rq import ColdRQ, PreloadedRQ
from benchmarks.contenders.ramp import RampFoldAProcess, RampTenFolds
from benchmarks.contenders.through_everything import Datarun

PEERS: tuple[type[Contender], ...] = (
    JoblibParallel,
    PlainLoop,
    ColdRQ,
    CeleryPrefork,
    RampFoldAProcess,
    RampTenFolds,
    PreloadedRQ,
)

CONTENDERS: tuple[type[Contender], ...] = (*PEERS, Datarun)

LIMIT: type[Contender] = JoblibParallel
"""What ratios are of."""

WITH_EITHER_CODEC: tuple[type[Contender], ...] = (JoblibParallel, PreloadedRQ)
"""Who packs once more as datarun does, where packing takes long."""

__all__ = [
    "CONTENDERS",
    "LIMIT",
    "PEERS",
    "WITH_EITHER_CODEC",
    "Contender",
    "Datarun",
    "PreloadedRQ",
    "Run",
]
