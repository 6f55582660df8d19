"""Time inside a bar: the order of moments at one place, and of places along the path."""

from __future__ import annotations

import pytest

from keel.core.errors import DataError
from keel.core.model.money import to_text, to_units
from keel.core.system.config import ExecutionConfig

FLAT = (100.0, 100.0, 100.0, 100.0)
UP = (100.0, 110.0, 90.0, 105.0)  # O L H C
DOWN = (100.0, 110.0, 90.0, 95.0)  # O H L C
FREE = {"slippage_bps": 0.0, "taker_fee": 0.0, "maker_fee": 0.0}


def opened(venue, side="BUY", qty=1.0, **more):
    """A venue with one position opened at 100."""
    v = venue(**more)
    v.send("in", side, qty).bar(FLAT)
    return v


@pytest.mark.parametrize(
    ("path", "side", "bar", "first"),
    [
        ("ohlc", "BUY", UP, "sl"),
        ("ohlc", "BUY", DOWN, "tp"),
        ("ohlc", "SELL", UP, "tp"),
        ("ohlc", "SELL", DOWN, "sl"),
        ("pessimistic", "BUY", UP, "sl"),
        ("pessimistic", "BUY", DOWN, "sl"),
        ("pessimistic", "SELL", UP, "sl"),
        ("pessimistic", "SELL", DOWN, "sl"),
    ],
)
def test_stop_and_take_profit_in_one_bar(venue, path, side, bar, first) -> None:
    """The path decides which comes first; the bar counts as ambiguous."""
    v = opened(venue, side, config=ExecutionConfig(path=path, **FREE))
    low, high = {"stop_loss": 95.0}, {"take_profit": 105.0}
    v.exits(**(low | high if side == "BUY" else {"stop_loss": 105.0, "take_profit": 95.0})).bar(FLAT)
    said = v.bar(bar)
    assert said[0] == f"triggered in-{first}"
    assert v.steps == 0
    assert v.exchange.ambiguous_bars == 1


OPENED_INSIDE = [
    # order, exits, bar, equity gained by open-low-high-close, by open-high-low-close
    (("BUY", {"price": 90.0}), {"take_profit": 108.0}, (100.0, 120.0, 80.0, 104.0), 18.0, 14.0),
    (("BUY", {"price": 90.0}), {"take_profit": 108.0}, (100.0, 120.0, 80.0, 96.0), 18.0, 6.0),
    (("SELL", {"price": 110.0}), {"take_profit": 92.0}, (100.0, 120.0, 80.0, 104.0), 6.0, 18.0),
    (("SELL", {"price": 110.0}), {"take_profit": 92.0}, (100.0, 120.0, 80.0, 96.0), 14.0, 18.0),
    (("BUY", {"trigger_price": 105.0}), {"stop_loss": 93.0}, (96.0, 112.0, 90.0, 107.0), 2.0, -12.0),
    (("BUY", {"trigger_price": 105.0}), {"stop_loss": 93.0}, (96.0, 112.0, 90.0, 104.0), -1.0, -12.0),
    (("SELL", {"trigger_price": 95.0}), {"stop_loss": 108.0}, (104.0, 112.0, 90.0, 97.0), -13.0, -2.0),
    (("BUY", {"trigger_price": 110.0, "price": 112.0}), {"stop_loss": 91.0}, (100.0, 120.0, 80.0, 102.0), -8.0, -19.0),
    (("BUY", {}), {"trailing": 10.0}, (100.0, 120.0, 95.0, 119.0), 19.0, 10.0),
    (("SELL", {}), {"trailing": 10.0}, (100.0, 105.0, 80.0, 81.0), 10.0, 19.0),
    (("BUY", {}), {"stop_loss": 90.0, "trailing": 10.0}, (100.0, 120.0, 95.0, 99.0), 10.0, 10.0),
]


@pytest.mark.parametrize(("order", "exits", "bar", "low_first", "high_first"), OPENED_INSIDE)
def test_a_position_that_is_opened_inside_the_bar_is_bounded_and_counted(venue, order, exits, bar, low_first, high_first) -> None:
    from keel.core.model.messages import Bracket

    side, more = order
    usual = low_first if bar[3] >= bar[0] else high_first
    for path, expected in (("ohlc", usual), ("pessimistic", min(low_first, high_first))):
        v = venue(config=ExecutionConfig(path=path, **FREE)).send("a", side, 1.0, bracket=Bracket(**exits), **more)
        v.bar(bar)
        assert v.exchange.equity("USDT") - 10_000.0 == expected
        assert v.exchange.ambiguous_bars == (low_first != high_first)


