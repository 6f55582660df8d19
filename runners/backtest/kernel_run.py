"""Puts a prepared system into the kernel, and says where it cannot.

    why_not = kernel_refuses(prepared)          # None, or what the kernel does not model: then the actors run
    result = run_kernel(prepared)               # sim.kernel.KernelResult

For many parameter sets over one history: ``kernel_columns`` once, and per set ``KernelSetup.of`` with ``kernel_features`` and the
strategy's array; ``keel.sim.kernel.summarize`` gives the figures.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from keel.adapters.replay.history import PriceColumns, SymbolHistory
from keel.core.errors import InvariantError
from keel.core.model.frame import Frame
from keel.core.model.timeframe import tf_ms
from keel.core.system.config import SystemConfig
from keel.runners.backtest.preparation import Prepared, SymbolColumns
from keel.runners.backtest.wiring import funding_numbers
from keel.runners.home import Home
from keel.sim.kernel import (
    KernelColumns,
    KernelFeatures,
    KernelResult,
    KernelRoom,
    KernelSetup,
    KernelSummary,
    Signals,
    compiled,
    load,
    run,
    summarize,
    unsupported,
)
from keel.sim.kernel.columns import NO_FLOATS, Floats, Ints
from keel.strategies.base import BaseStrategy, VectorStrategy

_PRICES = ("open", "high", "low", "close")


def kernel_refuses(prepared: Prepared) -> str | None:
    """What of a prepared system the kernel does not model, in a few words for people; None when it gives what the actors would give."""
    return system_refusal(prepared) or history_refusal(prepared.histories[0], prepared.columns[0])


def system_refusal(prepared: Prepared) -> str | None:
    """What the kernel does not model of a system and its strategy, whatever the history."""
    if prepared.portfolio is not None:
        return "a portfolio strategy"
    return strategy_refusal(prepared.strategy) or unsupported(prepared.system, prepared.histories[0].instrument)


def history_refusal(history: SymbolHistory, columns: SymbolColumns) -> str | None:
    """What it does not model of a history: the same for all systems that decide by the same bars of it."""
    if kernel_decisions(history, columns) is None:
        return "decision bars whose last execution bar is missing (execution.gaps: skip)"
    return None


def strategy_refusal(strategy: BaseStrategy) -> str | None:
    """What of a strategy the kernel does not call; None when its array is all that it decides by."""
    name = type(strategy).__name__
    if not isinstance(strategy, VectorStrategy):
        return f"a strategy without signals(frame, params) ({name})"
    own = [each for each in ("generate_signal", "on_start") if getattr(type(strategy), each) is not getattr(VectorStrategy, each)]
    own += [each for each in ("on_fill", "on_order") if hasattr(strategy, each)]
    return f"a {own[0]} of the strategy's own ({name})" if own else None


def kernel_columns(history: SymbolHistory, columns: SymbolColumns, start_ms: int) -> KernelColumns:
    """The history of one symbol as the kernel reads it; to be shared by all runs over it. start_ms: of the window."""
    execution = history.execution
    decisions = kernel_decisions(history, columns)
    if decisions is None:
        raise InvariantError(f"{history.symbol}: decision bars end where no execution bar does; ask kernel_refuses first")
    is_own = history.decision.timeframe == execution.timeframe
    return KernelColumns.of(
        execution.ts,
        tf_ms(execution.timeframe),
        start_ms,
        [execution[name] for name in _PRICES],
        mark=_path(history.mark),
        index=_path(history.index),
        value=None if history.mark is None else history.mark.valuation,
        funding=_funding(history),
        decisions=None if is_own else decisions,
    )


def kernel_signals(columns: SymbolColumns) -> Signals:
    """The strategy's array in the window, one value for each decision."""
    if columns.targets is None:
        raise InvariantError("the strategy gives no array; ask kernel_refuses first")
    return columns.targets[columns.first :]


def kernel_features(setup: KernelSetup, frame: Frame, first: int = 0) -> KernelFeatures:
    """What exits and sizer of a parameter set read at each decision. frame: the decision frame with features; first: the window's row."""
    one, two, three, four = (frame[name][first:] if name else NO_FLOATS for name in setup.feature_names)
    return one, two, three, four


def kernel_decisions(history: SymbolHistory, columns: SymbolColumns) -> Ints | None:
    """The execution row at whose close each decision bar of the window is known; None where one has no such row."""
    closes = columns.decision.ts[columns.first :] + tf_ms(history.decision.timeframe)
    own = history.execution.ts + tf_ms(history.execution.timeframe)
    rows = np.searchsorted(own, closes)
    if len(rows) and (int(rows[-1]) >= len(own) or not np.array_equal(own[rows], closes)):
        return None
    return rows.astype(np.int64)


def run_kernel(prepared: Prepared, *, room: KernelRoom | None = None, in_python: bool = False) -> KernelResult:
    """Simulate a prepared system that ``kernel_refuses`` has nothing against. Raises as ``keel.sim.kernel.run``."""
    history, columns, setup = prepared.histories[0], prepared.columns[0], kernel_setup(prepared.system, prepared)
    return run(
        kernel_columns(history, columns, prepared.window.start_ms), kernel_signals(columns), setup,
        kernel_features(setup, columns.decision, columns.first), room=room, in_python=in_python,
    )  # fmt: skip


def summarize_kernel(prepared: Prepared) -> KernelSummary:
    """The figures alone."""
    history, columns, setup = prepared.histories[0], prepared.columns[0], kernel_setup(prepared.system, prepared)
    made = kernel_columns(history, columns, prepared.window.start_ms)
    return summarize(made, kernel_signals(columns), setup, kernel_features(setup, columns.decision, columns.first))


def kernel_setup(system: SystemConfig, prepared: Prepared) -> KernelSetup:
    """The numbers of a system over a prepared history."""
    return KernelSetup.of(system, prepared.histories[0].instrument)


def load_kernel(home: Home) -> None:
    """Have the kernel compiled, or take it from the home folder, where it is kept under the fingerprint of its sources.

    Raises ConfigError where numba is not installed.
    """
    load(kernel_folder(home))


def kernel_folder(home: Home) -> str:
    """Where the compiled kernel is kept."""
    return str(home.root / "cache" / "kernel" / kernel_fingerprint())


def kernel_fingerprint() -> str:
    """Of every source that is part of the compiled kernel."""
    digest = hashlib.sha256()
    for module in compiled.SOURCES:
        digest.update(Path(module.__file__ or "").read_bytes())
    return digest.hexdigest()[:16]


def _path(columns: PriceColumns | None) -> list[Floats] | None:
    return None if columns is None else [columns.open, columns.high, columns.low, columns.close]


def _funding(history: SymbolHistory) -> tuple[Ints, Ints, Ints] | None:
    if history.funding is None:
        return None
    stamps, rates, marks = (np.array(numbers, dtype=np.int64) for numbers in funding_numbers(history.symbol, history.funding))
    return stamps, rates, marks
