"""The proof: its parts worked by hand, and that nothing in it is ever nan, infinite or missing without a reason."""

from __future__ import annotations

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.metrics import METRICS, ProofConfig, compute_backtest_metrics, compute_proof_metrics
from keel.core.metrics.missing import Missing, split
from keel.core.model.messages import Fill, FundingPayment, Liquidation
from keel.core.model.timeframe import DAY_MS
from keel.core.system.config import SystemConfig
from tests.core.metrics.build import START, UNIT, curve, trade

NAN = float("nan")

REQUIRED = {
    "total_pnl",
    "net_profit",
    "win_rate",
    "loss_rate",
    "sharpe",
    "sortino",
    "calmar",
    "cagr",
    "volatility",
    "max_drawdown_abs",
    "max_drawdown_pct",
    "longest_drawdown_days",
    "recovery_days",
    "total_trades",
    "winning_trades",
    "losing_trades",
    "avg_trade_pnl",
    "avg_trade_return_pct",
    "avg_win",
    "avg_loss",
    "expectancy",
    "payoff_ratio",
    "profit_factor",
    "avg_holding_time_s",
    "exposure_pct",
    "total_return",
    "final_equity",
    "fees",
    "funding",
    "max_drawdown_intrabar_pct",
}


def fill(qty: float, price: float, *, maker: bool = False) -> Fill:
    return Fill("1", "1", "BTCUSDT", START, "BUY", qty, price, 0, 0, maker, price)


def test_every_required_metric_is_there_and_explained() -> None:
    metrics = compute_backtest_metrics([], curve([100, 100]), 100)
    assert REQUIRED <= set(metrics) == set(METRICS)
    assert all(len(text) > 10 for text in METRICS.values())