@pytest.mark.parametrize("latency", [0, 250, 600_000])
def test_an_entry_on_its_way_is_bounded_and_counted(venue, latency) -> None:
    """Bought at the open, or soon after it, with a stop and a target that the bar both reaches: the stop first, whatever the latency."""
    from keel.core.model.messages import Bracket

    exits = []
    for path in ("ohlc", "pessimistic"):
        v = venue(config=ExecutionConfig(path=path, latency_ms=latency, **FREE))
        v.send("a", "BUY", 1.0, bracket=Bracket(stop_loss=80.0, take_profit=120.0)).bar((100.0, 130.0, 70.0, 95.0))
        exits.append([fill.reason for fill in v.exchange.fills])
        assert v.exchange.ambiguous_bars == 1
    assert exits == [["signal", "take_profit"], ["signal", "stop_loss"]]


def test_the_mark_that_a_bar_ends_with_says_which_order_is_worse(venue) -> None:
    """Equity is at mark: the limit that only one order fills gains 2 at last and loses 8 at mark."""
    v = venue(config=ExecutionConfig(path="pessimistic", **FREE)).send("a", "BUY", 1.0, price=95.0)
    v.send("b", "SELL", 1.0, trigger_price=109.0, reduce_only=True)
    v.bar((100.0, 110.0, 90.0, 97.0), mark=(100.0, 100.0, 87.0, 87.0))
    assert [fill.client_order_id for fill in v.exchange.fills] == ["a"] and v.exchange.equity("USDT") == 10_000.0 - 8.0
    assert v.exchange.ambiguous_bars == 1


def test_a_bar_that_reaches_one_of_the_two_is_not_ambiguous(venue) -> None:
    v = opened(venue)
    v.exits(stop_loss=95.0, take_profit=120.0).bar(FLAT)
    assert v.bar(UP)[0] == "triggered in-sl"
    assert v.exchange.ambiguous_bars == 0


@pytest.mark.parametrize(("target", "ambiguous"), [(107.0, 1), (105.0, 0)])
def test_a_fill_of_one_side_and_an_exit_of_the_other_are_ambiguous(venue, target, ambiguous) -> None:
    """A limit at the low whose take-profit is at the high: with the high first the bar ends at 105 without it. One at 105 is met."""
    from keel.core.model.messages import Bracket

    v = venue().send("a", "BUY", 1.0, price=95.0, bracket=Bracket(take_profit=target))
    assert v.bar(UP)[-3:] == ["triggered a-tp", f"fill a-tp SELL 1 @ {target:g} taker", "filled a-tp"]
    assert v.exchange.ambiguous_bars == ambiguous


def test_a_cancel_that_arrives_at_the_open_beats_the_stop_that_the_open_would_fire(venue) -> None:
    v = venue().send("s", "BUY", 1.0, trigger_price=105.0)
    v.bar(FLAT)
    assert v.cancel("s").bar((106.0,) * 4) == ["cancelled s CancelByUser"]


def test_a_stop_that_the_open_jumps_over_gets_the_open(venue) -> None:
    v = venue().send("s", "BUY", 1.0, trigger_price=105.0)
    v.bar(FLAT)
    assert v.bar((107.0, 108.0, 106.0, 107.0)) == ["triggered s", "fill s BUY 1 @ 107 taker", "filled s"]


def test_resting_limits_come_before_takers_at_one_place(venue) -> None:
    v = venue().send("l", "BUY", 1.0, price=95.0)
    v.bar(FLAT)
    v.send("m", "SELL", 1.0)
    assert v.bar((90.0,) * 4)[0] == "fill l BUY 1 @ 95 maker"


def test_orders_of_one_kind_come_by_sequence(venue) -> None:
    v = venue().send("b", "BUY", 1.0, price=95.0).send("a", "BUY", 1.0, price=95.0)
    assert [text for text in v.bar(UP) if text.startswith("fill ")] == ["fill b BUY 1 @ 95 maker", "fill a BUY 1 @ 95 maker"]


