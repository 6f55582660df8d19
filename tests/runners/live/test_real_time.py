"""A market that moves by itself, hundreds of times as fast as life: instants over symbols, the end of a session, faults, and strangers."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

from keel.adapters.bybit.market.market_stream import MarketStream
from keel.adapters.journal import Disk, read
from keel.core.engine.instant import InstantClosed
from keel.core.errors import StrategyError
from keel.core.model.messages import Bar, Fill, Message, Signal, SubmitOrder
from keel.core.risk.gate.causes import TradingState
from keel.core.strategy.portfolio_order import Order
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import Distance, ExitsConfig, RiskConfig, SizingConfig
from keel.runners.live.memory.recorder import Recorder
from keel.runners.live.memory.records import TYPES
from keel.runners.live.reporting.display import Display
from keel.runners.live.session.ending import Stop
from keel.runners.live.session.live import Live
from keel.runners.live.session.session import Session
from keel.runners.live.startup.plan import Plan
from keel.sim.sandbox.settings import SandboxSettings
from keel.strategies.base import BaseStrategy, PortfolioStrategy
from tests.builders import plain_system
from tests.runners.live.conftest import Ran, plan_of
from tests.sim.sandbox.conftest import Sandbox, running, walk_feed
from tests.sim.sandbox.raw import Raw
from tests.virtual.sandbox import run_over, running_virtually

FACTOR = 200.0
EXITS = ExitsConfig(stop_loss=Distance(percent=20), take_profit=Distance(percent=20))


class Script(BaseStrategy):
    """Long and flat in turn, every other bar; ``mode`` changes what it does."""

    mode = "turns"
    bars = 0

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        self.bars += 1
        if self.mode == "hold":
            return Signal(snapshot.symbol, "LONG") if snapshot.position.qty == 0 else None
        if self.mode == "rest":
            price = round(snapshot.bar_ltf.close * 0.5, 0)
            return Signal(snapshot.symbol, "LONG", order_type="limit", limit_price=price) if self.bars % 5 == 1 else None
        if self.mode == "raise" and self.bars == 3:
            raise ValueError("a mistake in a strategy")
        return Signal(snapshot.symbol, "LONG" if snapshot.position.qty == 0 else "FLAT")


def scripted(mode: str) -> type[BaseStrategy]:
    return type(f"Script_{mode}", (Script,), {"mode": mode})


def settings_of(changes: dict[str, Any]) -> SandboxSettings:
    return SandboxSettings(**({"factor": FACTOR, "tick_ms": 20, "limit_factor": FACTOR} | changes))


@contextmanager
def moving_really(**changes: Any) -> Iterator[Sandbox]:
    """At the machine's time, for sessions that are spoken to from other threads and processes."""
    with running(settings_of(changes), walk_feed()) as sandbox:
        yield sandbox


@contextmanager
def moving(**changes: Any) -> Iterator[Sandbox]:
    settings = settings_of(changes)
    with running_virtually(settings, lambda now_ms: walk_feed(start_ms=now_ms)) as sandbox:
        yield sandbox


def plan(sandbox: Sandbox, folder: Path, mode: str = "turns", symbols: tuple[str, ...] = ("BTCUSDT",), **changes: Any) -> Plan:
    exits = changes.pop("exits", None)
    sizing = SizingConfig(model="fixed_usd", usd=1000)
    system = plain_system(*symbols, timeframe="1m", sizing=sizing, exits=exits, **changes)
    return plan_of(system, scripted(mode), None, sandbox.url, folder, uid="feedbeef" + mode.encode().hex()[:4], grace_ms=400)


