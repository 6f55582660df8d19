"""Orders by hand on an exchange that stands alone: what is sent follows from the call, what is wrong is told at once and sends nothing."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest

from keel.adapters.bybit.execution.venue import BybitVenue
from keel.core.errors import ConfigError
from keel.core.model.messages import AmendOrder, Bar, CancelOrder, OrderUpdate, SubmitOrder
from keel.core.model.money import to_units
from keel.core.strategy.order_calls import ItemFate, OrderCalls
from keel.core.system.config import ExecutionConfig
from keel.sim.exchange.exchange import SimulatedExchange
from tests.sim.conftest import perpetual, spot

HOUR = 3_600_000
CALLS = (
    "market_buy",
    "market_sell",
    "limit_buy",
    "limit_sell",
    "close_position",
    "cancel_all",
    "submit_orders",
    "amend_orders",
    "cancel_orders",
)


def exchange(**changes: Any) -> SimulatedExchange:
    """Tick 1, step 0.01, no costs; 10,000 USDT; one hour at 100 has passed."""
    made = SimulatedExchange(
        "XUSDT", 10_000.0, ExecutionConfig.frictionless(), instruments={"XUSDT": perpetual(**changes) if "spot" not in changes else spot()}
    )
    bar(made, 0, 100.0, 100.0)
    return made


def bar(made: SimulatedExchange, hour: int, open_: float, close: float) -> list[Any]:
    """One hour from open to close; what was said in it."""
    before = len(made.events)
    made.process_bar(Bar("XUSDT", "1h", hour * HOUR, (hour + 1) * HOUR, open_, max(open_, close), min(open_, close), close, 1000.0))
    return made.events[before:]


def fills(made: SimulatedExchange) -> list[tuple[str, float, float]]:
    return [(fill.side, fill.qty, fill.price) for fill in made.fills]


@pytest.mark.parametrize("name", CALLS)
def test_every_venue_has_the_same_calls(name: str) -> None:
    """The sandbox's client and the live venue are one class, over different endpoints."""
    own = getattr(OrderCalls, name)
    assert getattr(SimulatedExchange, name) is own and getattr(BybitVenue, name) is own
    assert list(inspect.signature(own).parameters)[:2] == ["self", "symbol" if name.split("_")[1] in ("buy", "sell", "position") else
                                                           "command" if name == "cancel_all" else "commands"]  # fmt: skip


def test_the_documents_line() -> None:
    """``order_result = simulated_exchange.market_buy(symbol, size)``: 1000 USDT at 100 is 10; the order fills at the next open."""
    made = exchange()
    order_result = made.market_buy("XUSDT", 1000)
    assert (order_result.side, order_result.order_type, order_result.qty, order_result.price) == ("BUY", "market", 10.0, None)
    assert made.fills == []
    bar(made, 1, 102.0, 103.0)
    assert fills(made) == [("BUY", 10.0, 102.0)]


def test_a_quantity_is_rounded_down_to_its_step() -> None:
    assert exchange().market_sell("XUSDT", 1234.56).qty == 12.34


def test_limits_rest_at_their_price_until_they_are_cancelled() -> None:
    made = exchange()
    bid, ask = made.limit_buy("XUSDT", 950.0, 95.0), made.limit_sell("XUSDT", 1100.0, 110.0, time_in_force="POST_ONLY")
    assert (bid.order_type, bid.qty, bid.price, bid.time_in_force) == ("limit", 10.0, 95.0, "GTC")
    assert (ask.order_type, ask.qty, ask.price, ask.time_in_force) == ("limit", 10.0, 110.0, "POST_ONLY")
    bar(made, 1, 100.0, 111.0)
    assert fills(made) == [("SELL", 10.0, 110.0)]
    made.cancel_all("XUSDT")
    bar(made, 2, 111.0, 80.0)
    assert len(made.fills) == 1 and made.state["orders"] == []


