"""Whole sessions over a sandbox that misbehaves, each followed by the checker.

Sandbox and session share one event loop, in virtual time (tests/virtual): whatever waits for seconds waits for nothing here, and the same
seed gives the same session. The market moves in lock-step, so that a session is the same each time, but for what faults do to it.
Tests marked ``real_sockets`` play on a sandbox in a thread of its own instead, at the machine's time and over its sockets; the session then
runs in a world that is SPEED times as fast: an event loop and a monotonic clock of that pace, so that rules of ten seconds are kept in one,
and are the same rules.

What is proven where:

answers lost before and after apply, 10000, 10016, 503, 110072 on a retry, 10006, 10002; batches, amendments    test_answers
an order that was never placed: an entry, an exit                                                               test_absent
a clock that is off by 0.3, 1 and 10 s, both ways                                                               test_clock
private socket closed, cut, frozen with pongs; messages doubled, out of order, lost; lists 5 s behind           test_private_stream
candles late, doubled, changed, missing, not closed, called closed too early                                    test_candles
kill -9 after fsync and before send, after send and before the answer, while recovering                         test_killed, victim
every command on the medium before the exchange hears of it                                                     test_durable
wrong keys, keys taken away, payloads with nonsense in them                                                     test_bad_input
    (wrong accounts: tests/runners/live/test_bad_starts; 20,000 mutants: tests/adapters/bybit/test_fuzz)
several at once, by seed                                                                                        test_storm
the checker itself                                                                                              test_checker
"""

from __future__ import annotations

import asyncio
import random
import selectors
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest

from keel.adapters import machine
from keel.adapters.bybit.notices import Notice
from keel.adapters.journal import read
from keel.core.model.messages import Fill, Message, Signal
from keel.core.risk.gate.causes import TradingState
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import Distance, ExitsConfig, SizingConfig, SystemConfig
from keel.runners.live.memory.records import TYPES
from keel.runners.live.session.ending import Ending, Stop
from keel.runners.live.session.live import Live
from keel.runners.live.session.session import Session
from keel.runners.live.startup.plan import Plan
from keel.strategies.base import BaseStrategy
from tests.builders import plain_system
from tests.faults.checker import check
from tests.runners.live.conftest import plan_of
from tests.sim.sandbox.conftest import Sandbox, lockstep, made_bars, running
from tests.virtual.loop import World
from tests.virtual.sandbox import MEMORY, running_in

SPEED = 10
"""Of the world in which a session meets a sandbox of the machine's time."""
BARS = 24
SETTLED_S = 30.0
"""How long a session may take to understand everything after its last fault."""
LOADED_S = 120.0
"""The same at the machine's time, which may be a loaded one."""

T = TypeVar("T")


class _FastSelector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(None if timeout is None else timeout / SPEED)


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop whose seconds pass SPEED times as fast."""

    def __init__(self) -> None:
        super().__init__(_FastSelector())

    def time(self) -> float:
        return time.monotonic() * SPEED


class _FastMachine:
    def wall_ms(self) -> int:
        return machine.MACHINE.wall_ms()

    def monotonic_s(self) -> float:
        return machine.MACHINE.monotonic_s() * SPEED

    def rng(self) -> random.Random:
        return machine.MACHINE.rng()


def run_fast(work: Coroutine[Any, Any, T]) -> T:
    """Run in the fast world. The wall clock, against which requests are signed, keeps its pace."""
    with machine.use(_FastMachine()), asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(work)


# --- what is traded ---


class Turns(BaseStrategy):
    """In, out, a resting entry, a flip that cancels it, out: over and over, by the number of the bar."""

    bars = 0

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        self.bars += 1
        turn = self.bars % 7
        if turn == 3:
            return Signal(snapshot.symbol, "LONG", order_type="limit", limit_price=round(snapshot.bar_ltf.close * 0.97, 0))
        direction = {0: "LONG", 2: "FLAT", 4: "SHORT", 6: "FLAT"}.get(turn)
        return None if direction is None else Signal(snapshot.symbol, direction)  # type: ignore[arg-type]  # one of the three


class Still(BaseStrategy):
    """Does nothing: the test gives the orders."""

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return None


def system_of(**changes: Any) -> SystemConfig:
    """One-minute bars, 1,000 USDT each time, exits near enough to be met."""
    exits = ExitsConfig(stop_loss=Distance(percent=0.5), take_profit=Distance(percent=0.5))
    values = {"timeframe": "1m", "sizing": SizingConfig(model="fixed_usd", usd=1000), "exits": exits}
    return plain_system("BTCUSDT", **(values | changes))


@dataclass
class Played:
    """A session that has ended, what the exchange knows, and what the journal says."""

    live: Live
    ending: Ending
    truth: dict[str, Any]
    folder: Path
    notices: list[Notice]
    state: str
    """Of the gate, before the end: READY (ACTIVE and nothing frozen), or why not."""
    journal: list[Message] = field(default_factory=list)
    acted: list[int] = field(default_factory=list)
    """How often each rule acted."""

    def of(self, *kinds: type[Message]) -> list[Any]:
        """The journal's messages of these kinds."""
        return [message for message in self.journal if isinstance(message, kinds)]

    def codes(self) -> set[str]:
        """Codes of notices."""
        return {notice.code for notice in self.notices}

    def story(self) -> str:
        """The end of it, for whoever has to find out."""
        notices = [f"{notice.code}: {notice.text}" for notice in self.notices[-20:]]
        return "\n".join([self.state, *notices, *map(repr, self.journal[-30:])])

    def orders(self) -> list[dict[str, Any]]:
        """Our own orders at the exchange."""
        return [row for row in self.truth["orders"] if row["orderLinkId"]]

    def check(self, *, must_act: bool = True, **options: Any) -> Played:
        """The checker's word, and that the session ended well and was READY again; must_act: every rule has acted."""
        assert all(self.acted) or not must_act, self.acted
        assert self.ending.failure is None, repr(self.ending.failure)
        assert check(self.truth, self.folder, **options) == [], self.story()
        assert self.state == "READY"
        assert self.ending.differences == []
        return self


