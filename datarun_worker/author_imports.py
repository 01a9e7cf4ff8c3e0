"""Lets a submission's files import each other as their author wrote them.

The files lie in a package, so `from .helper import f` works by itself. Many authors write
`import helper` instead, as if the folder were on the path. Putting it there would let a file named
`statistics.py` take the standard library's place for every library. So the name is looked up
beside the importing file first, but only when the importing file is one of the author's.

An `import` calls the `__import__` of its module's `__builtins__`, and the author's modules get
built-ins of their own. Everybody else's stay as they are: Python carries out an import without a
call at all while nobody has replaced `__import__`, and libraries have imports in functions that
they call again and again: scikit-learn carries out thirty for each tree of a forest.

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
        if level == 0 and _has_file(package, name.partition(".")[0]):
            module = importlib.import_module(f"{package}.{name}")
            if fromlist:
                _import_submodules(module, fromlist)
                return module
            # `import a.b` binds `a`.
            return sys.modules[f"{package}.{name.partition('.')[0]}"]
        return _import_as_python_does(name, globals, locals, fromlist or (), level)

    _author_builtins.update(vars(builtins), __import__=import_for_author)
    builtins.__class__ = _Builtins
    sys.meta_path.insert(0, _Finder(package))
    sys.meta_path.append(_LastResort(package))


_author_builtins: dict[str, Any] = {}
"""The built-ins of all modules of the author's."""


class _Builtins(ModuleType):
    """The module `builtins`: what is added to it or changed in it, the author's modules see too."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        _author_builtins[name] = value

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        _author_builtins.pop(name, None)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of a package as Python does, and gives them the author's built-ins."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not f"{name}.".startswith(f"{self._package}."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module as Python does, but with the author's built-ins."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        vars(module)["__builtins__"] = _author_builtins
        return module


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