def test_friction_by_hand(proof_of) -> None:
    """Two trades of 1000 each: fees 0.5 in and 0.4 out, 0.2 of slippage, half of it on entry; a maker share of a quarter."""
    one = trade(1, 10, fees=0.9, entry_fees=UNIT // 2, slippage=UNIT // 5, entry_slippage=UNIT // 10, funding=3 * UNIT)
    payments = [FundingPayment("BTCUSDT", START, amount, 10_000, 100.0, 10.0) for amount in (4 * UNIT, -1 * UNIT)]
    fills = [fill(10, 100), fill(5, 100), fill(5, 100, maker=True)]
    ours = proof_of(curve([1000, 1006.1]), trades=[one], fills=fills, funding_payments=payments).entry_friction
    wanted = {
        "fees": 0.9,
        "entry_fees": 0.5,
        "exit_fees": 0.4,
        "slippage": 0.2,
        "entry_slippage": 0.1,
        "entry_fee_bps": 5,
        "entry_slippage_bps": 1,
        "entry_cost_bps": 6,
        "turnover": 2000,
        "cost_bps": 5.5,
        "maker_share_pct": 25,
        "funding_paid": 4,
        "funding_received": 1,
        "costs_of_gross_pct": 100 * (0.9 + 0.2 + 3) / 10.2,  # gross at fill prices 10, before slippage 10.2
        "fills": 3,
    }
    assert msgspec.structs.asdict(ours) == pytest.approx(wanted)


def test_margin_and_exposure_by_hand(proof_of) -> None:
    """Rows after the first are bars: flat, then 10, 60 and 90 percent of equity as margin."""
    bars = curve([100, 100, 100, 100, 100], margin=[0, 0, 10, 60, 90], gross_notional=[0, 0, 20, 120, 180])
    taken = Liquidation("BTCUSDT", START, "SELL", 1.0, 90.0, 90.0, 89.0, 5 * UNIT, 2 * UNIT)
    day = DAY_MS // 1000
    held = [trade(1, 1, seconds=day, begin=START + DAY_MS), trade(2, 1, side="SHORT", begin=START + 2 * DAY_MS, seconds=day)]
    proof = proof_of(bars, trades=held, liquidations=[taken])
    stress, exposure = proof.margin_stress, proof.exposure
    assert stress.avg_margin_usage_pct == pytest.approx(160 / 3)
    assert (stress.max_margin_usage_pct, stress.time_above_50_pct, stress.time_above_80_pct, stress.min_free_margin) == (90, 50, 25, 10)
    assert (stress.liquidations, stress.liquidation_loss, stress.insurance) == (1, 5, 2)
    assert (exposure.avg_gross_notional, exposure.max_gross_notional) == (80, 180)
    assert (exposure.avg_leverage, exposure.max_leverage) == pytest.approx((0.8, 1.8))
    assert exposure.avg_leverage_in_market == pytest.approx(3.2 / 3)
    assert (exposure.time_in_market_pct, exposure.long_time_pct, exposure.short_time_pct) == (50, 25, 25)
    assert (exposure.max_open_positions, exposure.avg_trade_notional) == (1, 1000)  # a flip is one position at a time


def test_distance_to_liquidation_by_hand(proof_of) -> None:
    near = proof_of(curve([1, 1, 1, 1, 1], liquidation_distance_pct=[NAN, 9, 3, NAN, 6])).liquidation_proximity
    assert (near.min_distance_pct, near.min_distance_ts, near.median_distance_pct, near.avg_distance_pct) == (3, START + 2 * DAY_MS, 6, 6)
    assert near.time_below_5_pct == pytest.approx(100 / 3)


def test_drawdown_extras_by_hand(proof_of) -> None:
    ours = proof_of(curve([100, 90, 100, 80, 90])).drawdown
    assert (ours.drawdowns, ours.time_underwater_pct, ours.avg_recovered_days) == (2, 75, 2)
    assert ours.avg_drawdown_pct == pytest.approx(-15)
    assert ours.current_drawdown_pct == pytest.approx(-10)
    assert ours.ulcer_index_pct == pytest.approx(((10**2 + 0 + 20**2 + 10**2) / 4) ** 0.5)
    assert ours.underwater_pct == pytest.approx([-10, 0, -20, -10])
    assert [episode.depth_abs for episode in ours.top] == [20, 10]


def test_both_faces_say_the_same(proof_of) -> None:
    equity = 1000 * np.cumprod(1 + np.random.default_rng(2).normal(0, 0.01, 100))
    bars = curve(equity, equity_worst=equity * 0.99)
    trades = [trade(n, pnl, fees=0.5) for n, pnl in enumerate((5, -3, 8, -2))]
    standard, proof = compute_backtest_metrics(trades, bars, float(equity[0])), proof_of(bars, trades=trades)
    flat = {name: value for part in msgspec.to_builtins(proof).values() for name, value in part.items()}
    shared = set(METRICS) & set(flat)
    assert len(shared) >= 30
    assert {name: flat[name] for name in shared} == {name: standard[name] for name in shared}


def test_a_system_file_serves_as_configuration(proof_of) -> None:
    class Source:
        equity_curve = curve([500, 510])
        trades = open_trades = fills = funding_payments = liquidations = ()

    system = SystemConfig(system="x", strategy="x", symbols=["BTCUSDT"], timeframe="1h", initial_equity=500.0)
    assert compute_proof_metrics(Source(), system) == compute_proof_metrics(Source(), ProofConfig(500.0))


def walk(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in walk(item)]
    if isinstance(value, list):
        return [number for item in value for number in walk(item)]
    return [value] if isinstance(value, float) else []


amounts = st.floats(0, 1e9)
rows = st.lists(st.tuples(amounts, amounts, amounts, amounts, st.one_of(st.just(NAN), st.just(math.inf), amounts)), min_size=1, max_size=50)
pnl = st.lists(st.tuples(st.integers(-(10**15), 10**15), st.integers(0, 10**6)), max_size=8)


@given(rows=rows, closed=pnl, initial=st.floats(1e-3, 1e9), step=st.sampled_from([60_000, DAY_MS]))
def test_no_metric_is_ever_nan_or_infinite_and_each_none_has_a_reason(rows, closed, initial, step) -> None:
    names = ("equity", "equity_worst", "gross_notional", "margin", "liquidation_distance_pct")
    columns = dict(zip(names, (list(column) for column in zip(*rows, strict=True)), strict=True))
    bars = curve(columns.pop("equity"), step, **columns)
    trades = [trade(n, gross / UNIT, seconds=seconds) for n, (gross, seconds) in enumerate(closed)]

    class Source:
        equity_curve, fills, funding_payments, liquidations, open_trades = bars, (), (), (), ()

    source = Source()
    source.trades = trades
    standard = compute_backtest_metrics(trades, bars, initial)
    proof = compute_proof_metrics(source, ProofConfig(initial))
    plain = msgspec.to_builtins(proof)
    assert all(math.isfinite(number) for number in walk(plain) + walk(standard.metrics))
    assert {name for name, value in standard.items() if value is None} == set(standard.notes)
    notes = plain.pop("notes")
    assert {f"{part}.{name}" for part, values in plain.items() for name, value in values.items() if value is None} == set(notes)
    assert json.loads(msgspec.json.encode(proof))["notes"] == notes
    assert {type(value) for value in standard.values()} <= {int, float, type(None)}


def test_what_overflows_is_none_with_a_reason() -> None:
    numbers, notes = split({"a": math.inf, "b": np.float64(2.0), "c": Missing("why"), "d": 3})
    assert numbers == {"a": None, "b": 2.0, "c": None, "d": 3}
    assert type(numbers["b"]) is float
    assert notes == {"a": "beyond the range of floating-point numbers", "c": "why"}
