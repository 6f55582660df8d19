"""When a run of several symbols ends: by what the ledger and the symbol at hand know, not by which bars of the others were stepped."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keel.core.engine.clock import ReplayClock
from keel.core.model.instrument import Instrument
from keel.core.model.messages import SubmitOrder
from keel.core.model.money import to_units
from keel.core.system.config import ExecutionConfig
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange
from keel.sim.exchange.exhaustion import least_need, smallest_order

HOUR = 3_600_000


def run_two(one: Instrument, other: Instrument, prices: list[float], *, skip: bool) -> SimulatedExchange:
    """X loses its margin in the second hour; Z, which nothing is ordered of, has a bar of each price after X's."""
    clock, events = ReplayClock(), []
    exchange = SimulatedExchange(
        ["XUSDT", "ZUSDT"], 100.4, ExecutionConfig(slippage_bps=0.0, taker_fee=0.0), RiskProfileConfig(leverage=10.0),
        instruments={"XUSDT": one, "ZUSDT": other}, clock=clock, emit=events.append,
    )  # fmt: skip
    exchange.submit_order(SubmitOrder("a", "XUSDT", "BUY", "market", 10.0, 0))
    for hour, (low, price) in enumerate(zip([100.0, 85.0, 100.0], prices, strict=True)):
        clock.now_ms = hour * HOUR
        for symbol, bar in (("XUSDT", (100.0, 100.0, low, 100.0)), ("ZUSDT", (price,) * 4)):
            book = exchange.books[symbol]
            if not skip or clock.now_ms + HOUR > book.wake_ts or bar[2] <= book.wake_low or bar[1] >= book.wake_high:
                exchange.step(book, clock.now_ms, clock.now_ms + HOUR, *bar, 1000.0, *bar, *bar)
    return exchange


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(
    ("least", "prices", "code"),
    [
        pytest.param("5", [1.0, 1.0, 1.0], "account_blown", id="0.4 left, and no order under 5"),
        pytest.param("5", [9000.0, 1.0, 1.0], "account_blown", id="whatever Z's price was"),
        pytest.param("0", [9000.0, 9000.0, 9000.0], None, id="Z might become cheap enough for 0.4"),
    ],
)
def test_skipped_bars_of_other_symbols_change_nothing(make_perpetual, skip: bool, least: str, prices: list[float], code: Any) -> None:
    one = make_perpetual(min_notional=to_units("5"))
    other = make_perpetual("0.01", symbol="ZUSDT", base="Z", min_notional=to_units(least))
    reason = run_two(one, other, prices, skip=skip).should_stop()
    assert (None if reason is None else (reason.code, reason.ts // HOUR)) == (None if code is None else (code, 1))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tick=st.sampled_from(["0.00001", "0.5", "10"]), step=st.sampled_from(["0.001", "1", "100"]), least=st.sampled_from(["0", "5", "100"]),
    price=st.floats(1e-5, 1e6), leverage=st.sampled_from([1.0, 7.0, 100.0]),
)  # fmt: skip
def test_no_price_makes_the_smallest_order_smaller_than_the_least_need(make_perpetual, tick, step, least, price, leverage) -> None:
    instrument = make_perpetual(tick, step, min_notional=to_units(least))
    exchange = SimulatedExchange("XUSDT", 1.0, ExecutionConfig(), RiskProfileConfig(leverage=leverage), instruments={"XUSDT": instrument})
    book = exchange.books["XUSDT"]
    assert smallest_order(book, price) >= least_need(book)