def run(plan: Plan, bars: int | None, act: Callable[[Live, Stop], Any] | None = None) -> Ran:
    """Run; ``act`` is awaited beside the session."""
    notices: list[Any] = []
    session = Session(plan, notices.append, max_bars=bars)

    async def beside(live: Live, stop: Stop) -> AsyncIterator[None]:
        task = asyncio.create_task(act(live, stop)) if act is not None else None
        if task is not None:
            task.add_done_callback(lambda _: stop.ask("the script has ended"))
        try:
            yield
        finally:
            if task is not None:
                if task.done():
                    task.result()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    live, ending = run_over(plan.sandbox_url, session.run(beside))
    return Ran(live, ending, notices, [record.message for record in read(live.journal.folder, types=TYPES)])


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def protected(live: Live, stop: Stop) -> None:
    """Stop once a position and its two exits are there."""
    await until(lambda: len(live.books.actors.executor.bracket_orders()) == 2)
    stop.ask("protected")


def check(ran: Ran, sandbox: Sandbox) -> None:
    truth = sandbox.truth()
    moved = sorted(row["execId"] for row in truth["executions"] if row["execType"] != "Funding")
    assert sorted(fill.fill_id for fill in ran.of(Fill)) == moved
    assert ran.ending.differences == [] and truth["problems"] == []
    written = {command.client_order_id for command in ran.of(SubmitOrder)}
    assert {row["orderLinkId"] for row in truth["orders"] if row["orderLinkId"]} <= written


def test_two_symbols_close_their_instants_together_and_the_books_agree(journals: Path) -> None:
    with moving() as sandbox:
        ran = run(plan(sandbox, journals, symbols=("BTCUSDT", "ETHUSDT")), 12)
        check(ran, sandbox)
    assert ran.ending.failure is None
    assert {fill.symbol for fill in ran.of(Fill)} == {"BTCUSDT", "ETHUSDT"}
    assert [row.ts for row in ran.of(TYPES[2])] == sorted({row.ts for row in ran.of(TYPES[2])})


def test_at_the_end_entries_are_cancelled_and_exits_stay(journals: Path) -> None:
    with moving() as sandbox:

        async def act(live: Live, stop: Stop) -> None:
            await until(lambda: live.books.actors.executor.open_orders())
            await until(lambda: [order for order in live.venue.tracker.orders if order.state == "accepted"])
            stop.ask("Ctrl-C")

        ran = run(plan(sandbox, journals, "rest"), None, act)
        check(ran, sandbox)
        assert ran.ending.reason == "Ctrl-C" and len(ran.ending.cancelled) == 1
        held = run(plan(sandbox, journals, "hold", exits=EXITS), None, protected)
        resting = [row for row in sandbox.truth()["orders"] if row["orderStatus"] in ("New", "Untriggered")]
    assert held.ending.differences == [] and held.ending.cancelled == [] and held.ending.positions
    assert sorted(name.rpartition("-")[2] for name in held.ending.protective) == ["sl", "tp"]
    assert sorted(row["stopOrderType"] for row in resting) == ["StopLoss", "TakeProfit"]


def test_a_restart_takes_up_the_position_and_its_exits(journals: Path) -> None:
    with moving() as sandbox:
        first = run(plan(sandbox, journals, "hold", exits=EXITS), None, protected)
        again = run(plan(sandbox, journals, "hold", exits=EXITS), 4)
        check(again, sandbox)
    assert again.live.journal.session == 2
    assert again.ending.positions == first.ending.positions
    assert sorted(again.ending.protective) == sorted(first.ending.protective)
    assert len(again.of(SubmitOrder)) == 1


def test_a_strategy_that_raises_stops_trading_and_the_error_comes_out(journals: Path) -> None:
    with moving() as sandbox:
        ran = run(plan(sandbox, journals, "raise"), 20)
        check(ran, sandbox)
    assert isinstance(ran.ending.failure, StrategyError)
    assert ran.ending.reason == "fault"
    assert any(type(message).__name__ == "Fault" for message in ran.journal)


def test_a_fault_closes_the_position_where_the_system_says_so(journals: Path) -> None:
    with moving() as sandbox:
        ran = run(plan(sandbox, journals, "raise", on_fault="flatten"), 20)
        sizes = [float(row["size"]) for row in sandbox.truth()["positions"]]
    assert isinstance(ran.ending.failure, StrategyError)
    assert not any(sizes)


