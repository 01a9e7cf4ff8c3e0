"""Commands for the engine's own tests: they know nothing of folds."""

import os
from typing import Any

from datarun_client.states import FailureKind
from datarun_worker.errors import ProgramError


def copy(arguments: dict[str, Any], inputs: dict[str, int], outputs: dict[str, int]) -> dict:
    data = os.read(inputs["in"], 100)
    os.write(outputs["out"], data)
    return {"size": len(data)}


def refuse(arguments: dict[str, Any], inputs: dict[str, int], outputs: dict[str, int]) -> dict:
    raise ProgramError(FailureKind.BAD_PREDICTIONS, "predictions are empty")


def blunder(arguments: dict[str, Any], inputs: dict[str, int], outputs: dict[str, int]) -> dict:
    raise KeyError("ours")


COMMANDS = {"copy": copy, "refuse": refuse, "blunder": blunder}
