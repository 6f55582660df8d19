"""The whole table of causes, walked: each is raised, forbids what the table says, ends by what the table says, and then it trades again.

One session walks them, a cause every other bar. Where the sandbox can make the trouble it does; what it cannot make is raised as its owner
does, and ended by the real look. Three are walked where they are at home: ``loop_stalled`` in tests/runners/live/test_watchdog,
``unprotected`` in tests/faults/test_unprotected, ``panic`` in tests/runners/live/test_latch, ``arming_expired`` in
tests/runners/live/test_live_expiry.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from keel.core.errors import SafetyError
from keel.core.model.messages import Halt, OrderIntent, OrderUpdate, Resume, SubmitOrder
from keel.core.model.timeframe import DAY_MS
from keel.core.risk.gate.causes import CAUSES, TradingState
from keel.core.system.config import RiskConfig
from keel.runners.live.checks.health_checks import HealthChecks
from keel.runners.live.checks.release import release
from keel.runners.live.checks.schedule import PERIOD_MS
from keel.runners.live.memory.records import CauseEnded, CauseRaised
from keel.runners.live.session.live import Live
from keel.runners.process.state_folder import state_folder
from tests.faults.conftest import Stage, Still, http, ws
from tests.sim.sandbox.conftest import Sandbox
from tests.sim.sandbox.raw import Raw

S = "BTCUSDT"
PATIENCE_S = 60.0
"""Longer than what ends by itself takes."""
CREATE, KEY, POSITIONS, WALLET = "/v5/order/create", "/v5/user/query-api", "/v5/position/list", "/v5/account/wallet-balance"
INSTRUMENTS, INFO = "/v5/market/instruments-info", "/v5/account/info"
FIRST = 5
ELSEWHERE = ("loop_stalled", "unprotected", "panic", "arming_expired")


@dataclass
class Walk:
    """A session at a standstill between two bars, its sandbox, and health checks whose clock is ours."""

    live: Live
    sandbox: Sandbox
    now: int = 0
    updates: list[OrderUpdate] = field(default_factory=list)
    entries: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.health_checks = HealthChecks(self.live, lambda notice: None, now_ms=lambda: self.now)
        self.live.books.bus.subscribe(OrderUpdate, self.updates.append)

    async def faults(self, *rules: dict[str, Any]) -> None:
        await asyncio.to_thread(self.sandbox.faults, *rules)

    async def by_hand(self, path: str, **body: Any) -> Any:
        answer = await asyncio.to_thread(Raw(self.sandbox).post, path, {"category": "linear", "symbol": S, **body})
        assert answer[2]["retCode"] == 0, answer
        return answer[2]["result"]

    async def later(self, name: str) -> None:
        """This health check comes."""
        self.now += PERIOD_MS[name]
        await self.health_checks.turn()

    def wait(self, ms: int) -> None:
        """So much time passes by the session's clock."""
        self.live.books.clock.now_ms += ms
        self.live.gate.look()

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"waited in vain until {what}; gate: {self.live.gate.frozen}") from None

    def send(self) -> str:
        """An entry far below the market, by the executor as a strategy's; its name."""
        self.wait(5_000)  # no duplicate of the one before, nor too many in a minute
        executor, now = self.live.books.executor, self.live.books.clock.now_ms
        executor.on_intent(OrderIntent(S, "BUY", 0.01, now, "limit", 20_000.0))
        self.live.books.bus.drain()
        return executor.open_orders()[-1].client_order_id if executor.open_orders() else self.updates[-1].client_order_id

    async def denied(self) -> str:
        """Why an entry is refused now; "" when it is not."""
        before = len(self.updates)
        self.send()
        await asyncio.sleep(0)
        told = [update.reason for update in self.updates[before:] if update.status == "rejected"]
        return told[0] if told else ""

    async def trades(self) -> None:
        """An entry leaves; with the next bar it must rest at the exchange."""
        self.entries.append(self.send())
        await self.live.venue.idle()

    def traded(self) -> bool:
        """Whether all of them came there."""
        return {*self.entries} <= {update.client_order_id for update in self.updates if update.status == "accepted"}

    async def release(self, cause: str) -> None:
        lifted = await release(self.live, cause, None, "a test")
        assert [each.cause for each in lifted] == [cause]


Step = Callable[[Walk], Awaitable[object]]


def patched(path: str, pointer: str, value: Any) -> dict[str, Any]:
    return http({"kind": "mutate", "patch": [{"op": "replace", "path": pointer, "value": value}]}, path)


def looked_at(name: str, *rules: dict[str, Any], times: int = 1) -> Step:
    """Under these faults (none: all is well) this health check comes."""

    async def step(walk: Walk) -> None:
        await walk.faults(*rules)
        for _ in range(times):
            await walk.later(name)

    return step


