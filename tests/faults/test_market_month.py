"""A market month by its own pace, with a fault every few hours: what it costs, what it leaves behind, and how long a restart takes.

The market runs hundreds of times as fast as life and the session lives in virtual time, so that 30 days take seconds of the machine. The
session's own rules (in-flight after three seconds, lists every ten, books every thirty) keep their seconds.
"""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.bybit.notices import Notice
from keel.core.model.messages import Signal
from keel.core.model.timeframe import DAY_MS, MINUTE_MS, tf_ms
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.runners.live.session.ending import Ending, Stop
from keel.runners.live.session.live import Live
from keel.runners.live.session.session import Session
from keel.sim.sandbox.market.feeds import WalkFeed
from keel.sim.sandbox.settings import SandboxSettings
from keel.strategies.base import BaseStrategy
from tests.faults.checker import check
from tests.faults.test_storm import drawn
from tests.faults.virtual import World, running_in, system_of
from tests.runners.live.conftest import plan_of
from tests.virtual.sandbox import VirtualSandbox

DAYS = 30
SAMPLE_DAYS = 5
BYTES_OF_AN_ORDER = 6_000
"""What adapters, core and runners may keep of an order for the rest of the session: its record, its fills, its news."""
FLAT_BYTES = 300_000
"""What else they may have more of after twenty days."""


class ByTheClock(BaseStrategy):
    """In, out, a resting entry, a flip, out: by the number of the bar since 1970, so that it has nothing to remember."""

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        bar = snapshot.bar_ltf
        turn = bar.ts_close // (bar.ts_close - bar.ts_open) % 7
        if turn == 3:
            return Signal(snapshot.symbol, "LONG", order_type="limit", limit_price=round(bar.close * 0.97, 0))
        direction = {0: "LONG", 2: "FLAT", 4: "SHORT", 6: "FLAT"}.get(turn)
        return None if direction is None else Signal(snapshot.symbol, direction)  # type: ignore[arg-type]  # one of the three


@dataclass
class Sample:
    """The session at the end of a market day."""

    day: int
    journal_bytes: int
    records: int
    orders: int
    traced: int
    """Bytes that lines of adapters, core and runners have allocated."""
    tasks: int


@dataclass
class Month:
    """What became of it."""

    live: Live
    ending: Ending
    truth: dict[str, Any]
    codes: Counter[str]
    samples: list[Sample] = field(default_factory=list)
    recovery_s: float = 0.0
    """Of the session's time, from the start of another session until it is READY."""
    again: Ending | None = None


def traced() -> int:
    """Without the sandbox, which keeps the exchange's books for ever; but with what it, too, makes of core's numbers and texts."""
    gc.collect()
    rooms = [tracemalloc.Filter(True, f"*/{room}/*") for room in ("adapters", "core", "runners")]
    return sum(each.size for each in tracemalloc.take_snapshot().filter_traces(rooms).statistics("filename"))


