"""Panic at random instants of a session that trades as fast as it can: no order that adds may come in after the latch.

The judge is the sandbox's own record of what came in over its wire, and what it holds in the end. Session, sandbox and panic run in one
process, each in a thread of its own, over real sockets; the market runs 200 times as fast as life.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keel.adapters.bybit.transport.endpoints import Environment
from keel.core.model.messages import Signal
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import Distance, ExitsConfig, SizingConfig, SystemConfig
from keel.runners import safety
from keel.runners.live.panic import latch, panic_end
from keel.runners.live.panic.latch import latch_of
from keel.runners.live.session.session import Session
from keel.runners.live.startup.plan import Plan
from keel.runners.systems import LoadedSystem
from keel.sim.sandbox.market.feeds import WalkFeed
from keel.sim.sandbox.server import SandboxServer
from keel.sim.sandbox.settings import DEFAULT_KEY, DEFAULT_SECRET, SandboxSettings
from keel.strategies.base import BaseStrategy

FACTOR = 200.0
SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
GRACE_MS = 50
"""What the proof allows between the press and the latch."""


class Churn(BaseStrategy):
    """Every bar another order: in at market, flipped, a resting entry, out."""

    bars = 0

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        self.bars += 1
        turn = self.bars % 4
        if turn == 3:
            return Signal(snapshot.symbol, "LONG", order_type="limit", limit_price=round(snapshot.bar_ltf.close * 0.97, 1))
        return Signal(snapshot.symbol, {0: "LONG", 1: "SHORT", 2: "FLAT"}[turn])  # type: ignore[arg-type]  # one of the three


@dataclass
class Instants:
    """What was found. late_ms: by how much after the latch the latest order that adds came in, of those that came within GRACE_MS."""

    asked: int = 0
    pressed: int = 0
    orders: int = 0
    late_ms: list[int] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    not_well: list[str] = field(default_factory=list)
    """What was not flat, never began to trade, had ended before the press, or did not end for it."""
    flat_s: list[float] = field(default_factory=list)


def press_at_random(count: int, seed: int = 1, *, looks: bool = True) -> Instants:
    """So many sessions, each with a panic at a random instant in its second second. looks: whether the trader looks for the latch; False
    shows that the judge sees what a trader sends that does not."""
    found, rng = Instants(asked=count), random.Random(seed)
    kept = {name: getattr(safety, name) for name in ("APART_S", "LAST_LOOK_S")}
    quiet_ms, eye = panic_end.QUIET_MS, latch.is_latched
    safety.APART_S, safety.LAST_LOOK_S, panic_end.QUIET_MS = 0.05, 0.0, 100  # type: ignore[misc]  # the market is 200 times as fast
    if not looks:
        latch.is_latched = lambda path: False
    try:
        with tempfile.TemporaryDirectory() as folder, _state(folder), serving() as (server, url):
            for number in range(count):
                _press_once(found, rng, Path(folder) / f"journals-{number}", server, url, looks=looks)
    finally:
        panic_end.QUIET_MS, latch.is_latched = quiet_ms, eye  # type: ignore[misc]  # as they were
        for name, value in kept.items():
            setattr(safety, name, value)
    return found


def _press_once(found: Instants, rng: random.Random, journals: Path, server: SandboxServer, url: str, *, looks: bool) -> None:
    path = latch_of(Environment.SANDBOX, url)
    session = Session(_plan(url, journals), lambda notice: None)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_run, args=(loop, session), daemon=True)
    thread.start()
    deadline = time.monotonic() + 20.0
    while session.live is None and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(rng.uniform(0.1, 1.3))
    if session.live is None or not thread.is_alive():
        found.not_well.append(f"session {journals.name}: {'never began' if session.live is None else 'ended before the press'}")
        return
    known = len(server.wire.state()["requests"])
    begun = time.perf_counter()
    problem = safety.latch(path, "sandbox", "the proof")
    latched_ms = time.time_ns() // 1_000_000
    panic = safety.Panic(safety.Exchange("sandbox", url, DEFAULT_KEY, DEFAULT_SECRET), lambda text: None, sell_spot=False)
    if not looks:
        time.sleep(1.0)  # it goes on trading, beside a panic that never comes to its end
        session.stop.ask("the proof")
        thread.join(60.0)
    code = panic.run(begun)
    found.flat_s.append(time.perf_counter() - begun)
    thread.join(60.0)
    sent = server.wire.state()["requests"]
    adding = [row for row in sent[known:] if adds(row)]
    found.pressed += 1
    found.orders += sum("order/create" in row["path"] for row in sent[:known])
    found.late_ms += [row["received"] - latched_ms for row in adding if 0 < row["received"] - latched_ms <= GRACE_MS]
    found.violations += [f"{row['path']} {row['sent']}" for row in adding if row["received"] - latched_ms > GRACE_MS]
    account = server.engine.accounts[DEFAULT_KEY]
    held = [name for name, book in account.exchange.books.items() if any(position.steps for position in book.positions)]
    ended = "goes on" if thread.is_alive() or session.ending is None else session.ending.reason
    if code or problem or held or account.open_orders or ended != ("panic" if looks else "the proof"):
        text = f"code {code}, {problem}, holds {held}, {len(account.open_orders)} orders, the session: {ended}"
        found.not_well.append(f"press {found.pressed}: {text}")
    server.wire.__init__()  # type: ignore[misc]  # each press has a record of its own
    path.unlink()


def adds(row: Mapping[str, Any]) -> bool:
    """Whether a request of the wire's record has an order in it, alone or in a batch, that could add. What cannot be read could."""
    if not row["path"].startswith(("/v5/order/create", "/v5/order/amend")):
        return False
    try:
        sent = json.loads(row["sent"])
        orders = sent["request"] if row["path"].endswith("-batch") else [sent]
        return not orders or not all(order.get("reduceOnly") is True for order in orders)
    except (ValueError, KeyError, TypeError, AttributeError):
        return True


