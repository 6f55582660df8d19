"""What happens to an account without the session: found within thirty seconds, adopted or frozen by rule, and ended as the rule says.

Each row of the table in docs/reconciliation.md is walked over the sandbox's own engine, once as the private stream tells of it and once
where the stream says nothing and lists have to show it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from keel.core.model.messages import Bracket, OrderUpdate
from keel.core.risk.gate.causes import CAUSES
from keel.runners.live.memory.records import Adjusted
from keel.runners.live.reporting.tallies import of_journal
from tests.runners.live.socketless.exchange import OTHER, START_MS, Exchange, Hearing, S
from tests.runners.live.socketless.trader import Trader, pass_time
from tests.virtual.loop import run_virtual

FOUND_S = 30.0
"""What nobody tells is found within so long: settings, books and executions are read every 30 s."""
PAGE = Path(__file__).parents[3] / "docs" / "reconciliation.md"


@dataclass(frozen=True)
class Row:
    """One event. ``cause``: what it raises; "": none, it is adopted. ``sign``: whether it has been found. ``undo``: what ends it, if a
    person's hand does; causes that need a person are lifted after it."""

    name: str
    happens: Callable[[Exchange, Trader], object]
    cause: str
    undo: Callable[[Exchange, Trader], object] = lambda exchange, trader: None
    begins: Literal["flat", "long", "long, no entry rests"] = "long"
    adopts: str = ""
    """A code of the notice, where no cause stands for it."""


def trade(side: str, qty: str, **more: Any) -> Callable[[Exchange, Trader], object]:
    return lambda exchange, trader: exchange.by_hand("/v5/order/create", side=side, orderType="Market", qty=qty, **more)


def rest_order(exchange: Exchange, trader: Trader) -> None:
    price = str(trader.price(0.9))
    exchange.by_hand("/v5/order/create", side="Buy", orderType="Limit", qty="0.01", price=price, orderLinkId="by-hand")


def leverage(value: str) -> Callable[[Exchange, Trader], object]:
    return lambda exchange, trader: exchange.by_hand("/v5/position/set-leverage", buyLeverage=value, sellLeverage=value)


def margin_mode(name: str) -> Callable[[Exchange, Trader], object]:
    return lambda exchange, trader: exchange.by_hand("/v5/account/set-margin-mode", setMarginMode=name)


def position_mode(mode: int) -> Callable[[Exchange, Trader], object]:
    return lambda exchange, trader: exchange.by_hand("/v5/position/switch-mode", mode=mode)


def happens(do: str, **values: Any) -> Callable[[Exchange, Trader], object]:
    return lambda exchange, trader: exchange.happen(do, **values)


def adds_margin(*, is_on: bool) -> Callable[[Exchange, Trader], object]:
    return happens("auto_add_margin", symbol=S, on=is_on)


def cancels(role: str) -> Callable[[Exchange, Trader], object]:
    def act(exchange: Exchange, trader: Trader) -> None:
        rows = [row for row in exchange.truth()["orders"] if row["orderStatus"] in ("New", "Untriggered") and row["stopOrderType"] == role]
        assert rows
        for row in rows:
            assert exchange.by_hand("/v5/order/cancel", orderId=row["orderId"])["retCode"] == 0

    return act


def pays_in_coin(exchange: Exchange, trader: Trader) -> None:
    exchange.happen("fee_coin", coin="MNT", price=0.5)
    trader.order("BUY", 1)


def lies(what: str, amount: int) -> Callable[[Exchange, Trader], object]:
    return lambda exchange, trader: exchange.lies.update({what: amount})


def tells_truth(exchange: Exchange, trader: Trader) -> None:
    exchange.lies.clear()


def falls(exchange: Exchange, trader: Trader) -> None:
    """Beyond what a margin of a tenth bears (9.5 %), and not as far as the stop (10 %)."""
    exchange.jump(0.9025)
    exchange.move()


