"""What a worker is given and what it gives back: plain data, as JSON over a pipe or through Ray."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from keel.core.errors import ConfigError
from keel.core.results.funnel import Funnel, why_no_trades
from keel.core.system.config import SystemConfig
from keel.runners.systems import LoadedSystem
from keel.runners.user_code import load_function
from keel.strategies.base import BaseStrategy
from keel.strategies.registry import load_strategy

Engine = Literal["actors", "kernel"]


class Task(msgspec.Struct, frozen=True):
    """One run. id: its system uid; window: ms UTC; data: which histories; dropped: bars of them that its warm-up does not reach.

    engine: the kernel falls back on the actors for what it does not model. store: the history file, for a portfolio strategy, which reads
    it by itself.
    """

    id: str
    config: SystemConfig
    window: tuple[int, int]
    data: str
    dropped: dict[str, int]
    engine: Engine = "actors"
    store: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What became of a task. reason: why it failed, or what ended the run early. no_trades: why no trade was closed, where none was."""

    id: str
    status: Literal["done", "failed"]
    engine: str
    seconds: float
    metrics: dict[str, float | int | None] = {}
    reason: str = ""
    no_trades: str = ""


class SourceFile(msgspec.Struct, frozen=True):
    """A user's Python file, and the class or function in it that a reference means."""

    filename: str
    text: str
    name: str


class Code(msgspec.Struct, frozen=True):
    """The user's code: what the strategy is, and each reference to a file with its source, so that a worker needs no other file.

    kernel_cache: where compiled code is kept.
    """

    strategy: str
    files: dict[str, SourceFile]
    kernel_cache: str = ""


def no_trades_of(funnel: Funnel) -> str:
    """Why a run closed no trade, in a few words; empty where it closed one."""
    if funnel.trades:
        return ""
    return why_no_trades(funnel) or f"{funnel.fills:,} fill{'' if funnel.fills == 1 else 's'}, and no position was closed"


def collect_code(loaded: LoadedSystem, kernel_cache: str = "") -> Code:
    """The code of a system, read once: workers run what was read, whatever becomes of the files."""
    cls = loaded.strategy
    files: dict[str, SourceFile] = {}
    strategy = f"{cls.__module__}:{cls.__qualname__}"
    path = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if cls.__module__.startswith("keel_strategy_") and path is not None:
        strategy = loaded.config.strategy
        files[strategy] = SourceFile(Path(path).name, _text(Path(path)), cls.__qualname__)
    for body in ({**cls.features, **loaded.config.features}).values():
        reference = body.get("fn")
        if isinstance(reference, str) and ".py:" in reference:
            place, _, name = reference.rpartition(":")
            files[reference] = SourceFile(Path(place).name, _text(Path(place)), name)
    return Code(strategy, files, kernel_cache)


def unfold(code: Code, folder: Path) -> tuple[type[BaseStrategy], Callable[[str], Callable[..., Any]]]:
    """The strategy's class and a loader of functions, from sources that are written into a folder of the worker's own."""
    places: dict[str, str] = {}
    for number, (reference, source) in enumerate(code.files.items()):
        path = folder / f"{number}" / source.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source.text, encoding="utf-8")
        places[reference] = f"{path}:{source.name}"
    strategy = load_strategy(places.get(code.strategy, code.strategy))
    return strategy, lambda reference: load_function(places.get(reference, reference))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error} (relative paths begin at the current folder)") from error
