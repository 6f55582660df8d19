"""Postings sum to zero and stay within bounds, or nothing happens; the portfolio of stand-alone use agrees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.errors import ConfigError, DataError, InvariantError
from keel.core.model.messages import Bar, CancelOrder, FundingRate, SubmitOrder
from keel.core.model.money import LIMIT, to_units
from keel.core.system.config import ConstantFunding, ExecutionConfig
from keel.sim.exchange.exchange import LedgerUpdate, RiskProfileConfig, SimulatedExchange
from keel.sim.margin.ledger import Ledger, post

HOUR = 3_600_000


@given(st.lists(st.integers(-200, 200), min_size=8, max_size=8))
def test_a_posting_is_booked_whole_or_not_at_all(changes: list[int]) -> None:
    before = [100, 50, 50, 0, 0, 0, 0, -200]
    accounts = list(before)
    wanted = [old + change for old, change in zip(before, changes, strict=True)]
    try:
        post(accounts, *changes)
        assert accounts == wanted
        assert sum(accounts) == 0 and min(accounts[:3]) >= 0
    except InvariantError:
        assert accounts == before
        assert sum(changes) != 0 or min(wanted[:3]) < 0


def test_balances_are_bounded() -> None:
    with pytest.raises(InvariantError, match="external"):
        Ledger().deposit("USDT", LIMIT)


def bar(hour: int, open_: float, close: float) -> Bar:
    """An hour from open to close."""
    return Bar("BTCUSDT", "1h", hour * HOUR, (hour + 1) * HOUR, open_, max(open_, close), min(open_, close), close, 1000.0)


def order(name: str, side: str, qty: float) -> SubmitOrder:
    """A market order."""
    return SubmitOrder(name, "BTCUSDT", side, "market", qty, 0)


def test_stand_alone_use_keeps_trades_equity_and_what_each_bar_did() -> None:
    exchange = SimulatedExchange("BTCUSDT", 1000.0, ExecutionConfig(slippage_bps=0.0, taker_fee=0.001), RiskProfileConfig())
    exchange.submit_order(order("a", "BUY", 2.0))
    first = exchange.process_bar(bar(0, 100.0, 110.0))
    assert [fill.client_order_id for fill in first.fills] == ["a"]
    assert LedgerUpdate("USDT", "fees", to_units("0.2")) in first.ledger_updates
    assert sum(update.change for update in first.ledger_updates) == 0
    exchange.submit_order(order("b", "SELL", 2.0))
    second = exchange.process_bar(bar(1, 110.0, 105.0), funding_rates=[FundingRate("BTCUSDT", HOUR, 0.01)])
    assert second.liquidation is None
    assert [payment.amount for payment in second.funding] == [to_units("2.2")]
    assert [(trade.net_pnl, trade.exit_ts) for trade in exchange.trades] == [(to_units("17.38"), HOUR)]
    assert exchange.equity_curve.ts.tolist() == [0, HOUR, 2 * HOUR]
    assert exchange.equity_curve["equity"].tolist() == pytest.approx([1000.0, 1019.8, 1017.38])
    assert exchange.balance("BTCUSDT") == exchange.balance("USDT") == to_units("1017.38")
    assert exchange.state["positions"] == [] and exchange.state["orders"] == []
    assert len(exchange.events) == 5


@pytest.mark.parametrize(("funding", "paid"), [("none", []), (ConstantFunding(constant=0.02), ["4"]), ("history", ["2"])])
def test_stand_alone_funding_follows_the_configuration(funding, paid) -> None:
    exchange = SimulatedExchange("BTCUSDT", 1000.0, ExecutionConfig(slippage_bps=0.0, funding=funding))
    exchange.submit_order(order("a", "BUY", 2.0))
    exchange.process_bar(bar(0, 100.0, 100.0))
    result = exchange.process_bar(bar(1, 100.0, 100.0), funding_rates=[FundingRate("BTCUSDT", HOUR, 0.01)])
    assert [payment.amount for payment in result.funding] == [to_units(text) for text in paid]


def test_commands_for_a_symbol_that_is_not_traded_are_an_error_for_people() -> None:
    with pytest.raises(ConfigError, match="does not trade ETHUSDT"):
        SimulatedExchange("BTCUSDT").cancel_order(CancelOrder("a", "ETHUSDT", 0))


def test_an_instrument_that_was_not_given_is_named() -> None:
    with pytest.raises(ConfigError, match="no instrument for BTCUSDT"):
        SimulatedExchange("BTCUSDT", instruments={})


def test_a_schedule_needs_rates_and_marks_for_each_stamp() -> None:
    with pytest.raises(DataError, match="2 stamps, 1 rates and 2 marks"):
        SimulatedExchange("BTCUSDT").set_funding("BTCUSDT", [1, 2], [1], [1, 2])
