"""Who takes part, in the order of the table's columns."""

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
    PreloadedRQ,
    CeleryPrefork,
    RampFoldAProcess,
    RampTenFolds,
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
