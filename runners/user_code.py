"""Loads a user's own functions and classes: ``path/to/file.py:name`` or ``package.module:name``."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keel.core.errors import ConfigError
from keel.core.system.file_names import name_problem, shown
from keel.core.system.suggestions import did_you_mean
from keel.strategies.loading import FreshSource, import_module, run_file
from keel.strategies.old_names import is_old, refusal


def load_function(reference: str) -> Callable[..., Any]:
    """The function behind a reference. Raises ConfigError that names file or module, and what it has."""
    where, _, name = reference.rpartition(":")
    problem = name_problem(where)
    if problem:
        raise ConfigError(f"there is no function {shown(reference)}: the name before the colon {problem}")
    module = _from_file(Path(where)) if where.endswith(".py") else _from_package(where)
    function = getattr(module, name, None)
    if not callable(function) or isinstance(function, type):
        known = ", ".join(key for key, value in vars(module).items() if _is_function(value) and not key.startswith("_")) or "none"
        if isinstance(function, type):
            raise ConfigError(f"{where}: {name} is a class, and a function is needed; it has: {known}")
        raise ConfigError(f"{where} has no function {name!r}; it has: {known}")
    found: Callable[..., Any] = function
    return found


def load_class(reference: str, what: str) -> type[Any]:
    """The class behind a reference; what: it is, in words. Raises ConfigError where there is none, StrategyError where its file raises."""
    where, colon, name = reference.strip().rpartition(":")
    problem = name_problem(where) or ("" if colon and name.isidentifier() else "has no class after a colon: write path/to/file.py:Class")
    if problem:
        raise ConfigError(f"there is no class {shown(reference)}: the name {problem}")
    path = Path(where)
    if where.endswith(".py") and not path.is_file():
        raise ConfigError(f"there is no file {path} (relative paths begin at the current folder)")
    module = run_file(path, what) if where.endswith(".py") else import_module(reference, where, what)
    found = getattr(module, name, None)
    if isinstance(found, type):
        return found
    own = [key for key, value in vars(module).items() if isinstance(value, type) and value.__module__ == module.__name__ and key[0] != "_"]
    if found is not None:
        raise ConfigError(f"{reference}: {name} is {_kind_of(found)}, and {what} is a class; {where} has: {', '.join(own) or 'none'}")
    raise ConfigError(f"{reference}: there is no class {name}: {did_you_mean(name, own) if own else f'{where} has none'}")


def _kind_of(value: object) -> str:
    return "a function" if callable(value) else f"{type(value).__name__} {value!r}"[:80]


def _is_function(value: object) -> bool:
    return callable(value) and not isinstance(value, type)


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(f"there is no file {path} (relative paths begin at the current folder)")
    try:
        loader = FreshSource(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if old := refusal(path, loader.source):
        raise ConfigError(old)
    spec = importlib.machinery.ModuleSpec(f"keel_user_{path.stem}", loader, origin=str(path))
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def _from_package(name: str) -> Any:
    if is_old(name):
        raise ConfigError(f"the module {name!r} cannot be imported: keel's modules have other names now: write keel.{name}")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"the module {name!r} cannot be imported: {error}") from error