def _run(loop: asyncio.AbstractEventLoop, session: Session) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(session.run())
    finally:
        loop.close()


def _plan(url: str, journals: Path) -> Plan:
    exits = ExitsConfig(stop_loss=Distance(percent=5), take_profit=Distance(percent=5))
    sizing = SizingConfig(model="fixed_usd", usd=500)
    system = SystemConfig(system="churn", strategy="churn", symbols=SYMBOLS, timeframe="1m", warmup_bars=1, sizing=sizing, exits=exits)
    loaded = LoadedSystem(system, Churn, "proof", "file")
    return Plan(loaded, system, "ab12cd34ef56", Environment.SANDBOX, journals, None, sandbox_url=url, grace_ms=400)


@contextmanager
def _state(folder: str) -> Iterator[None]:
    before = os.environ.get("KEEL_STATE")
    os.environ["KEEL_STATE"] = f"{folder}/state"
    try:
        yield
    finally:
        os.environ.pop("KEEL_STATE")
        if before is not None:
            os.environ["KEEL_STATE"] = before


@contextmanager
def serving() -> Iterator[tuple[SandboxServer, str]]:
    """A sandbox in a thread of its own."""
    made: dict[str, Any] = {}
    ready = threading.Event()

    async def serve() -> None:
        settings = SandboxSettings(factor=FACTOR, tick_ms=20, limit_factor=FACTOR)
        server = SandboxServer(settings, WalkFeed(SYMBOLS, time.time_ns() // 1_000_000, 7, bars=120), lambda: time.time_ns() // 1_000_000)
        made.update(server=server, url=await server.start(), loop=asyncio.get_running_loop())
        ready.set()
        try:
            await server.wait()
        finally:
            await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    ready.wait(30.0)
    try:
        yield made["server"], made["url"]
    finally:
        made["loop"].call_soon_threadsafe(made["server"].request_stop)
        thread.join(10.0)
