"""Where a strategy that Python code hands over comes from: the name by which it is found again, its fingerprint, what it was made with.

A system file names its strategy; a script brings a class, an instance or a function. What is said of those here stands in config.json
and in the system uid, so that a run of a script has the lineage of a run by ``keel backtest``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np

from keel.adapters.plain_data import LONGEST_LIST
from keel.core.errors import KeelError
from keel.runners.home import Home
from keel.runners.lifecycle.described import described
from keel.strategies.base import BaseStrategy
from keel.strategies.loading import function_bytes, source_bytes
from keel.strategies.old_names import identity_bytes
from keel.strategies.registry import load_strategy, source_fingerprint, strategy_ids

_DEEPEST = 12
"""Levels of values inside values that are looked at: an object may hold itself."""


def reference_of(strategy: type[BaseStrategy] | Callable[..., Any]) -> str:
    """How a system file would name it: an id of keel's own, a file and class, or a module and name (which a notebook's has, too)."""
    strategy = code_of(strategy)
    module, name = strategy.__module__, strategy.__qualname__
    if isinstance(strategy, type):
        plain_id = module.removeprefix("keel.strategies.")
        if module.startswith("keel.strategies.") and plain_id in strategy_ids() and _is_sole(plain_id, strategy):
            return plain_id
        if module.startswith("keel_strategy_"):  # a file that was loaded by its path
            return f"{getattr(sys.modules.get(module), '__file__', module)}:{name}"
    return f"{module}:{name}"


def short_name(reference: str) -> str:
    """The strategy's own name in a reference, fit for files: ``ema_cross``, or ``MyStrategy`` of ``package.module:MyStrategy``."""
    name = reference.rpartition(":")[2].rpartition(".")[2]
    return "".join(letter for letter in name if letter.isalnum() or letter in "_-") or "strategy"


def is_named(strategy: type[BaseStrategy] | Callable[..., Any], reference: str) -> bool:
    """Whether a system file's name of a strategy leads to the same code; only what was found by such a name is looked for by it."""
    if not isinstance(strategy, type) or not strategy.__module__.startswith(("keel.strategies.", "keel_strategy_")):
        return False
    try:
        found = load_strategy(reference, [Home.find().strategies])
    except KeelError:
        return False
    return found.__qualname__ == strategy.__qualname__ and source_fingerprint(found) == source_fingerprint(strategy)


def fingerprint_of(strategy: type[BaseStrategy] | Callable[..., Any]) -> str:
    """SHA-256 (hex) of the strategy's sources; for a function, of its module's source, its code, and the values that it keeps."""
    if isinstance(strategy, type):
        return source_fingerprint(strategy)
    code = code_of(strategy)
    if isinstance(code, type):
        digest = sha256(source_fingerprint(code).encode())
    else:
        digest = sha256(identity_bytes(source_bytes(sys.modules.get(code.__module__), object)))
        digest.update(code.__qualname__.encode() + function_bytes(code))
    digest.update(repr(kept(kept_values(strategy))).encode())
    return digest.hexdigest()


def code_of(strategy: Any) -> Any:
    """The function or class whose code decides: of a partial its function's, of an object that can be called its class."""
    if isinstance(strategy, partial):
        return code_of(strategy.func)
    return strategy if hasattr(strategy, "__qualname__") else type(strategy)


def kept_values(function: Callable[..., Any]) -> list[Any]:
    """Defaults and enclosed variables of a function, in order, what a partial binds, and the attributes of the object behind a method or a
    call: two callables of one source may differ in them alone."""
    if isinstance(function, partial):
        return [*function.args, dict(sorted(function.keywords.items())), *kept_values(function.func)]
    behind = getattr(function, "__self__", None if hasattr(function, "__qualname__") else function)
    if behind is not None:
        return [dict(getattr(behind, "__dict__", {})), *(kept_values(function.__func__) if hasattr(function, "__func__") else ())]
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or () if _is_filled(cell)]
    return [*(getattr(function, "__defaults__", None) or ()), *(getattr(function, "__kwdefaults__", None) or {}).items(), *cells]


def state_of(strategy: BaseStrategy) -> Mapping[str, Any]:
    """What an instance was made with, as plain data: its attributes before the run. Empty for most."""
    slots = [name for cls in type(strategy).__mro__ for name in getattr(cls, "__slots__", ()) if hasattr(strategy, name)]
    return kept({**{name: getattr(strategy, name) for name in slots}, **getattr(strategy, "__dict__", {})})  # type: ignore[no-any-return]


def kept(value: Any, depth: int = 0) -> Any:
    """A value as plain data that tells it from others: what is long is its length and a digest; an object that has no plain form is its
    class alone."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"array of {value.dtype} {value.shape}, {sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16]}"
    if depth > _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): kept(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        entries = [kept(entry, depth + 1) for entry in value]
        if len(entries) > LONGEST_LIST:
            return f"{len(entries)} values, {sha256(repr(entries).encode()).hexdigest()[:16]}"
        return entries
    return described(value)


def _is_sole(plain_id: str, cls: type) -> bool:
    try:
        return load_strategy(plain_id) is cls
    except KeelError:
        return False  # its file has several: the id alone does not say which


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None or True
    except ValueError:  # a variable that is not bound yet
        return False
