"""The batch kernel: one symbol, one strategy that decides by an array, without bus and actors, to the last unit the same.

    columns = KernelColumns.of(ts, bar_ms, start_ms, (open, high, low, close), mark=…, funding=…)   # once, shared by all threads
    setup = KernelSetup.of(system, instrument)                                                      # once per parameter set
    result = run(columns, signals, setup)                                                           # orders, fills, trades, equity, ledger
    summary = summarize(columns, signals, setup)                                                    # the figures that a sweep ranks by

``runners/backtest/kernel_run.py`` makes the three out of a prepared system, and says where the kernel does not serve. What it models, what
it refuses and how it is proven: docs/kernel.md.

Both calls release Python's lock while they simulate, write to nothing that is shared, and may run in any number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from keel.core.errors import DataError
from keel.core.model.time_range import to_iso
from keel.sim.kernel import compiled
from keel.sim.kernel import layout as at
from keel.sim.kernel.columns import NO_FLOATS, NO_INTS, Floats, KernelColumns, shared
from keel.sim.kernel.compiled import is_installed, is_loaded, load
from keel.sim.kernel.result import KernelLedger, KernelRefused, KernelResult, KernelSummary, result_of, summary_of
from keel.sim.kernel.setup import KernelSetup, unsupported

__all__ = [
    "NO_FEATURES",
    "KernelColumns",
    "KernelFeatures",
    "KernelLedger",
    "KernelRefused",
    "KernelResult",
    "KernelRoom",
    "KernelSetup",
    "KernelSummary",
    "is_installed",
    "is_loaded",
    "load",
    "run",
    "summarize",
    "unsupported",
]

Signals = npt.NDArray[np.int8]
KernelFeatures = tuple[Floats, Floats, Floats, Floats]
"""At each decision: the ATR of stop-loss, take-profit and trailing stop, and what the sizer reads; empty where nothing is read
(``KernelSetup.feature_names`` says what)."""
NO_FEATURES: KernelFeatures = (NO_FLOATS, NO_FLOATS, NO_FLOATS, NO_FLOATS)

_FIRST_ROWS = 1024
_LOGS = (
    (at.ORDER_WIDTH, np.int64), (at.FILL_WIDTH, np.int64), (at.PAYMENT_WIDTH, np.int64), (at.LIQUIDATION_WIDTH, np.int64),
    (len(at.LIQUIDATION_PRICES), np.float64), (at.TRADE_WIDTH, np.int64),
)  # fmt: skip
_NO_TABLES = tuple(np.zeros(0, dtype=kind) for _, kind in _LOGS)


def run(
    columns: KernelColumns,
    signals: Signals,
    setup: KernelSetup,
    features: KernelFeatures = NO_FEATURES,
    *,
    room: KernelRoom | None = None,
    in_python: bool = False,
) -> KernelResult:
    """Simulate one parameter set and keep everything.

    signals: int8, one per decision of ``columns``: +1, -1, 0 or 2 (hold).  room: where the result stands; None: in memory of its own.
    in_python: run the same source uncompiled, a thousand times slower: for tests.
    Raises KernelRefused where an amount passes the bounds of 64 bits, ConfigError where numba is not installed, DataError for arrays that
    do not fit together.
    """
    _check(columns, signals, setup, features)
    place = KernelRoom() if room is None else room
    place.hold(len(columns), _FIRST_ROWS + len(signals) // 16 + len(columns.funding[0]))
    while True:
        curve = place.equity[: len(columns)]
        denials, state, _ = _simulate(columns, signals, setup, features, NO_INTS, curve, NO_FLOATS.copy(), place.tables, in_python)
        if state[at.STATUS] != at.LOGS_FULL:
            break
        place.hold(len(columns), 4 * place.rows)
    _refuse(state)
    return result_of(columns, curve, place.tables, denials, state)


class KernelRoom:
    """Memory for the results of ``run``. Runs of one thread may share it, one after the other: each result stands in it until the next run.

    Getting memory from the system takes a fifth of a run's time; what is not written to is not taken.
    """

    __slots__ = ("equity", "rows", "tables")

    def __init__(self) -> None:
        self.equity: Floats = NO_FLOATS
        self.tables: tuple[npt.NDArray[Any], ...] = _NO_TABLES
        self.rows = 0

    def hold(self, bars: int, rows: int) -> None:
        """Have room for the equity of so many bars, and for so many rows of each log."""
        if len(self.equity) < bars:
            self.equity = np.empty(bars)
        if self.rows < rows:
            self.rows = rows
            self.tables = tuple(np.empty(rows * width, dtype=kind) for width, kind in _LOGS)


def summarize(
    columns: KernelColumns, signals: Signals, setup: KernelSetup, features: KernelFeatures = NO_FEATURES, *, in_python: bool = False
) -> KernelSummary:
    """Simulate one parameter set and keep only its figures: no memory grows with the history. Arguments and errors as ``run``."""
    _check(columns, signals, setup, features)
    daily = np.empty(len(columns.day_rows))
    denials, state, levels = _simulate(columns, signals, setup, features, columns.day_rows, NO_FLOATS.copy(), daily, _NO_TABLES, in_python)
    _refuse(state)
    return summary_of(columns, daily, denials, state, levels)


def _simulate(
    columns: KernelColumns, signals: Signals, setup: KernelSetup, features: KernelFeatures, day_rows: Any, equity: Any, daily: Any,
    tables: Any, in_python: bool,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """One pass; returns (denials, state, levels)."""
    denials, state, levels = (
        np.zeros(len(at.DENIALS), dtype=np.int64), np.zeros(at.STATE_ROOM, dtype=np.int64), np.zeros(at.LEVELS_ROOM),
    )  # fmt: skip
    given: tuple[Any, ...] = (
        columns.ts, columns.last, columns.mark, columns.index, columns.value, columns.reach, columns.funding, columns.decisions,
        shared(signals, np.int8), tuple(shared(column, np.float64) for column in features),
        (setup.rules, setup.rates, setup.tiers, setup.caps), shared(day_rows, np.int64),
    )  # fmt: skip
    simulate = compiled.in_python if in_python else load()
    simulate(*given, equity, daily, tables, denials, state, levels)
    return denials, state, levels


def _check(columns: KernelColumns, signals: Signals, setup: KernelSetup, features: KernelFeatures) -> None:
    wanted = columns.signals_wanted
    if signals.dtype != np.int8 or signals.shape != (wanted,):
        raise DataError(f"the kernel takes {wanted} signals of int8, one per decision, not {signals.shape} of {signals.dtype}")
    _check_values(columns, signals)
    for name, column in zip(setup.feature_names, features, strict=True):
        if len(column) != (wanted if name else 0):
            raise DataError(f"the kernel takes {wanted if name else 0} rows of the feature {name!r}, one per decision, not {len(column)}")


def _check_values(columns: KernelColumns, signals: Signals) -> None:
    """Refuse what is none of +1, -1, 0 and 2, with the bar at whose close it stands."""
    if len(signals) and (signals.min() < -1 or signals.max() > 2):
        at = int(np.argmax((signals < -1) | (signals > 2)))
        row = int(columns.decisions[at]) if len(columns.decisions) else at
        closes = to_iso(int(columns.ts[row]) + columns.bar_ms)
        raise DataError(f"the signal at {closes} (number {at}) is {signals[at]}: the kernel takes 1, -1, 0 and 2 (hold)")


def _refuse(state: Any) -> None:
    if state[at.STATUS] == at.OUT_OF_BOUNDS:
        raise KernelRefused("an amount beyond what 64 bits can count (4 billion quote coins, or 2**45 quantity steps)")
