"""What a session remembers, kept and given back: the same bytes whichever way it was come to, and a restart that goes on from them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from keel.adapters.journal import Record, read
from keel.adapters.journal.snapshots import newest_snapshot, snapshot_paths
from keel.core.engine.engine import Engine
from keel.core.engine.instant import InstantClosed
from keel.core.errors import InvariantError
from keel.core.model.messages import Bar, Fill, Message, Signal, SubmitOrder
from keel.core.risk.controls.limits import ControlLimits
from keel.core.risk.gate.gate import Gate
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.runners.live.memory import snapshots, state
from keel.runners.live.memory.history import replay_journal
from keel.runners.live.memory.records import TYPES, HearingStopped
from keel.runners.live.session.books import Books, make_books
from keel.runners.live.session.ending import Stop
from keel.runners.live.session.live import Live
from keel.runners.live.startup.plan import Plan
from keel.runners.live.startup.warmup import WarmUp
from keel.strategies.base import BaseStrategy
from tests.builders import DAY, START, builtin, plain_system
from tests.runners.live.conftest import Ran, plan_of, run_session, stored_sandbox
from tests.runners.live.test_real_time import moving, run, until
from tests.runners.live.test_same_decisions import both, marked_store

FROM, TO = START + 20 * DAY, START + 21 * DAY
SYSTEMS = [
    ("ema_cross", ("params.fast=2", "params.slow=5", "warmup_bars=50", "exits={stop_loss: {percent: 0.4}, take_profit: {percent: 1}}")),
    ("ema_cross", ("timeframe=15m", "execution_timeframe=5m", "params.fast=2", "params.slow=5", "warmup_bars=50", "exits={max_bars: 3}",
                   "risk={daily_loss_percent: 1, max_drawdown_percent: 5, cooldown_bars: 1, max_orders_per_minute: 10}")),
    ("rsi_reversion", ("params.oversold=40", "params.overbought=60", "warmup_bars=50")),
    ("atr_breakout", ("warmup_bars=60",)),
]  # fmt: skip


class Nobody:
    """History that must not be needed."""

    async def bars(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("the exchange was asked")

    async def columns(self, *_: Any) -> Any:
        raise AssertionError("the exchange was asked")


def _nothing(message: object) -> None:
    """Nobody is told."""


def fold(ran: Ran, plan: Plan, records: Sequence[Record], content: bytes | None = None) -> Books:
    """Books that have heard records, after a memory if one is given."""
    opened = ran.live.opened
    strategy = plan.loaded.strategy()
    warm_up = WarmUp(plan.system, strategy, plan.loaded.params, opened.start_ms)
    kept = state.decode(content) if content is not None else None
    assert not isinstance(kept, str), kept
    if kept is not None:
        warm_up.restore(kept.series)
    else:
        asyncio.run(warm_up.load(plan.store, Nobody(), Nobody()))
    limits = ControlLimits.of(plan.system)
    books = make_books(plan, ran.live.instruments, opened, warm_up, strategy, Gate(), limits=limits, say=_nothing, note=_nothing)
    if kept is not None:
        state.restore(books, kept)
    replay_journal(books, records)
    return books


def memory(books: Books) -> bytes:
    return state.encode(state.take(books))


@contextmanager
def session(name: str, overrides: Sequence[str], journals: Path, **plan: Any) -> Iterator[tuple[Ran, Plan]]:
    system, strategy = builtin(name, *overrides)
    with marked_store() as store, stored_sandbox(store, system, FROM, TO) as sandbox:
        made = plan_of(system, strategy, store, sandbox.url, journals, **plan)
        yield run_session(made), made


@pytest.mark.parametrize(
    ("name", "overrides"), [each if each[0] == "ema_cross" else pytest.param(*each, marks=pytest.mark.long) for each in SYSTEMS]
)
def test_a_memory_and_the_records_after_it_are_the_whole_journal(name: str, overrides: tuple[str, ...], journals: Path) -> None:
    with session(name, overrides, journals) as (ran, plan):
        records = list(read(ran.live.journal.folder, types=TYPES))
        kept, _ = newest_snapshot(ran.live.journal.folder)
        whole = memory(fold(ran, plan, records))
        assert kept is not None and kept.seq == records[-1].seq
        assert kept.state == whole  # what the session itself remembered when it ended
        assert len(ran.of(Fill)) > 1
        cuts = [record.seq for record in records if isinstance(record.message, InstantClosed)]
        drawn = random.Random(7)
        count = min(8, settings().max_examples // 6)
        for cut in (cuts[0], *drawn.sample(cuts, count), *drawn.sample(range(2, len(records)), count)):
            before = fold(ran, plan, records[:cut])
            try:
                content = memory(before)
            except InvariantError:
                continue  # inside an instant no memory is taken
            assert memory(fold(ran, plan, [], content)) == content
            assert memory(fold(ran, plan, records[cut:], content)) == whole, f"cut after record {cut}"


def test_a_restart_goes_on_from_the_snapshot_and_needs_no_history(journals: Path) -> None:
    system, strategy = builtin("ema_cross", *SYSTEMS[0][1])
    with marked_store() as store:
        parts, ran, _ = both(store, system, strategy, (FROM, TO), journals / "at once")
        with stored_sandbox(store, system, FROM, TO) as sandbox:
            for bars in (40, 70, 60, None):
                plan = plan_of(system, strategy, store if bars == 40 else None, sandbox.url, journals)
                ran = run_session(plan, max_bars=bars)
                assert ran.ending.failure is None
            truth = sandbox.truth()
    assert ran.live.journal.session == 4
    assert ran.live.journal.recovery.snapshot_seq > 0 and ran.live.journal.recovery.records <= 2
    portfolio = ran.live.books.portfolio
    assert portfolio.cash == parts.portfolio.cash == truth["wallet_units"]["USDT"]
    assert portfolio.equity_values == parts.portfolio.equity_values
    assert [fill.ts for fill in ran.live.tape.fills] == [fill.ts for fill in parts.venue.fills]


def test_a_snapshot_lets_orders_leave_first_but_not_for_ever() -> None:
    assert not snapshots.is_due(19_999, is_new_day=False, is_quiet=True)
    assert snapshots.is_due(20_000, is_new_day=False, is_quiet=True) and snapshots.is_due(3, is_new_day=True, is_quiet=True)
    assert not snapshots.is_due(39_999, is_new_day=True, is_quiet=False)
    assert snapshots.is_due(40_000, is_new_day=False, is_quiet=False)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def of_another_version(path: Path) -> None:
    from keel.adapters.journal.disk import Disk
    from keel.adapters.journal.snapshots import read_snapshot, write_snapshot

    found = read_snapshot(path)
    assert not isinstance(found, str)
    write_snapshot(path.parent, found._replace(state=bytes(16) + found.state[16:]), Disk())


@pytest.mark.parametrize("spoil", [damage, pytest.param(Path.unlink, marks=pytest.mark.long), of_another_version])
@pytest.mark.parametrize("which", [slice(0, 1), pytest.param(slice(None), marks=pytest.mark.long)])
def test_a_spoilt_snapshot_means_a_longer_way_to_the_same_place(spoil: Any, which: slice, journals: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(snapshots, "EVERY_RECORDS", 120)
    system, strategy = builtin("ema_cross", *SYSTEMS[0][1])
    with marked_store() as store, stored_sandbox(store, system, FROM, TO) as sandbox:
        plan = plan_of(system, strategy, store, sandbox.url, journals)
        first = run_session(plan, max_bars=150)
        paths = snapshot_paths(first.live.journal.folder)
        assert len(paths) == 3
        for path in paths[which]:
            spoil(path)
        second = run_session(plan)
        truth = sandbox.truth()
        check = memory(fold(second, plan, list(read(second.live.journal.folder, types=TYPES))))
        kept, _ = newest_snapshot(second.live.journal.folder)
    assert second.ending.differences == [] and truth["problems"] == []
    assert kept is not None and kept.state == check
    assert len([fill for fill in second.live.tape.fills if fill.ts > FROM]) == len(truth["fills"])


class Counting(BaseStrategy):
    """Long and flat in turn, by a count of its own."""

    says_itself = False
    count = 0

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        self.count += 1
        return Signal(snapshot.symbol, "LONG" if self.count % 14 < 7 else "FLAT")


class Remembering(Counting):
    def state(self) -> dict[str, Any]:
        return {"count": self.count}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]


class Parameters(BaseStrategy):
    def on_start(self, params: Mapping[str, Any]) -> None:
        self.table = [1, 2, 3]

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return Signal(snapshot.symbol, "LONG" if snapshot.bar_ltf.ts_open // 300_000 % 14 < 7 else "FLAT")


class Unspeakable(Remembering):
    def state(self) -> dict[str, Any]:
        return {"count": object()}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Counting, "Counting keeps something in its attributes"),
        (Remembering, ""),
        pytest.param(Parameters, "", marks=pytest.mark.long),
        (Unspeakable, "plain JSON data is needed"),
    ],
)
def test_a_strategy_that_remembers_is_asked_or_hears_everything_again(kind: type[BaseStrategy], words: str, journals: Path) -> None:
    system, _ = builtin("ema_cross", "warmup_bars=50")
    with marked_store() as store, stored_sandbox(store, system, FROM, TO) as sandbox:
        plan = plan_of(system, kind, store, sandbox.url, journals)
        first = run_session(plan, max_bars=50)
        second = run_session(plan, max_bars=100)
    told = [notice.text for notice in first.notices if notice.code == "snapshot"]
    assert (second.live.journal.recovery.snapshot_seq == 0) == bool(words), told
    assert words in told[0] if words else told
    whole = run_whole(kind, journals / "whole")
    assert second.ending.failure is None
    assert decisions(second) == decisions(whole)


def run_whole(kind: type[BaseStrategy], journals: Path) -> Ran:
    system, _ = builtin("ema_cross", "warmup_bars=50")
    with marked_store() as store, stored_sandbox(store, system, FROM, TO) as sandbox:
        return run_session(plan_of(system, kind, store, sandbox.url, journals), max_bars=150)


def decisions(ran: Ran) -> list[tuple[Any, ...]]:
    return [(order.ts, order.side, order.qty) for order in ran.of(SubmitOrder) if isinstance(order, SubmitOrder)]


def test_a_message_that_broke_halfway_is_heard_again_by_a_restart(journals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar that is in the journal and not in the memory, past the bus: no snapshot stands for it, though one is due at each turn."""
    monkeypatch.setattr(snapshots, "EVERY_RECORDS", 1)

    receive = Engine.receive

    def broken(engine: Engine, message: Message) -> None:
        if isinstance(message, Bar):
            raise RuntimeError("broken halfway")
        receive(engine, message)

    with moving() as sandbox:
        made = plan_of(plain_system(timeframe="1m"), Parameters, None, sandbox.url, journals, grace_ms=400)
        with monkeypatch.context() as patch:

            async def break_one(live: Live, stop: Stop) -> None:
                await until(lambda: len(live.books.engine.closes) >= 3 and live.snapshots.written)
                patch.setattr(Engine, "receive", broken)
                await asyncio.Event().wait()

            first = run(made, None, break_one)
        second = run(made, 1)
    assert "broken halfway" in str(first.ending.failure) and first.live.books.bus.failed is None
    (stopped,) = [number for number, message in enumerate(first.journal, start=1) if isinstance(message, HearingStopped)]
    bar = first.journal[stopped - 2]
    assert isinstance(bar, Bar)
    assert 0 < second.live.journal.recovery.snapshot_seq < stopped - 1
    assert second.ending.failure is None and bar.ts_open in second.live.books.bars.frame("BTCUSDT", "1m", bar.ts_close).ts
