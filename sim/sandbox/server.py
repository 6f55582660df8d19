"""The server: REST, three WebSocket channels and the admin endpoints on one port, and the task that moves the market."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiohttp import WSMsgType, web

from keel.core.errors import InvariantError
from keel.sim.sandbox.account.ids import IdSource
from keel.sim.sandbox.account.simulated_account import SimulatedAccount
from keel.sim.sandbox.admin import Admin
from keel.sim.sandbox.engine import Engine, Feed, Moved, piece_length
from keel.sim.sandbox.faults import Action, Faults
from keel.sim.sandbox.http.errors import is_count
from keel.sim.sandbox.http.gateway import Gateway
from keel.sim.sandbox.http.parameters import CATEGORIES
from keel.sim.sandbox.http.rest_middleware import RestMiddleware
from keel.sim.sandbox.http.routes import UNUSED_CATEGORIES
from keel.sim.sandbox.http.routing import Handler, serve_by_path
from keel.sim.sandbox.settings import SandboxSettings
from keel.sim.sandbox.wire_log import WireLog
from keel.sim.sandbox.ws.private_hub import PrivateHub
from keel.sim.sandbox.ws.public_hub import PublicHub
from keel.sim.sandbox.ws.push_order import Races
from keel.sim.sandbox.ws.sockets import PrivateChannel, PublicChannel, TradeChannel
from keel.sim.sandbox.ws.websocket import WebSocketConnection

Channel = PublicChannel | PrivateChannel | TradeChannel
_PIECES_A_YIELD: Final = 64
"""Pieces after which a market that runs ahead lets clients in."""


class SandboxServer:
    """``start`` opens the port, ``wait`` lasts until someone stops it, ``stop`` closes everything."""

    def __init__(self, settings: SandboxSettings, feed: Feed, wall_ms: Callable[[], int]) -> None:
        self.settings = settings
        self.engine = Engine(settings, feed, wall_ms)
        self.faults = Faults(settings.seed)
        self.public = PublicHub(self.engine)
        start = str(self.engine.first_number or "")
        self.private = PrivateHub(IdSource(settings.seed, "private", start))
        for account in self.engine.accounts.values():
            account.is_heard = False
        self.wire = WireLog()
        self.gateway = Gateway(self.engine, self.public)
        self.gateway.set_lag(settings.rest_lag_ms)
        self.races = Races(settings)
        self._ids = IdSource(settings.seed, "server", start)
        self.instance = f"{wall_ms():x}"
        """Names this sandbox: another one on the same port is another exchange."""
        self._connections: dict[WebSocketConnection, web.WebSocketResponse] = {}
        self._stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.ServerRunner | None = None
        self._moving = asyncio.Lock()
        self.port = 0
        self.error: BaseException | None = None

    # --- life ---

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Open the port (0: any free one), set the market going; returns the URL."""
        self.admin = Admin(self)
        own: dict[tuple[str, str], Handler] = {
            ("GET", "/v5/private"): self._private_socket, ("GET", "/v5/trade"): self._trade_socket, **self.admin.handlers()
        }  # fmt: skip
        middleware = RestMiddleware(self.gateway, self.faults, self, self.flush_around_answer, self.wire)
        server = serve_by_path(own, self._public_socket, middleware.answer)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._tasks = [asyncio.create_task(self._guarded(self._housekeeping()))]
        if self.settings.pace != "lockstep":
            self._tasks.append(asyncio.create_task(self._guarded(self._move())))
        return f"http://{host}:{self.port}"

    async def _guarded(self, work: Any) -> None:
        """A task that fails stops the server; ``wait`` then raises what it raised."""
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.fail(error)
            raise

    def fail(self, error: BaseException) -> None:
        """Something that must be true is not: ``wait`` raises it."""
        self.error = error
        self._stopped.set()

    async def wait(self) -> None:
        """Until ``/admin/stop``, ``request_stop`` or a failure, which is raised."""
        await self._stopped.wait()
        if self.error is not None:
            raise self.error

    def request_stop(self) -> None:
        """End ``wait``."""
        self._stopped.set()

    async def stop(self) -> None:
        """Close sockets and port."""
        self._stopped.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self._connections):
            connection.end()
            connection.abort()
        if self._runner is not None:
            await self._runner.cleanup()

    # --- the market ---

    async def _move(self) -> None:
        engine = self.engine
        length = piece_length(self.settings, engine.feed.duration_ms)
        count = 0
        engine.due_ms()
        while True:
            if self.settings.pace == "max":
                moved = engine.step_bar()
                if moved is None:
                    return
                await self._push(moved)
                await asyncio.sleep(0)
                continue
            target = engine.due_ms()
            at = engine.played_to
            while at + length <= target:
                moved = engine.move(length)
                if moved is None:
                    return
                await self._push(moved)
                at = engine.played_to
                count += 1
                if count % _PIECES_A_YIELD == 0:
                    await asyncio.sleep(0)
            rest_ms = (at + length - engine.due_ms()) / self.settings.factor
            await asyncio.sleep(max(0.001, rest_ms / 1000))

    async def step(self, bars: int) -> int:
        """So many bars, each told before the next; returns how many there were."""
        done = 0
        async with self._moving:
            while done < bars and (moved := self.engine.step_bar()) is not None:
                done += 1
                await self._push(moved)
            await self._drain("public")
        return done

    def flush(self) -> None:
        """Send what the accounts have to say."""
        for account in self.engine.accounts.values():
            self.private.flush(account)

    async def flush_around_answer(self) -> None:
        """Send it before the answer of a REST request that goes out next, or some time after that."""
        is_heard = False
        for account in self.engine.accounts.values():
            if account.outbox and account.is_heard:
                is_heard = True
            elif account.outbox:
                self.private.flush(account)  # nobody hears it whenever it is told
        if not is_heard:
            return
        delay_ms = self.races.push_after_answer_ms()
        if delay_ms:
            self._flush_in(delay_ms)
            return
        self.flush()
        if self.races.is_drawn:
            await self._drain("private")

    def flush_beside_answer(self, account: SimulatedAccount) -> None:
        """Send what a request of the trade stream has caused: its answer is on its way, too."""
        if account.outbox:
            self._flush_in(self.races.push_ms())

    def _flush_in(self, delay_ms: int) -> None:
        if delay_ms:
            asyncio.get_running_loop().call_later(delay_ms / 1000, self.flush)
        else:
            self.flush()

    async def _push(self, moved: Moved) -> None:
        """Private first: what a bar caused is with the clients before the bar is said to be closed."""
        self.flush()
        await self._drain("private")
        self.public.publish(moved, asyncio.get_running_loop().time())

    async def _drain(self, channel: str) -> None:
        for connection in [one for one in self._connections if one.channel == channel]:
            await connection.drained()

    async def _housekeeping(self) -> None:
        """Idle sockets are cut without a close frame; depth 1 is repeated."""
        settings = self.settings
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(settings.idle_check_ms, settings.level1_repeat_ms) / 1000)
            now = loop.time()
            self.public.repeat_level1(now, settings.level1_repeat_ms / 1000)
            for connection in list(self._connections):
                silent = now - max(connection.last_ping, connection.opened)
                allowed = connection.idle_s or settings.idle_ms / 1000
                if connection.channel == "public" and not connection.topics:
                    allowed = settings.unsubscribed_idle_ms / 1000
                elif connection.channel == "public":
                    continue
                if silent > allowed:
                    connection.abort()

    # --- WebSocket ---

    async def _public_socket(self, request: web.BaseRequest) -> web.StreamResponse:
        category = request.path.rpartition("/")[2]
        if category not in CATEGORIES and category not in UNUSED_CATEGORIES:
            return web.Response(status=404)
        return await self._serve(request, "public", PublicChannel(category, self.public, self.settings.ack_ms))

    async def _private_socket(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._serve(request, "private", PrivateChannel(self.gateway, self.private))

    async def _trade_socket(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.settings.profile == "demo":
            return web.Response(status=404)
        return await self._serve(request, "trade", TradeChannel(self.gateway, self.flush_beside_answer, self.races, self.wire))

    async def _serve(self, request: web.BaseRequest, name: str, channel: Channel) -> web.StreamResponse:
        self.wire.connect(self.gateway.wall_ms(), name, request.remote or "")
        if not self.gateway.budgets.may_connect(request.remote or "", self.gateway.wall_ms()):
            return web.Response(status=403, text="access too frequent")
        socket = web.WebSocketResponse(autoping=True, heartbeat=None, max_msg_size=4 * 1024 * 1024)
        await socket.prepare(request)
        connection = WebSocketConnection(socket, request, name, self._ids.next("connection")[:20], self.faults, self)
        connection.idle_s = _active_time(request.query.get("max_active_time", "")) if name != "public" else None
        self._connections[connection] = socket
        connection.reader = asyncio.create_task(_read(socket, connection, channel))
        try:
            await asyncio.wait({connection.reader})
            if connection.close_code is not None:
                await socket.close(code=connection.close_code)
            elif not connection.reader.cancelled() and (error := connection.reader.exception()) is not None:
                if isinstance(error, InvariantError):
                    self.fail(error)
                raise error
        finally:
            connection.reader.cancel()
            self._connections.pop(connection, None)
            self.private.remove(connection)
            for topic in list(connection.topics):
                self.public.remove(connection, topic)
            connection.end()
        return socket

    # --- faults that concern all ---

    def act(self, action: Action, address: str) -> None:
        """What a rule does to the server as a whole."""
        if action.kind == "clock":
            self.gateway.skew_ms = action.ms or 0
        elif action.kind == "lag_query":
            self.gateway.set_lag(action.ms or 0)
        elif action.kind == "ban":
            self.gateway.budgets.ban(address, self.gateway.wall_ms(), int((action.s or 0.0) * 1000))
        elif action.kind == "restart":
            self._restart(clear_closed=action.clear_closed is not False)

    def _restart(self, *, clear_closed: bool) -> None:
        """The trade service begins anew: closed orders leave the realtime list, books go on from u = 1, private sockets are cut."""
        self.public.restart()
        for account in self.engine.accounts.values():
            if clear_closed:
                account.recent_closed.clear()
        for connection in list(self._connections):
            if connection.channel == "private":
                connection.abort()
            connection.is_stale = True

    def put_faults(self, body: bytes, address: str = "127.0.0.1") -> None:
        """Take rules on; those without a match act now. Raises ConfigError."""
        given = self.faults.read(body)
        self.faults.put(given)
        for rule in given.rules:
            if rule.match is None:
                self.act(rule.action, address)


async def _read(socket: web.WebSocketResponse, connection: WebSocketConnection, channel: Channel) -> None:
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await channel.on_text(connection, message.data)
        elif message.type is WSMsgType.BINARY:
            await channel.on_text(connection, message.data.decode("utf-8", "replace"))


def _active_time(text: str) -> float | None:
    """``max_active_time``: 30s to 10m; None where it was not given or is neither (ASSUMED)."""
    if text[-1:] not in ("s", "m") or not is_count(text[:-1]):
        return None
    seconds = int(text[:-1]) * (60 if text.endswith("m") else 1)
    return float(seconds) if 30 <= seconds <= 600 else None