@pytest.mark.parametrize(
    ("mark_price", "rate", "side", "cash"),
    [
        (100.0, "0.0001", "BUY", "-0.01"),
        (100.0, "0.0001", "SELL", "0.01"),
        (100.0, "-0.0001", "BUY", "0.01"),
        (102.5, "0.0001", "BUY", "-0.01025"),
    ],
)
def test_a_close_sent_at_the_stamp_still_pays(venue, mark_price, rate, side, cash) -> None:
    """Stamp at hour 8; the close is sent at hour 8 and arrives at the open of the bar that begins there."""
    v = venue().funding((8, rate, mark_price)).send("in", side, 1.0)
    for _ in range(8):
        v.bar(FLAT)
    assert v.exchange.funding_payments == []
    said = v.send("out", "SELL" if side == "BUY" else "BUY", 1.0).bar(FLAT)
    assert said[0].startswith("funding") and said[1].startswith("fill out")
    assert to_text(v.exchange.balance("USDT") - to_units("10000")) == cash


def test_an_entry_sent_at_the_stamp_does_not_pay(venue) -> None:
    v = venue().funding((0, "0.0001", 100.0), (1, "0.0001", 100.0))
    assert v.send("in", "BUY", 1.0).bar(FLAT) == ["fill in BUY 1 @ 100 taker", "filled in"]
    assert v.bar(FLAT) == ["funding 0.01"]


def test_a_stamp_inside_the_bar_is_paid_at_its_place(venue) -> None:
    """Filled by the low at a third of the hour, stopped out at two thirds: the stamp between finds the position."""
    from keel.core.model.messages import Bracket

    v = venue()
    v.exchange.set_funding(v.symbol, [1_000_000, 1_800_000, 3_000_000], [to_units("0.001")] * 3, [to_units("100")] * 3)
    v.send("a", "BUY", 1.0, price=95.0, bracket=Bracket(take_profit=108.0))
    v.bar(UP)
    stamps = [payment.ts for payment in v.exchange.funding_payments]
    fills = [fill.ts for fill in v.exchange.fills]
    assert fills == [720_000, 2_280_000]  # 94 at 0.6 of the first third, 108 at 0.9 of the second
    assert stamps == [1_000_000, 1_800_000]


def test_stamps_inside_a_hole_are_charged_at_the_next_open_at_the_mark_of_the_schedule(venue) -> None:
    v = venue().funding((2, "0.0001", 100.0)).send("in", "BUY", 1.0)
    v.bar(FLAT)
    v.hour = 4
    assert v.bar((120.0,) * 4) == ["funding 0.01"]


def test_what_a_position_cannot_pay_from_free_cash_comes_from_its_margin(venue) -> None:
    """All cash is margin: 10 % funding takes it from there, and the liquidation price comes nearer."""
    v = venue(capital=100.0, leverage=10.0).funding((1, "0.05", 100.0), (2, "0.06", 100.0)).send("in", "BUY", 10.0)
    v.bar(FLAT)
    before = v.book.positions[0].liquidation_price
    assert v.bar(FLAT) == ["funding 50"]
    position = v.book.positions[0]
    assert (to_text(position.margin), v.account["position"]) == ("50", "50")
    assert position.liquidation_price > before
    assert v.bar(FLAT)[:2] == ["funding 50", "liquidation SELL 10"]
    assert v.account == {"funding": "110", "insurance": "-10"}
    assert v.exchange.insurance_paid == to_units("10")


@pytest.mark.parametrize("stamps", [[2, 1], [1, 1]])
def test_a_schedule_that_does_not_ascend_is_refused(venue, stamps) -> None:
    with pytest.raises(DataError, match="ascend"):
        venue().funding(*((stamp, "0.0001", 1.0) for stamp in stamps))


def test_triggers_look_at_the_source_that_they_name(venue) -> None:
    v = venue().send("m", "BUY", 1.0, trigger_price=105.0, trigger_by="mark").send("i", "BUY", 1.0, trigger_price=105.0, trigger_by="index")
    assert v.bar(UP, mark=FLAT) == ["accepted m", "accepted i"]
    assert v.bar(FLAT, mark=(100.0, 105.0, 100.0, 101.0), index=FLAT) == ["triggered m", "fill m BUY 1 @ 100 taker", "filled m"]
    assert v.bar(FLAT, mark=FLAT, index=(100.0, 105.0, 100.0, 101.0)) == ["triggered i", "fill i BUY 1 @ 100 taker", "filled i"]


def test_events_carry_the_time_at_which_they_happened(venue) -> None:
    """A rise from 90 to 110 in the second third of the hour meets 100 in its middle."""
    v = venue().send("s", "BUY", 1.0, trigger_price=104.0)
    v.bar(UP)
    assert v.exchange.fills[0].ts == int(3_600_000 * (1 + 14 / 20) / 3)
