"""From any holdings to any targets: a strategy that names its targets at each step gets there soon, or the funnel says why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.adapters.store import HistoricalDataStore
from keel.core.model.instrument import Category, Instrument, size_count
from keel.core.results.result import BacktestResult
from keel.core.strategy.portfolio_order import Order
from keel.core.system.config import ExecutionConfig, RiskConfig
from keel.strategies.base import PortfolioStrategy
from tests.builders import HOUR, START, add_series, perpetual, plain_system, run, spot_pair

PRICES = {"AAAUSDT": 100.0, "BBBUSDT": 7.5, "CCCUSDT": 2500.0}
VOLUME = 1000.0
Target = tuple[str, float]


class Steers(PortfolioStrategy):
    """At the first step these holdings, then the same targets at every step."""

    def __init__(self, holdings: Mapping[str, Target], targets: Mapping[str, Target]) -> None:
        self.plans, self.taken = [holdings, targets], 0

    def run_strategy(self, oms_client: Any, data_manager: Any) -> Sequence[Order]:
        plan = self.plans[min(self.taken, 1)]
        self.taken += 1
        return [Order(name, oms_client.instrument_type, side, value) for name, (side, value) in plan.items()]  # type: ignore[arg-type]


@st.composite
def worlds(draw: st.DrawFn, category: Category) -> dict[str, Any]:
    sides = ["LONG", "CLOSE"] if category == "spot" else ["LONG", "SHORT", "CLOSE"]
    most = 4_000.0 if category == "spot" else 12_000.0
    target = st.tuples(st.sampled_from(sides), st.one_of(st.just(0.0), st.floats(0.5, 30.0), st.floats(100.0, most)))
    named = dict.fromkeys(PRICES, target)
    return {
        "holdings": draw(st.fixed_dictionaries({}, optional=named)),
        "targets": draw(st.fixed_dictionaries(named)),
        "step": draw(st.sampled_from(["1", "0.1", "0.001"])),
        "min_notional": draw(st.sampled_from([0, 5, 100])) * 10**8,
        "max_order_usd": draw(st.sampled_from([1e9, 30_000.0, 7_500.0, 4_000.0])),
        "share": draw(st.sampled_from(["none", 0.05, 0.5])),
        "risk": draw(st.sampled_from([{}, {"max_gross_usd": 6000.0}, {"max_open_positions": 2}, {"max_position_usd": 1500.0}])),
    }


def instrument_of(name: str, category: Category, world: Mapping[str, Any]) -> Instrument:
    make = spot_pair if category == "spot" else perpetual
    most = float(round(world["max_order_usd"] / PRICES[name]))
    return make(name, "0.01", world["step"], min_notional=world["min_notional"], max_market_qty=most)


def settled(category: Category, world: Mapping[str, Any]) -> tuple[BacktestResult, int]:
    """A run long enough for everything that can be reached, and when its last four steps begin."""
    share = world["share"]
    least = min(PRICES.values()) * VOLUME * (1.0 if share == "none" else share)
    steps = 8 + ceil(2 * 12_000 / least)
    with HistoricalDataStore(":memory:") as store:
        for name, price in PRICES.items():
            add_series(store, [(price, price, price, price)] * (steps + 1), name, "1h", instrument_of(name, category, world))
        execution = ExecutionConfig(slippage_bps=0.0, funding="none", max_volume_share=share)
        risk = RiskConfig(leverage=1.0 if category == "spot" else 5.0, **world["risk"])
        system = plain_system(
            *PRICES, category=category, execution=execution, risk=risk, execution_timeframe=None, warmup_bars=0, initial_equity=15_000.0
        )  # fmt: skip
        end = START + (steps + 1) * HOUR
        return run(store, system, START, end, Steers(world["holdings"], world["targets"])), end - 4 * HOUR


def check_settled(category: Category, world: Mapping[str, Any]) -> None:
    result, late = settled(category, world)
    held = dict.fromkeys(PRICES, 0.0) | {trade.symbol: trade.qty * (1 if trade.side == "LONG" else -1) for trade in result.funnel.open}
    told = {(entry["symbol"], entry["reason"]) for entry in result.order_log if entry["ts"] >= late and entry["kind"] == "signal_denied"}
    for name, (side, value) in world["targets"].items():
        instrument = instrument_of(name, category, world)
        wanted = (
            0.0
            if side == "CLOSE"
            else instrument.qty_grid.value(size_count(value / PRICES[name], instrument.qty_grid.num, instrument.qty_grid.den))
        )
        wanted = -wanted if side == "SHORT" else wanted
        is_there = abs(held[name] - wanted) < 1e-9 + (0.0 if category == "linear" else 0.002 * abs(wanted) + instrument.qty_grid.value(1))
        if not is_there:
            assert [reason for symbol, reason in told if symbol == name], (name, held[name], wanted, world, result.order_log[-6:])
    assert not [each for each in result.funnel.rejected if each.ts >= late], result.funnel.rejected
    assert result.reconciliation.difference == 0


@settings(max_examples=8, deadline=None)
@given(world=worlds("linear"))
def test_perpetuals_converge(world: dict[str, Any]) -> None:
    check_settled("linear", world)


@settings(max_examples=5, deadline=None)
@given(world=worlds("spot"))
def test_spot_converges(world: dict[str, Any]) -> None:
    check_settled("spot", world)


@pytest.mark.long
@settings(max_examples=100, deadline=None)
@given(data=st.data(), category=st.sampled_from(["linear", "spot"]))
def test_both_converge_from_many_holdings(data: st.DataObject, category: Category) -> None:
    check_settled(category, data.draw(worlds(category)))