def test_a_socket_that_is_cut_is_made_good(journals: Path) -> None:
    with moving() as sandbox:
        sandbox.faults({"action": "abort", "match": {"side": "ws", "topic": "execution", "nth": 1}})
        ran = run(plan(sandbox, journals), 25)
        check(ran, sandbox)
    assert ran.ending.failure is None
    assert ran.live.venue.private.stream.connects >= 2
    assert len(ran.of(Fill)) > 2


def test_somebody_elses_trade_freezes_the_symbol_and_is_told(journals: Path) -> None:
    with moving() as sandbox:

        async def act(live: Live, stop: Stop) -> None:
            await until(lambda: live.books.actors.portfolio.lines["BTCUSDT"].book.steps)
            order = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "0.01"}
            await asyncio.to_thread(Raw(sandbox).post, "/v5/order/create", order)
            await until(lambda: live.venue.gate.frozen.get("BTCUSDT"))
            stop.ask("seen")

        ran = run(plan(sandbox, journals, "hold"), None, act)
    assert ran.ending.reason == "seen"
    assert {"external_order", "execution_external"} & {notice.code for notice in ran.notices}
    assert ran.ending.differences == []  # the stranger's execution is in our books, and nothing is added until a person has looked


def test_the_gate_is_shut_before_the_start_and_after_the_end(journals: Path) -> None:
    with moving() as sandbox:
        ran = run(plan(sandbox, journals, "hold"), 3)
    assert ran.live.gate.state is TradingState.HALTED
    states = [notice.text for notice in ran.notices if notice.code == "gate"]
    assert states[0].startswith("HALTED starting") and states[1].startswith("ACTIVE") and states[-1].startswith("HALTED stopped")


def test_money_from_outside_is_explained_by_the_log_and_taken_over(journals: Path) -> None:
    with moving(profile="demo") as sandbox:

        async def act(live: Live, stop: Stop) -> None:
            body = {"adjustType": 0, "utaDemoApplyMoney": [{"coin": "USDT", "amountStr": "250"}]}
            answer = await asyncio.to_thread(Raw(sandbox).post, "/v5/account/demo-apply-money", body)
            assert answer[2]["retCode"] == 0, answer
            await asyncio.sleep(0.3)
            stop.ask("funded")

        ran = run(plan(sandbox, journals, "hold", risk=RiskConfig(margin_mode="cross")), None, act)
        check(ran, sandbox)
    assert "transfer" in {notice.code for notice in ran.notices}
    assert ran.live.books.actors.portfolio.equity > 100_200


def test_the_screen_shows_the_account_what_rests_and_the_gate(journals: Path) -> None:
    from rich.console import Console

    shown: list[str] = []
    with moving() as sandbox:

        async def act(live: Live, stop: Stop) -> None:
            await until(lambda: len(live.books.actors.executor.bracket_orders()) == 2)
            console = Console(width=140, record=True, file=io.StringIO())
            console.print(Display().render(live, stop))
            shown.append(console.export_text())
            stop.ask("seen")

        run(plan(sandbox, journals, "hold", exits=EXITS), None, act)
    (text,) = shown
    for word in ("equity", "ACTIVE", "BTCUSDT", "-1-sl", "-1-tp", "LONG", "prices BTCUSDT", "left this second: orders"):
        assert word in text, text


class Pair(PortfolioStrategy):
    """Long one symbol and short the other, the other way round at each step; notes when it was asked."""

    asked: ClassVar[list[int]] = []
    data_timeframes = ("1m",)

    def run_strategy(self, oms_client: Any, data_manager: Any) -> list[Order]:
        self.asked.append(int(oms_client.current_time.timestamp() * 1000))
        sides: list[Any] = ["LONG", "SHORT"] if len(self.asked) % 2 else ["SHORT", "LONG"]
        return [Order(name, "future", side, 1000.0) for name, side in zip(self.symbols, sides, strict=True)]


