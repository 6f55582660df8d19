"""What a run of the kernel gives: the final ledger, what happened as structured arrays, and the few figures that a sweep ranks by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keel.core.metrics.daily import MIN_DAYS, Daily
from keel.core.metrics.missing import Missing
from keel.core.metrics.ratios import sharpe
from keel.core.model.money import to_units
from keel.core.model.timeframe import DAY_MS
from keel.core.results.funnel import Funnel
from keel.sim.kernel import layout as at
from keel.sim.kernel.columns import KernelColumns
from keel.sim.kernel.funnel import funnel_of

STOP_CODES = ("", "account_blown", "insufficient_free_margin")


class KernelRefused(Exception):
    """The kernel met what it cannot count (an amount beyond its bounds): the actors have to run instead. Its text says what."""


@dataclass(frozen=True, slots=True)
class KernelLedger:
    """The exchange's accounts at the end, in 1e-8 (``keel.sim.margin.ledger``), and the position. They sum to zero; order margin is always
    0."""

    free: int
    position_margin: int
    fees: int
    funding: int
    pnl: int
    insurance: int
    external: int
    steps: int
    cost: int

    @property
    def balance(self) -> int:
        """The wallet: free cash and position margin."""
        return self.free + self.position_margin


@dataclass(frozen=True, slots=True)
class KernelSummary:
    """The figures of one run. Names and meanings are those of ``keel.core.metrics.performance.METRICS``; money as floats of quote coins.

    ``sharpe`` is None where there are fewer than 30 days or nothing moved. ``stop_code``: why the run ended early, or empty; ``bars``: how
    many bars went through.
    """

    final_equity: float
    net_profit: float
    total_return: float
    max_drawdown_abs: float
    max_drawdown_pct: float
    sharpe: float | None
    total_trades: int
    winning_trades: int
    losing_trades: int
    fees: float
    funding: float
    slippage: float
    liquidations: int
    rejected: int
    denied: int
    bars: int
    stop_code: str
    ledger: KernelLedger
    funnel: Funnel
    """What became of signals and orders: counts, without examples and without what is still open."""

    @property
    def win_rate(self) -> float | None:
        """winning_trades / total_trades, percent; None without trades."""
        return 100.0 * self.winning_trades / self.total_trades if self.total_trades else None


@dataclass(frozen=True, slots=True)
class KernelResult:
    """Everything that happened. The arrays are structured: columns by name (``layout`` explains each); one row is one thing.

    equity: at each close, quote coins; as long as the run went. denials: how often risk said no, by reason.
    stop: (ts, what the smallest order needs, equity), the latter two in 1e-8; None when the run went through.
    """

    ledger: KernelLedger
    orders: npt.NDArray[np.void]
    fills: npt.NDArray[np.void]
    payments: npt.NDArray[np.void]
    liquidations: npt.NDArray[np.void]
    liquidation_prices: npt.NDArray[np.float64]
    trades: npt.NDArray[np.void]
    equity: npt.NDArray[np.float64]
    denials: dict[str, int]
    bars: int
    insurance_paid: int
    stop_code: str
    stop: tuple[int, int, int] | None
    funnel: Funnel


def ledger_of(state: Any) -> KernelLedger:
    """The accounts of a finished run."""
    places = (at.FREE, at.MARGIN, at.FEES, at.FUNDING, at.PNL, at.INSURANCE, at.EXTERNAL, at.STEPS, at.COST)
    return KernelLedger(*(int(state[place]) for place in places))


def result_of(columns: KernelColumns, equity: npt.NDArray[np.float64], tables: Any, denials: Any, state: Any) -> KernelResult:
    """The result of a finished run."""
    orders, fills, payments, liquidations, prices, trades = tables
    code = STOP_CODES[state[at.STOP_CODE]]
    return KernelResult(
        ledger_of(state),
        _rows(orders, state[at.ORDERS], at.ORDER_COLUMNS),
        _rows(fills, state[at.FILLS], at.FILL_COLUMNS),
        _rows(payments, state[at.PAYMENTS], at.PAYMENT_COLUMNS),
        _rows(liquidations, state[at.LIQUIDATIONS], at.LIQUIDATION_COLUMNS),
        prices[: 3 * state[at.LIQUIDATIONS]].reshape(-1, 3),
        _rows(trades, state[at.TRADES], at.TRADE_COLUMNS),
        equity[: state[at.BARS]] if len(equity) else equity,
        {at.DENIALS[number]: int(count) for number, count in enumerate(denials) if count},
        int(state[at.BARS]),
        int(state[at.INSURANCE_PAID]),
        code,
        (int(state[at.STOP_TS]), int(state[at.STOP_NEED]), int(state[at.STOP_EQUITY])) if code else None,
        funnel_of(denials, state),
    )


def summary_of(columns: KernelColumns, daily: npt.NDArray[np.float64], denials: Any, state: Any, levels: Any) -> KernelSummary:
    """The figures of a finished run."""
    denials, state, levels = denials.tolist(), state.tolist(), levels.tolist()  # plain numbers are read far sooner than an array's
    initial, final = -state[at.EXTERNAL] / 1e8, levels[at.EQUITY]
    return KernelSummary(
        final_equity=final,
        net_profit=(to_units(final) - to_units(initial)) / 1e8,
        total_return=final / initial - 1.0,
        max_drawdown_abs=levels[at.WORST_ABS],
        max_drawdown_pct=100.0 * levels[at.WORST_SHARE],
        sharpe=_sharpe(columns, initial, daily[: state[at.DAY_POINT]]),
        total_trades=state[at.TRADES],
        winning_trades=state[at.WINS],
        losing_trades=state[at.LOSSES],
        fees=state[at.FEES_PAID] / 1e8,
        funding=state[at.FUNDING_PAID] / 1e8,
        slippage=state[at.SLIPPAGE] / 1e8,
        liquidations=state[at.LIQUIDATIONS],
        rejected=state[at.REJECTED],
        denied=sum(denials),
        bars=state[at.BARS],
        stop_code=STOP_CODES[state[at.STOP_CODE]],
        ledger=ledger_of(state),
        funnel=funnel_of(denials, state),
    )


def _sharpe(columns: KernelColumns, initial: float, daily: npt.NDArray[np.float64]) -> float | None:
    equity = np.concatenate(([initial], daily))
    if len(daily) < MIN_DAYS or (equity[:-1] <= 0).any():
        return None
    ts = np.concatenate(([columns.start_ms], (columns.start_ms // DAY_MS + 1 + np.arange(len(daily))) * DAY_MS))
    found = sharpe(Daily(ts, equity, equity[1:] / equity[:-1] - 1.0, None))
    return None if isinstance(found, Missing) else float(found)


def _rows(log: Any, count: int, columns: tuple[str, ...]) -> npt.NDArray[np.void]:
    made: npt.NDArray[np.void] = log[: count * len(columns)].view(at.table(columns))
    return made
