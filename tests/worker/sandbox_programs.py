"""Commands for the engine's own tests: they know nothing of folds."""

import importlib
import os
from typing import Any

from datarun_client.states import FailureKind
from datarun_worker import child
from datarun_worker.errors import ProgramError


def call(arguments: dict[str, Any], inputs: dict[str, int], outputs: dict[str, int]) -> dict:
    """Call `function` of the author's `module`; its value must fit into JSON."""
    module = importlib.import_module(f"{child.PACKAGE}.{arguments.get('module', 'main')}")
    return {"result": getattr(module, arguments.get("function", "run"))()}


def copy(arguments: dict[str, Any], inputs: dict[str, int], outputs: dict[str, int]) -> dict:
    data = os.read(inputs["in"], 100)
    os.write(outputs["out"], data)
    return {"size": len(data)}


def refuse(arguments: dict[str, Any], inputs: dict[str, int], outputs: dict[str, int]) -> dict:
    raise ProgramError(FailureKind.BAD_PREDICTIONS, "predictions are empty")


def blunder(arguments: dict[str, Any], inputs: dict[str, int], outputs: dict[str, int]) -> dict:
    raise KeyError("ours")


COMMANDS = {"call": call, "copy": copy, "refuse": refuse, "blunder": blunder}
