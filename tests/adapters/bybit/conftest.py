"""The adapter over the sandbox, in one process. The sandbox is written from the protocol's facts by other hands and knows nothing of ours.

The adapter's waits run faster than life: it is given a clock and a sleep of that pace, so that rules of ten seconds are kept in a fraction
of one, and are the same rules.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from keel.adapters.bybit.execution.access import Access, Ports, VenueOptions
from keel.adapters.bybit.execution.tracking.past import Past
from keel.adapters.bybit.execution.venue import BybitVenue
from keel.adapters.bybit.market.market_data import MarketReader
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.credentials import load_credentials
from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.adapters.bybit.transport.exchange_clock import MarketClock, ServerClock
from keel.adapters.bybit.transport.rate_budget import Budget
from keel.adapters.bybit.transport.rest import RestClient
from keel.adapters.machine import monotonic_ms, wall_ms
from keel.core.model.instrument import Category
from keel.core.model.messages import Fill, Message, OrderUpdate, SubmitOrder
from keel.sim.sandbox.market.feeds import WalkFeed
from keel.sim.sandbox.server import SandboxServer
from keel.sim.sandbox.settings import SandboxSettings

SPEED = 20
START_MS = 1_750_000_000_000
PATIENCE_S = 60.0
"""What is waited for comes at once, or on a busy machine later: this long only where it never does."""


def fast_ms() -> int:
    """Monotonic time of a world that runs SPEED times as fast."""
    return monotonic_ms() * SPEED


async def fast_sleep(seconds: float) -> None:
    """Sleep in that world."""
    await asyncio.sleep(seconds / SPEED)


class Desk:
    """A sandbox, a venue over it, and everything that was published, journalled and noticed."""

    def __init__(self, server: SandboxServer, url: str) -> None:
        self.server, self.url = server, url
        self.published: list[Message] = []
        self.journal: list[Message] = []
        self.notices: list[Notice] = []
        self.seen: set[str] = set()
        self.running: asyncio.Task[None] | None = None
        self.venue: BybitVenue
        self.rest: RestClient
        self.reader: MarketReader
        self.market: MarketClock

    @property
    def now_ms(self) -> int:
        """The market's time."""
        return self.server.engine.now_ms

    def updates(self, client_order_id: str) -> list[str]:
        """The statuses of an order, in order."""
        return [one.status for one in self.published if isinstance(one, OrderUpdate) and one.client_order_id == client_order_id]

    def fills(self) -> list[Fill]:
        """All fills."""
        return [one for one in self.published if isinstance(one, Fill)]

    def codes(self) -> set[str]:
        """The codes of all notices."""
        return {notice.code for notice in self.notices}

    def order(self, number: int, **changes: Any) -> SubmitOrder:
        """A market buy of 0.01 BTC unless told otherwise."""
        values: dict[str, Any] = {
            "client_order_id": f"t-{number}", "symbol": "BTCUSDT", "side": "BUY", "order_type": "market", "qty": 0.01, "ts": self.now_ms,
        }  # fmt: skip
        return SubmitOrder(**(values | changes))

    @property
    def last(self) -> float:
        """The sandbox's last price of BTCUSDT, in tens of dollars."""
        return float(round(self.market_of().last, -1))

    def market_of(self) -> Any:
        """The sandbox's market of BTCUSDT."""
        return next(one for one in self.server.engine.markets.values() if one.symbol == "BTCUSDT" and one.category == "linear")

    def faults(self, *rules: dict[str, Any], clear: bool = False) -> None:
        """Put fault rules into the sandbox; ``match`` given as path or topic."""
        self.server.faults.put(self.server.faults.read(msgspec.json.encode({"rules": list(rules), "clear": clear})))

    async def step(self, bars: int = 1) -> None:
        """Let the market move."""
        async with aiohttp.ClientSession() as session, session.post(f"{self.url}/admin/step", json={"bars": bars}) as answer:
            assert answer.status == 200, await answer.text()

    async def truth(self) -> Any:
        """What the sandbox knows."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/admin/truth") as answer:
            return await answer.json()

    async def until(self, condition: Callable[[], object], what: str = "", timeout_s: float = PATIENCE_S) -> None:
        """Wait for a condition; fails, and says what was published, when it does not come."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    if self.running is not None and self.running.done():
                        self.running.result()  # the venue ended: its error is the better story
                    await asyncio.sleep(0.005)
        except TimeoutError:
            heard = [(getattr(one, "status", type(one).__name__), getattr(one, "client_order_id", "")) for one in self.published]
            raise AssertionError(f"{what or 'it'} did not come: {heard}; {[(n.code, n.text) for n in self.notices]}") from None


@asynccontextmanager
async def desk_over(
    *,
    category: Category = "linear",
    settings: SandboxSettings | None = None,
    started: bool = True,
    use_trade_stream: bool = False,
    recover: Callable[[BybitVenue], None] | None = None,
    known: Desk | None = None,
    journal: Callable[[Message], Awaitable[None] | None] | None = None,
    rules: tuple[dict[str, Any], ...] = (),
    minutes: int = 120,
) -> AsyncIterator[Desk]:
    """Start a lock-step sandbox (or stand over the one of ``known``) and a venue over it."""
    if known is None:
        feed = WalkFeed(["BTCUSDT"], START_MS, 7, bars=minutes, spot=category == "spot")
        server = SandboxServer(settings or SandboxSettings(pace="lockstep", limit_factor=100), feed, wall_ms)
        desk = Desk(server, await server.start())
    else:
        desk = Desk(known.server, known.url)
    desk.faults(*rules)
    where = endpoints(Environment.SANDBOX, desk.url)
    connector = aiohttp.TCPConnector()
    async with aiohttp.ClientSession(connector=connector) as session:
        clock = ServerClock()
        desk.market = MarketClock(clock, follows_stream=True)
        budget = Budget(fast_ms, fast_sleep, factor=100)
        credentials = load_credentials(where, environ={})
        desk.rest = RestClient(
            session, where, credentials, clock, budget, notify=desk.notices.append, deadline_s=0.5, sleep=fast_sleep, rng=random.Random(1)
        )
        desk.reader = MarketReader(desk.rest, category, desk.notices.append, market=desk.market)
        instruments = await desk.reader.instruments(["BTCUSDT"])
        desk.venue = BybitVenue(
            Access(where, session, credentials, desk.rest, category, desk.market), instruments,
            Past(seen=desk.seen, since_ms=desk.now_ms),
            Ports(publish=desk.published.append, journal=journal or desk.journal.append, notify=desk.notices.append),
            options=VenueOptions(use_trade_stream=use_trade_stream, sleep=fast_sleep, now_ms=fast_ms, streams={"rng": random.Random(2)}),
        )  # fmt: skip
        if recover is not None:
            recover(desk.venue)
        running = desk.running = asyncio.create_task(desk.venue.run())
        try:
            if started:
                await desk.venue.wait_ready(60.0)
                if desk.venue.trade is not None:
                    await desk.venue.trade.stream.wait_ready(60.0)
            yield desk
            if running.done():
                running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            if known is None:
                await desk.server.stop()


@pytest.fixture
def payloads() -> Path:
    """The folder of recorded payloads."""
    return Path(__file__).parent / "payloads"