def raised(cause: str, symbol: str | None = S, key: str = "") -> Step:
    """What the sandbox cannot make."""

    async def step(walk: Walk) -> None:
        assert walk.live.gate.close(cause, "made by the test", symbol, key)

    return step


def released(cause: str) -> Step:
    return lambda walk: walk.release(cause)


def passed(ms: int) -> Step:
    async def step(walk: Walk) -> None:
        walk.wait(ms)

    return step


async def nothing(walk: Walk) -> None:
    """It ends by itself."""


async def clock_jumps(walk: Walk) -> None:
    await walk.faults({"action": {"kind": "clock", "ms": 3_000}})
    await walk.live.venue.measure_clock()
    walk.live.venue.check_clock()


async def clock_is_right(walk: Walk) -> None:
    await walk.faults({"action": {"kind": "clock", "ms": 0}})


async def forbidden(walk: Walk) -> None:
    """HTTP 403 to an order."""
    await walk.faults(http({"kind": "error", "http": 403}, CREATE, "before_apply", nth=1))
    walk.send()
    await walk.live.venue.idle()
    walk.live.gate.look()


async def ten_minutes_pass(walk: Walk) -> None:
    budget = walk.live.connection.budget
    budget._banned_until -= 600_000
    walk.live.gate.look()


async def key_is_denied(walk: Walk) -> None:
    await walk.faults(http({"kind": "error", "ret_code": 10003}, CREATE, "before_apply", nth=1))
    walk.send()
    await walk.live.venue.idle()


async def stream_is_lost(walk: Walk) -> None:
    await walk.faults(ws("drop", "op:auth", times=1, nth=1))
    task = asyncio.create_task(walk.live.venue.private.stream.reconnect("made by the test"))
    await walk.until(lambda: walk.live.gate.has("private_stream"), "the stream is lost")
    await task


def lock_file(walk: Walk) -> Any:
    return state_folder("locks") / f"{sha256(walk.live.account.encode()).hexdigest()[:24]}.lock"


async def lock_is_taken(walk: Walk) -> None:
    lock_file(walk).unlink()
    walk.held = os.open(lock_file(walk), os.O_RDWR | os.O_CREAT, 0o600)  # type: ignore[attr-defined]
    fcntl.flock(walk.held, fcntl.LOCK_EX)  # type: ignore[attr-defined]
    await walk.until(lambda: walk.live.gate.has("lock_lost"), "the lock is missed")


async def lock_is_let_go(walk: Walk) -> None:
    os.close(walk.held)  # type: ignore[attr-defined]


async def another_session(walk: Walk) -> None:
    link = {"orderLinkId": "0badc0de-6739f2a0-1-7"}
    await walk.by_hand(CREATE, side="Buy", orderType="Limit", qty="0.01", price="20000.0", **link)
    await walk.until(lambda: walk.live.gate.has("another_writer"), "it is seen")


async def it_is_stopped(walk: Walk) -> None:
    with pytest.raises(SafetyError, match="persists: its orders rest"):
        await walk.release("another_writer")
    await walk.by_hand("/v5/order/cancel", orderLinkId="0badc0de-6739f2a0-1-7")


async def a_persons_order(walk: Walk) -> None:
    await walk.by_hand(CREATE, side="Buy", orderType="Limit", qty="0.01", price="20000.0", orderLinkId="by-hand")
    await walk.until(lambda: walk.live.gate.has("external_order", S), "it is seen")


async def it_is_cancelled(walk: Walk) -> None:
    await walk.by_hand("/v5/order/cancel", orderLinkId="by-hand")


def sent(count: int, symbol: str = S, *, reduce_only: bool = True) -> Step:
    async def step(walk: Walk) -> None:
        now = walk.live.books.clock.now_ms
        for number in range(count):
            walk.live.controls.counts.note_sent(SubmitOrder(f"x-{number}", symbol, "BUY", "market", 0.01, now, reduce_only=reduce_only))
        walk.live.gate.look()

    return step


async def the_same_again(walk: Walk) -> None:
    await sent(20, reduce_only=False)(walk)
    assert "repeated_execution" in await walk.denied()


async def a_minute_and_a_person(walk: Walk) -> None:
    walk.wait(61_000)
    await walk.release("repeated_execution")


async def many_cancels(walk: Walk) -> None:
    for _ in range(5_000):
        walk.live.controls.counts.note_cancel()
    walk.live.gate.look()


async def many_rejections(walk: Walk) -> None:
    for _ in range(5):
        walk.live.controls.counts.note_end(S, "rejected", walk.live.books.clock.now_ms)
    walk.live.gate.look()


