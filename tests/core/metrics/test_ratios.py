"""Ratios against empyrical, their null rules, and what a day is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.errors import ConfigError, DataError
from keel.core.metrics import compute_backtest_metrics, compute_proof_metrics
from keel.core.metrics.curve import read_curve
from keel.core.metrics.daily import daily_equity, monthly_returns
from keel.core.metrics.proof import ProofConfig
from keel.core.model.timeframe import DAY_MS, MINUTE_MS
from keel.core.results.result import BacktestResult
from tests.core.metrics.build import START, curve

HOUR_MS = 60 * MINUTE_MS


def random_equity(days: int, seed: int, scale: float = 0.02) -> np.ndarray:
    returns = np.random.default_rng(seed).standard_t(5, days) * scale
    return 10_000 * np.cumprod(np.concatenate(([1.0], 1 + np.clip(returns, -0.5, 0.5))))


@pytest.mark.parametrize("days", [30, 31, 365, 1500])
@pytest.mark.parametrize("risk_free", [0.0, 0.05])
def test_ratios_agree_with_empyrical(days: int, risk_free: float, empyrical: Any) -> None:
    equity = random_equity(days, seed=days)
    returns = equity[1:] / equity[:-1] - 1
    ours = compute_backtest_metrics([], curve(equity), 10_000, risk_free_rate=risk_free)
    excess = returns - risk_free / 365
    downside = empyrical.downside_risk(returns, 0, annualization=365)
    theirs = {
        "sharpe": empyrical.sharpe_ratio(returns, risk_free / 365, annualization=365),
        "sortino": excess.mean() * 365 / downside,
        "volatility": empyrical.annual_volatility(returns, annualization=365),
        "cagr": empyrical.cagr(returns, annualization=365),
        "calmar": empyrical.calmar_ratio(returns, annualization=365),
        "max_drawdown_pct": 100 * empyrical.max_drawdown(returns),
        "total_return": empyrical.cum_returns_final(returns),
    }
    if not risk_free:
        assert empyrical.sortino_ratio(returns, 0, annualization=365) == pytest.approx(theirs["sortino"], rel=1e-12)
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-9)


def test_the_proof_s_ratios_agree_with_empyrical(proof_of, empyrical: Any) -> None:
    equity = random_equity(500, seed=3)
    returns = equity[1:] / equity[:-1] - 1
    ours = proof_of(curve(equity)).risk_adjusted
    assert ours.omega == pytest.approx(empyrical.omega_ratio(returns, 0, 0, annualization=1))
    assert ours.tail_ratio == pytest.approx(empyrical.tail_ratio(returns))
    assert ours.value_at_risk_95_pct == pytest.approx(100 * empyrical.value_at_risk(returns, 0.05))
    assert ours.expected_shortfall_95_pct == pytest.approx(100 * empyrical.conditional_value_at_risk(returns, 0.05))
    assert ours.downside_deviation == pytest.approx(empyrical.downside_risk(returns, 0, annualization=365))


@pytest.mark.parametrize(
    ("name", "equity", "reasons"),
    [
        (
            "29 days",
            random_equity(29, 1),
            dict.fromkeys(("sharpe", "sortino", "calmar", "cagr", "volatility"), "29 full days, 30 are needed"),
        ),
        (
            "constant",
            [100.0] * 41,
            {
                "sharpe": "the equity curve is constant",
                "sortino": "the equity curve is constant",
                "calmar": "equity never fell below an earlier peak",
            },
        ),
        (
            "the same gain each day",
            100 * 1.001 ** np.arange(41),
            {
                "sharpe": "daily returns are all the same",
                "sortino": "daily returns are all the same",
                "calmar": "equity never fell below an earlier peak",
            },
        ),
        ("never down", 100 + np.arange(41.0) ** 2, {"sortino": "no day lost", "calmar": "equity never fell below an earlier peak"}),
        (
            "blown",
            [100.0] * 20 + [0.0] * 30,
            dict.fromkeys(
                ("sharpe", "sortino", "calmar", "cagr", "volatility"), "equity was spent on 2024-01-21: there are no returns after it"
            ),
        ),
    ],
)
def test_a_ratio_that_cannot_be_had_is_none_with_its_reason(name: str, equity: list[float], reasons: dict[str, str]) -> None:
    metrics = compute_backtest_metrics([], curve(equity), float(equity[0]))
    ratios = ("sharpe", "sortino", "calmar", "cagr", "volatility")
    assert {key: metrics.notes[key] for key in ratios if metrics[key] is None} == reasons


def test_an_account_spent_on_the_last_day_lost_everything() -> None:
    metrics = compute_backtest_metrics([], curve([100.0] * 40 + [0.0]), 100)
    assert (metrics["cagr"], metrics["max_drawdown_pct"], metrics["calmar"], metrics["total_return"]) == (-1.0, -100.0, -1.0, -1.0)


def test_a_day_is_what_the_last_bar_at_or_before_midnight_left() -> None:
    """Six-hour bars from 12:00: the first point is the initial equity, then each midnight; the day cut short is left out."""
    start = START + 12 * HOUR_MS
    equity = [100.0, 101, 102, 103, 104, 105, 106, 107]  # 12 18 | 00 06 12 18 | 00 06
    daily = daily_equity(read_curve(curve(equity, 6 * HOUR_MS, start), 100))
    assert daily.ts.tolist() == [start, START + DAY_MS, START + 2 * DAY_MS]
    assert daily.equity.tolist() == [100, 102, 106]


def test_a_hole_over_midnight_takes_the_bar_before_it() -> None:
    ts = START + HOUR_MS * np.array([0, 20, 27, 48])
    daily = daily_equity(read_curve((ts, [100.0, 110, 120, 130]), 100))
    assert daily.equity.tolist() == [100, 110, 130]


def test_minutes_and_days_give_the_same_ratios() -> None:
    """What happens between two midnights changes no ratio but Calmar, whose drawdown is that of bars."""
    days = random_equity(60, 5)
    minutes = np.repeat(days, 24) * np.random.default_rng(6).uniform(0.9, 1.1, 61 * 24)
    minutes[::24] = days
    coarse, fine = compute_backtest_metrics([], curve(days), 10_000), compute_backtest_metrics([], curve(minutes, HOUR_MS), 10_000)
    for name in ("sharpe", "sortino", "volatility", "cagr"):
        assert fine[name] == coarse[name]
    assert fine["max_drawdown_pct"] < coarse["max_drawdown_pct"]


def test_months_go_by_the_calendar_and_chain_to_the_total_return() -> None:
    equity = random_equity(100, 8)
    months = monthly_returns(read_curve(curve(equity), 10_000))
    assert list(months) == ["2024-01", "2024-02", "2024-03", "2024-04"]
    assert months["2024-01"] == pytest.approx(100 * (equity[31] / equity[0] - 1))  # the bar that closes on 1 February at 00:00
    assert np.prod([1 + change / 100 for change in months.values()]) == pytest.approx(equity[-1] / equity[0])


@given(scale=st.floats(1e-3, 1e6), seed=st.integers(0, 1000))
def test_ratios_do_not_depend_on_the_currency_s_size(scale: float, seed: int) -> None:
    equity = random_equity(40, seed)
    one, other = compute_backtest_metrics([], curve(equity), 10_000), compute_backtest_metrics([], curve(equity * scale), 10_000 * scale)
    for name in ("sharpe", "sortino", "calmar", "cagr", "volatility", "max_drawdown_pct", "total_return"):
        assert other[name] == pytest.approx(one[name], rel=1e-6, abs=1e-9)
    assert other["max_drawdown_abs"] == pytest.approx(scale * float(one["max_drawdown_abs"] or 0))


@pytest.mark.parametrize(
    ("equity_curve", "capital", "error", "words"),
    [
        (([], []), 100, DataError, "empty"),
        (([0, 1], [1.0, float("nan")]), 100, DataError, r"equity at 1970-01-01T00:00:00.001Z \(row 1\)"),
        (([0, 1], [1.0, float("inf")]), 100, DataError, "not a number"),
        (([1, 0], [1.0, 1.0]), 100, DataError, "ascend"),
        (([0], [1.0]), 0, ConfigError, "positive"),
        (([0], [1.0]), float("nan"), ConfigError, "positive"),
    ],
)
def test_what_is_no_curve_is_refused(equity_curve, capital, error, words) -> None:
    with pytest.raises(error, match=words):
        compute_backtest_metrics([], equity_curve, capital)


def test_a_result_is_a_source_of_proof() -> None:
    """BacktestResult has every attribute that the proof reads."""
    wanted = {"trades", "open_trades", "fills", "funding_payments", "liquidations", "equity_curve"}
    assert wanted <= set(BacktestResult.__dataclass_fields__)
    assert ProofConfig(100.0).risk_free_rate == 0.0
    assert callable(compute_proof_metrics)
