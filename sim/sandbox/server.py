"""The server: REST, three WebSocket channels and the admin endpoints on one port, and the task that moves the market."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from aiohttp import WSMsgType, web

from core.errors import ConfigError
from sim.sandbox.account import Account
from sim.sandbox.auth import authenticate
from sim.sandbox.connection import Connection
from sim.sandbox.engine import Engine, Feed, Moved, piece_length
from sim.sandbox.errors import ApiError
from sim.sandbox.faults import AT_ONCE, Action, Event, Faults, patched
from sim.sandbox.gateway import Gateway
from sim.sandbox.ids import IdSource
from sim.sandbox.params import CATEGORIES, Params
from sim.sandbox.private_hub import PrivateHub
from sim.sandbox.public_hub import PublicHub
from sim.sandbox.routes import ROUTES
from sim.sandbox.settings import SandboxSettings
from sim.sandbox.sockets import PrivateChannel, PublicChannel, TradeChannel
from sim.sandbox.truth import truth

Channel = PublicChannel | PrivateChannel | TradeChannel
LOOPBACK: Final = ("127.0.0.1", "::1")
MAX_STEP: Final = 1_000_000
_FOREVER_S: Final = 3600.0
_BREATH: Final = 64
"""Pieces after which a market that runs ahead lets clients in."""


class SandboxServer:
    """``start`` opens the port, ``wait`` lasts until someone stops it, ``stop`` closes everything."""

    def __init__(self, settings: SandboxSettings, feed: Feed, wall_ms: Callable[[], int]) -> None:
        self.settings = settings
        self.engine = Engine(settings, feed, wall_ms)
        self.faults = Faults(settings.seed)
        self.public = PublicHub(self.engine)
        self.private = PrivateHub(settings.seed)
        self.gateway = Gateway(self.engine, self.public)
        self.gateway.set_lag(settings.rest_lag_ms)
        self._ids = IdSource(settings.seed, "server")
        self._connections: dict[Connection, web.WebSocketResponse] = {}
        self._stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None
        self._moving = asyncio.Lock()
        self.port = 0
        self.error: BaseException | None = None

    # --- life ---

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Open the port (0: any free one), set the market going; returns the URL."""
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_get("/v5/public/{category}", self._public_socket)
        app.router.add_get("/v5/private", self._private_socket)
        app.router.add_get("/v5/trade", self._trade_socket)
        app.router.add_post("/admin/step", self._step)
        app.router.add_post("/admin/faults", self._put_faults)
        app.router.add_get("/admin/faults", self._show_faults)
        app.router.add_get("/admin/truth", self._truth)
        app.router.add_post("/admin/stop", self._stop)
        app.router.add_route("*", "/{tail:.*}", self._rest)
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._tasks = [asyncio.create_task(self._guarded(self._keep_house()))]
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
            self.error = error
            self._stopped.set()
            raise

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
                await self._tell(moved)
                await asyncio.sleep(0)
                continue
            target = engine.due_ms()
            at = engine.played_to
            while at + length <= target:
                moved = engine.move(length)
                if moved is None:
                    return
                await self._tell(moved)
                at = engine.played_to
                count += 1
                if count % _BREATH == 0:
                    await asyncio.sleep(0)
            rest_ms = (at + length - engine.due_ms()) / self.settings.factor
            await asyncio.sleep(max(0.001, rest_ms / 1000))

    async def _tell(self, moved: Moved) -> None:
        """Private first: what a bar caused is with the clients before the bar is said to be closed."""
        for account in self.engine.accounts.values():
            self.private.flush(account)
        await self._drain("private")
        self.public.publish(moved, asyncio.get_running_loop().time())

    async def _drain(self, channel: str) -> None:
        for connection in [one for one in self._connections if one.channel == channel]:
            await connection.drained()

    async def _keep_house(self) -> None:
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

    # --- REST ---

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        address = request.remote or ""
        if self.gateway.budgets.is_banned(address, self.gateway.wall_ms()):
            return web.Response(status=403, text="access too frequent")
        body = await request.read()
        if request.method == "GET" and body:
            return web.Response(status=403, text="GET with a body")
        params = _params(request, body)
        before = self._fired(request, params, "before_apply")
        answer = await self._misbehave_before(request, before)
        if answer is not None:
            return answer
        times = 1 + sum(action.n or 1 for action in before if action.kind == "dup")
        envelope, headers = self._apply(request, params, body)
        for _ in range(times - 1):
            self._apply(request, params, body)
        response = await self._misbehave_after(request, params, envelope, headers)
        for account in self.engine.accounts.values():
            self.private.flush(account)
        return response

    def _apply(self, request: web.Request, params: Params | None, body: bytes) -> tuple[dict[str, Any], dict[str, str]]:
        route = ROUTES.get((request.method, request.path))
        gateway = self.gateway
        if route is None:
            return gateway.refused(ApiError(10017, "request path not found or request method is invalid", status=404)), {"_status": "404"}
        if params is None:
            return gateway.refused(ApiError(10001, "Invalid request body")), {"_status": "400"}  # ASSUMED words
        account: Account | None = None
        if route.needs_key:
            payload = request.rel_url.raw_query_string if request.method == "GET" else body.decode("utf-8", "replace")
            try:
                account = authenticate(request.headers, payload, self.engine.accounts, gateway.wall_ms())
            except ApiError as error:
                return gateway.refused(error), {}
        return gateway.apply(route, request.path, params, account)

    def _fired(self, request: web.Request, params: Params | None, when: Any) -> list[Action]:
        if self.faults.is_quiet:
            return []
        given = params or {}
        key = request.headers.get("X-BAPI-API-KEY", "")
        account = self.engine.accounts.get(key)
        state = ""
        if account is not None:
            record = account.by_order_id.get(str(given.get("orderId", ""))) or account.by_link_id.get(
                (str(given.get("category", "")), str(given.get("orderLinkId", "")))
            )
            state = record.status if record is not None else ""
        symbol = str(given.get("symbol", ""))
        return self.faults.fire(Event(side="http", name=request.path, when=when, symbol=symbol, account=key, state=state))

    async def _misbehave_before(self, request: web.Request, actions: list[Action]) -> web.StreamResponse | None:
        """What keeps a request from being applied; None lets it through."""
        for action in actions:
            if action.kind == "delay":
                await asyncio.sleep((action.ms or 0) / 1000)
            elif action.kind == "dup":
                continue
            elif action.kind == "error":
                return self._error_response(action)
            elif action.kind in AT_ONCE:
                self.act(action, request.remote or "")
                if action.kind == "ban":
                    return web.Response(status=403, text="access too frequent")
            elif action.kind == "freeze":
                await asyncio.sleep(_FOREVER_S)
            else:
                return _cut(request)
        return None

    async def _misbehave_after(
        self, request: web.Request, params: Params | None, envelope: dict[str, Any], headers: dict[str, str]
    ) -> web.StreamResponse:
        """The answer of a request that was applied, as the rules leave it."""
        status = int(headers.pop("_status", "200"))
        cut: int | None = None
        for action in self._fired(request, params, "after_apply"):
            kind = action.kind
            if kind == "delay":
                await asyncio.sleep((action.ms or 0) / 1000)
            elif kind == "error":
                return self._error_response(action)
            elif kind == "mutate":
                envelope = patched(envelope, action.patch or ())
            elif kind == "truncate":
                cut = action.bytes or 0
            elif kind in AT_ONCE:
                self.act(action, request.remote or "")
            elif kind == "freeze":
                await asyncio.sleep(_FOREVER_S)
            elif kind in ("drop", "abort"):
                for account in self.engine.accounts.values():
                    self.private.flush(account)
                return _cut(request)
        body = msgspec.json.encode(envelope)
        return web.Response(
            status=status, body=body if cut is None else body[:cut], headers=headers, content_type="application/json", charset="utf-8"
        )

    def _error_response(self, action: Action) -> web.Response:
        now = self.gateway.wall_ms()
        resets = {"future": now + 1000, "past": now - 1000}
        headers = {} if action.reset in (None, "absent") else {"X-Bapi-Limit-Reset-Timestamp": str(resets[action.reset])}
        if action.ret_code is None:
            return web.Response(status=action.http or 503, text=action.ret_msg or "Service Unavailable", headers=headers)
        envelope = self.gateway.envelope(action.ret_code, action.ret_msg or "sandbox fault", {})
        return web.Response(
            status=action.http or 200, body=msgspec.json.encode(envelope), headers=headers, content_type="application/json", charset="utf-8"
        )

    # --- WebSocket ---

    async def _public_socket(self, request: web.Request) -> web.StreamResponse:
        category = request.match_info["category"]
        if category not in CATEGORIES:
            return web.Response(status=404)
        return await self._serve(request, "public", PublicChannel(category, self.public, self.settings.ack_ms))

    async def _private_socket(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "private", PrivateChannel(self.gateway, self.private))

    async def _trade_socket(self, request: web.Request) -> web.StreamResponse:
        if self.settings.profile == "demo":
            return web.Response(status=404)
        return await self._serve(request, "trade", TradeChannel(self.gateway, self.private.flush))

    async def _serve(self, request: web.Request, name: str, channel: Channel) -> web.StreamResponse:
        if self.gateway.budgets.is_banned(request.remote or "", self.gateway.wall_ms()):
            return web.Response(status=403, text="access too frequent")
        socket = web.WebSocketResponse(autoping=True, heartbeat=None, max_msg_size=4 * 1024 * 1024)
        await socket.prepare(request)
        connection = Connection(socket, request, name, self._ids.next("connection")[:20], self.faults, self)
        connection.idle_s = _active_time(request.query.get("max_active_time", "")) if name != "public" else None
        self._connections[connection] = socket
        connection.reader = asyncio.create_task(_read(socket, connection, channel))
        try:
            await asyncio.wait({connection.reader})
            if connection.close_code is not None:
                await socket.close(code=connection.close_code)
            elif not connection.reader.cancelled() and (error := connection.reader.exception()) is not None:
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

    # --- admin ---

    async def _step(self, request: web.Request) -> web.Response:
        """``{"bars": n}``: so many bars, in lock-step only."""
        refusal = _only_loopback(request)
        if refusal is not None:
            return refusal
        if self.settings.pace != "lockstep":
            return _admin_error("the market moves by itself; start with --speed lockstep")
        given = await _admin_body(request)
        bars = given.get("bars", 1) if given is not None else None
        if not isinstance(bars, int) or isinstance(bars, bool) or not 1 <= bars <= MAX_STEP:
            return _admin_error(f'give {{"bars": n}} with n from 1 to {MAX_STEP}')
        done = 0
        async with self._moving:
            for _ in range(bars):
                moved = self.engine.step_bar()
                if moved is None:
                    break
                done += 1
                await self._tell(moved)
            await self._drain("public")
        return web.json_response({
            "bars": done, "bars_left": self.engine.feed.bars_left(), "market_time": self.engine.now_ms,
            "private_frames": {key: self.private.frames.get(account.uid, 0) for key, account in self.engine.accounts.items()},
        })  # fmt: skip

    async def _put_faults(self, request: web.Request) -> web.Response:
        refusal = _only_loopback(request)
        if refusal is not None:
            return refusal
        try:
            self.put_faults(await request.read(), request.remote or "")
        except ConfigError as error:
            return _admin_error(str(error))
        return web.json_response({"rules": self.faults.state()})

    def put_faults(self, body: bytes, address: str = "127.0.0.1") -> None:
        """Take rules on; those without a match act now. Raises ConfigError."""
        given = self.faults.read(body)
        self.faults.put(given)
        for rule in given.rules:
            if rule.match is None:
                self.act(rule.action, address)

    async def _show_faults(self, request: web.Request) -> web.Response:
        return _only_loopback(request) or web.json_response({"rules": self.faults.state()})

    async def _truth(self, request: web.Request) -> web.Response:
        refusal = _only_loopback(request)
        if refusal is not None:
            return refusal
        return web.Response(body=msgspec.json.encode(truth(self.engine, self.private.frames)), content_type="application/json")

    async def _stop(self, request: web.Request) -> web.Response:
        refusal = _only_loopback(request)
        if refusal is not None:
            return refusal
        asyncio.get_running_loop().call_soon(self._stopped.set)
        return web.json_response({"stopping": True})