@pytest.mark.parametrize("symbol", [None, "XUSDT"])
def test_cancel_all_takes_a_symbol_or_none(symbol: str | None) -> None:
    made = exchange()
    made.limit_buy("XUSDT", 950.0, 95.0)
    made.cancel_all(symbol)
    bar(made, 1, 100.0, 90.0)
    assert made.fills == [] and made.state["orders"] == []


@pytest.mark.parametrize(("open_with", "closing"), [("market_buy", "SELL"), ("market_sell", "BUY")])
def test_close_position_closes_what_is_held(open_with: str, closing: str) -> None:
    made = exchange()
    assert made.close_position("XUSDT") is None
    getattr(made, open_with)("XUSDT", 1000.0)
    bar(made, 1, 100.0, 100.0)
    order = made.close_position("XUSDT")
    assert order is not None and (order.side, order.qty, order.reduce_only) == (closing, 10.0, True)
    bar(made, 2, 100.0, 100.0)
    assert made.state["positions"] == [] and len(made.trades) == 1


def test_close_position_on_spot_sells_the_whole_steps() -> None:
    """A buy of 10 pays its fee of 0.1 % in base: 9.99 are held."""
    made = SimulatedExchange("XUSDT", 10_000.0, ExecutionConfig(slippage_bps=0.0), instruments={"XUSDT": spot(step="0.1")})
    bar(made, 0, 100.0, 100.0)
    made.market_buy("XUSDT", 1000.0)
    bar(made, 1, 100.0, 100.0)
    order = made.close_position("XUSDT")
    assert order is not None and (order.side, order.qty, order.reduce_only) == ("SELL", 9.9, False)


def test_each_side_of_a_hedge_is_closed_by_itself() -> None:
    made = SimulatedExchange("XUSDT", 10_000.0, ExecutionConfig.frictionless(), instruments={"XUSDT": perpetual()}, hedge_mode=True)
    bar(made, 0, 100.0, 100.0)
    made.market_buy("XUSDT", 1000.0, position_idx=1)
    made.market_sell("XUSDT", 500.0, position_idx=2)
    bar(made, 1, 100.0, 100.0)
    short = made.close_position("XUSDT", position_idx=2)
    assert short is not None and (short.side, short.qty, short.position_idx) == ("BUY", 5.0, 2)
    with pytest.raises(ConfigError, match="position_idx 0"):
        made.close_position("XUSDT")


WRONG: list[tuple[Callable[[SimulatedExchange], Any], str]] = [
    (lambda made: made.market_buy("YUSDT", 100.0), "does not trade YUSDT; it has XUSDT"),
    (lambda made: made.market_buy("XUSDT", "100"), "usd: must be a number"),
    (lambda made: made.market_buy("XUSDT", -5.0), "usd: must be a number above 0, not -5.0"),
    (lambda made: made.market_buy("XUSDT", math.nan), "must be a number above 0, not nan"),
    (lambda made: made.market_buy("XUSDT", True), "must be a number above 0, not true"),
    (lambda made: made.market_buy("XUSDT", 0.5), "the smallest is 0.01: give at least 1.00"),
    (lambda made: made.market_buy("XUSDT", 1e12), "the largest is 1e"),
    (lambda made: made.limit_buy("XUSDT", 100.0, None), "price: must be a number"),
    (lambda made: made.limit_buy("XUSDT", 100.0, 99.5), "not a multiple of its tick 1; below it is 99"),
    (lambda made: made.limit_sell("XUSDT", 100.0, math.inf), "price: must be a number above 0, not inf"),
    (lambda made: made.limit_buy("XUSDT", 100.0, 99.0, time_in_force="gtc"), "did you mean GTC?"),
    (lambda made: made.market_buy("XUSDT", 100.0, reduce_only="yes"), "reduce_only must be true or false"),
    (lambda made: made.market_buy("XUSDT", 100.0, client_order_id=7), "client_order_id: must be a text, not 7"),
    (lambda made: made.market_buy("XUSDT", 100.0, client_order_id=""), "client_order_id: must be a text"),
    (lambda made: made.market_sell(["XUSDT"], 100.0), "symbol: must be a text"),
    (lambda made: made.cancel_all(7), "symbol: must be a text, not 7"),
    (lambda made: made.close_position("YUSDT"), "does not trade YUSDT"),
    (lambda made: made.cancel_all("YUSDT"), "does not trade YUSDT"),
]


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_is_wrong_is_told_at_once_and_sends_nothing(call: Callable[[SimulatedExchange], Any], words: str) -> None:
    made = exchange()
    with pytest.raises(ConfigError) as told:
        call(made)
    assert words in str(told.value)
    assert not any(isinstance(event, OrderUpdate) for event in bar(made, 1, 100.0, 100.0))


