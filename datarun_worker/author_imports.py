"""Lets a submission's files import each other as their author wrote them.

The files lie in a package, so `from .helper import f` works by itself. Many authors write
`import helper` instead, as if the folder were on the path. Putting it there would let a file named
`statistics.py` take the standard library's place for every library. So the name is looked up
beside the importing file first, but only when the importing file is one of the author's.

The package's parent imports this module, so that a process started by the submission's own
code (a loky worker that unpickles one of its classes) behaves the same.
"""

import builtins
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

_import_as_python_does = builtins.__import__


def install(package: str) -> None:
    """Make plain imports inside `package`, a dotted name, see its own files first."""

    def import_for_author(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        importer = str((globals or {}).get("__name__", ""))
        is_author = importer == package or importer.startswith(f"{package}.")
        if level == 0 and is_author and _has_file(package, name.partition(".")[0]):
            module = importlib.import_module(f"{package}.{name}")
            if fromlist:
                _import_submodules(module, fromlist)
                return module
            # `import a.b` binds `a`.
            return sys.modules[f"{package}.{name.partition('.')[0]}"]
        return _import_as_python_does(name, globals, locals, fromlist or (), level)

    builtins.__import__ = import_for_author
    sys.meta_path.append(_LastResort(package))


def _has_file(package: str, name: str) -> bool:
    if f"{package}.{name}" in sys.modules:
        return True
    path = importlib.import_module(package).__path__
    finder = importlib.machinery.PathFinder
    return finder.find_spec(f"{package}.{name}", path) is not None


def _import_submodules(module: ModuleType, fromlist: Sequence[str]) -> None:
    if hasattr(module, "__path__"):
        for name in fromlist:
            if name != "*" and not hasattr(module, name):
                try:
                    importlib.import_module(f"{module.__name__}.{name}")
                except ModuleNotFoundError as error:
                    # The `from` statement itself tells that the name is missing.
                    if error.name != f"{module.__name__}.{name}":
                        raise


class _LastResort(importlib.abc.MetaPathFinder):
    """Finds an author's file by its plain name when nothing else has that name.

    For `importlib.import_module("helper")`, which doesn't tell who imports.
    """

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if path is not None or not _has_file(self._package, name):
            return None
        return importlib.machinery.ModuleSpec(name, _Alias(f"{self._package}.{name}"))


class _Alias(importlib.abc.Loader):
    """Loads a module by giving the one that has the full name."""

    def __init__(self, full_name: str) -> None:
        self._full_name = full_name

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Leave it to Python to make the module that `exec_module` then swaps."""

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(self._full_name)