TABLE = (
    Row("a person's order rests", rest_order, "external_order", lambda x, t: x.by_hand("/v5/order/cancel", orderLinkId="by-hand")),
    Row("a person trades more", trade("Buy", "0.01"), "execution_external"),
    Row("a person closes part of the position", trade("Sell", "0.005", reduceOnly=True), "execution_external"),
    Row("a person closes the position", trade("Sell", "0.020", reduceOnly=True), "execution_external"),
    Row("a person turns the position round", trade("Sell", "0.040"), "execution_external"),
    Row("leverage is changed", leverage("3"), "leverage", leverage("10")),
    Row("the margin mode is changed", margin_mode("REGULAR_MARGIN"), "margin_mode", margin_mode("ISOLATED_MARGIN"), "flat"),
    Row("the position mode is changed", position_mode(3), "position_mode", position_mode(0), "flat"),
    Row(
        "margin is added by itself", happens("auto_add_margin", symbol=S), "auto_add_margin", happens("auto_add_margin", symbol=S, on=False)
    ),
    Row("auto-deleveraging", happens("adl", symbol=S, qty="0.005"), "execution_adl"),
    Row("liquidation", falls, "", begins="long, no entry rests", adopts="execution_liquidation"),
    Row("money comes in", happens("transfer", amount="250"), "", adopts="transfer"),
    Row("money goes out", happens("transfer", amount="-250"), "", adopts="transfer"),
    Row("another row of the log", happens("transfer", amount="3", type="NEVER_HEARD_OF"), "", adopts="transfer"),
    Row("a person cancels our stop", cancels("StopLoss"), "unprotected"),
    Row("a person cancels our entry", cancels(""), "", adopts="order"),
    Row("another symbol is traded", trade("Buy", "0.1", symbol=OTHER), "", adopts="elsewhere"),
    Row("fees are taken in another coin", pays_in_coin, "fee_coin", happens("fee_coin")),
    Row("the position is another, and no execution says why", lies("position", 5), "position_differs", tells_truth),
    Row("the wallet is another, and no row says why", lies("wallet", -700), "cash_differs", tells_truth),
)


async def prepare(exchange: Exchange, trader: Trader, row: Row) -> None:
    if row.begins != "flat":
        bracket = Bracket(stop_loss=trader.price(0.9), take_profit=trader.price(1.1))
        trader.order("BUY", 20, bracket=bracket)
        if row.begins == "long":
            trader.order("BUY", 3, order_type="limit", price=trader.price(0.95))
    await pass_time(exchange, 25)  # funding is over, too
    assert trader.differences() == [] and trader.gate.entries() == []


def is_found(trader: Trader, row: Row) -> bool:
    if row.cause == "unprotected":  # it is closed at once, and then it is over
        return any(notice.code == "unprotected" for notice in trader.notices)
    if row.cause:
        return any(entry.cause == row.cause for entry in trader.gate.entries())
    if row.adopts == "order":
        return any(isinstance(message, OrderUpdate) and message.status == "cancelled" for message in trader.journal)
    return any(notice.code == row.adopts for notice in trader.notices)


@pytest.mark.parametrize("hearing", ["heard", "lost"])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_it_is_found_in_time_handled_by_rule_and_ended(row: Row, hearing: Hearing) -> None:
    took: list[float] = []

    async def script() -> None:
        exchange = Exchange()
        exchange.move()
        trader = Trader(exchange, [], 1)
        await trader.start()
        try:
            await prepare(exchange, trader, row)
            exchange.hearing = hearing
            row.happens(exchange, trader)
            for second in range(60):
                if is_found(trader, row):
                    took.append(second)
                    break
                await pass_time(exchange, 1)
            await pass_time(exchange, 32)  # all is decided by now
            assert trader.differences() == [], trader.differences()
            if row.cause and row.cause != "unprotected" and row.cause not in ("execution_adl",):
                assert [entry.cause for entry in trader.gate.against(S)] == [row.cause]
            exchange.hearing = "heard"
            row.undo(exchange, trader)
            await pass_time(exchange, 65)
            for entry in trader.gate.entries():
                assert CAUSES[entry.cause].lifted_by == "person", entry
                trader.gate.open(entry.cause, entry.symbol, entry.key, by="a person")
            assert trader.gate.entries() == [] and trader.differences() == [] and trader.stated_differences() == []
            money = [message for message in trader.journal if isinstance(message, Adjusted)]
            if row.name == "liquidation":  # a list of executions does not say its profit: the log does
                money = [message for message in money if message.reason != "realized_pnl" or hearing == "heard"]
                assert exchange.account.exchange.liquidations and trader.tape.liquidations
            assert bool(money) == (row.adopts in ("transfer", "elsewhere")), money
            before = len(exchange.entries)
            if row.cause != "execution_external" or exchange.held() >= 0:
                trader.order("BUY", 2)
                await pass_time(exchange, 2)
                assert len(exchange.entries) == before + 1
            trader.check_alive()
        finally:
            await trader.stop()

    run_virtual(script(), start_ms=START_MS)
    assert took and took[0] <= FOUND_S, took
    if hearing == "heard" and row.cause in ("external_order", "execution_external", "execution_adl", "fee_coin", "unprotected"):
        assert took[0] <= 5.0, took