async def _read(socket: web.WebSocketResponse, connection: Connection, channel: Channel) -> None:
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await channel.on_text(connection, message.data)
        elif message.type is WSMsgType.BINARY:
            await channel.on_text(connection, message.data.decode("utf-8", "replace"))


def _params(request: web.Request, body: bytes) -> Params | None:
    """Query or JSON body; None for a body that is no JSON object."""
    if request.method == "GET":
        return dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
    try:
        decoded = msgspec.json.decode(body) if body else {}
    except msgspec.DecodeError:
        return None
    return decoded if isinstance(decoded, dict) else None


def _active_time(text: str) -> float | None:
    """``max_active_time``: 30s to 10m; None where it was not given or is neither (ASSUMED)."""
    if text[-1:] not in ("s", "m") or not text[:-1].isdigit():
        return None
    seconds = int(text[:-1]) * (60 if text.endswith("m") else 1)
    return float(seconds) if 30 <= seconds <= 600 else None


def _cut(request: web.Request) -> web.Response:
    """No answer: the line is cut."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _only_loopback(request: web.Request) -> web.Response | None:
    if request.remote in LOOPBACK:
        return None
    return web.json_response({"error": "admin endpoints are for this machine only"}, status=403)


async def _admin_body(request: web.Request) -> dict[str, Any] | None:
    try:
        decoded = msgspec.json.decode(await request.read() or b"{}")
    except msgspec.DecodeError:
        return None
    return decoded if isinstance(decoded, dict) else None


def _admin_error(text: str) -> web.Response:
    return web.json_response({"error": text}, status=400)
