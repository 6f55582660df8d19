"""Spot: two balances, fees in what is received, dust, no shorting, no leverage."""

from __future__ import annotations

import pytest

from keel.core.errors import ConfigError
from keel.core.model.messages import Bracket
from keel.core.model.money import to_text, to_units
from keel.core.system.config import ExecutionConfig

FLAT = (100.0, 100.0, 100.0, 100.0)
FEES = ExecutionConfig(slippage_bps=0.0)


def base(v) -> str:
    """Free base coins."""
    return to_text(v.book.base_accounts[0])


def test_a_buy_pays_quote_and_its_fee_in_base(venue, make_spot) -> None:
    v = venue(make_spot(), config=FEES).send("a", "BUY", 1.0)
    assert v.bar(FLAT) == ["fill a BUY 1 @ 100 taker", "filled a"]
    fill = v.exchange.fills[0]
    assert (to_text(fill.fee), fill.fee_coin) == ("0.001", "X")
    assert (v.account["free"], base(v)) == ("9900", "0.999")


def test_a_makers_rebate_is_credited_in_quote(venue, make_spot) -> None:
    v = venue(make_spot(), config=ExecutionConfig(slippage_bps=0.0, maker_fee=-0.001)).send("a", "BUY", 1.0, price=100.0)
    v.bar((101.0,) * 4)
    v.bar((101.0, 101.0, 99.0, 99.0))
    assert (v.account["free"], base(v)) == ("9900.1", "1")
    assert (to_text(v.exchange.fills[0].fee), v.exchange.fills[0].fee_coin) == ("-0.1", "USDT")


def test_a_sell_pays_its_fee_in_quote(venue, make_spot) -> None:
    v = venue(make_spot(), config=FEES).send("a", "BUY", 2.0)
    v.bar(FLAT)
    v.send("b", "SELL", 1.0).bar((110.0,) * 4)
    fill = v.exchange.fills[1]
    assert (to_text(fill.fee), fill.fee_coin) == ("0.11", "USDT")
    assert (v.account["free"], base(v)) == ("9909.89", "0.998")
    assert to_text(fill.realized_pnl) == "10"


def test_a_close_sells_the_floor_and_the_rest_is_dust(venue, make_spot) -> None:
    v = venue(make_spot(), config=FEES).send("a", "BUY", 1.0)
    v.bar(FLAT)
    assert v.send("b", "SELL", 1.0).bar(FLAT) == ["rejected b 170131"]
    assert v.send("c", "SELL", 1.0, reduce_only=True).bar(FLAT) == ["fill c SELL 0.99 @ 100 taker", "filled c"]
    assert base(v) == "0.009"
    assert v.send("d", "SELL", 1.0, reduce_only=True).bar(FLAT) == ["rejected d 110017"]


def test_nothing_is_sold_short(venue, make_spot) -> None:
    assert venue(make_spot()).send("a", "SELL", 1.0).bar(FLAT) == ["rejected a 170131"]


@pytest.mark.parametrize(
    ("side", "order", "said"),
    [
        ("BUY", {"price": 100.01}, "rejected b 170134"),
        ("BUY", {"qty": 0.005}, "rejected b 170137"),
        ("BUY", {"qty": 0.01}, "rejected b 170140"),
        ("BUY", {"qty": 1000.0}, "rejected b 170131"),
        ("BUY", {"qty": 1000.0, "price": 90.0}, "rejected b 170131"),
        ("SELL", {"qty": 5.0, "price": 110.0}, "rejected b 170131"),
        ("BUY", {"price": 111.0}, "rejected b 170193"),
        ("SELL", {"price": 89.0}, "rejected b 170194"),
    ],
)
def test_refusals_have_spot_codes(venue, make_spot, side, order, said) -> None:
    instrument = make_spot(min_notional=to_units("5"), price_limit_x=to_units("0.05"), price_limit_y=to_units("0.05"))
    v = venue(instrument).send("a", "BUY", 2.0)
    v.bar(FLAT)
    assert v.send("b", side, **({"qty": 1.0} | order)).bar(FLAT) == [said]


def test_unknown_orders_have_spot_codes(venue, make_spot) -> None:
    assert venue(make_spot()).cancel("x").amend("x", price=5.0).bar(FLAT) == ["cancel_rejected x 170213", "amend_rejected x 170213"]


def test_resting_orders_hold_what_they_would_spend(venue, make_spot) -> None:
    v = venue(make_spot()).send("a", "BUY", 2.0)
    v.bar(FLAT)
    v.send("b", "BUY", 1.0, price=90.0).send("s", "SELL", 1.5, price=110.0).bar(FLAT)
    assert v.account["order"] == "90"
    assert to_text(v.book.base_accounts[1]) == "1.5"
    assert v.bar((100.0, 112.0, 100.0, 100.0)) == ["fill s SELL 1.5 @ 110 maker", "filled s"]
    assert v.cancel("b").bar(FLAT) == ["cancelled b CancelByUser"]
    assert "order" not in v.account and v.book.base_accounts[1] == 0


