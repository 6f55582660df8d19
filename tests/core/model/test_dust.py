"""Dust: what of a spot holding the exchange takes in no order. One definition, for strategies, risk, tables and the stop condition."""

from __future__ import annotations

import pytest

from keel.core.actors.portfolio import Portfolio
from keel.core.model.dust import sellable_steps
from keel.core.model.instrument import Instrument
from keel.core.model.money import to_units
from tests.builders import Fills, bar, spot_pair

UNITS = 10**8


def pair(**changes: object) -> Instrument:
    return spot_pair(min_notional=to_units("5"), min_qty=0.002, **changes)


@pytest.mark.parametrize(
    ("units", "price", "steps"),
    [
        pytest.param(99_999, 1e6, 0, id="less than a step"),
        pytest.param(100_000, 1e6, 0, id="less than the smallest quantity"),
        pytest.param(200_000, 1e6, 2, id="enough"),
        pytest.param(299_999, 1e6, 2, id="whole steps only"),
        pytest.param(5_000_000, 100.0, 50, id="worth exactly the smallest value"),
        pytest.param(5_099_999, 99.9, 0, id="whole steps worth less"),
        pytest.param(5_000_000, 0.0, 50, id="no price yet"),
        pytest.param(99_999_999_999_999, 1.0, 999_999_999, id="a rest of one unit is no noise"),
    ],
)
def test_what_can_be_sold(units: int, price: float, steps: int) -> None:
    assert sellable_steps(pair(), units, price) == steps


def test_dust_is_flat_to_whoever_asks_and_stands_in_equity() -> None:
    fill, portfolio = Fills(), Portfolio([pair()], to_units("1000"))
    portfolio.lines["BTCUSDT"].on_bar(bar(0, 100.0))
    portfolio.on_fill(fill("BUY", 0.06, 100.0, fee="0.00006", fee_coin="BTC", pnl="0"))
    assert (portfolio.steps("BTCUSDT"), portfolio.position_view("BTCUSDT").side, portfolio.open_positions()) == (59, "LONG", 1)
    portfolio.lines["BTCUSDT"].on_bar(bar(1, 80.0))
    portfolio.on_instant(bar(1, 80.0).ts_close)
    view = portfolio.position_view("BTCUSDT")
    assert (portfolio.steps("BTCUSDT"), view.side, view.qty, view.notional, portfolio.open_positions()) == (0, "FLAT", 0.0, 0.0, 0)
    assert portfolio.equity == pytest.approx(994.0 + 0.05994 * 80.0)
    assert portfolio.dust("BTCUSDT") == 59
    portfolio.lines["BTCUSDT"].on_bar(bar(2, 100.0))
    assert portfolio.position_view("BTCUSDT").side == "LONG"


def test_a_sale_that_leaves_dust_closes_the_round_trip() -> None:
    fill, portfolio = Fills(), Portfolio([pair()], to_units("1000"))
    portfolio.lines["BTCUSDT"].on_bar(bar(0, 100.0))
    portfolio.on_fill(fill("BUY", 1.0, 100.0))
    portfolio.on_fill(fill("SELL", 0.96, 100.0))
    assert [trade.exit_notional for trade in portfolio.trade_log.closed] == [to_units("96")]
    assert portfolio.trade_log.open == []
    assert portfolio.dust("BTCUSDT") == 40
