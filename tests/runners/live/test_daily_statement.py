"""A statement a UTC day, and every kind of row that the log may have: a difference of 0, or an item with a name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from keel.core.model.timeframe import DAY_MS
from keel.runners.live.checks.health_checks import STATEMENT_LAG_MS
from keel.runners.live.memory.records import Stated
from tests.runners.live.socketless.exchange import START_MS, Exchange, S
from tests.runners.live.socketless.trader import Trader, pass_time
from tests.virtual.loop import run_virtual

KINDS = (
    "TRANSFER_IN", "TRANSFER_OUT", "BONUS", "BONUS_RECOLLECT", "FEE_REFUND", "INTEREST", "AIRDROP", "CURRENCY_BUY", "CURRENCY_SELL",
    "AUTO_DEDUCTION", "PREMARKET_TRANSFER_OUT", "CUSTODY_NETWORK_FEE", "NEVER_HEARD_OF",
)  # fmt: skip


def over(script: Callable[[Exchange, Trader], Awaitable[None]]) -> Trader:
    """A session over the exchange of this module's time, and a script beside it."""

    async def work() -> Trader:
        exchange = Exchange()
        exchange.move()
        trader = Trader(exchange, [], 1)
        await trader.start()
        try:
            await script(exchange, trader)
            trader.check_alive()
        finally:
            await trader.stop()
        return trader

    return run_virtual(work(), start_ms=START_MS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_any_kind_is_taken_over_and_then_no_difference_is_left(kind: str) -> None:
    async def script(exchange: Exchange, trader: Trader) -> None:
        trader.order("BUY", 20)
        await pass_time(exchange, 3)
        exchange.happen("transfer", amount="-1.00000001", type=kind)
        await pass_time(exchange, 40)
        stated = await trader.statement.make(exchange.now_ms)
        assert stated is not None and (stated.difference, stated.items) == (0, ())
        assert stated.rows >= 2 and trader.differences() == []
        assert any(kind in notice.text for notice in trader.notices if notice.code == "transfer")

    over(script)


def test_a_row_that_is_not_taken_over_yet_is_an_item_with_its_name() -> None:
    async def script(exchange: Exchange, trader: Trader) -> None:
        await pass_time(exchange, 2)
        exchange.happen("transfer", amount="-7.5", type="AUTO_DEDUCTION")
        stated = await trader.statement.make(exchange.now_ms)
        assert stated is not None and stated.difference == -750_000_000
        (item,) = stated.items
        assert item.startswith("auto_deduction of ") and "which is not taken over" in item and "the log -7.5" in item

    over(script)


def test_trades_funding_deleveraging_and_fees_in_another_coin_are_stated_whole() -> None:
    async def script(exchange: Exchange, trader: Trader) -> None:
        trader.order("BUY", 20)
        await pass_time(exchange, 25)  # over the funding time
        exchange.happen("adl", symbol=S, qty="0.005")
        await pass_time(exchange, 3)
        exchange.happen("fee_coin", coin="MNT", price=0.5)
        trader.order("SELL", 15, reduce_only=True)
        await pass_time(exchange, 40)
        stated = await trader.statement.make(exchange.now_ms)
        assert stated is not None and (stated.difference, stated.items) == (0, ()) and trader.differences() == []
        kinds = {row["type"] for row in exchange.truth()["log"]}
        assert {"TRADE", "SETTLEMENT", "ADL"} <= kinds

    over(script)


def test_one_is_made_when_a_utc_day_has_ended_and_ends_with_it() -> None:
    """The session runs over midnight without anybody asking."""

    async def script(exchange: Exchange, trader: Trader) -> None:
        trader.order("BUY", 20)
        await pass_time(exchange, 3)
        midnight = exchange.now_ms - exchange.now_ms % DAY_MS + DAY_MS
        await pass_time(exchange, (midnight + STATEMENT_LAG_MS - 10_000 - exchange.now_ms) / 1_000)
        trader.order("SELL", 20, reduce_only=True)
        await pass_time(exchange, 30)
        (stated,) = [message for message in trader.journal if isinstance(message, Stated)]
        assert stated.until_ms == midnight - 1 and (stated.difference, stated.items) == (0, ())
        rest = await trader.statement.make(exchange.now_ms)
        assert rest is not None and rest.since_ms == midnight - 1 and rest.rows == 2 and (rest.difference, rest.items) == (0, ())

    over(script)
