"""Round trips out of fills: from flat to flat or to a flip, each with its share of fees, slippage and funding."""

from __future__ import annotations

from typing import Any

import pytest

from keel.core.actors.portfolio import Portfolio
from keel.core.model.messages import FundingPayment
from keel.core.model.money import to_units
from keel.core.model.trade import Trade
from tests.builders import HOUR, MINUTE, START, Fills, perpetual

BTC = "BTCUSDT"


class Story:
    """Fills and funding of one or two symbols, and the trades that come of them."""

    def __init__(self) -> None:
        self.portfolio = Portfolio(
            [perpetual(), perpetual("ETHUSDT")], to_units("10000"), order_number=lambda name: int(name.split("-")[1]), strategy="s"
        )
        self.fill = {symbol: Fills(symbol) for symbol in (BTC, "ETHUSDT")}

    def fills(self, *rows: tuple[Any, ...], symbol: str = BTC, **more: Any) -> Story:
        """(side, qty, price, fee, pnl)."""
        for side, qty, price, *money in rows:
            fee, pnl = (*money, "0", "0")[:2]
            self.portfolio.on_fill(self.fill[symbol](side, qty, price, fee=fee, pnl=pnl, **more))
        return self

    def funding(self, amount: str, symbol: str = BTC) -> Story:
        self.portfolio.on_funding(FundingPayment(symbol, START + HOUR, to_units(amount), 0, 100.0, 1.0))
        return self

    @property
    def closed(self) -> list[Trade]:
        return self.portfolio.trade_log.closed

    @property
    def open(self) -> list[Trade]:
        return self.portfolio.trade_log.open


def test_a_round_trip() -> None:
    story = Story().fills(("BUY", 2.0, 100.0, "0.11"), ("SELL", 2.0, 103.0, "0.1133", "6"), reason="stop_loss")
    (trade,) = story.closed
    assert trade == Trade(
        number=1, symbol=BTC, side="LONG", entry_ts=START + MINUTE, entry_price=100.0, qty=2.0, entry_notional=to_units("200"),
        exit_ts=START + 2 * MINUTE, exit_price=103.0, exit_notional=to_units("206"), gross_pnl=to_units("6"), fees=to_units("0.2233"),
        entry_fees=to_units("0.11"), entry_order=1, exit_order=2, fills=2, exit_reason="stop_loss", strategy="s",
    )  # fmt: skip
    assert trade.net_pnl == to_units("5.7767") and trade.holding_ms == MINUTE
    assert not story.open


def test_entries_and_exits_are_averaged_and_the_size_is_the_largest() -> None:
    story = Story().fills(
        ("SELL", 1.0, 100.0), ("SELL", 3.0, 104.0), ("BUY", 2.0, 100.0, "0", "6"), ("SELL", 1.0, 101.0), ("BUY", 3.0, 99.0, "0", "10")
    )
    (trade,) = story.closed
    assert (trade.side, trade.qty, trade.fills) == ("SHORT", 4.0, 5)
    assert trade.entry_price == pytest.approx((100 + 3 * 104 + 101) / 5)
    assert trade.exit_price == pytest.approx((2 * 100 + 3 * 99) / 5)
    assert trade.gross_pnl == to_units("16") == trade.entry_notional - trade.exit_notional


def test_one_price_averages_to_itself() -> None:
    """A division that is rounded twice would give 0.30000000000000004 and the like."""
    for price in (0.3, 48278.5, 103_333.7):
        story = Story().fills(("BUY", 0.003, price), ("BUY", 0.007, price))
        assert story.open[0].entry_price == price


def test_a_flip_ends_one_trade_and_begins_the_next() -> None:
    """Its fee goes to both by notional: 0.3 for closing 1 and opening 2 is 0.1 and 0.2."""
    story = Story().fills(("BUY", 1.0, 100.0, "0.1"), ("SELL", 3.0, 110.0, "0.3", "10"), reference=100.0)
    (first,), (second,) = story.closed, story.open
    assert (first.exit_ts, first.exit_price, first.fees, first.gross_pnl) == (START + 2 * MINUTE, 110.0, to_units("0.2"), to_units("10"))
    assert (second.side, second.entry_ts, second.entry_price, second.qty) == ("SHORT", START + 2 * MINUTE, 110.0, 2.0)
    assert (second.fees, second.entry_fees, second.number) == (to_units("0.2"), to_units("0.2"), 2)
    assert (first.slippage, first.entry_slippage, second.slippage, second.entry_slippage) == (
        to_units("10"),
        0,
        to_units("20"),
        to_units("20"),
    )
    assert (first.exit_order, second.entry_order) == (2, 2)
    assert (second.exit_ts, second.exit_price, second.exit_notional, second.holding_ms) == (None, None, 0, None)


def test_what_a_flips_fee_cannot_share_goes_to_the_entry() -> None:
    story = Story().fills(("BUY", 1.0, 100.0), ("SELL", 3.0, 100.0, "0.00000001"))
    assert (story.closed[0].fees, story.open[0].fees) == (0, 1)


def test_funding_belongs_to_the_trade_that_is_open() -> None:
    story = Story().fills(("BUY", 1.0, 100.0)).funding("0.5").funding("-0.125").fills(("SELL", 1.0, 100.0))
    story.fills(("BUY", 1.0, 10.0), symbol="ETHUSDT").funding("0.25", "ETHUSDT")
    assert story.closed[0].funding == to_units("0.375")
    assert story.open[0].funding == to_units("0.25")
    assert story.closed[0].net_pnl == to_units("-0.375")


def test_symbols_have_trades_of_their_own() -> None:
    """Numbered as they were opened; in the list as they were closed; those that are open by number."""
    story = Story().fills(("BUY", 1.0, 100.0)).fills(("SELL", 2.0, 10.0), symbol="ETHUSDT")
    assert [(trade.number, trade.symbol) for trade in story.open] == [(1, BTC), (2, "ETHUSDT")]
    story.fills(("BUY", 2.0, 9.0, "0", "2"), symbol="ETHUSDT").fills(("SELL", 1.0, 101.0, "0", "1"))
    assert [(trade.number, trade.symbol) for trade in story.closed] == [(2, "ETHUSDT"), (1, BTC)]


def test_a_takeover_ends_the_trade() -> None:
    story = Story().fills(("BUY", 1.0, 100.0)).fills(("SELL", 1.0, 91.0, "0", "-10"), kind="bust", reason="liquidation")
    (trade,) = story.closed
    assert (trade.exit_reason, trade.exit_price, trade.gross_pnl) == ("liquidation", 91.0, to_units("-10"))


def test_a_fill_is_never_booked_twice_over() -> None:
    """Parts of several fills add up to them: notionals, fees, slippage."""
    rows = [("BUY", 1.0, 100.0, "0.7"), ("BUY", 0.5, 101.0, "0.3"), ("SELL", 2.0, 102.0, "0.9", "2.5"), ("BUY", 0.25, 99.0, "0.1", "0.75")]
    story = Story().fills(*rows, reference=100.0)
    trades = [*story.closed, *story.open]
    assert sum(trade.fees for trade in trades) == to_units("2") == story.portfolio.fees
    assert sum(trade.entry_notional + trade.exit_notional for trade in trades) == sum(to_units(row[1] * row[2]) for row in rows)
    assert sum(trade.slippage for trade in trades) == story.portfolio.slippage == to_units("4.75")
