"""The transaction log against our books, row by row: what agrees is 0, and what does not has a name."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from keel.core.model.money import UNIT, to_units
from keel.core.model.time_range import to_ms
from keel.runners.live.checks.health_checks import STATEMENT_LAG_MS
from keel.runners.live.memory.records import Stated
from keel.runners.live.session.ending import Stop
from keel.runners.live.session.live import Live
from tests.builders import DAY, START, builtin
from tests.runners.live.conftest import Ran, plan_of, run_session, stored_sandbox
from tests.runners.live.test_real_time import moving, plan, run
from tests.runners.live.test_same_decisions import marked_store
from tests.runners.live.test_upkeep import Clocked, anew
from tests.sim.sandbox.conftest import Sandbox

LOG = "/v5/account/transaction-log"
FROM, TO = START + 20 * DAY, START + 22 * DAY


def patch(op: str, pointer: str, value: Any = None) -> dict[str, Any]:
    """A rule by which the newest row of the log is another."""
    change = {"op": op, "path": pointer} | ({} if op == "remove" else {"value": value})
    return {"match": {"side": "http", "path": LOG}, "action": {"kind": "mutate", "patch": [change]}}


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Ran], Any]:
    """Two sessions in lock-step over two days, one after the other, and the truth after them."""
    system, strategy = builtin("ema_cross", "warmup_bars=100", "timeframe=30m")
    with marked_store() as store, stored_sandbox(store, system, FROM, TO) as sandbox:
        ran = [
            run_session(plan_of(system, strategy, store, sandbox.url, tmp_path_factory.mktemp("journals")), max_bars=bars)
            for bars in (300,)
        ]
        folder = ran[0].live.plan.journals
        ran.append(run_session(plan_of(system, strategy, store, sandbox.url, folder)))
        return ran, sandbox.truth()


def test_what_two_sessions_state_is_the_whole_log(traded: tuple[list[Ran], Any]) -> None:
    (first, second), truth = traded
    stated = second.of(Stated)
    rows = [row for row in truth["log"] if row["currency"] == "USDT" and row["type"] != "TRANSFER_IN"]
    assert {row["type"] for row in rows} == {"TRADE", "SETTLEMENT"} and len(stated) == 2
    assert [each.difference for each in stated] == [0, 0] and not any(each.items for each in stated)
    assert sum(each.rows for each in stated) == len(rows) > 5
    assert sum(each.change for each in stated) == sum(to_units(row["change"]) for row in rows)
    assert stated[1].since_ms == stated[0].until_ms and first.ending.statement == stated[0] and second.ending.agrees


def check(sandbox: Sandbox, journals: Path, *rules: dict[str, Any]) -> tuple[Stated, list[str]]:
    """What is stated of a session that bought once, with these rules on."""
    found: list[Any] = []

    async def script(live: Live, stop: Stop) -> None:
        async with asyncio.timeout(10):
            while not live.tape.fills:
                await asyncio.sleep(0.01)
        await anew(sandbox, *rules)
        found.append(await live.statement.make(live.connection.market_ms + 60_000))
        await anew(sandbox)

    ran = run(plan(sandbox, journals, "hold"), None, script)
    return found[0], [notice.text for notice in ran.notices if notice.code == "statement_differs"]


@pytest.mark.parametrize(
    ("rule", "difference", "words"),
    [
        (patch("replace", "/result/list/0/change", "-7"), None, "the log -7"),
        (patch("replace", "/result/list/0/tradeId", "nobody"), 0, "execution nobody"),
        (patch("replace", "/result/list/0/type", "BONUS"), None, "bonus of"),
        (patch("replace", "/result/list", []), None, "which the log has not"),
        (patch("replace", "/result/list/0/change", "nonsense"), "unread", "not read"),
    ],
)
def test_what_differs_has_a_name(rule: dict[str, Any], difference: Any, words: str, journals: Path) -> None:
    with moving() as sandbox:
        if difference == "unread":
            stated, _ = check(sandbox, journals, rule)
            assert stated is None
            return
        stated, told = check(sandbox, journals, rule)
    assert stated is not None and any(words in text for text in told), (stated, told)
    assert (stated.difference == 0) == (difference == 0)


def test_once_a_day_and_no_younger_than_a_minute(journals: Path) -> None:
    with moving() as sandbox:

        async def script(live: Live, stop: Stop) -> None:
            clocked = Clocked(live)
            assert "statement" not in await clocked.later(DAY - 1)
            assert live.statement.last is None
            while live.connection.market_ms < live.opened.ts + 2 * STATEMENT_LAG_MS:
                await asyncio.sleep(0.05)
            await clocked.later(1)
            assert live.statement.last is not None
            assert live.statement.last.until_ms <= live.connection.market_ms - STATEMENT_LAG_MS
            assert live.books.history.stated_ms == live.statement.last.until_ms

        run(plan(sandbox, journals, "hold"), None, script)


@pytest.mark.real_data
@pytest.mark.long
def test_days_of_real_minutes_are_stated_whole(real_data: Path, journals: Path) -> None:
    from keel.adapters.store import HistoricalDataStore

    system, strategy = builtin("momentum", "execution_timeframe=1m")
    with HistoricalDataStore(":memory:") as store:
        for folder in ("kline_1m", "kline_1h", "funding"):
            store.import_file(real_data / "bybit" / "linear" / folder / "BTCUSDT.parquet")
        with stored_sandbox(store, system, to_ms("2025-05-30"), to_ms("2025-06-05")) as sandbox:
            ran = run_session(plan_of(system, strategy, store, sandbox.url, journals))
    stated = ran.ending.statement
    assert stated is not None and stated.difference == 0 and not stated.items and stated.rows > 10
    assert stated.change == ran.live.books.portfolio.cash - round(system.initial_equity * UNIT)
