"""The sizer knows fees, spread and slippage as they are configured: the largest size that it gives is carried by the account, and
hardly more would be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.engine.clock import ReplayClock
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Fill, OrderUpdate, Signal, SubmitOrder
from keel.core.results.funnel import Funnel
from keel.core.results.reasons import funnel_lines
from keel.core.risk.manager import RiskManager
from keel.core.risk.view import ExpectedView, InFlight
from keel.core.system.config import ExecutionConfig, RiskConfig, SizingConfig
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange
from tests.builders import START, perpetual, run, spot_pair, store_of
from tests.builders import builtin as builtin_system

HOUR = 3_600_000


class Market:
    """An exchange at one price, and a sizer over its account that always wants far too much."""

    def __init__(
        self, instrument: Instrument, price: float, costs: ExecutionConfig, *, leverage: float = 1.0, cash: float = 10_000.0,
        mode: Any = "isolated",
    ) -> None:  # fmt: skip
        self.instrument, self.price = instrument, price
        self.exchange = SimulatedExchange(
            "BTCUSDT", cash, costs, RiskProfileConfig(leverage=leverage, margin_mode=mode), instruments={"BTCUSDT": instrument},
            clock=ReplayClock(),
        )  # fmt: skip
        self.manager = RiskManager(
            RiskConfig(leverage=leverage, margin_mode=mode, margin_reserve_percent=0.0), SizingConfig(percent=10_000.0),
            instruments={"BTCUSDT": instrument}, allow_short=instrument.category == "linear", execution=costs,
        )  # fmt: skip
        self.orders = 0

    def size(self, direction: str) -> Any:
        held = self.exchange.books["BTCUSDT"].positions[0]
        picture: dict[str, Any] = {
            "equity": self.exchange.equity("USDT"), "cash": self.exchange.balance("USDT") / 1e8, "prices": {"BTCUSDT": self.price}
        }  # fmt: skip
        if held.steps and self.instrument.category == "linear":
            picture["positions"] = {"BTCUSDT": {"qty": held.qty, "entry_price": held.entry_price, "mark_price": self.price}}
        return self.manager.size_position(Signal("BTCUSDT", direction), picture)

    def take(self, side: str, qty: float) -> str:
        """Send a market order to the present price; "" when it was filled, else the refusal."""
        self.orders += 1
        now = self.exchange.clock.now_ms
        self.exchange.submit_order(SubmitOrder(f"o{self.orders}", "BTCUSDT", side, "market", qty, now))
        self.exchange.step(
            self.exchange.books["BTCUSDT"], now, now + HOUR, *(self.price,) * 4, 1e6, *(self.price,) * 4, *(self.price,) * 4
        )  # fmt: skip
        self.exchange.clock.now_ms = now + HOUR
        last = next(event for event in reversed(self.exchange.events) if isinstance(event, OrderUpdate))
        return "" if last.status == "filled" else last.reason


rates = st.sampled_from([0.0, 0.0001, 0.00055, 0.001, 0.0025, 0.01])
bps = st.sampled_from([0.0, 0.5, 1.0, 2.5, 7.0, 60.0])


@given(
    leverage=st.sampled_from([1.0, 2.0, 3.0, 7.0, 10.0]), fee=rates, slippage=bps, spread=bps, direction=st.sampled_from(["LONG", "SHORT"]),
    price=st.integers(1_000, 1_000_000), cents=st.integers(1_000_000, 10_000_000),
)  # fmt: skip
def test_the_largest_size_is_filled_and_hardly_more_would_be(leverage, fee, slippage, spread, direction, price, cents) -> None:
    costs = ExecutionConfig(slippage_bps=slippage, half_spread_bps=spread, taker_fee=fee)
    market = Market(perpetual(), price / 10, costs, leverage=leverage, cash=cents / 100)
    sized = market.size(direction)
    assert sized.allowed and sized.reason == "leverage"
    side = "BUY" if direction == "LONG" else "SELL"
    hardly = 1.1 * fee + 1.1 * (slippage + spread) / 1e4 + 4.0 / price  # what the plain limit keeps beyond, a short's fill, two ticks
    more = sized.quantity * (1 + hardly) + 2 * 0.001
    assert market.take(side, market.instrument.round_qty(more)).startswith("110007")
    assert market.take(side, sized.quantity) == ""


@given(
    leverage=st.sampled_from([1.0, 3.0, 10.0, 25.0, 50.0]), fee=rates, slippage=bps, spread=bps,
    direction=st.sampled_from(["LONG", "SHORT"]), price=st.integers(1_000, 1_000_000), cents=st.integers(1_000_000, 10_000_000),
)  # fmt: skip
def test_under_cross_margin_the_largest_size_is_filled_too(leverage, fee, slippage, spread, direction, price, cents) -> None:
    """The account bears what the fill lies beyond the mark at once, which at a leverage of 50 is a large part of its margin."""
    costs = ExecutionConfig(slippage_bps=slippage, half_spread_bps=spread, taker_fee=fee)
    market = Market(perpetual(), price / 10, costs, leverage=leverage, cash=cents / 100, mode="cross")
    sized = market.size(direction)
    assert sized.allowed and sized.reason == "leverage"
    side = "BUY" if direction == "LONG" else "SELL"
    hardly = leverage * 2.2 * (fee + 2 * (slippage + spread) / 1e4) + 4.0 / price
    more = sized.quantity * (1 + hardly) + 3 * 0.001
    assert market.take(side, market.instrument.round_qty(more)).startswith("110007")
    assert market.take(side, sized.quantity) == ""


@given(
    leverage=st.sampled_from([1.0, 2.0, 10.0]), fee=rates, slippage=bps, mode=st.sampled_from(["isolated", "cross"]),
    first=st.sampled_from(["LONG", "SHORT"]),
    share=st.floats(0.1, 0.9), move=st.floats(-0.04, 0.04),
)  # fmt: skip
def test_the_largest_flip_is_filled(leverage, fee, slippage, mode, first, share, move) -> None:
    market = Market(
        perpetual(), 50_000.0, ExecutionConfig(slippage_bps=slippage, taker_fee=fee), leverage=leverage, cash=100_000.0, mode=mode
    )
    sides = ("BUY", "SELL") if first == "LONG" else ("SELL", "BUY")
    held = market.instrument.round_qty(market.size(first).quantity * share)
    assert market.take(sides[0], held) == ""
    market.price = market.instrument.round_price(50_000.0 * (1 + move))
    sized = market.size("SHORT" if first == "LONG" else "LONG")
    assert market.take(sides[1], market.instrument.round_qty(sized.quantity + held + 1e-9)) == ""


@given(fee=rates, slippage=bps, spread=bps, price=st.integers(100, 1_000_000))
def test_all_in_on_spot(fee, slippage, spread, price) -> None:
    costs = ExecutionConfig(slippage_bps=slippage, half_spread_bps=spread, taker_fee=fee)
    market = Market(spot_pair(step="0.000001"), price / 10, costs)
    sized = market.size("LONG")
    assert market.take("BUY", market.instrument.round_qty(sized.quantity * (1 + 1e-6) + 2e-6)).startswith("170131")
    assert market.take("BUY", sized.quantity) == ""
    (fill,) = (event for event in market.exchange.events if isinstance(event, Fill))
    assert fill.qty * fill.price > 9_900.0 or price > 900_000


def test_leverage_10_with_a_fee_of_a_tenth_of_a_percent_trades() -> None:
    """Nominal 100,000 less what margin and both fees bind: 10,000 x 0.995 / (0.1 + 2 x 0.001) = 97,549 USDT, at 101."""
    system, strategy = builtin_system(
        "hold", "risk.leverage=10", "sizing.percent=1000", "execution.taker_fee=0.001", "execution.funding=none", "timeframe=1h",
        "execution_timeframe=1h", "warmup_bars=0",
    )  # fmt: skip
    prices = [(100.0 + n % 3, 103.0, 99.0, 100.0 + (n + 1) % 3) for n in range(24)]
    result = run(store_of(prices), system, START, START + 24 * HOUR, strategy())
    assert [(fill.side, fill.qty) for fill in result.fills] == [("BUY", 965.831)]
    assert [row for row in result.order_log if row["kind"] == "rejected"] == []


@pytest.mark.parametrize(("slippage", "promised"), [(0.0, 100_000), (50.0, 100_500)])
def test_what_a_spot_order_in_flight_will_cost_is_counted_with_its_slippage(slippage: float, promised: int) -> None:
    market = Market(spot_pair(), 100_000.0, ExecutionConfig(slippage_bps=slippage), cash=1e6)
    base = market.manager  # its markets
    view = ExpectedView(_Standing(), {"BTCUSDT": market.instrument}, [InFlight("BTCUSDT", 1000, True, False)], base.markets)
    assert (10**14 - view.cash) / 1e8 == promised


class _Standing:
    """An account of a million at a price of 100,000."""

    equity, cash = 1e6, 10**14

    @staticmethod
    def mark(symbol: str) -> float:
        return 100_000.0


def test_a_size_that_was_made_smaller_is_counted_with_what_was_asked_for() -> None:
    system, strategy = builtin_system(
        "hold", "risk.leverage=10", "sizing.percent=1000", "execution.taker_fee=0.001", "execution.funding=none", "timeframe=1h",
        "execution_timeframe=1h", "warmup_bars=0",
    )  # fmt: skip
    result = run(store_of([(101.0,) * 4] * 5), system, START, START + 5 * HOUR, strategy())
    (capped,) = result.funnel.capped
    assert (capped.reason, capped.count, capped.detail) == ("leverage", 1, "100,000.00 was asked for, 97,548.93 is left of it")
    assert Funnel.from_plain(result.funnel.to_plain()) == result.funnel
    assert any("capped" in name and "97,548.93" in text for name, text in funnel_lines(result.funnel))
