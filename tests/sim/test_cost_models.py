"""Cost models at the exchange: whatever they answer the books add up, and what was traded is known however a bar was walked."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from keel.core.actors.portfolio import Portfolio
from keel.core.costs import CostModels, FillInputs, FundingInputs
from keel.core.costs.built_in import FlatFees, FlatFunding, FlatSlippage, SquareRootImpact
from keel.core.engine.clock import ReplayClock
from keel.core.errors import ConfigError, StrategyError
from keel.core.model.messages import Bracket, Fill
from keel.core.model.money import UNIT, to_units
from keel.core.model.orders import OrderState
from keel.core.system.config import CostModelConfig, CostsConfig, ExecutionConfig
from keel.sim.exchange.book_costs import THIRTY_DAYS_MS, Turnover
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange
from tests.sim.test_invariants import CONFIGS, SYMBOL, ExchangeMachine, make, orders, walks

HOUR = 3_600_000


class Drawn:
    """Answers that look like chance, and are the same for the same question."""

    max_rebate = 0.05

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def _share(self, inputs: FillInputs | FundingInputs) -> float:
        mixed = self.seed * 7919 + inputs.ts // 60_000 * 104_729 + round(inputs.qty * 1000) * 31 + round(inputs.notional * 100)
        return (mixed % 10_007) / 10_006

    def fee_rate(self, fill: FillInputs) -> float:
        return 0.1 * self._share(fill) - 0.05

    def reserved_fee_rate(self, symbol: str, built_in: float) -> float:
        return 0.0006

    def slippage_bps(self, fill: FillInputs) -> float:
        return 5000.0 * self._share(fill) ** 4

    def impact_bps(self, fill: FillInputs) -> float:
        return 5000.0 * self._share(fill) ** 8

    def funding_rate(self, position: FundingInputs) -> float:
        return 0.1 * self._share(position) - 0.05


class ModelMachine(ExchangeMachine):
    """The exchange's invariants (postings sum to zero, nobody owes, the portfolio agrees) with models that answer anything."""

    @initialize(
        category=st.sampled_from(["linear", "linear", "linear", "spot"]),
        hedge=st.booleans(),
        leverage=st.sampled_from([1.0, 5.0, 25.0]),
        config=CONFIGS,
        kinds=st.sets(st.sampled_from(["fees", "slippage", "impact", "funding"]), min_size=1),
        seed=st.integers(0, 10_000),
    )
    def begin(  # type: ignore[override]
        self, category: str, hedge: bool, leverage: float, config: ExecutionConfig, kinds: set[str], seed: int
    ) -> None:
        self.is_spot = category == "spot"
        self.hedge = hedge and not self.is_spot
        self.clock = ReplayClock()
        self.events: list[Any] = []
        costs = CostModels(**dict.fromkeys(sorted(kinds), Drawn(seed)))
        self.exchange = make(category, self.hedge, 1.0 if self.is_spot else leverage, config, self.on_event, self.clock, costs=costs)
        self.book = self.exchange.books[SYMBOL]
        self.states: dict[str, OrderState] = {}
        self.leaves: dict[str, float] = {}
        self.portfolio = Portfolio([self.book.instrument], to_units("1000"))
        self.hour = self.count = 0
        self.last_ts = 0


