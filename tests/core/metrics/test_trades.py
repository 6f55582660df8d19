"""Trade metrics, worked by hand."""

from __future__ import annotations

import pytest

from keel.core.errors import DataError
from keel.core.metrics import compute_backtest_metrics
from keel.core.metrics.trades import exit_reasons, trade_quality
from keel.core.model.timeframe import DAY_MS
from tests.core.metrics.build import START, UNIT, curve, trade

# net PnL: +30, -10, 0, +10, -20, -20
SIX = [
    trade(1, 31, fees=1, seconds=60, exit_reason="take_profit"),
    trade(2, -9, fees=1, seconds=120, side="SHORT", exit_reason="stop_loss"),
    trade(3, 1, fees=1, seconds=180, exit_reason="signal"),
    trade(4, 12, fees=1, seconds=240, funding=UNIT, exit_reason="signal"),
    trade(5, -19, fees=1, seconds=300, side="SHORT", exit_reason="stop_loss"),
    trade(6, -19, fees=1, seconds=60, exit_reason="stop_loss"),
]


def test_six_trades() -> None:
    metrics = compute_backtest_metrics(SIX, curve([1000, 990]), 1000)
    wanted = {
        "total_trades": 6,
        "winning_trades": 2,
        "losing_trades": 3,
        "win_rate": 100 / 3,
        "loss_rate": 50,
        "avg_trade_pnl": -10 / 6,
        "avg_trade_return_pct": -1 / 6,  # each over a notional of 1000
        "avg_win": 20,
        "avg_loss": -50 / 3,
        "expectancy": 20 / 3 - 50 / 6,
        "payoff_ratio": 1.2,
        "profit_factor": 0.8,
        "avg_holding_time_s": 160,
        "fees": 6,
        "funding": 1,
        "net_profit": -10,
        "total_pnl": -3,
        "unrealized_pnl": 0,
    }
    assert {name: metrics[name] for name in wanted} == pytest.approx(wanted, rel=1e-12, abs=1e-12)
    assert metrics.notes.keys().isdisjoint(wanted)


def test_the_further_qualities_of_six_trades() -> None:
    quality = trade_quality(SIX)
    wanted = {
        "breakeven_trades": 1,
        "median_trade_pnl": -5,
        "pnl_deviation": (sum((x + 10 / 6) ** 2 for x in (30, -10, 0, 10, -20, -20)) / 5) ** 0.5,
        "largest_win": 30,
        "largest_loss": -20,
        "expectancy_ratio": (-10 / 6) / (50 / 3),
        "median_holding_time_s": 150,
        "max_holding_time_s": 300,
        "avg_holding_win_s": 150,
        "avg_holding_loss_s": 160,
        "max_consecutive_wins": 1,
        "max_consecutive_losses": 2,
        "long_trades": 4,
        "short_trades": 2,
        "long_net_profit": 20,
        "short_net_profit": -30,
    }
    assert {name: quality[name] for name in wanted} == pytest.approx(wanted)
    assert quality["system_quality"] == pytest.approx(-10 / 6 / wanted["pnl_deviation"] * 6**0.5)
    assert list(exit_reasons(SIX).items()) == [("stop_loss", 3), ("signal", 2), ("take_profit", 1)]


AVERAGES = ("win_rate", "loss_rate", "avg_trade_pnl", "avg_trade_return_pct", "expectancy", "avg_holding_time_s")
OF_WINS, OF_LOSSES = ("avg_win", "payoff_ratio"), ("avg_loss", "profit_factor")


def because(names: tuple[str, ...], reason: str) -> dict[str, str]:
    return dict.fromkeys(names, reason)


@pytest.mark.parametrize(
    ("pnl", "notes"),
    [
        ([], because(AVERAGES, "no closed trade") | because(OF_WINS, "no winning trade") | because(OF_LOSSES, "no losing trade")),
        ([5.0], because((*OF_LOSSES, "payoff_ratio"), "no losing trade")),
        ([-5.0], because(OF_WINS, "no winning trade")),
    ],
)
def test_what_trades_cannot_say_is_none_with_its_reason(pnl: list[float], notes: dict[str, str]) -> None:
    metrics = compute_backtest_metrics([trade(1, value) for value in pnl], curve([100, 100]), 100)
    mine = (*AVERAGES, *OF_WINS, *OF_LOSSES)
    assert {name: metrics.notes[name] for name in mine if metrics[name] is None} == notes


def test_only_losers_make_a_profit_factor_of_zero() -> None:
    assert compute_backtest_metrics([trade(1, -5)], curve([100, 95]), 100)["profit_factor"] == 0


def test_money_is_summed_as_integers() -> None:
    """A tenth of a million times 0.1 is a float's classic; in 1e-8 units nothing is lost."""
    metrics = compute_backtest_metrics([trade(n, 0.1, fees=0.3) for n in range(100_000)], curve([1000, 1000]), 1000)
    assert (metrics["fees"], metrics["avg_trade_pnl"], metrics["total_pnl"]) == (30_000.0, -0.2, 30_000.0)


def test_open_positions_pay_fees_and_hold_the_rest_of_the_profit() -> None:
    held = trade(2, -1, fees=2, seconds=None, begin=START + DAY_MS // 2)
    metrics = compute_backtest_metrics([trade(1, 10, fees=1, seconds=DAY_MS // 4000)], curve([1000, 1050]), 1000, open_trades=[held])
    wanted = {"net_profit": 50, "fees": 3, "total_pnl": 53, "unrealized_pnl": 44, "total_trades": 1, "open_trades": 1, "exposure_pct": 75}
    assert {name: metrics[name] for name in wanted} == wanted


def test_time_in_the_market_counts_overlaps_once() -> None:
    hour = DAY_MS // 24
    spans = [(0, 6), (2, 3), (5, 8), (12, 13), (20, 40)]  # hours of a window of 24
    trades = [trade(n, 1, begin=START + a * hour, seconds=(b - a) * 3600) for n, (a, b) in enumerate(spans)]
    for order in (trades, trades[::-1]):
        assert compute_backtest_metrics(order, curve([1, 1]), 1)["exposure_pct"] == pytest.approx(100 * 13 / 24)


def test_an_open_trade_among_the_closed_is_refused() -> None:
    with pytest.raises(DataError, match="trade 7 of BTCUSDT is still open"):
        compute_backtest_metrics([trade(7, 1, seconds=None)], curve([1, 1]), 1)
