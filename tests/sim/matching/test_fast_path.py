"""The short way of plain market orders: it takes what is plain and nothing else, and with it everything is as it is without."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keel.core.model.messages import Bracket
from keel.core.model.money import to_units
from keel.core.system.config import ExecutionConfig, ImpactConfig

HOUR = 3_600_000
FLAT = (100.0, 100.0, 100.0, 100.0)

PRICE = st.integers(60, 140).map(float) | st.integers(190, 210).map(lambda n: n / 2)  # some of them off the grid
QTY = st.sampled_from([0.0, 0.005, 0.01, 0.5, 1.0, 1.0, 2.0, 2.0, 7.0, 40.0, 900.0, 1e16])


@st.composite
def bars(draw: st.DrawFn) -> tuple[float, float, float, float]:
    """open, high, low, close, near to one another or far apart."""
    opened = draw(PRICE)
    if draw(st.booleans()):
        return opened, opened + 1.0, opened - 1.0, opened
    closed, one, other = draw(PRICE), draw(PRICE), draw(PRICE)
    return opened, max(opened, closed, one, other), min(opened, closed, one, other), closed


@st.composite
def orders(draw: st.DrawFn, numbers: int) -> tuple[str, str, float, dict[str, Any]]:
    """What ``Venue.send`` takes: market orders, most of them plain; now and then an id for the second time, or a bracket, limit or stop."""
    more: dict[str, Any] = {}
    if draw(st.integers(0, 3)) == 0:
        more["reduce_only"] = True
        more["close_on_trigger"] = draw(st.booleans())
    dice = draw(st.integers(0, 14))
    if dice == 0:
        more["bracket"] = Bracket(stop_loss=draw(PRICE), trailing=draw(st.none() | st.just(5.0)))
    elif dice == 1:
        more["price"] = draw(PRICE)
    elif dice == 2:
        more["trigger_price"] = draw(PRICE)
    elif dice == 3:
        more["position_idx"] = draw(st.sampled_from([1, 2]))
    elif dice == 4:
        more["time_in_force"] = draw(st.sampled_from(["IOC", "FOK", "POST_ONLY"]))
    return f"k-{draw(st.integers(1, numbers))}", draw(st.sampled_from(["BUY", "SELL"])), draw(QTY), more


@settings(suppress_health_check=list(HealthCheck))
@given(
    data=st.data(),
    kind=st.sampled_from(["linear", "linear", "linear", "linear", "hedge", "spot"]),
    leverage=st.sampled_from([1.0, 5.0, 25.0, 60.0]),
    config=st.builds(
        lambda costs, **rest: ExecutionConfig(**costs, **rest),
        latency_ms=st.sampled_from([0, 0, 900_000]),
        slippage_bps=st.sampled_from([0.0, 1.0]),
        costs=st.sampled_from(
            [{}, {}, {}, {"half_spread_bps": 40.0}, {"max_volume_share": 0.05}, {"impact": ImpactConfig(base_bps=1.0, coefficient=0.3)}]
        ),
    ),
    tick=st.sampled_from(["1", "0.5", "0.00001"]),
)
def test_the_short_way_and_the_general_way_are_the_same(data, venue, make_perpetual, make_spot, kind, leverage, config, tick) -> None:
    make = make_spot if kind == "spot" else make_perpetual
    instrument = make(tick, min_notional=to_units("5"), max_market_qty=500.0)
    leverage = 1.0 if kind == "spot" else leverage
    sides = [venue(instrument, config=config, capital=1000.0, leverage=leverage, hedge=kind == "hedge") for _ in range(2)]
    short, general = sides
    general.exchange._fast_path = None
    stamps = data.draw(st.lists(st.integers(0, 30), max_size=4, unique=True).map(sorted))
    for v in sides:
        v.funding(*((hour, "0.01" if hour % 2 else "-0.01", 100.0) for hour in stamps))
    for _ in range(data.draw(st.integers(1, 30))):
        for name, side, qty, more in data.draw(st.lists(orders(40), max_size=2) | st.lists(orders(10_000), min_size=1, max_size=1)):
            for v in sides:
                v.send(name, side, qty, **more)
        last = data.draw(bars())
        mark = data.draw(st.none() | bars())
        volume = data.draw(st.sampled_from([0.0, 20.0, 1000.0]))
        for v in sides:
            v.bar(last, mark, volume=volume)
        assert short.events == general.events
        assert (short.book.wake_ts, short.book.wake_low, short.book.wake_high) == (
            general.book.wake_ts,
            general.book.wake_low,
            general.book.wake_high,
        )
    assert short.exchange.ledger.coins == general.exchange.ledger.coins
    assert short.exchange.position_log == general.exchange.position_log
    assert short.exchange.metrics.trust() == general.exchange.metrics.trust()
    assert short.exchange.stop_reason == general.exchange.stop_reason
    assert short.exchange.state == general.exchange.state


@pytest.mark.parametrize(
    ("order", "plain"),
    [
        pytest.param(("b", "SELL", 2.0, {}), True, id="a flip"),
        pytest.param(("b", "SELL", 1.0, {"reduce_only": True}), True, id="a close"),
        pytest.param(("b", "SELL", 0.5, {}), True, id="a part of it"),
        pytest.param(("b", "BUY", 1.0, {}), True, id="more of it"),
        pytest.param(("b", "BUY", 900.0, {}), True, id="more than the cash allows: refused by the same settlement"),
        pytest.param(("a", "SELL", 2.0, {}), False, id="an id for the second time"),
        pytest.param(("b", "SELL", 0.0, {"reduce_only": True, "close_on_trigger": True}), False, id="whatever is open"),
        pytest.param(("b", "SELL", 2.0, {"reduce_only": True}), False, id="reduce-only for more than is open"),
        pytest.param(("b", "BUY", 1.0, {"reduce_only": True}), False, id="reduce-only to the wrong side"),
        pytest.param(("b", "SELL", 0.005, {}), False, id="half a step"),
        pytest.param(("b", "SELL", 0.01, {}), False, id="below the smallest notional"),
        pytest.param(("b", "SELL", 1.0, {"bracket": Bracket(stop_loss=110.0)}), False, id="a bracket"),
        pytest.param(("b", "SELL", 1.0, {"price": 100.0}), False, id="a limit"),
        pytest.param(("b", "SELL", 1.0, {"position_idx": 2}), False, id="a position of hedge mode"),
    ],
)
def test_what_is_plain(venue, make_perpetual, order, plain) -> None:
    v = venue(make_perpetual(min_notional=to_units("5"))).send("a", "BUY", 1.0)
    v.bar(FLAT)
    v.events.clear()
    name, side, qty, more = order
    v.send(name, side, qty, **more)
    assert v.exchange._fast_path.take(v.book, HOUR) is plain
    assert bool(v.events) is plain and len(v.book.pending) == (not plain)


@pytest.mark.parametrize(
    ("make", "plain"),
    [
        pytest.param(lambda v: v.send("b", "SELL", 1.0), True, id="one order"),
        pytest.param(lambda v: setattr(v.clock, "now_ms", HOUR + 1) or v.send("b", "SELL", 1.0), False, id="one that is on its way"),
        pytest.param(lambda v: v, False, id="none"),
        pytest.param(lambda v: v.send("b", "SELL", 1.0).send("c", "SELL", 1.0), False, id="two"),
        pytest.param(lambda v: v.cancel("a"), False, id="another command"),
        pytest.param(lambda v: v.funding((1, "0.0001", 100.0)).send("b", "SELL", 1.0), False, id="funding is due"),
        pytest.param(lambda v: setattr(v.book, "last", 100.5) or v.send("b", "SELL", 1.0), False, id="a price off the grid"),
        pytest.param(lambda v: setattr(v.book, "mark", 90.0) or v.send("b", "SELL", 1.0), False, id="a takeover is due"),
    ],
)
def test_where_the_short_way_is_open(venue, make, plain) -> None:
    v = venue(leverage=10.0).send("a", "BUY", 1.0)
    v.bar(FLAT)
    v.events.clear()
    make(v)
    assert v.exchange._fast_path.take(v.book, HOUR) is plain
    assert bool(v.events) is plain


def test_a_close_that_eats_the_margin_of_the_rest_ends_in_its_takeover(venue) -> None:
    sides = [venue(capital=100.0, leverage=10.0) for _ in range(2)]
    sides[1].exchange._fast_path = None
    for v in sides:
        v.send("a", "BUY", 10.0).bar(FLAT)
        said = v.send("b", "SELL", 4.0).bar((70.0,) * 4, mark=FLAT)
        assert said == ["fill b SELL 4 @ 70 bust", "filled b", "liquidation SELL 6", "fill liquidation-1 SELL 6 @ 100 bust"]
    assert sides[0].events == sides[1].events


@pytest.mark.parametrize("config", [ExecutionConfig(max_volume_share=0.1), ExecutionConfig(impact=ImpactConfig(base_bps=1.0))])
def test_accounts_without_a_short_way(venue, config) -> None:
    assert venue(config=config).exchange._fast_path is None
    assert venue(hedge=True).exchange._fast_path is None
