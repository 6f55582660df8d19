"""The exchange of a story: watched in each step, and handled by a second client and by what happens without anybody's request."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from keel.adapters.bybit.transport.endpoints import Environment
from keel.runners.live.panic.latch import latch_path
from keel.sim.sandbox.account.out_of_band import change
from keel.sim.sandbox.engine import Moved
from keel.sim.sandbox.http.routes import ROUTES
from tests.faults.matrix import script
from tests.virtual.sandbox import VirtualSandbox


class _Story(deque[tuple[Any, ...]]):
    """An account's story that tells what is added."""

    def __init__(self, rows: deque[tuple[Any, ...]], hear: Callable[[tuple[Any, ...]], None]) -> None:
        super().__init__(rows, rows.maxlen)
        self._hear = hear

    def append(self, row: tuple[Any, ...]) -> None:
        super().append(row)
        self._hear(row)


@dataclass
class Watch:
    """Who is told what happens at the exchange, in that step."""

    requests: list[Callable[[str, str], None]] = field(default_factory=list)
    """(path, what was sent)"""
    rows: list[Callable[[tuple[Any, ...]], None]] = field(default_factory=list)
    moves: list[Callable[[Moved], None]] = field(default_factory=list)
    """Before a move of the market is told to anybody."""
    starts: list[Callable[[], None]] = field(default_factory=list)


class WatchedExchange:
    """A sandbox in virtual time, of one account. ``strangers`` are the names of orders that a second client gave."""

    def __init__(self, sandbox: VirtualSandbox) -> None:
        self.sandbox, self.server = sandbox, sandbox.server
        self.watch = Watch()
        self.strangers: set[str] = set()
        self.latched_ms: int | None = None
        """When a panic's latch was set."""
        self.rearmed_ms: int | None = None
        """When a person took it away."""
        self.begin_ms = self.server.engine.played_to
        """The market's time when the story begins."""
        self._hook()

    def _hook(self) -> None:
        server, account = self.server, self.account
        request, tell = server.wire.request, server._push

        def requested(received: int, key: str, method: str, path: str, sent: str) -> None:
            request(received, key, method, path, sent)
            for hear in list(self.watch.requests):
                hear(path, sent)

        async def told(moved: Moved) -> None:
            for hear in list(self.watch.moves):
                hear(moved)
            await tell(moved)

        def heard(row: tuple[Any, ...]) -> None:
            for hear in list(self.watch.rows):
                hear(row)

        server.wire.request = requested  # type: ignore[method-assign]  # every request passes there
        server._push = told  # type: ignore[method-assign]  # every move of the market passes there
        account.story = _Story(account.story, heard)

    @property
    def account(self) -> Any:
        """The trader's account at the exchange."""
        return self.server.engine.accounts[script.KEY]

    @property
    def minute(self) -> float:
        """Minutes of the market since the story began."""
        return (self.server.engine.played_to - self.begin_ms) / 60_000

    @property
    def now_s(self) -> float:
        """The world's clock."""
        return asyncio.get_running_loop().time()

    def by_hand(self, path: str, **body: Any) -> dict[str, Any]:
        """A second client of the same account: at once, past all faults."""
        params = {"category": "linear", "symbol": script.SYMBOL, **body}
        gateway = self.server.gateway
        envelope, _ = gateway.apply(ROUTES["POST", path], path, params, self.account, gateway.wall_ms())
        self.server.flush()
        return envelope

    def cut_private(self) -> None:
        """Private streams are cut without a word."""
        for connection in list(self.server._connections):
            if connection.channel == "private":
                connection.abort()

    def panic(self) -> None:
        """The latch is set, and a second client cancels everything and closes what is held; once a person has looked, in a minute, the
        latch is taken away and a session may be started again."""
        path = latch_path(Environment.SANDBOX, self.sandbox.url)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        self.latched_ms = self.sandbox.wall_ms()
        self.by_hand("/v5/order/cancel-all", settleCoin="USDT")
        self.close_by_hand()

    def close_by_hand(self) -> None:
        """A second client closes what is held."""
        if steps := self.held():
            side, name = ("Sell" if steps > 0 else "Buy"), f"by-hand-{len(self.strangers) + 1}"
            self.strangers.add(name)
            qty = self.server.engine.markets[script.SYMBOL].qty(abs(steps))
            self.by_hand("/v5/order/create", side=side, orderType="Market", qty=qty, reduceOnly=True, orderLinkId=name)

    def held(self) -> int:
        """Signed steps of the account's position."""
        position = self.account.exchange.books[script.SYMBOL].position(0)
        return position.steps if position is not None else 0

    def happens(self, **what: Any) -> None:
        """Something that no request of the account's own makes: see ``keel.sim.sandbox.account.out_of_band``."""
        change(self.server.engine, msgspec.json.encode({"account": script.KEY, **what}))
        self.server.flush()

    def put(self, *rules: dict[str, Any]) -> None:
        """Rules that come into force beside those that are."""
        self.server.put_faults(msgspec.json.encode({"rules": rules}))