Beat = Callable[[int, Live], Awaitable[None]]


class Stage:
    """One sandbox, and sessions over it. ``rules`` come at bar ``at`` and go at bar ``until``.

    run: what runs a session to its end. speed: how many of the session's seconds pass in one of the sandbox's; times in rules are the
    session's.
    """

    def __init__(self, sandbox: Sandbox, journals: Path, run: Callable[[Coroutine[Any, Any, Any]], Any], *, speed: int = 1) -> None:
        self.sandbox, self._journals, self.run, self.speed = sandbox, journals, run, speed

    def plan(self, strategy: type[BaseStrategy] = Turns, **changes: Any) -> Plan:
        """A plan over this sandbox."""
        return plan_of(system_of(**changes), strategy, None, self.sandbox.url, self._journals)

    def play(
        self,
        *rules: dict[str, Any],
        at: int = 4,
        until: int = BARS - 6,
        bars: int = BARS,
        pace_s: float = 0.0,
        patience_s: float | None = None,
        seed: int = 1,
        beat: Beat | None = None,
        plan: Plan | None = None,
    ) -> Played:
        """A session of so many bars; ``beat(n, live)`` is awaited before the n-th (from 0 on). In the session's seconds: pace_s between two
        bars, patience_s at the last one until all is settled."""
        patience = patience_s if patience_s is not None else SETTLED_S if self.speed == 1 else LOADED_S
        notices: list[Notice] = []
        states: list[str] = []
        acted: list[int] = []

        async def before(number: int, live: Live) -> None:
            if number == at and rules:
                await asyncio.to_thread(self.sandbox.faults, *map(self._paced, rules), seed=seed)
            if number == until and rules:
                state = await asyncio.to_thread(self.sandbox.get, "/admin/faults")
                acted.extend(rule["applied"] for rule in state["rules"])
                await asyncio.to_thread(self.sandbox.faults, *({"action": {"kind": kind, "ms": 0}} for kind in ("lag_query", "clock")))
            await asyncio.sleep(pace_s)
            if beat is not None:
                await beat(number, live)
            if number == bars - 1:
                await asyncio.sleep(_under_way_s(rules))
                states.append(await self.settled(live, patience))

        session = Session(plan or self.plan(), notices.append, max_bars=bars)
        live, ending = self.run(session.run(_with(before)))
        journal = [record.message for record in read(live.journal.folder, types=TYPES)]
        state = states[-1] if states else live.gate.why
        return Played(live, ending, self.sandbox.truth(), live.journal.folder, notices, state, journal, acted)

    def _paced(self, rule: dict[str, Any]) -> dict[str, Any]:
        """The same rule in the sandbox's time. What a clock is off by is no time that passes."""
        action = rule["action"]
        if not isinstance(action, dict) or action["kind"] == "clock":
            return rule
        return {**rule, "action": action | {name: action[name] // self.speed for name in ("ms", "gap_ms") if name in action}}

    def without_faults(self, **options: Any) -> Played:
        """The same session over another sandbox that behaves. In virtual time it is the same each time, and played once."""
        if self.speed == 1:
            return _faultless(**options)
        with TemporaryDirectory() as folder, playing_really(Path(folder)) as other:
            return other.play(**options).check()

    async def settled(self, live: Live, patience_s: float) -> str:
        """Wait until every execution is booked and no order's fate is open; then READY, or why not."""
        end = asyncio.get_running_loop().time() + patience_s
        while True:
            truth = await asyncio.to_thread(self.sandbox.truth)
            moved = {row["execId"] for row in truth["executions"] if row["execType"] != "Funding"}
            is_clear = live.venue.is_ready and not live.venue.unknown and not live.venue.in_flight and not live.venue.gate.frozen
            is_booked = moved == {fill.fill_id for fill in live.tape.fills} and len(live.tape.payments) == len(truth["funding"])
            is_whole = is_booked and _resting(truth) == _open(live)
            if is_clear and is_whole and live.gate.state is TradingState.ACTIVE:
                return "READY"
            if live.recorder.failure is not None or asyncio.get_running_loop().time() > end:
                return f"{live.gate.state.name} {live.gate.why} frozen {live.venue.gate.frozen} unknown {live.venue.unknown}"
            await asyncio.sleep(0.2)


@cache
def _faultless(**options: Any) -> Played:
    with playing() as stage:
        return stage.play(**options).check()


def _under_way_s(rules: Iterable[dict[str, Any]]) -> float:
    """How long frames may still be on their way after the last rule has gone."""
    actions = [rule["action"] for rule in rules if isinstance(rule["action"], dict)]
    late_ms = [action["ms"] for action in actions if action["kind"] == "delay"]
    again_ms = [action["n"] * action.get("gap_ms", 0) for action in actions if action["kind"] == "dup"]
    held_ms = [1_000 for action in actions if action["kind"] == "reorder"]
    return 1.2 * max([*late_ms, *again_ms, *held_ms, 0]) / 1_000


def _resting(truth: dict[str, Any]) -> tuple[set[str], int]:
    """Names of our orders that rest at the exchange, and how many exits do."""
    rows = [row for row in truth["orders"] if row["orderStatus"] in ("New", "PartiallyFilled", "Untriggered", "Triggered")]
    return {row["orderLinkId"] for row in rows if row["orderLinkId"]}, sum(not row["orderLinkId"] for row in rows)


def _open(live: Live) -> tuple[set[str], int]:
    executor = live.books.actors.executor
    return {record.client_order_id for record in executor.open_orders()}, len(executor.bracket_orders())


def _with(before: Beat) -> Callable[[Live, Stop], AsyncIterator[None]]:
    async def beside(live: Live, stop: Stop) -> AsyncIterator[None]:
        step, count = live.connection.step, 0

        async def stepped(bars: int = 1) -> Any:
            nonlocal count
            await before(count, live)
            count += 1
            return await step(bars)

        live.connection.step = stepped  # type: ignore[method-assign]  # the market waits until we are ready for it
        yield

    return beside


def http(action: object, path: str, when: str = "after_apply", **match: Any) -> dict[str, Any]:
    """A rule about requests."""
    return {"action": action, "when": when, "match": {"side": "http", "path": path, **match}}


def ws(action: object, topic: str, **match: Any) -> dict[str, Any]:
    """A rule about frames."""
    return {"action": action, "match": {"side": "ws", "topic": topic, **match}}


@contextmanager
def playing(folder: Path | None = None, *, world_seed: int | str = 0, **changes: Any) -> Iterator[Stage]:
    """A sandbox of made minutes with a funding time among them, in virtual time. folder: of the journals; None: one in memory, where a sync
    costs nothing, that goes with the stage.  changes: of the sandbox's settings."""
    settings, feed = lockstep(made_bars(200, first=45), **changes)
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(TemporaryDirectory(dir=MEMORY)))
        world = stack.enter_context(World(world_seed))
        yield Stage(stack.enter_context(running_in(world, settings, feed)), place / "journals", world.run)


@contextmanager
def playing_really(folder: Path, **changes: Any) -> Iterator[Stage]:
    """The same sandbox in a thread, over the machine's sockets and at its time."""
    settings, feed = lockstep(made_bars(200, first=45), **changes)
    with running(settings, feed) as sandbox:
        yield Stage(sandbox, folder / "journals", run_fast, speed=SPEED)


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """One to play on: in virtual time, but for tests marked ``real_sockets``."""
    is_real = request.node.get_closest_marker("real_sockets") is not None
    with playing_really(tmp_path) if is_real else playing() as made:
        yield made


def fills_of(played: Played) -> list[tuple[Any, ...]]:
    """What was traded, without names."""
    return [(fill.ts, fill.side, fill.qty, fill.price, fill.reason) for fill in played.of(Fill)]
