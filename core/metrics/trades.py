"""What closed trades say. Money is summed as integers of 1e-8 and becomes a float of quote coins once, at the end.

A trade is one round trip; its PnL is net of fees and funding. One with a PnL of exactly zero is neither a win nor a loss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from keel.core.errors import DataError
from keel.core.metrics.missing import Missing, Value
from keel.core.model.money import UNIT
from keel.core.model.trade import Trade

NO_TRADE = Missing("no closed trade")
_NO_WIN = Missing("no winning trade")
_NO_LOSS = Missing("no losing trade")


def trade_metrics(trades: Sequence[Trade]) -> dict[str, Value]:
    """Counts, rates (percent), averages (quote coins, percent of entry notional, seconds) and ratios of closed trades."""
    return _basic(trades, [trade.net_pnl for trade in trades], holding_seconds(trades))


def trade_quality(trades: Sequence[Trade]) -> dict[str, Value]:
    """Everything of ``trade_metrics``, with spread, extremes, streaks and both sides of the market."""
    pnl = [trade.net_pnl for trade in trades]
    seconds = holding_seconds(trades)
    basic, holding = _basic(trades, pnl, seconds), np.array(seconds)
    signs = np.sign(np.array(pnl, dtype=np.int64))
    coins = np.array(pnl, dtype=np.float64) / UNIT
    deviation = float(coins.std(ddof=1)) if len(pnl) > 1 else 0.0
    long = [amount for trade, amount in zip(trades, pnl, strict=True) if trade.side == "LONG"]
    return {
        **basic,
        "breakeven_trades": pnl.count(0),
        "median_trade_pnl": _of(np.median, coins, NO_TRADE),
        "pnl_deviation": deviation if len(pnl) > 1 else Missing("a deviation needs two trades"),
        "system_quality": float(coins.mean()) / deviation * len(pnl) ** 0.5 if deviation else Missing("trades do not differ"),
        "largest_win": _of(np.max, coins[signs > 0], _NO_WIN),
        "largest_loss": _of(np.min, coins[signs < 0], _NO_LOSS),
        "expectancy_ratio": _per(basic["expectancy"], basic["avg_loss"]),
        "median_holding_time_s": _of(np.median, holding, NO_TRADE),
        "max_holding_time_s": _of(np.max, holding, NO_TRADE),
        "avg_holding_win_s": _of(np.mean, holding[signs > 0], _NO_WIN),
        "avg_holding_loss_s": _of(np.mean, holding[signs < 0], _NO_LOSS),
        "max_consecutive_wins": _longest_run(signs, 1),
        "max_consecutive_losses": _longest_run(signs, -1),
        "long_trades": len(long),
        "short_trades": len(pnl) - len(long),
        "long_net_profit": sum(long) / UNIT,
        "short_net_profit": (sum(pnl) - sum(long)) / UNIT,
    }


def exit_reasons(trades: Sequence[Trade]) -> dict[str, int]:
    """Closed trades by the reason of their exit, most frequent first (of equals by name)."""
    return dict(sorted(Counter(trade.exit_reason for trade in trades).items(), key=lambda item: (-item[1], item[0])))


def holding_seconds(trades: Sequence[Trade]) -> list[float]:
    """Seconds from the first fill to the last, per trade. Raises DataError for a trade that is still open."""
    seconds = []
    for trade in trades:
        holding_ms = trade.holding_ms
        if holding_ms is None:
            raise DataError(f"trade {trade.number} of {trade.symbol} is still open: it belongs into open_trades")
        seconds.append(holding_ms / 1000)
    return seconds


def mean_money(amounts: Sequence[int], otherwise: Missing, count: int | None = None) -> Value:
    """Mean of amounts in 1e-8 (over ``count``, if given) as quote coins, rounded once."""
    count = len(amounts) if count is None else count
    return sum(amounts) / (count * UNIT) if count else otherwise


def _basic(trades: Sequence[Trade], pnl: Sequence[int], holding: Sequence[float]) -> dict[str, Value]:
    wins = [value for value in pnl if value > 0]
    losses = [value for value in pnl if value < 0]
    return {
        "total_trades": len(pnl),
        "winning_trades": len(wins),
        "losing_trades": len(losses),
        "win_rate": _share(len(wins), len(pnl)),
        "loss_rate": _share(len(losses), len(pnl)),
        "avg_trade_pnl": mean_money(pnl, NO_TRADE),
        "avg_trade_return_pct": _mean([trade.return_pct for trade in trades]),
        "avg_win": mean_money(wins, _NO_WIN),
        "avg_loss": mean_money(losses, _NO_LOSS),
        # win_rate x avg_win + loss_rate x avg_loss, without the detour over rounded rates
        "expectancy": mean_money(wins + losses, NO_TRADE, len(pnl)),
        "payoff_ratio": _payoff(wins, losses),
        "profit_factor": _profit_factor(wins, losses),
        "avg_holding_time_s": _mean(holding),
    }


def _share(part: int, whole: int) -> Value:
    return 100.0 * part / whole if whole else NO_TRADE


def _mean(values: Sequence[float]) -> Value:
    return float(np.mean(values)) if values else NO_TRADE


def _payoff(wins: Sequence[int], losses: Sequence[int]) -> Value:
    if not (wins and losses):
        return _NO_LOSS if wins else _NO_WIN
    return sum(wins) * len(losses) / (-sum(losses) * len(wins))


def _profit_factor(wins: Sequence[int], losses: Sequence[int]) -> Value:
    return sum(wins) / -sum(losses) if losses else _NO_LOSS


def _per(amount: Value, loss: Value) -> Value:
    if isinstance(amount, Missing):
        return amount
    return loss if isinstance(loss, Missing) else amount / -loss


def _of(statistic: Callable[[np.ndarray], Any], values: np.ndarray, otherwise: Missing) -> Value:
    return float(statistic(values)) if len(values) else otherwise


def _longest_run(signs: np.ndarray, wanted: int) -> int:
    return max((sum(1 for _ in run) for sign, run in groupby(signs.tolist()) if sign == wanted), default=0)
