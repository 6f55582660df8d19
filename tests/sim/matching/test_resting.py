"""The short way of limit orders that come to rest: it takes what arrives alone where nothing else is due, and all is as it is without."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keel.core.model.messages import Bracket
from keel.core.model.money import to_units
from keel.core.system.config import ExecutionConfig

HOUR = 3_600_000
FLAT = (100.0, 100.0, 100.0, 100.0)

PRICE = st.integers(90, 110).map(float) | st.sampled_from([60.0, 80.0, 99.5, 100.5, 130.0, 1000.0])
QTY = st.sampled_from([0.01, 0.5, 1.0, 1.0, 2.0, 7.0, 40.0])


@st.composite
def bars(draw: st.DrawFn) -> tuple[float, float, float, float]:
    """open, high, low, close; often a moment without movement."""
    opened = draw(st.integers(95, 105).map(float))
    if draw(st.booleans()):
        return (opened,) * 4
    closed, one, other = draw(PRICE), draw(PRICE), draw(PRICE)
    return opened, max(opened, closed, one, other), min(opened, closed, one, other), closed


@st.composite
def commands(draw: st.DrawFn) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """A call of ``Venue``: mostly a limit order, with everything that may stand beside one."""
    name, dice = f"k-{draw(st.integers(1, 60))}", draw(st.integers(0, 19))
    if dice == 0:
        return "amend", (name,), {"price": draw(PRICE)}
    if dice == 1:
        return "cancel", (name,), {}
    if dice == 2:
        return "exits", (), {"trailing": draw(st.just(3.0)), "activation": draw(st.none() | PRICE)}
    more: dict[str, Any] = {}
    if dice < 18:
        more["price"] = draw(PRICE)
    if dice in (16, 17, 18):
        more["trigger_price"] = draw(PRICE)
    if dice == 3:
        more["time_in_force"] = draw(st.sampled_from(["POST_ONLY", "IOC", "FOK"]))
    if dice in (4, 5, 19):
        more["reduce_only"] = True
    elif dice in (6, 18):
        more["bracket"] = Bracket(stop_loss=80.0, take_profit=130.0, trailing=draw(st.none() | st.just(5.0)))
    return "send", (name, draw(st.sampled_from(["BUY", "SELL"])), draw(QTY)), more


@settings(suppress_health_check=list(HealthCheck))
@given(
    data=st.data(),
    kind=st.sampled_from(["linear", "linear", "linear", "cross", "hedge", "spot"]),
    leverage=st.sampled_from([1.0, 5.0, 25.0]),
    config=st.builds(
        lambda costs, **rest: ExecutionConfig(**costs, **rest),
        latency_ms=st.sampled_from([0, 0, 0, 900_000]),
        limit_fill=st.sampled_from(["through", "touch"]),
        costs=st.sampled_from([{}, {"half_spread_bps": 150.0}, {"max_volume_share": 0.05}]),
    ),
)
def test_the_short_way_and_the_general_way_are_the_same(data, venue, make_perpetual, make_spot, kind, leverage, config) -> None:
    make = make_spot if kind == "spot" else make_perpetual
    instrument = make("0.5", min_notional=to_units("5"), price_limit_x=to_units("0.1"), price_limit_y=to_units("0.2"))
    leverage = 1.0 if kind == "spot" else leverage
    sides = [venue(instrument, config=config, capital=1000.0, leverage=leverage, hedge=kind == "hedge") for _ in range(2)]
    short, general = sides
    general.exchange._resting = None
    stamps = data.draw(st.lists(st.integers(0, 20), max_size=3, unique=True).map(sorted))
    for v in sides:
        if kind == "cross":
            v.exchange.set_margin_mode("cross")
        v.funding(*((hour, "0.01" if hour % 2 else "-0.01", 100.0) for hour in stamps))
    for _ in range(data.draw(st.integers(5, 25))):
        for call, given_, more in data.draw(st.lists(commands(), min_size=1, max_size=1) | st.lists(commands(), max_size=2)):
            if kind == "hedge" and call == "send":
                opens = given_[1] == "BUY"
                more["position_idx"] = 1 if opens is not more.get("reduce_only", False) else 2
            for v in sides:
                getattr(v, call)(*given_, **more)
        last = data.draw(bars())
        mark = data.draw(st.none() | bars())
        is_instant = data.draw(st.booleans())
        for v in sides:
            if is_instant:
                v.events.clear()
                v.exchange.instant(v.book, v.hour * HOUR, last[0], last[0] if mark is None else mark[0], last[0], 20.0)
            else:
                v.bar(last, mark, volume=20.0)
        assert short.events == general.events
        assert [getattr(short.book, name) for name in STATE] == [getattr(general.book, name) for name in STATE]
    assert short.exchange.ledger.coins == general.exchange.ledger.coins
    assert short.exchange.position_log == general.exchange.position_log
    assert short.exchange.metrics.trust() == general.exchange.metrics.trust()
    assert short.exchange.state == general.exchange.state


STATE = ("ts", "last", "mark", "index", "volume", "ambiguous", "is_trailing", "wake_ts", "wake_low", "wake_high")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda v: v.send("b", "BUY", 1.0, price=95.0), ["accepted b"], id="it rests"),
        pytest.param(lambda v: v.send("b", "BUY", 1.0, price=101.0), ["fill", "filled b"], id="it is filled at once"),
        pytest.param(lambda v: v.send("b", "BUY", 0.001, price=95.0), ["rejected b"], id="it is refused"),
        pytest.param(lambda v: v.send("b", "BUY", 900.0, price=95.0), ["rejected b"], id="there is too little margin"),
        pytest.param(lambda v: v.send("b", "BUY", 1.0, price=95.0, time_in_force="IOC"), ["accepted b", "expired b"], id="it may not rest"),
        pytest.param(lambda v: v.send("b", "SELL", 1.0, price=100.0, reduce_only=True), ["fill", "filled b"],
                     id="it closes the position"),
        pytest.param(lambda v: v.send("b", "BUY", 1.0), None, id="a market order"),
        pytest.param(lambda v: v.send("b", "BUY", 1.0, price=95.0, trigger_price=97.0), None, id="a conditional order"),
        pytest.param(lambda v: v.send("b", "BUY", 1.0, price=95.0).send("c", "BUY", 1.0, price=95.0), None, id="two orders"),
        pytest.param(lambda v: v.cancel("rests"), None, id="another command"),
        pytest.param(lambda v: setattr(v.clock, "now_ms", HOUR + 1) or v.send("b", "BUY", 1.0, price=95.0), None, id="one on its way"),
        pytest.param(lambda v: v.funding((1, "0.01", 100.0)).send("b", "BUY", 1.0, price=95.0), None, id="funding is due"),
        pytest.param(lambda v: setattr(v.book, "last", 89.0) or v.send("b", "BUY", 1.0, price=95.0), None, id="another order is due"),
        pytest.param(lambda v: setattr(v.book, "mark", 80.0) or v.send("b", "BUY", 1.0, price=95.0), None, id="the mark is beyond a level"),
        pytest.param(lambda v: setattr(v.book.positions[0], "liquidation_price", 100.0) or v.send("b", "BUY", 1.0, price=95.0), None,
                     id="a takeover is due, of which the levels know nothing yet"),
    ],
)  # fmt: skip
def test_what_goes_the_short_way(venue, make, said) -> None:
    v = venue(leverage=2.0).send("a", "BUY", 1.0).send("rests", "BUY", 1.0, price=90.0)
    v.bar(FLAT)
    v.events.clear()
    make(v)
    assert v.exchange._resting.take(v.book, HOUR) is (said is not None)
    assert [f"{event.status} {event.client_order_id}" if hasattr(event, "status") else "fill" for event in v.events] == (said or [])


def test_a_book_on_cross_margin_and_one_with_a_trailing_stop_go_the_general_way(venue) -> None:
    cross = venue()
    cross.exchange.set_margin_mode("cross")
    trails = venue().send("a", "BUY", 1.0, bracket=Bracket(trailing=5.0))
    for v in (cross, trails):
        v.bar(FLAT)
        v.send("b", "BUY", 1.0, price=95.0)
        assert v.exchange._resting.take(v.book, HOUR) is False


def test_what_came_to_rest_is_known_at_its_level_alone(venue) -> None:
    v = venue()
    v.bar(FLAT)
    for name, side, price in (("a", "BUY", 95.0), ("b", "BUY", 93.0), ("c", "SELL", 105.0), ("d", "SELL", 107.0)):
        v.send(name, side, 1.0, price=price).exchange.instant(v.book, HOUR, 100.0, 100.0, 100.0, 0.0)
    assert (v.book.wake_low, v.book.wake_high) == (94.0, 106.0)
    assert v.bar((100.0, 106.0, 94.0, 100.0)) == ["fill a BUY 1 @ 95 maker", "filled a", "fill c SELL 1 @ 105 maker", "filled c"]


def test_between_the_price_and_half_the_spread_an_order_rests_and_is_filled_at_once(venue) -> None:
    v = venue(config=ExecutionConfig(half_spread_bps=200.0, slippage_bps=0.0))
    v.bar(FLAT)
    v.events.clear()
    v.send("a", "BUY", 1.0, price=101.0)
    assert v.exchange._resting.take(v.book, HOUR) is True
    assert [getattr(event, "status", "fill") for event in v.events] == ["accepted", "fill", "filled"]
    assert v.steps == 100


def test_where_takers_wait_for_volume_they_go_first(venue) -> None:
    v = venue(config=ExecutionConfig(slippage_bps=0.0, max_volume_share=0.001))
    v.send("waits", "BUY", 5.0).bar(FLAT)
    v.send("b", "BUY", 1.0, price=95.0)
    assert v.book.waiting and v.exchange._resting.take(v.book, HOUR) is False


def test_an_order_whose_change_has_not_met_the_market_goes_first(venue) -> None:
    v = venue()
    v.bar(FLAT)
    v.send("a", "BUY", 1.0, price=90.0).bar(FLAT)
    v.book.fresh = [v.book.orders["a"]]
    v.send("b", "BUY", 1.0, price=95.0)
    assert v.exchange._resting.take(v.book, 2 * HOUR) is False
