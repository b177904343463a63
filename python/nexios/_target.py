"""``module:name``: where a command finds what it serves."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from nexios.router import WSRouter

__all__ = ["TargetError", "load", "source_directories", "split"]

#: More names than these only hide the right one.
NAMES_SHOWN = 10


class TargetError(Exception):
    """There is nothing to serve: what is wrong, and what there is instead."""


def split(target: str) -> tuple[str, str]:
    """The module and the name in it."""
    module, colon, name = target.partition(":")
    if not module or not name or not all(part.isidentifier() for part in (module + "." + name).split(".")):
        hint = f", such as {module.removesuffix('.py')}:app" if module and not colon else ""
        raise TargetError(f"{target!r} is no module:name{hint}")
    return module, name


def load(target: str) -> WSRouter:
    """The app or the router that is meant."""
    module_name, name = split(target)
    module = _import(module_name)
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise TargetError(f"the module {module_name!r} has no {name!r}: {_servable(module)}")
        found = getattr(found, part)
    if not isinstance(found, WSRouter):
        kind = type(found).__name__
        raise TargetError(f"{target} is neither a NexiosApp nor a WSRouter, but of type {kind}: {_servable(module)}")
    return found


def source_directories(target: str) -> list[Path]:
    """Returns the folders of the module's files; nothing of it is imported."""
    top = split(target)[0].partition(".")[0]
    _look_here()
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise TargetError(_no_module(top))
    if spec.submodule_search_locations:
        return [Path(location).resolve() for location in spec.submodule_search_locations]
    return [Path(spec.origin or ".").resolve().parent]


def _look_here() -> None:
    """The command finds the modules of the directory that it is called in, as ``python -m`` does."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def _import(name: str) -> ModuleType:
    _look_here()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # What the module itself fails to import is its own matter, and keeps its traceback.
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise
        raise TargetError(_no_module(name)) from None


def _no_module(name: str) -> str:
    here = Path.cwd()
    files = {path.stem for path in here.glob("*.py")} | {path.parent.name for path in here.glob("*/__init__.py")}
    names = sorted(name for name in files if name.isidentifier())
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"there is no module {name!r}: did you mean {close[0]!r}?"
    there = f"there are {_listed(names)}" if names else "there are no Python files at all"
    return f"there is no module {name!r} in {here}: {there}"


def _servable(module: ModuleType) -> str:
    """Returns names that could have been meant."""
    names = sorted(name for name, value in vars(module).items() if isinstance(value, WSRouter))
    kinds = [f"{name} ({type(getattr(module, name)).__name__})" for name in names]
    return f"it has {_listed(kinds)}" if kinds else "it has no NexiosApp and no WSRouter"


def _listed(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