def said(message: type[Halt] | type[Resume]) -> Step:
    async def step(walk: Walk) -> None:
        walk.live.inbox.put(message(walk.live.books.clock.now_ms, "panic"))
        await walk.live.inbox.settled()
        walk.live.gate.look()

    return step


def equity(share: float, days: int = 0) -> Step:
    """The account is worth this share of what it was, so many days on."""

    async def step(walk: Walk) -> None:
        limits = walk.live.books.actors.risk.limits
        limits.observe(walk.live.books.clock.now_ms + days * DAY_MS, share * walk.live.books.portfolio.equity)
        walk.live.gate.look()

    return step


async def an_answer_is_lost(walk: Walk) -> None:
    await walk.faults(http("drop", CREATE, "before_apply", nth=1))
    walk.send()
    await walk.until(lambda: walk.live.gate.has("order_unknown", S), "it is doubted")


async def a_status_nobody_knows(walk: Walk) -> None:
    patch = [{"op": "replace", "path": "/data/0/orderStatus", "value": "Surprised"}]
    await walk.faults(ws({"kind": "mutate", "patch": patch}, "order", nth=1))
    walk.send()
    await walk.live.venue.idle()


async def it_is_known_again(walk: Walk) -> None:
    await walk.until(lambda: walk.live.gate.has("unknown_status", S), "it is told")
    assert await walk.denied()
    await walk.faults()


def aged(ms: float) -> Step:
    async def step(walk: Walk) -> None:
        controls = walk.live.controls
        controls.limits = msgspec.structs.replace(controls.limits, stale_ms=15_000.0)
        controls.age_ms, controls.oldest_ms = lambda symbol: ms, lambda: ms
        walk.live.gate.look()

    return step


def limited(limit: str) -> Step:
    """As many orders rest as may."""

    async def step(walk: Walk) -> None:
        controls = walk.live.controls
        count = sum(1 for _ in walk.live.books.executor.open_orders())
        controls.limits = msgspec.structs.replace(controls.limits, **{limit: count})
        walk.live.gate.look()

    return step


def more_may_rest(limit: str) -> Step:
    async def step(walk: Walk) -> None:
        walk.live.controls.limits = msgspec.structs.replace(walk.live.controls.limits, **{limit: 200})
        walk.live.gate.look()

    return step


async def nothing_is_left(walk: Walk) -> None:
    """The account, as the controls read it."""
    portfolio = walk.live.books.portfolio
    broke = SimpleNamespace(equity=0.0, position_qty=portfolio.position_qty, mark=portfolio.mark)
    walk.live.controls.account = cast("Any", broke)
    walk.live.gate.look()


async def money_comes(walk: Walk) -> None:
    walk.live.controls.account = walk.live.books.portfolio
    walk.live.gate.look()


SIZE = patched(POSITIONS, "/result/list/0/size", "0.500")
AFTER: dict[str, Step] = {"another_writer": released("another_writer"), "unknown_status": it_is_known_again}
"""What is done a bar after the end."""
WALK: dict[str, tuple[Step, Step]] = {
    "private_stream": (stream_is_lost, nothing),
    "lock_lost": (lock_is_taken, lock_is_let_go),
    "clock_off": (clock_jumps, clock_is_right),
    "banned": (forbidden, ten_minutes_pass),
    "denied": (key_is_denied, looked_at("key")),
    "key": (looked_at("key", patched(KEY, "/result/permissions/Wallet", ["Withdraw"])), looked_at("key")),
    "cash_differs": (looked_at("books", patched(WALLET, "/result/list/0/coin/0/walletBalance", "1"), times=2), looked_at("books")),
    "margin_mode": (looked_at("settings", patched(INFO, "/result/marginMode", "PORTFOLIO_MARGIN")), looked_at("settings")),
    "another_writer": (another_session, it_is_stopped),
    "repeated_execution": (the_same_again, a_minute_and_a_person),
    "cancel_ratio": (many_cancels, released("cancel_ratio")),
    "max_orders_per_minute": (sent(120, "ETHUSDT"), passed(61_000)),
    "max_open_orders": (limited("max_open_orders"), more_may_rest("max_open_orders")),
    "no_equity": (nothing_is_left, money_comes),
    "halt": (said(Halt), said(Resume)),
    "daily_loss_percent": (equity(0.4), equity(1.0, days=1)),
    "being_compared": (looked_at("books", SIZE), looked_at("books")),
    "position_differs": (looked_at("books", SIZE, times=2), looked_at("books")),
    "order_unknown": (an_answer_is_lost, nothing),
    "external_order": (a_persons_order, it_is_cancelled),
    "execution_external": (raised("execution_external"), released("execution_external")),
    "execution_adl": (raised("execution_adl"), looked_at("books")),
    "unknown_execution": (raised("unknown_execution"), looked_at("books")),
    "executions_missing": (raised("executions_missing", key="gone"), looked_at("books")),
    "overfilled": (raised("overfilled"), released("overfilled")),
    "unknown_status": (a_status_nobody_knows, nothing),
    "order_returned": (raised("order_returned", key="gone"), nothing),
    "cancel_all_failed": (raised("cancel_all_failed", "ETHUSDT"), nothing),
    "fee_coin": (raised("fee_coin"), released("fee_coin")),
    "leverage": (looked_at("settings", patched(POSITIONS, "/result/list/0/leverage", "7")), looked_at("settings")),
    "position_mode": (looked_at("settings", patched(POSITIONS, "/result/list/0/positionIdx", 1)), looked_at("settings")),
    "auto_add_margin": (looked_at("settings", patched(POSITIONS, "/result/list/0/autoAddMargin", 1)), looked_at("settings")),
    "not_trading": (looked_at("instruments", patched(INSTRUMENTS, "/result/list/0/status", "Closed")), looked_at("instruments")),
    "instrument_changed": (
        looked_at("instruments", patched(INSTRUMENTS, "/result/list/0/priceFilter/tickSize", "0.50")), looked_at("instruments"),
    ),
    "price_stale": (aged(20_000.0), aged(0.0)),
    "reject_breaker": (many_rejections, passed(600_001)),
    "max_orders_per_symbol_per_minute": (sent(60), passed(61_000)),
    "max_open_orders_per_symbol": (limited("max_open_orders_per_symbol"), more_may_rest("max_open_orders_per_symbol")),
}  # fmt: skip
BY_RESTART = [cause.name for cause in CAUSES.values() if cause.lifted_by == "restart"]