TestModels = ModelMachine.TestCase
TestModels.settings = settings(
    max_examples=min(60, settings().max_examples), stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


@settings(max_examples=min(60, settings().max_examples), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.data(), category=st.sampled_from(["linear", "linear", "spot"]), hedge=st.booleans(), config=CONFIGS, bars=walks(),
    leverage=st.sampled_from([1.0, 25.0]),
)  # fmt: skip
def test_the_built_in_models_as_objects_are_the_keys_of_the_file(
    data: Any, category: str, hedge: bool, config: ExecutionConfig, bars: list[Any], leverage: float
) -> None:
    """The same orders and bars: every event, the ledger and the positions are the same to the last unit."""
    config = msgspec.structs.replace(config, taker_fee=0.00061, maker_fee=-0.00007)
    impact = None if config.impact == "none" else SquareRootImpact(config.impact.base_bps, config.impact.coefficient)
    models = CostModels(fees=FlatFees(0.00061, -0.00007), slippage=FlatSlippage(config.slippage_bps), impact=impact, funding=FlatFunding())
    hedge, leverage = (False, 1.0) if category == "spot" else (hedge, leverage)
    sides = []
    for costs in (None, models):
        events: list[Any] = []
        clock = ReplayClock()
        sides.append((make(category, hedge, leverage, config, events.append, clock, costs=costs), events, clock))
    for hour, (last, mark, has_order) in enumerate(bars):
        order = data.draw(orders(f"k-{hour}", hour * HOUR, hedge)) if has_order else None
        for exchange, _, clock in sides:
            clock.now_ms = hour * HOUR
            if order is not None:
                exchange.submit_order(order)
            exchange.step(exchange.books[SYMBOL], hour * HOUR, (hour + 1) * HOUR, *last, 50.0, *mark, *last, 30.0)
    (keys, told, _), (objects, told_too, _) = sides
    assert told_too == told
    assert objects.ledger.coins == keys.ledger.coins and objects.position_log == keys.position_log


def fill(number: int, ts: int, qty: float) -> Fill:
    return Fill(f"f-{number}", "a", SYMBOL, ts, "BUY", qty, 100.0, 0, 0, False, 100.0)


@settings(suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 4), st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9)), max_size=4), st.booleans()), max_size=20
    )
)
def test_what_was_traded_is_that_of_the_fills_that_stand(steps: list[tuple[int, list[tuple[int, int]], bool]]) -> None:
    """Fills are taken away (a path that is gone back) and others come: the sum is always that of those in the list."""
    fills: list[Fill] = []
    turnover, now, day = Turnover(fills), 0, 86_400_000
    for taken, added, is_read in steps:
        del fills[max(0, len(fills) - taken) :]
        for days, qty in added:
            now += days * day
            fills.append(fill(len(fills), now, float(qty)))
        if is_read:
            latest, expected = 0, 0
            for each in fills:
                latest = max(latest, each.ts)
                expected += round(each.qty * 100 * UNIT) if latest > now - THIRTY_DAYS_MS else 0
            assert turnover.since(now - THIRTY_DAYS_MS) == expected


class Noted:
    """The built-in fee; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[FillInputs] = []

    def fee_rate(self, fill: FillInputs) -> float:
        self.asked.append(fill)
        return fill.built_in


def test_a_bar_that_is_walked_both_ways_asks_of_the_same_past(venue: Any) -> None:
    """Stop and take-profit in one bar: each way is asked about its own exit, and neither has traded what the other one would have."""
    model = Noted()
    v = venue(config=ExecutionConfig(slippage_bps=0.0), costs=CostModels(fees=model))
    v.send("a", "BUY", 1.0, bracket=Bracket(stop_loss=90.0, take_profit=110.0))
    v.bar((100.0, 100.0, 100.0, 100.0))
    v.bar((100.0, 115.0, 85.0, 101.0))
    exits = [each for each in model.asked if each.side == "SELL"]
    assert {each.price for each in exits} == {90.0, 110.0} and {each.traded_30d for each in exits} == {100.0}
    assert len(v.exchange.fills) == 2


def test_a_model_that_raises_in_the_way_not_taken_ends_the_run_and_leaves_the_outbox_whole(venue: Any) -> None:
    class Breaks(Noted):
        def fee_rate(self, fill: FillInputs) -> float:
            if fill.side == "SELL":
                raise ValueError("no")
            return 0.0

    v = venue(config=ExecutionConfig(slippage_bps=0.0), costs=CostModels(fees=Breaks()))
    v.send("a", "BUY", 1.0, bracket=Bracket(stop_loss=90.0, take_profit=110.0))
    v.bar((100.0, 100.0, 100.0, 100.0))
    with pytest.raises(StrategyError, match=r"Breaks\.fee_rate raised ValueError for XUSDT at .*: no"):
        v.bar((100.0, 115.0, 85.0, 101.0))
    assert len(v.exchange.fills) == 1 and not any(sum(accounts) for accounts in v.exchange.ledger.coins.values())


def test_an_exchange_without_the_models_that_are_named_is_not_made() -> None:
    named = ExecutionConfig(costs=CostsConfig(fees=CostModelConfig(model="mine.py:Fees")))
    with pytest.raises(
        ConfigError, match=r"execution\.costs names models \(fees: mine\.py:Fees\).*a sandbox has none but the built-in ones"
    ):
        SimulatedExchange("BTCUSDT", 1000.0, named)


def test_margin_is_held_for_the_fee_that_a_model_sets_aside() -> None:
    class Dear:
        def fee_rate(self, fill: FillInputs) -> float:
            return 0.01

        def reserved_fee_rate(self, symbol: str, built_in: float) -> float:
            return 0.01

    costs = CostModels(fees=Dear())
    exchange = SimulatedExchange("BTCUSDT", 1000.0, ExecutionConfig(), RiskProfileConfig(leverage=5.0), costs=costs)
    assert exchange.books["BTCUSDT"].margin.taker_fee == to_units("0.01")