@pytest.mark.long
def test_a_portfolio_steps_without_a_symbol_whose_bar_is_late(journals: Path) -> None:
    """The mark candle beside it is not published for seven seconds: the step is taken at its time with the other one."""
    Pair.asked.clear()
    empty = {"kind": "mutate", "patch": [{"op": "replace", "path": "/result/list", "value": []}]}
    with moving(factor=20.0) as sandbox:
        match = {"side": "http", "path": "/v5/market/mark-price-kline", "symbol": "ETHUSDT", "nth": 8, "times": 14}
        sandbox.faults({"match": match, "action": empty})
        system = plain_system("BTCUSDT", "ETHUSDT", timeframe="1m", warmup_bars=None)
        ran = run(plan_of(system, Pair, None, sandbox.url, journals, grace_ms=400), 14)
        check(ran, sandbox)
    assert ran.ending.failure is None
    closed = [row.ts for row in ran.of(InstantClosed) if row.decides]  # type: ignore[attr-defined]
    assert Pair.asked == closed and len(set(closed)) == len(closed) > 10
    bars = {row.ts_close for row in ran.of(Bar) if row.symbol == "ETHUSDT"}  # type: ignore[attr-defined]
    without = [notice for notice in ran.notices if notice.code == "bars_late" and "ETHUSDT" in notice.text]
    assert without and all(notice.ts in closed and notice.ts in bars for notice in without)  # asked then, and the bar came after all


def test_the_orders_of_an_instant_share_one_sync(journals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[int | None] = []
    append, sync = Recorder.append, Disk.sync

    def appended(recorder: Recorder, message: Message) -> int:
        if isinstance(message, SubmitOrder):
            events.append(message.ts)
        return append(recorder, message)

    def synced(disk: Disk, descriptor: int) -> None:
        events.append(None)
        sync(disk, descriptor)

    monkeypatch.setattr(Recorder, "append", appended)
    monkeypatch.setattr(Disk, "sync", synced)
    with moving() as sandbox:
        check(run(plan(sandbox, journals, symbols=("BTCUSDT", "ETHUSDT")), 8), sandbox)
    orders = [(ts, place) for place, ts in enumerate(events) if ts is not None]
    together = [(first, second) for (first, place), (second, after) in pairwise(orders) if first == second and after == place + 1]
    instants = {ts for ts, _ in orders}
    assert len(orders) == 2 * len(instants) and len(together) == len(instants) >= 4


def test_a_session_rests_only_while_no_command_is_on_its_way_and_no_bar_waits(journals: Path) -> None:
    rests: list[tuple[int, bool]] = []

    def rest() -> None:
        live = session.live
        assert live is not None
        rests.append((live.venue.in_flight, live.intake.is_empty))

    with moving() as sandbox:
        session = Session(plan(sandbox, journals, symbols=("BTCUSDT", "ETHUSDT")), lambda notice: None, max_bars=6, rest=rest)
        run_over(sandbox.url, session.run())
    assert rests and set(rests) == {(0, True)}


def test_what_closed_during_the_start_is_decided_on_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = MarketStream.settle

    async def slowly(stream: MarketStream) -> None:
        await asyncio.sleep(240 / FACTOR)  # four bars
        await settle(stream)

    monkeypatch.setattr(MarketStream, "settle", slowly)
    began: list[int] = []

    async def note(live: Live, stop: Stop) -> None:
        began.append(live.connection.market_ms)
        while len(live.books.engine.closes) < 8:
            await asyncio.sleep(0.05)

    with moving() as sandbox:
        ran = run(plan(sandbox, tmp_path), None, note)
    closed = [message for message in ran.journal if isinstance(message, InstantClosed)]
    during = [each for each in closed if each.ts <= began[0]]
    assert len(during) >= 3 and not any(each.decides for each in during)
    assert any(each.decides for each in closed)