def test_the_walk_leaves_nothing_out() -> None:
    assert {*WALK, *BY_RESTART, *ELSEWHERE, "starting"} == set(CAUSES)


@pytest.mark.parametrize("part", [0, 1])
def test_each_is_raised_forbids_ends_and_then_it_trades_again(part: int, stage: Stage) -> None:
    again_walks: list[Walk] = []
    causes, walks, walked = list(WALK)[part::2], list[Walk](), list[str]()
    last = FIRST + 2 * len(causes)

    async def beat(number: int, live: Live) -> None:
        if number == 2:  # a position, about which books may differ
            live.books.executor.on_intent(OrderIntent(S, "BUY", 0.02, live.books.clock.now_ms))
            live.books.bus.drain()
            walks.append(Walk(live, stage.sandbox))
        elif FIRST <= number < last:
            place, is_over = divmod(number - FIRST, 2)
            await (ended if is_over else begun)(walks[0], causes[place])
            walked.extend(causes[place : place + 1] if is_over else [])
        elif number == last:
            for cause in BY_RESTART:
                live.gate.close(cause, "made by the test")
            assert walks[0].traded()
            assert await walks[0].denied()

    async def again(number: int, live: Live) -> None:
        if number == 1:
            assert not live.gate.entries(*BY_RESTART) and live.gate.state is TradingState.ACTIVE
            again_walks.append(Walk(live, stage.sandbox))
            await again_walks[0].trades()

    risk = RiskConfig(daily_loss_percent=50.0, max_drawdown_percent=90.0)
    plan = stage.plan(Still, risk=risk)
    first = stage.play(bars=last + 1, beat=beat, plan=plan, patience_s=0.0)
    assert walked == causes, first.story()
    told = {message.cause for message in first.of(CauseRaised)}
    over = {message.cause for message in first.of(CauseEnded)}
    assert {*walked, "starting"} <= over and {*walked, "starting", "stopped"} <= told
    if part == 1:
        assert stage.play(bars=3, beat=again, plan=plan, patience_s=0.0).ending.failure is None
        assert again_walks[0].traded()


async def begun(walk: Walk, cause: str) -> None:
    assert walk.traded(), cause
    row, gate = CAUSES[cause], walk.live.gate
    begin, end = WALK[cause]
    await begin(walk)
    if cause == "unknown_status":  # the stream tells it with the next bar
        return
    if cause not in ("private_stream", "cancel_all_failed"):  # the first comes back at once, the second is of another symbol
        assert gate.has(cause, S) or gate.has(cause), (cause, gate.frozen)
        assert gate.state is row.state, cause
        assert await walk.denied(), cause
    await walk.faults()
    await end(walk)


async def ended(walk: Walk, cause: str) -> None:
    await AFTER.get(cause, nothing)(walk)
    await walk.until(lambda: not walk.live.gate.entries(), f"{cause} ends")
    await walk.trades()
