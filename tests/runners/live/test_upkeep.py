"""What a session looks after while the market moves by itself, by an injected clock: books, instruments, key; and how often."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.bybit.notices import Notice
from keel.core.model.messages import FundingPayment
from keel.core.risk.gate.causes import TradingState
from keel.runners.live.checks.health_checks import HealthChecks
from keel.runners.live.checks.schedule import PERIOD_MS, CheckSchedule
from keel.runners.live.session.ending import Stop
from keel.runners.live.session.live import Live
from tests.runners.live.test_real_time import moving, plan, run
from tests.sim.sandbox.conftest import Sandbox
from tests.sim.sandbox.raw import Raw

BAR_3_8 = {
    "in_flight": 3_000, "orders": 10_000, "executions": 30_000, "positions": 30_000, "books": 30_000, "settings": 30_000,
    "wallet": 60_000, "clock": 60_000,
    "instruments": 3_600_000, "key": 3_600_000, "statement": 86_400_000,
}  # fmt: skip
KEY, INSTRUMENTS = "/v5/user/query-api", "/v5/market/instruments-info"


def test_the_table_is_that_of_the_reliability_bar() -> None:
    assert PERIOD_MS == BAR_3_8


def test_each_is_due_when_its_period_is_over_and_then_a_period_later() -> None:
    cadence = CheckSchedule(("books", "key"), 1_000)
    assert cadence.due(1_000) == [] and cadence.due(30_999) == []
    assert cadence.due(31_000) == ["books"] and cadence.due(31_001) == []
    assert cadence.due(3_601_000) == ["books", "key"]
    cadence.hurry("key")
    assert cadence.due(3_601_001) == ["key"] and cadence.due(3_601_002) == []


class Clocked:
    """Health checks of a live session whose clock is ours; everything is right at first."""

    def __init__(self, live: Live) -> None:
        self.now, self.notices = 0, list[Notice]()
        self.health_checks = HealthChecks(live, self.notices.append, now_ms=lambda: self.now)

    async def later(self, ms: int) -> list[str]:
        """The codes of what is told when so much time has gone by."""
        self.notices.clear()
        self.now += ms
        await self.health_checks.turn()
        return [notice.code for notice in self.notices]


def patched(path: str, pointer: str, value: Any) -> dict[str, Any]:
    """A rule that answers otherwise."""
    return {
        "match": {"side": "http", "path": path},
        "action": {"kind": "mutate", "patch": [{"op": "replace", "path": pointer, "value": value}]},
    }


async def anew(sandbox: Sandbox, *rules: dict[str, Any]) -> None:
    await asyncio.to_thread(lambda: sandbox.post("/admin/faults", {"rules": list(rules), "clear": True}))


def watch(sandbox: Sandbox, journals: Path, script: Any) -> Any:
    async def act(live: Live, stop: Stop) -> None:
        await script(live, Clocked(live))

    return run(plan(sandbox, journals, "hold"), None, act)


@pytest.mark.parametrize("right", ["Withdraw", "AccountTransfer", "SubMemberTransfer"])
def test_a_key_that_may_move_funds_lets_nothing_be_added_until_it_may_not(journals: Path, right: str) -> None:
    states: list[TradingState] = []

    with moving() as sandbox:

        async def script(live: Live, clocked: Clocked) -> None:
            await anew(sandbox, patched(KEY, "/result/permissions/Wallet", [right]))
            assert await clocked.later(PERIOD_MS["key"] - 1) == []
            assert "key" in await clocked.later(1)
            states.append(live.gate.state)
            assert "key" not in await clocked.later(PERIOD_MS["key"])  # said once
            await anew(sandbox)
            await clocked.later(PERIOD_MS["key"])
            states.append(live.gate.state)

        watch(sandbox, journals, script)
    assert states == [TradingState.REDUCING, TradingState.ACTIVE]


def test_a_key_that_may_only_read_now(journals: Path) -> None:
    with moving() as sandbox:

        async def script(live: Live, clocked: Clocked) -> None:
            await anew(sandbox, patched(KEY, "/result/readOnly", 1))
            await clocked.later(PERIOD_MS["key"])
            assert "may not trade" in live.gate.why

        watch(sandbox, journals, script)


def test_a_key_that_expires_soon_is_told(journals: Path) -> None:
    with moving() as sandbox:

        async def script(live: Live, clocked: Clocked) -> None:
            await anew(sandbox, patched(KEY, "/result/deadlineDay", 13))
            await clocked.later(PERIOD_MS["key"])
            assert live.gate.state is TradingState.ACTIVE

        ran = watch(sandbox, journals, script)
    assert [notice.text for notice in ran.notices if notice.code == "key_expires"] == ["the API key expires in 13 days"]


@pytest.mark.parametrize(
    ("pointer", "value", "cause", "words"),
    [
        ("/result/list/0/priceFilter/tickSize", "0.50", "instrument_changed", "price_grid 0.1 is now 0.5"),
        ("/result/list/0/lotSizeFilter/qtyStep", "0.01", "instrument_changed", "qty_grid 0.001 is now 0.01"),
        ("/result/list/0/lotSizeFilter/maxMktOrderQty", "3", "instrument_changed", "max_market_qty"),
        ("/result/list/0/status", "Closed", "not_trading", "Closed"),
    ],
)
def test_an_instrument_with_other_rules_is_frozen(pointer: str, value: str, cause: str, words: str, journals: Path) -> None:
    with moving() as sandbox:

        async def script(live: Live, clocked: Clocked) -> None:
            await anew(sandbox, patched(INSTRUMENTS, pointer, value))
            assert cause in await clocked.later(PERIOD_MS["instruments"])
            assert words in live.venue.gate.frozen["BTCUSDT"][cause]
            assert cause not in await clocked.later(PERIOD_MS["instruments"])  # said once
            await anew(sandbox)
            await clocked.later(PERIOD_MS["instruments"])
            assert "BTCUSDT" not in live.venue.gate.frozen  # by the rules of the start again

        watch(sandbox, journals, script)


def test_books_are_compared_every_30_seconds_and_after_a_funding_payment(journals: Path) -> None:
    with moving() as sandbox:

        async def script(live: Live, clocked: Clocked) -> None:
            live.reconciler.last = marker = []
            await clocked.later(PERIOD_MS["books"] - 1)
            assert live.reconciler.last is marker
            await clocked.later(1)
            assert live.reconciler.last is not marker
            live.reconciler.last = marker
            for handler in live.books.bus.handlers_of(FundingPayment, "BTCUSDT")[-1:]:
                handler(FundingPayment("BTCUSDT", 0, 0, 0, 0.0, 0.0))
            await clocked.later(1)
            assert live.reconciler.last is not marker

        watch(sandbox, journals, script)


INFO, POSITIONS = "/v5/account/info", "/v5/position/list"


@pytest.mark.parametrize(
    ("path", "pointer", "value", "cause", "symbol", "words"),
    [
        (POSITIONS, "/result/list/0/leverage", "7", "leverage", "BTCUSDT", "leverage is 7 now"),
        (POSITIONS, "/result/list/0/autoAddMargin", 1, "auto_add_margin", "BTCUSDT", "by itself"),
        (POSITIONS, "/result/list/0/positionIdx", 1, "position_mode", "BTCUSDT", "hedge mode"),
        (INFO, "/result/marginMode", "PORTFOLIO_MARGIN", "margin_mode", None, "PORTFOLIO_MARGIN"),
    ],
)
def test_a_setting_that_drifts_is_found_within_30_seconds_and_ends(
    path: str, pointer: str, value: Any, cause: str, symbol: str | None, words: str, journals: Path
) -> None:
    with moving() as sandbox:

        async def script(live: Live, clocked: Clocked) -> None:
            await anew(sandbox, patched(path, pointer, value))
            assert cause in await clocked.later(30_000)
            assert words in live.gate.why and live.gate.state is TradingState.REDUCING
            assert cause not in await clocked.later(30_000)  # said once
            await anew(sandbox)
            await clocked.later(30_000)
            assert not live.gate.has(cause, symbol)

        watch(sandbox, journals, script)


def test_what_lies_in_other_symbols_is_told_once_and_never_touched(journals: Path) -> None:
    with moving() as sandbox:

        async def script(live: Live, clocked: Clocked) -> None:
            body = {"category": "linear", "symbol": "ETHUSDT", "side": "Buy", "orderType": "Market", "qty": "0.1"}
            await asyncio.to_thread(Raw(sandbox).post, "/v5/order/create", body)
            assert "elsewhere" in await clocked.later(30_000)
            assert "elsewhere" not in await clocked.later(30_000)
            assert not live.gate.has("external_order", "ETHUSDT")
            assert not live.gate.has("cash_differs") and live.gate.state is TradingState.ACTIVE  # its fee is explained by the log

        ran = watch(sandbox, journals, script)
        sizes = [float(row["size"]) for row in sandbox.truth()["positions"] if row["symbol"] == "ETHUSDT"]
    assert sizes == [0.1] and "ETHUSDT" not in ran.ending.positions
    assert [notice.text for notice in ran.notices if notice.code == "transfer" and "trading in ETHUSDT linear" in notice.text]
    assert ran.ending.differences == [] and ran.ending.statement is not None and ran.ending.statement.items == ()


def test_cash_that_the_log_explains_late_is_taken_over_late(journals: Path) -> None:
    """The log lags: what it did not have when the account was frozen is looked for as long as the difference stands."""
    with moving() as sandbox:

        async def script(live: Live, clocked: Clocked) -> None:
            await anew(sandbox, patched("/v5/account/transaction-log", "/result/list", []))
            body = {"category": "linear", "symbol": "ETHUSDT", "side": "Buy", "orderType": "Market", "qty": "0.1"}
            await asyncio.to_thread(Raw(sandbox).post, "/v5/order/create", body)
            await clocked.later(30_000)
            await clocked.later(30_000)
            assert live.gate.has("cash_differs")
            await anew(sandbox)
            await clocked.later(30_000)
            assert not live.gate.has("cash_differs") and live.gate.state is TradingState.ACTIVE

        ran = watch(sandbox, journals, script)
    assert ran.ending.differences == []
