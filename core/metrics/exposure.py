"""Time in the market, and how much of the account stood in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keel.core.metrics.curve import Curve
from keel.core.metrics.missing import Missing, Value
from keel.core.model.money import UNIT
from keel.core.model.trade import Trade

NO_GROSS = Missing("the equity curve has no column gross_notional")
_NO_SPAN = Missing("the window has no length")
_NEVER = Missing("nothing was ever held at the close of a bar")


def time_in_market(trades: Sequence[Trade], curve: Curve) -> Value:
    """Percent of the window in which at least one of these trades was open (first fill to last; an open one to the end)."""
    if not curve.span_ms:
        return _NO_SPAN
    entry, leave = _spans(trades, curve)
    order = np.argsort(entry, kind="stable")
    entry, leave = entry[order], leave[order]
    # what was covered before each trade began: its own share is only what reaches further
    covered = np.maximum.accumulate(np.concatenate((curve.ts[:1], leave)))[:-1]
    own = np.maximum(leave - np.maximum(entry, covered), 0)
    return 100.0 * int(own.sum()) / curve.span_ms


def exposure_metrics(trades: Sequence[Trade], open_trades: Sequence[Trade], curve: Curve) -> dict[str, Value]:
    """The values of ``ExposureMetrics``."""
    everything = [*trades, *open_trades]
    notionals = [trade.entry_notional / UNIT for trade in everything]
    no_trade = Missing("no trade")
    return {
        "time_in_market_pct": time_in_market(everything, curve),
        "long_time_pct": time_in_market([trade for trade in everything if trade.side == "LONG"], curve),
        "short_time_pct": time_in_market([trade for trade in everything if trade.side == "SHORT"], curve),
        "max_open_positions": _most_at_once(everything, curve),
        "avg_trade_notional": sum(notionals) / len(notionals) if notionals else no_trade,
        "max_trade_notional": max(notionals) if notionals else no_trade,
        **_gross(curve),
    }


def _gross(curve: Curve) -> dict[str, Value]:
    names = ("avg_gross_notional", "max_gross_notional", "avg_leverage", "avg_leverage_in_market", "max_leverage")
    if curve.gross is None:
        return dict.fromkeys(names, NO_GROSS)
    gross, equity = curve.gross[curve.bars], curve.equity[curve.bars]
    solvent = equity > 0
    leverage = np.divide(gross, equity, out=np.zeros_like(gross), where=solvent)
    held = leverage[gross > 0]
    return {
        "avg_gross_notional": float(gross.mean()),
        "max_gross_notional": float(gross.max()),
        "avg_leverage": float(leverage.mean()),
        "avg_leverage_in_market": float(held.mean()) if len(held) else _NEVER,
        "max_leverage": float(leverage.max()),
    }


def _spans(trades: Sequence[Trade], curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """(entry, exit) times in ms, cut to the window."""
    begin, end = int(curve.ts[0]), int(curve.ts[-1])
    entry = np.array([trade.entry_ts for trade in trades], dtype=np.int64)
    leave = np.array([end if trade.exit_ts is None else trade.exit_ts for trade in trades], dtype=np.int64)
    return np.clip(entry, begin, end), np.clip(leave, begin, end)


def _most_at_once(trades: Sequence[Trade], curve: Curve) -> int:
    if not trades:
        return 0
    entry, leave = _spans(trades, curve)
    times = np.concatenate((entry, np.maximum(leave, entry + 1)))
    steps = np.concatenate((np.ones(len(entry), dtype=np.int64), -np.ones(len(leave), dtype=np.int64)))
    order = np.lexsort((steps, times))  # at one time exits come first: a flip is one position, not two
    return int(np.cumsum(steps[order]).max())