async def trouble(sandbox: VirtualSandbox, live: Live, factor: float, seed: int, samples: list[Sample], days: float) -> None:
    """A fault every two to six market hours, for half an hour of the market."""
    rng = random.Random(f"month {seed}")
    begun = live.connection.market_ms

    async def market(ms: float) -> None:
        await asyncio.sleep(ms / factor / 1000)

    while (gone := live.connection.market_ms - begun) < days * DAY_MS + 6 * 60 * MINUTE_MS:
        if seed:
            await market(rng.uniform(120, 360) * MINUTE_MS)
            sandbox.faults(drawn(rng), seed=rng.randrange(1 << 20))
        await market(30 * MINUTE_MS)
        sandbox.faults({"action": {"kind": "lag_query", "ms": 0}})
        sandbox.faults()
        if gone // DAY_MS >= (len(samples) + 1) * SAMPLE_DAYS:
            size = sum(path.stat().st_size for path in live.journal.folder.glob("*.journal"))
            memory = traced() if tracemalloc.is_tracing() else 0
            orders = len(next(iter(sandbox.server.engine.accounts.values())).orders)
            samples.append(Sample(int(gone // DAY_MS), size, live.journal.seq, orders, memory, len(asyncio.all_tasks())))


async def settled(sandbox: VirtualSandbox, live: Live) -> None:
    """READY again, with every execution booked, within 30 seconds of the last fault."""
    async with asyncio.timeout(30):
        while True:
            executions = {row["execId"] for row in sandbox.truth()["executions"] if row["execType"] != "Funding"}
            booked = {fill.fill_id for fill in live.tape.fills}
            if live.gate.state.name == "ACTIVE" and not live.venue.unknown and executions <= booked:
                return
            await asyncio.sleep(0.1)


def months(timeframe: str, factor: float, folder: Path, *, days: float = DAYS, seed: int = 1) -> Month:
    """So many days of a walk; seed 0: without a fault."""
    settings = SandboxSettings(factor=factor, tick_ms=500 if factor > 300 else 1_000, limit_factor=factor)
    codes: Counter[str] = Counter()
    samples: list[Sample] = []

    def note(notice: Notice) -> None:
        codes[notice.code] += 1

    def feed(now_ms: int) -> WalkFeed:
        return WalkFeed(["BTCUSDT"], now_ms, 7, bars=300, duration_ms=tf_ms(timeframe), spot=False)

    with World(seed) as world, running_in(world, settings, feed) as sandbox:
        plan = plan_of(system_of(timeframe=timeframe), ByTheClock, None, sandbox.url, folder, grace_ms=400)

        async def beside(live: Live, stop: Stop) -> AsyncIterator[None]:
            async def play() -> None:
                await trouble(sandbox, live, factor, seed, samples, days)
                await settled(sandbox, live)

            playing = asyncio.create_task(play())
            playing.add_done_callback(lambda done: stop.ask("the month is over"))
            yield
            if playing.done():
                playing.result()
            playing.cancel()

        live, ending = world.run(Session(plan, note).run(beside))
        month = Month(live, ending, sandbox.truth(), codes, samples)
        began = world.loop.time()

        async def at_once(live: Live, stop: Stop) -> AsyncIterator[None]:
            month.recovery_s = world.loop.time() - began
            stop.ask("it is READY")
            yield

        _, month.again = world.run(Session(plan, note).run(at_once))
    return month


def test_where_nothing_fails_no_stream_is_replaced(tmp_path: Path) -> None:
    """However the private stream, the answers and the lists overtake one another."""
    month = months("5m", 240.0, tmp_path, days=0.25, seed=0)
    assert month.ending.failure is None and month.ending.agrees
    assert len(month.truth["executions"]) > 30
    assert not {"stream_lost", "stream_behind", "check_failed", "loop_late", "bars_late"} & {*month.codes}, month.codes


@pytest.mark.long
@pytest.mark.parametrize(("timeframe", "factor", "days"), [("2h", 1440.0, DAYS), ("5m", 240.0, 10)])
def test_a_month(timeframe: str, factor: float, days: int, tmp_path: Path) -> None:
    """2h also with an account of every byte that our side allocates, which takes twice as long. Of 5m a third of a month."""
    if timeframe == "2h":
        tracemalloc.start()
    try:
        month = months(timeframe, factor, tmp_path, days=days)
    finally:
        tracemalloc.stop()
    samples = month.samples
    told = "\n".join(map(str, samples))
    assert month.ending.failure is None and month.ending.differences == [] and month.ending.agrees, month.ending
    assert month.ending.state == "ACTIVE" and month.codes["stream_lost"], month.codes
    found = check(month.truth, month.live.journal.folder, clock_slack_ms=2_000)
    if timeframe == "5m":  # such a bar lasts 1.25 s here: less than an order waits for a stream that is lost, so that decisions overtake it
        found = [each for each in found if not each.startswith("I-13")]
    assert found == []
    assert len(month.live.books.engine.closes) >= days * DAY_MS // tf_ms(timeframe)

    # snapshots begin with each UTC day, and each begins a new file of the journal
    assert month.codes["snapshot"] >= days
    assert len([*month.live.journal.folder.glob("*.journal")]) >= days

    # the journal grows with the market, not with its own length
    sizes = [0, *(sample.journal_bytes for sample in samples)]
    grown = [after - before for before, after in pairwise(sizes)]
    assert len(grown) == days // SAMPLE_DAYS and max(grown) < 1.5 * min(grown), told

    # nothing leaks: tasks do not gather, and memory is what is kept of orders
    assert max(sample.tasks for sample in samples) < 40, told
    if timeframe == "2h":
        early, late = samples[1], samples[-1]
        allowed = FLAT_BYTES + BYTES_OF_AN_ORDER * (late.orders - early.orders)
        assert late.traced - early.traced < allowed, told

    # a restart is quick, however long the journal
    assert month.recovery_s < 2.0 and month.again is not None and month.again.failure is None and month.again.agrees
    print(f"\n{timeframe}: recovery {month.recovery_s:.2f} s\n{told}\n{month.codes}")