def test_an_order_under_the_smallest_value_is_refused_unless_it_only_reduces() -> None:
    made = exchange(min_notional=to_units("5"))
    with pytest.raises(ConfigError, match=r"worth 4\.00, and the smallest value is 5"):
        made.market_buy("XUSDT", 4.0)
    assert made.market_sell("XUSDT", 4.0, reduce_only=True).qty == 0.04


def test_without_a_price_an_amount_is_no_quantity() -> None:
    made = SimulatedExchange("XUSDT", instruments={"XUSDT": perpetual()})
    with pytest.raises(ConfigError, match="no price is known yet"):
        made.market_buy("XUSDT", 100.0)
    assert made.limit_buy("XUSDT", 100.0, 50.0).qty == 2.0


def test_names_are_new_unless_given_and_never_given_twice() -> None:
    made = exchange()
    assert made.market_buy("XUSDT", 100.0).client_order_id != made.market_buy("XUSDT", 100.0).client_order_id
    assert made.market_buy("XUSDT", 100.0, client_order_id="mine").client_order_id == "mine"
    for _ in range(2):  # while it is on its way, and once it has arrived
        with pytest.raises(ConfigError, match="names an order already"):
            made.market_buy("XUSDT", 100.0, client_order_id="mine")
        bar(made, 1, 100.0, 100.0)


def limit(name: str, qty: Any, price: Any, symbol: str = "XUSDT") -> SubmitOrder:
    return SubmitOrder(name, symbol, "BUY", "limit", qty, HOUR, price)


def test_each_item_of_a_batch_has_its_own_fate() -> None:
    """What is refused here keeps nothing else from being placed; what the venue refuses is told by its own event."""
    made = exchange()
    given = [limit("a", 1.0, 95.0), limit("b", 1.0, 95.5), limit("c", 0.015, 95.0), limit("d", 1.0, 95.0, "YUSDT"), limit("a", 1.0, 94.0),
             limit("e", 1e5, 95.0), limit("f", 2.0, 96.0)]  # fmt: skip
    fates = made.submit_orders(given)
    assert [(fate.client_order_id, fate.accepted) for fate in fates] == [
        ("a", True), ("b", False), ("c", False), ("d", False), ("a", False), ("e", True), ("f", True),
    ]  # fmt: skip
    assert [words in fate.reason for fate, words in zip(fates, ["", "tick", "step", "YUSDT", "twice", "", ""], strict=True)] == [True] * 7
    told = [(event.client_order_id, event.status) for event in bar(made, 1, 100.0, 100.0) if isinstance(event, OrderUpdate)]
    assert ("e", "rejected") in told and sorted(made.state["orders"]) == ["a", "f"]
    assert made.amend_orders([AmendOrder("a", "XUSDT", HOUR, price=90.0), AmendOrder("f", "XUSDT", HOUR, price=90.5)]) == [
        ItemFate("a", True),
        ItemFate("f", False, "XUSDT: a price of 90.5 is not a multiple of its tick 1; below it is 90"),
    ]
    fates = made.cancel_orders([CancelOrder("f", "XUSDT", HOUR), CancelOrder("a", "YUSDT", HOUR), "f"])  # type: ignore[list-item]
    assert [fate.accepted for fate in fates] == [True, False, False]
    bar(made, 2, 100.0, 93.0)
    assert made.state["orders"] == ["a"] and made.fills == []  # "a" was moved from 95 to 90, "f" is gone
