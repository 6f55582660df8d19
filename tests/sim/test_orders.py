"""Orders as the venue answers them: every time in force, stops, reduce-only, amendments, cancels, refusals."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.model.instrument import Grid
from keel.core.model.money import to_units
from keel.core.system.config import ExecutionConfig, ImpactConfig
from keel.sim.matching.execution import impact_rate, volume_cap_steps

FLAT = (100.0, 100.0, 100.0, 100.0)
DIP = (100.0, 104.0, 90.0, 102.0)  # O L H C
RISE_FIRST = (100.0, 110.0, 95.0, 97.0)  # O H L C


def costs(**more):
    return ExecutionConfig(**({"slippage_bps": 0.0, "taker_fee": 0.0, "maker_fee": 0.0} | more))


@pytest.mark.parametrize(
    ("order", "config", "bar", "said"),
    [
        pytest.param({"price": 95.0}, {}, (100.0, 101.0, 95.0, 100.0), ["accepted a"], id="a limit that is only touched rests"),
        pytest.param({"price": 95.0}, {}, (100.0, 101.0, 94.0, 100.0), ["accepted a", "fill a BUY 1 @ 95 maker", "filled a"],
                     id="one tick through fills at its own price as maker"),
        pytest.param({"price": 95.0}, {"limit_fill": "touch"}, (100.0, 101.0, 95.0, 100.0),
                     ["accepted a", "fill a BUY 1 @ 95 maker", "filled a"], id="touch fills when reached"),
        pytest.param({"price": 105.0}, {}, FLAT, ["fill a BUY 1 @ 100 taker", "filled a"], id="a limit that crosses takes"),
        pytest.param({"price": 101.0}, {"slippage_bps": 500.0}, FLAT, ["fill a BUY 1 @ 101 taker", "filled a"],
                     id="never worse than its limit"),
        pytest.param({"price": 100.0}, {"half_spread_bps": 100.0}, FLAT, ["accepted a"], id="half a spread away it does not cross"),
        pytest.param({"price": 101.0}, {"half_spread_bps": 100.0}, FLAT, ["fill a BUY 1 @ 101 taker", "filled a"],
                     id="at the ask it crosses"),
        pytest.param({"price": 100.0, "time_in_force": "POST_ONLY"}, {}, FLAT,
                     ["accepted a", "expired a EC_PostOnlyWillTakeLiquidity"], id="post-only that would cross"),
        pytest.param({"price": 99.0, "time_in_force": "POST_ONLY"}, {}, DIP,
                     ["accepted a", "fill a BUY 1 @ 99 maker", "filled a"], id="post-only that rests"),
        pytest.param({"price": 99.0, "time_in_force": "IOC"}, {}, DIP, ["accepted a", "expired a EC_NoImmediateQtyToFill"],
                     id="IOC does not wait for the dip"),
        pytest.param({"price": 101.0, "time_in_force": "IOC"}, {"max_volume_share": 0.0004}, FLAT,
                     ["accepted a", "fill a BUY 0.4 @ 100 taker", "partially_filled a", "expired a EC_NoImmediateQtyToFill"],
                     id="IOC takes what the volume gives"),
        pytest.param({"price": 101.0, "time_in_force": "FOK"}, {"max_volume_share": 0.0004}, FLAT,
                     ["accepted a", "expired a EC_CancelForNoFullFill"], id="FOK wants all"),
        pytest.param({"price": 101.0, "time_in_force": "FOK"}, {}, FLAT, ["fill a BUY 1 @ 100 taker", "filled a"], id="FOK gets all"),
        pytest.param({"price": 99.0, "time_in_force": "FOK"}, {}, DIP, ["accepted a", "expired a EC_CancelForNoFullFill"],
                     id="FOK that does not cross"),
        pytest.param({"time_in_force": "FOK"}, {"max_volume_share": 0.0004}, FLAT, ["accepted a", "expired a EC_CancelForNoFullFill"],
                     id="a market FOK wants all"),
        pytest.param({"trigger_price": 103.0}, {}, DIP, ["accepted a", "triggered a", "fill a BUY 1 @ 103 taker", "filled a"],
                     id="a stop fires at its level"),
        pytest.param({"trigger_price": 103.0}, {"slippage_bps": 100.0}, DIP,
                     ["accepted a", "triggered a", "fill a BUY 1 @ 105 taker", "filled a"],
                     id="and pays its costs, rounded against it"),
        pytest.param({"trigger_price": 95.0}, {}, DIP, ["accepted a", "triggered a", "fill a BUY 1 @ 95 taker", "filled a"],
                     id="below the price it falls to its trigger"),
        pytest.param({"trigger_price": 105.0}, {}, DIP, ["accepted a"], id="a level that is not reached"),
        pytest.param({"trigger_price": 103.0, "price": 103.0}, {}, (100.0, 106.0, 99.0, 104.0),
                     ["accepted a", "triggered a", "fill a BUY 1 @ 103 taker", "filled a"], id="a stop-limit takes when it can"),
        pytest.param({"trigger_price": 103.0, "price": 101.0}, {}, (100.0, 106.0, 99.0, 104.0), ["accepted a", "triggered a"],
                     id="a stop-limit rests from its trigger on"),
        pytest.param({"trigger_price": 103.0, "price": 101.0}, {}, RISE_FIRST,
                     ["accepted a", "triggered a", "fill a BUY 1 @ 101 maker", "filled a"], id="and fills when the price comes back"),
        pytest.param({"trigger_price": 99.0, "trigger_rising": True}, {}, FLAT, ["rejected a 110092"], id="expected to rise"),
        pytest.param({"trigger_price": 101.0, "trigger_rising": False}, {}, FLAT, ["rejected a 110093"], id="expected to fall"),
        pytest.param({"reduce_only": True}, {}, FLAT, ["rejected a 110017"], id="reduce-only without a position"),
        pytest.param({"position_idx": 1}, {}, FLAT, ["rejected a 10001"], id="no hedge mode here"),
        pytest.param({"price": 100.5}, {}, FLAT, ["rejected a 10001"], id="off the tick"),
        pytest.param({"trigger_price": -1.0}, {}, FLAT, ["rejected a 10001"], id="not a trigger"),
    ],
)  # fmt: skip
def test_one_buy_of_1_at_the_open(venue, order, config, bar, said) -> None:
    assert venue(config=costs(**config)).send("a", "BUY", 1.0, **order).bar(bar) == said


@pytest.mark.parametrize("qty", [0.0, -1.0, 0.005, 1e30, 0.001])
def test_a_quantity_off_the_grid_is_refused(venue, qty: float) -> None:
    assert venue().send("a", "BUY", qty).bar(FLAT) == ["rejected a 10001"]


@pytest.mark.parametrize(
    ("changes", "side", "qty", "said"),
    [
        ({"min_qty": 0.1}, "BUY", 0.05, "rejected a 10001"),
        ({"max_market_qty": 10.0}, "BUY", 10.01, "rejected a 10001"),
        ({"min_notional": to_units("5")}, "BUY", 0.04, "rejected a 110094"),
        ({}, "BUY", 100.01, "rejected a 110007"),
        ({}, "SELL", 100.01, "rejected a 110007"),
    ],
)
def test_limits_of_an_instrument_and_of_the_purse(venue, make_perpetual, changes, side, qty, said) -> None:
    assert venue(make_perpetual(**changes)).send("a", side, qty).bar(FLAT) == [said]


def test_a_client_order_id_is_never_used_twice(venue) -> None:
    v = venue()
    v.send("a", "BUY", 1.0).bar(FLAT)
    assert v.send("a", "BUY", 1.0).bar(FLAT) == ["rejected a 110072"]


def test_a_reduction_is_cut_to_the_position_and_never_flips(venue) -> None:
    v = venue()
    v.send("a", "BUY", 1.0).bar(FLAT)
    assert v.send("b", "SELL", 5.0, reduce_only=True).bar(FLAT) == ["fill b SELL 1 @ 100 taker", "filled b"]
    assert v.steps == 0


def test_quantity_0_closes_the_whole_position(venue) -> None:
    v = venue()
    v.send("a", "SELL", 1.5).bar(FLAT)
    assert v.send("b", "BUY", 0.0, reduce_only=True, close_on_trigger=True).bar(FLAT) == ["fill b BUY 1.5 @ 100 taker", "filled b"]


def test_a_resting_reduction_shrinks_with_the_position_and_ends_with_it(venue) -> None:
    v = venue()
    v.send("a", "BUY", 2.0).bar(FLAT)
    v.send("r", "SELL", 2.0, price=120.0, reduce_only=True).bar(FLAT)
    assert v.send("b", "SELL", 0.5).bar(FLAT) == ["fill b SELL 0.5 @ 100 taker", "filled b", "amended r CancelByReduceOnly"]
    assert v.book.orders["r"].leaves == 150
    assert v.send("c", "SELL", 1.5).bar(FLAT) == ["fill c SELL 1.5 @ 100 taker", "filled c", "cancelled r CancelByReduceOnly"]


def test_a_close_on_trigger_stop_takes_what_is_there(venue) -> None:
    v = venue()
    v.send("a", "BUY", 2.0).bar(FLAT)
    v.send("s", "SELL", 0.0, trigger_price=95.0, reduce_only=True, close_on_trigger=True).send("b", "SELL", 0.5).bar(FLAT)
    assert v.bar(DIP) == ["triggered s", "fill s SELL 1.5 @ 95 taker", "filled s"]


def test_a_reduce_only_stop_without_a_position_ends_when_it_fires(venue) -> None:
    v = venue().send("s", "SELL", 1.0, trigger_price=95.0, reduce_only=True)
    assert v.bar(DIP) == ["accepted s", "cancelled s CancelByReduceOnly"]


def test_one_order_flips(venue) -> None:
    v = venue()
    v.send("a", "BUY", 2.0).bar(FLAT)
    assert v.send("b", "SELL", 5.0).bar((110.0,) * 4) == ["fill b SELL 5 @ 110 taker", "filled b"]
    assert v.steps == -300
    assert v.book.positions[0].cost == to_units("330")
    assert v.exchange.fills[-1].realized_pnl == to_units("20")


def test_amendments(venue) -> None:
    v = venue()
    v.send("a", "BUY", 1.0, price=90.0).send("s", "BUY", 1.0, trigger_price=120.0).bar(FLAT)
    assert v.account["order"] == "90"
    assert v.amend("a", price=95.0, qty=2.0).amend("s", trigger_price=103.0).bar(FLAT) == ["amended a", "amended s"]
    assert v.account["order"] == "190"
    assert v.bar(DIP) == ["fill a BUY 2 @ 95 maker", "filled a", "triggered s", "fill s BUY 1 @ 103 taker", "filled s"]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("zz", {"price": 1.0}, "amend_rejected zz 110001"),
        ("a", {"price": 90.5}, "amend_rejected a 10001"),
        ("a", {"qty": 0.001}, "amend_rejected a 10001"),
        ("a", {"qty": 1000.0}, "amend_rejected a 110007"),
        ("a", {"trigger_price": 80.0}, "amend_rejected a 10001"),
        ("s", {"price": 80.0}, "amend_rejected s 10001"),
    ],
)
def test_an_amendment_that_cannot_be_changes_nothing(venue, name, change, said) -> None:
    v = venue()
    v.send("a", "BUY", 1.0, price=90.0).send("s", "BUY", 1.0, trigger_price=120.0).bar(FLAT)
    before = (list(v.book.accounts), v.book.orders["a"].limit, v.book.orders["a"].leaves)
    assert v.amend(name, **change).bar(FLAT) == [said]
    assert (v.book.accounts, v.book.orders["a"].limit, v.book.orders["a"].leaves) == before


def test_an_amendment_to_a_price_that_crosses_takes(venue) -> None:
    v = venue()
    v.send("a", "BUY", 1.0, price=90.0).bar(FLAT)
    assert v.amend("a", price=105.0).bar(FLAT) == ["amended a", "fill a BUY 1 @ 100 taker", "filled a"]


def test_an_amendment_may_not_go_below_what_is_filled(venue) -> None:
    v = venue(config=costs(max_volume_share=0.0004))
    v.send("a", "BUY", 1.0, price=100.0).bar(FLAT)
    assert v.amend("a", qty=0.4).bar((101.0,) * 4) == ["amend_rejected a 110064"]


def test_cancels(venue) -> None:
    v = venue()
    v.send("a", "BUY", 1.0, price=90.0).send("b", "BUY", 1.0, price=91.0).send("s", "BUY", 1.0, trigger_price=110.0).bar(FLAT)
    assert v.cancel("a").cancel("a").bar(FLAT) == ["cancelled a CancelByUser", "cancel_rejected a 110001"]
    assert v.cancel_all().bar(DIP) == ["cancelled b CancelByUser", "cancelled s CancelByUser"]
    assert v.account == {"free": "10000"}


def test_resting_orders_hold_margin_and_give_it_back(venue) -> None:
    """Order margin = price x qty / leverage + fee to open + fee to close at bankruptcy."""
    v = venue(config=ExecutionConfig(slippage_bps=0.0), leverage=10.0)
    v.send("a", "BUY", 1.0, price=90.0).bar(FLAT)
    assert v.account["order"] == "9.09405"  # 9 + 0.0495 + 0.04455
    v.bar((100.0, 100.0, 85.0, 100.0))
    assert "order" not in v.account
    assert v.account["position"] == "9.04455"


def test_orders_that_would_only_close_hold_no_margin(venue) -> None:
    v = venue()
    v.send("a", "BUY", 2.0).bar(FLAT)
    v.send("b", "SELL", 1.5, price=120.0).send("c", "SELL", 1.5, price=125.0).bar(FLAT)
    assert v.account["order"] == "125"  # one of the second order's 1.5 would open


def test_margin_that_is_gone_when_a_stop_fires_cancels_it(venue) -> None:
    v = venue()
    v.send("s", "BUY", 60.0, trigger_price=103.0).send("a", "BUY", 60.0).bar(FLAT)
    assert v.bar(DIP) == ["triggered s", "cancelled s 110007"]


@pytest.mark.parametrize(
    ("side", "price", "moved"), [("BUY", 120.0, 105.0), ("BUY", 104.0, 104.0), ("SELL", 80.0, 95.0), ("SELL", 96.0, 96.0)]
)
def test_a_limit_outside_the_price_band_is_moved_to_its_edge(venue, make_perpetual, side, price, moved) -> None:
    v = venue(make_perpetual(price_limit_x=to_units("0.05"), price_limit_y=to_units("0.1")))
    at = 200.0 if side == "BUY" else 50.0
    last = (at,) * 4
    v.send("a", side, 1.0, price=price).bar(last, mark=FLAT)
    assert v.book.orders["a"].limit == moved
    assert v.exchange.metrics.moved_to_band == (price != moved)


def test_the_volume_cap_is_shared_in_time_priority_and_the_rest_waits(venue) -> None:
    v = venue(config=costs(max_volume_share=0.001))
    v.send("a", "BUY", 0.6).send("b", "BUY", 0.6)
    assert v.bar(FLAT, volume=1000.0) == [
        "fill a BUY 0.6 @ 100 taker", "filled a", "accepted b", "fill b BUY 0.4 @ 100 taker", "partially_filled b",
    ]  # fmt: skip
    assert v.bar((101.0,) * 4, volume=1000.0) == ["fill b BUY 0.2 @ 101 taker", "filled b"]


def test_no_volume_no_fill(venue) -> None:
    v = venue(config=costs(max_volume_share=0.1)).send("a", "BUY", 1.0)
    assert v.bar(FLAT, volume=0.0) == ["accepted a"]
    assert v.cancel("a").bar(FLAT) == ["cancelled a CancelByUser"]


def test_a_resting_limit_goes_on_filling_while_the_price_is_through(venue) -> None:
    v = venue(config=costs(max_volume_share=0.0005)).send("a", "BUY", 1.0, price=95.0)
    assert v.bar(DIP) == ["accepted a", "fill a BUY 0.5 @ 95 maker", "partially_filled a"]
    assert v.bar((90.0,) * 4) == ["fill a BUY 0.5 @ 95 maker", "filled a"]


@pytest.mark.parametrize(
    ("side", "bps", "price", "paid"),
    [("BUY", 1.0, 10000.0, 10001.0), ("SELL", 1.0, 10000.0, 9999.0), ("BUY", 0.5, 20000.0, 20001.0), ("BUY", 2.5, 40000.0, 40010.0),
     ("BUY", 1.0, 100.0, 101.0), ("SELL", 1.0, 100.0, 99.0), ("BUY", 0.0, 99.5, 100.0), ("SELL", 0.0, 99.5, 99.0)],
)  # fmt: skip
def test_costs_round_to_the_tick_against_the_taker_once(venue, side, bps, price, paid) -> None:
    v = venue(config=costs(slippage_bps=bps), capital=1e6).send("a", side, 1.0)
    v.bar((price,) * 4)
    assert v.exchange.fills[0].price == paid


def test_impact_grows_with_the_root_of_the_share_of_volume(venue, make_perpetual) -> None:
    """1 bp + 0.5 x 40 bps x sqrt(25 / 100) = 11 bps of 10,000."""
    v = venue(make_perpetual("0.1"), config=costs(impact=ImpactConfig(base_bps=1.0, coefficient=0.5)), capital=1e6)
    v.send("a", "BUY", 25.0).bar((10000.0,) * 4, volume=100.0, volatility_bps=40.0)
    assert v.exchange.fills[0].price == 10011.0
    assert v.exchange.metrics.volume_share_max == 0.25


def test_latency_delays_arrival_inside_the_bar(venue) -> None:
    """Half an hour late, the path is half-way from low to high: 97 of 90..104."""
    v = venue(config=costs(latency_ms=1_800_000)).send("a", "BUY", 1.0)
    assert v.bar(DIP) == ["fill a BUY 1 @ 97 taker", "filled a"]
    assert v.exchange.fills[0].ts == 1_800_000


def test_latency_beyond_the_bar_waits_for_the_next(venue) -> None:
    v = venue(config=costs(latency_ms=3_600_000)).send("a", "BUY", 1.0)
    assert v.bar(DIP) == []
    assert v.bar(FLAT) == ["fill a BUY 1 @ 100 taker", "filled a"]


@pytest.mark.parametrize(
    ("side", "idx", "said"),
    [("SELL", 1, "rejected c 110017"), ("BUY", 2, "rejected c 110017"), ("BUY", 0, "rejected c 10001")],
)
def test_hedge_mode_refuses_what_would_flip_a_side(venue, side, idx, said) -> None:
    v = venue(hedge=True).send("a", "BUY", 1.0, position_idx=1).send("b", "SELL", 2.0, position_idx=2)
    assert v.bar(FLAT) == ["fill a BUY 1 @ 100 taker", "filled a", "fill b SELL 2 @ 100 taker", "filled b"]
    assert [position.steps for position in v.book.positions] == [100, -200]
    assert v.send("c", side, 1.0, position_idx=idx).bar(FLAT) == [said]


def test_hedge_mode_closes_each_side_by_itself(venue) -> None:
    v = venue(hedge=True).send("a", "BUY", 1.0, position_idx=1).send("b", "SELL", 2.0, position_idx=2)
    v.bar(FLAT)
    v.send("x", "SELL", 9.0, position_idx=1, reduce_only=True)
    assert v.bar((110.0,) * 4) == ["fill x SELL 1 @ 110 taker", "filled x"]
    assert [position.steps for position in v.book.positions] == [0, -200]
    assert v.exchange.fills[-1].realized_pnl == to_units("10")


def test_a_stop_limit_meets_the_price_band_when_it_fires(venue, make_perpetual) -> None:
    v = venue(make_perpetual(price_limit_x=to_units("0.05"), price_limit_y=to_units("0.05")))
    v.send("a", "BUY", 1.0, trigger_price=150.0, price=152.0).bar(FLAT)
    assert v.book.orders["a"].limit == 152
    assert v.bar((150.0,) * 4)[:2] == ["triggered a", "fill a BUY 1 @ 150 taker"]


def test_two_amendments_at_one_moment_hold_the_margin_of_the_last(venue) -> None:
    v = venue()
    v.send("a", "BUY", 1.0, price=90.0).bar(FLAT)
    v.amend("a", qty=2.0).amend("a", qty=5.0).bar(FLAT)
    assert v.account["order"] == "450"


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ({"price": 100.5}, ("limit", 100.5, None)),
        ({"trigger_price": 90.0, "trigger_rising": True}, ("stop_market", None, 90.0)),
        ({"trigger_price": 90.0, "price": 90.5}, ("stop_limit", 90.5, 90.0)),
        ({"reduce_only": True}, ("market", None, None)),
    ],
)
def test_an_order_refused_at_once_is_told_with_its_own_type_and_prices(venue, order, told) -> None:
    v = venue()
    v.send("a", "SELL", 1.0, **order).bar(FLAT)
    (update,) = v.events
    assert (update.status, update.side, update.order_type, update.price, update.trigger_price) == ("rejected", "SELL", *told)


@pytest.mark.parametrize(
    ("share", "volume", "step", "steps"),
    [
        (0.03, 119.3, "0.001", 3579),
        (0.1, 0.3, "0.01", 3),
        (0.07, 100.0, "0.01", 700),
        (0.333, 3.0, "0.001", 999),
        (0.01, 3.0019, "0.001", 30),
    ],
)
def test_the_volume_cap_is_the_exact_share(share: float, volume: float, step: str, steps: int) -> None:
    assert volume_cap_steps(share, volume, Grid.from_text(step)) == steps


@given(st.integers(1, 10_000), st.integers(0, 10**12), st.sampled_from(["0.001", "0.01", "1"]))
def test_the_volume_cap_is_the_share_by_fractions(parts: int, lots: int, step: str) -> None:
    volume = Grid.from_text(step).value(lots)
    exact = Fraction(str(parts / 10_000)) * Fraction(str(volume)) / Fraction(step)
    assert volume_cap_steps(parts / 10_000, volume, Grid.from_text(step)) == math.floor(exact)


@pytest.mark.parametrize(("first", "high", "paid"), [(60000.1, 60000.7, 60000.4), (60000.3, 60000.9, 60000.6), (60000.4, 60000.8, 60000.6)])
def test_half_way_along_a_leg_takers_get_the_path_price(venue, make_perpetual, first: float, high: float, paid: float) -> None:
    """In floats the middle is 60000.399999999994 or 60000.600000000006: rounded against the taker, that would be a tick more or less."""
    v = venue(make_perpetual("0.1", "0.001"), config=costs(latency_ms=600_000))
    v.send("b", "BUY", 0.1).send("s", "SELL", 0.1).bar((first, high, first - 1.0, first - 0.5))
    assert [fill.price for fill in v.exchange.fills] == [paid, paid]


def test_the_impact_of_whole_basis_points_is_no_unit_more() -> None:
    assert impact_rate(0.07, 0.0, 0.0, 1.0, 1.0) == 700