def test_exits_sell_the_floor_of_the_holding(venue, make_spot) -> None:
    v = venue(make_spot(), config=FEES).send("a", "BUY", 1.0, bracket=Bracket(stop_loss=95.0, take_profit=120.0))
    v.bar(FLAT)
    assert v.bar((100.0, 100.0, 90.0, 90.0))[-2:] == ["fill a-sl SELL 0.99 @ 95 taker", "filled a-sl"]
    assert v.book.orders == {}


def test_spot_pays_no_funding_and_is_never_liquidated(venue, make_spot) -> None:
    v = venue(make_spot()).funding((1, "0.01", 100.0)).send("a", "BUY", 100.0)
    v.bar(FLAT)
    assert v.bar((1.0,) * 4) == []


def test_a_rest_that_cannot_be_sold_ends_the_run_when_nothing_can_be_bought_either(venue, make_spot) -> None:
    """Cash of 5.489 and dust of 0.009 coins: at 5.55 another order is possible, at 600 neither the dust nor the cash makes one."""
    v = venue(make_spot("0.01", min_notional=to_units("5")), config=FEES, capital=100.0).send("a", "BUY", 1.0)
    v.bar(FLAT)
    v.send("b", "SELL", 0.0, reduce_only=True, close_on_trigger=True).bar((5.55,) * 4)
    assert v.exchange.should_stop() is None
    assert v.send("c", "BUY", 0.01).bar((600.0,) * 4) == ["rejected c 170131"]
    reason = v.exchange.should_stop()
    assert reason is not None and reason.code == "insufficient_free_margin"
    assert "equity 10.8890055 USDT, free 5.4890055 USDT; the smallest order needs 6 USDT" in reason.detail


@pytest.mark.parametrize(("changes", "more"), [({}, {"leverage": 2.0}), ({}, {"hedge": True}), ({"base_unit": 7}, {})])
def test_what_spot_has_not(venue, make_spot, changes, more) -> None:
    with pytest.raises(ConfigError):
        venue(make_spot(**changes), **more)


SMALL = {"min_notional": to_units("5")}


@pytest.mark.parametrize(
    ("order", "said"),
    [
        pytest.param({}, "rejected b 170140", id="a sale at market"),
        pytest.param({"reduce_only": True}, "rejected b 170140", id="reduce-only"),
        pytest.param({"reduce_only": True, "qty": 9.0}, "rejected b 170140", id="reduce-only, cut to the holding"),
        pytest.param({"reduce_only": True, "price": 5.0}, "rejected b 170140", id="a reduce-only limit"),
        pytest.param({"reduce_only": True, "trigger_price": 4.0}, "rejected b 170140", id="a reduce-only stop"),
        pytest.param(
            {"qty": 0.0, "reduce_only": True, "close_on_trigger": True, "trigger_price": 4.0}, "rejected b 170140", id="a stop of all"
        ),
        pytest.param({"trigger_price": 4.0}, "rejected b 170140", id="a stop"),
        pytest.param({"reduce_only": True, "price": 5.1}, "accepted b", id="worth enough at its limit"),
    ],
)
def test_no_order_below_the_smallest_value_closes_either(venue, make_spot, order, said) -> None:
    """0.99 and a fee's rest of coins that cost 5.2 each are worth 4.95 at 5.00."""
    v = venue(make_spot("0.01", **SMALL), config=FEES).send("a", "BUY", 1.0)
    v.bar((5.2,) * 4)
    assert v.send("b", "SELL", **({"qty": 0.99} | order)).bar((5.0,) * 4) == [said]


def test_an_exit_that_fires_below_the_smallest_value_is_refused_and_the_holding_stays(venue, make_spot) -> None:
    v = venue(make_spot("0.01", **SMALL), config=FEES).send("a", "BUY", 1.0, bracket=Bracket(stop_loss=5.0, take_profit=9.0))
    v.bar((5.2,) * 4)
    assert v.bar((5.2, 5.2, 4.8, 4.8)) == ["triggered a-sl", "cancelled a-tp CancelByOCOTpCanceledBySlTriggered", "cancelled a-sl 170140"]
    assert (base(v), v.book.orders) == ("0.999", {})


def test_an_order_cannot_be_amended_below_the_smallest_value(venue, make_spot) -> None:
    v = venue(make_spot("0.01", **SMALL)).send("a", "BUY", 2.0, price=4.0)
    assert v.bar((5.2,) * 4) == ["accepted a"]
    assert v.amend("a", qty=1.0).amend("a", price=2.0).bar((5.2,) * 4) == ["amend_rejected a 170140"] * 2
    assert v.account["order"] == "8"
    assert v.amend("a", qty=1.25).bar((5.2,) * 4) == ["amended a", "accepted a"] or v.book.orders["a"].leaves == 125
