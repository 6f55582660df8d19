"""The exchange's own worked examples and recorded values (Bybit help centre: closed PnL, funding, isolated margin), to the last digit."""

from __future__ import annotations

import pytest

from keel.core.model.money import UNIT, to_text, to_units
from keel.core.system.config import ExecutionConfig
from keel.sim.margin.funding import funding_payment
from keel.sim.margin.isolated import (
    IsolatedMargin,
    bankruptcy_price,
    fee_to_close,
    initial_margin,
    liquidation_price,
    liquidation_price_by_tier,
    maintenance_margin,
    order_margin,
    tiers_as_floats,
)

LONG, SHORT = 1, -1


@pytest.mark.parametrize(
    ("side", "cost", "leverage", "taker", "rate", "im", "fee", "mm"),
    [
        (LONG, "20000", "50", "0", "0.005", "400", "0", "100"),
        (SHORT, "20000", "50", "0", "0.005", "400", "0", "100"),
        (LONG, "6000", "10", "0.00055", "0.005", "600", "2.97", "32.97"),
        (SHORT, "6000", "10", "0.00055", "0.005", "600", "3.63", "33.63"),
        (LONG, "2303.29", "10", "0.0006", "0.005", "230.329", "1.2437766", "12.7602266"),
        (LONG, "27.1125", "10", "0.0006", "0.01", "2.71125", "0.01464075", "0.28576575"),
    ],
)
def test_margins(side: int, cost: str, leverage: str, taker: str, rate: str, im: str, fee: str, mm: str) -> None:
    """Examples 1, 3 and the recorded BTC and XRP positions of 6."""
    value = to_units(cost)
    initial = initial_margin(value, to_units(leverage))
    closing = fee_to_close(value, initial, side, to_units(taker))
    assert (to_text(initial), to_text(closing)) == (im, fee)
    assert to_text(maintenance_margin(value, to_units(rate), 0, closing)) == mm


def test_recorded_initial_margins_include_the_fee_to_close(tiers) -> None:
    """Example 6: 231.5727766 for 0.1 BTC at 23032.9, 2.72589075 for 75 XRP at 0.3615."""
    policy = IsolatedMargin(to_units("10"), to_units("0.0006"), tiers(("2000000", "0.005", "100")))
    assert to_text(policy.to_hold(to_units("2303.29"), LONG)) == "231.5727766"
    assert to_text(policy.to_hold(to_units("27.1125"), LONG)) == "2.72589075"
    assert to_text(policy.maintenance(to_units("2303.29"), to_units("1.2437766"))) == "12.7602266"


def test_order_margin_of_the_help_page() -> None:
    """Long 1 BTC at 50,000, 10x: 5,000 + 27.5 + 24.75."""
    assert to_text(order_margin(to_units("50000"), to_units("10"), LONG, to_units("0.00055"))) == "5052.25"


@pytest.mark.parametrize(
    ("side", "qty", "entry", "leverage", "extra", "taker", "rate", "deduction", "liquidation", "bankruptcy"),
    [
        (LONG, 1.0, 20000.0, 50.0, 0.0, 0.00055, 0.005, 0.0, 19698.49, 19600.0),
        (SHORT, 1.0, 20000.0, 50.0, 0.0, 0.00055, 0.005, 0.0, 20298.51, 20400.0),
        (SHORT, 1.0, 20000.0, 50.0, 3000.0, 0.00055, 0.005, 0.0, 23281.94, 23398.35),
        (LONG, 0.1, 60000.0, 10.0, 0.0, 0.00055, 0.005, 0.0, 54271.36, 54000.0),
        (SHORT, 0.1, 60000.0, 10.0, 0.0, 0.00055, 0.005, 0.0, 65671.64, 66000.0),
        (LONG, 0.1, 60000.0, 10.0, 100.0, 0.00055, 0.005, 0.0, 53265.78, None),
        (LONG, 40.0, 60000.0, 10.0, 0.0, 0.00055, 0.0056, 1200.0, 54273.93, 54000.0),
        (LONG, 1.0, 10000.0, 50.0, 0.0, 0.00055, 0.005, 0.0, None, 9800.0),
        (LONG, 1.0, 10000.0, 1.0, 0.0, 0.00055, 0.005, 0.0, 0.0, 0.0),
    ],
)
def test_liquidation_and_bankruptcy_price(
    side: int, qty: float, entry: float, leverage: float, extra: float, taker: float, rate: float, deduction: float,
    liquidation: float | None, bankruptcy: float | None,
) -> None:  # fmt: skip
    """Examples 1 to 5, and a long without leverage, which has neither."""
    if liquidation is not None:
        assert round(liquidation_price(side, qty, qty * entry, leverage, extra, taker, rate, deduction), 2) == liquidation
    if bankruptcy is not None:
        assert round(bankruptcy_price(side, qty, qty * entry, leverage, extra, taker), 2) == bankruptcy


def test_deductions_of_the_recorded_tiers(tiers) -> None:
    """d_2 = 1,200 and d_3 = 3,020; the liquidation price is that of the tier in which size x price lies."""
    table = tiers(("2000000", "0.005", "100"), ("2600000", "0.0056", "90"), ("3200000", "0.0063", "80"), ("3800000", "0.0067", "75"))
    assert [to_text(tier.deduction) for tier in table[:3]] == ["0", "1200", "3020"]
    by_tier = liquidation_price_by_tier(LONG, 40.0, 2_400_000.0, 10.0, 0.0, 0.00055, tiers_as_floats(table))
    assert round(by_tier, 2) == 54273.93
    lower = liquidation_price_by_tier(LONG, 35.0, 2_100_000.0, 10.0, 0.0, 0.00055, tiers_as_floats(table))
    assert round(lower, 2) == 54271.36  # 35 x 54,271 is below 2 million: the first tier, though the entry was above


def test_funding_of_the_fact_sheet() -> None:
    """Long 100 XRP, mark 0.3676, rate 0.0001: pays 0.00367600; a short receives as much."""
    mark, rate = round(0.3676 * UNIT), to_units("0.0001")
    assert to_text(funding_payment(mark, 1000, 1, 10, rate)) == "0.003676"
    assert to_text(funding_payment(mark, -1000, 1, 10, rate)) == "-0.003676"
    assert to_text(funding_payment(mark, -1000, 1, 10, -rate)) == "0.003676"


@pytest.mark.parametrize(
    ("tick", "entry", "exit_", "closed_pnl"),
    [("0.0001", 3584.9255, 3541.795, "-47.4065323"), ("0.001", 281.447, 281.499, "-0.2857676")],
)
def test_recorded_closed_pnl(venue, make_perpetual, tick: str, entry: float, exit_: float, closed_pnl: str) -> None:
    """closedPnl = exit value - entry value - both fees (0.06 %), of one contract, through the whole exchange."""
    v = venue(make_perpetual(tick, "1"), config=ExecutionConfig(slippage_bps=0.0, taker_fee=0.0006))
    v.send("in", "BUY", 1.0).bar((entry,) * 4)
    v.send("out", "SELL", 1.0).bar((exit_,) * 4)
    opened, closed = v.exchange.fills
    assert to_text(closed.realized_pnl - opened.fee - closed.fee) == closed_pnl
    assert v.exchange.balance("USDT") == to_units("10000") + to_units(closed_pnl)