def test_the_page_has_each_row() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for row in TABLE:
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {row.name} |")]
        assert row.cause in line, line


@pytest.mark.parametrize(
    ("what", "amount", "symbol"), [("position", 5, S), ("position", -20, S), ("position", -33, S), ("wallet", -700, None)]
)
def test_a_person_adopts_what_nothing_explains(what: str, amount: int, symbol: str | None) -> None:
    async def script() -> None:
        exchange = Exchange()
        exchange.move()
        trader = Trader(exchange, [], 1)
        await trader.start()
        try:
            trader.order("BUY", 20)
            await pass_time(exchange, 25)
            exchange.lies[what] = amount
            await pass_time(exchange, 40)
            cause = "position_differs" if symbol else "cash_differs"
            assert trader.gate.has(cause, symbol)
            assert await trader.reconciler.adopt(symbol) == ""
            trader.gate.open(cause, symbol, by="a person")
            await pass_time(exchange, 40)
            assert trader.stated_differences() == [] and not trader.gate.has(cause, symbol)
            (adjusted,) = [message for message in trader.journal if isinstance(message, Adjusted)]
            assert adjusted.reason == "adopted"
            assert of_journal(trader.books.history) == {"differences that a person adopted": 1}
            assert (adjusted.steps if symbol else adjusted.cash_change) == (20 + amount if symbol else amount)
            assert await trader.reconciler.adopt(symbol) == "they agree by now"
            trader.check_alive()
        finally:
            await trader.stop()

    run_virtual(script(), start_ms=START_MS)


@pytest.mark.parametrize(("units", "is_rounding"), [(2, True), (-1, True), (3, False), (-3, False)])
def test_as_much_as_executions_may_have_been_rounded_is_taken_over(units: int, *, is_rounding: bool) -> None:
    """One fill and one funding payment: two units of 1e-8, and no more."""

    async def script() -> None:
        exchange = Exchange()
        exchange.move()
        trader = Trader(exchange, [], 1)
        await trader.start()
        try:
            trader.order("BUY", 20)
            await pass_time(exchange, 25)
            assert len(trader.tape.fills) + len(trader.tape.payments) == 2
            exchange.lies["wallet"] = units
            await pass_time(exchange, 40)
            assert trader.gate.has("cash_differs") != is_rounding
            assert [message.reason for message in trader.journal if isinstance(message, Adjusted)] == ["rounding"] * is_rounding
            assert not is_rounding or trader.stated_differences() == []
            assert [notice.severity for notice in trader.notices if notice.code == "rounded"] == ["info"] * is_rounding
            trader.check_alive()
        finally:
            await trader.stop()

    run_virtual(script(), start_ms=START_MS)


@pytest.mark.parametrize(("what", "amount", "symbol"), [("position", 5, S), ("wallet", -700, None)])
def test_two_who_adopt_at_once_adopt_it_once(what: str, amount: int, symbol: str | None) -> None:
    async def script() -> None:
        exchange = Exchange()
        exchange.move()
        trader = Trader(exchange, [], 1)
        await trader.start()
        try:
            trader.order("BUY", 20)
            await pass_time(exchange, 25)
            exchange.lies[what] = amount
            await pass_time(exchange, 40)
            said = await asyncio.gather(*(trader.reconciler.adopt(symbol) for _ in range(2)), trader.reconciler.check())
            assert said[:2] == ["", "they agree by now"]
            await pass_time(exchange, 40)
            assert [message.reason for message in trader.journal if isinstance(message, Adjusted)] == ["adopted"]
            assert trader.stated_differences() == []
            trader.check_alive()
        finally:
            await trader.stop()

    run_virtual(script(), start_ms=START_MS)
