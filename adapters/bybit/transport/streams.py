"""One WebSocket that is either proven alive or being replaced.

Connected means: authenticated where that is needed, and every topic acknowledged (one request per topic, so that one refusal names its
topic and spoils no other). Alive means: pings are answered and no topic is silent for longer than it may be. A handler's error is counted
and told, and never ends the stream; an unknown topic is counted. Reconnects back off with full jitter, within a budget of connections.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import aiohttp
import msgspec

from keel.adapters import machine
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.transport.redirects import refuse_redirects
from keel.adapters.bybit.transport.right_of_way import RightOfWay
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.return_codes import PayloadError
from keel.adapters.machine import monotonic_ms
from keel.core.errors import InvariantError, VenueError

PING_S: Final = 20.0
PONG_S: Final = 10.0
ACK_S: Final = 5.0
_BACKOFF_CAP_S: Final = 30.0
_STEADY_MS: Final = 60_000
_TICK_S: Final = 1.0
_LOGIN_TRIES: Final = 3
_MAX_UNKNOWN: Final = 100


class StreamBroken(VenueError):
    """The connection cannot be used any more; it is replaced."""


class LoginRefused(StreamBroken):
    """The key is not taken. After three times in a row nobody goes on trying."""


class ConnectBudget:
    """At most ``limit`` connections in any window; the exchange allows far more, so that we never come near."""

    def __init__(self, limit: int = 20, window_ms: int = 300_000, now_ms: Callable[[], int] = monotonic_ms) -> None:
        self._limit, self._window_ms, self._now_ms = limit, window_ms, now_ms
        self._taken: deque[int] = deque()

    def wait_ms(self) -> int:
        """How long until the next connection may be made; taking it is ``take``."""
        now = self._now_ms()
        while self._taken and self._taken[0] <= now - self._window_ms:
            self._taken.popleft()
        return 0 if len(self._taken) < self._limit else self._taken[0] + self._window_ms - now

    def take(self) -> None:
        """Count a connection attempt."""
        self._taken.append(self._now_ms())


class Stream:
    """A stream with its topics. ``on_data(topic, frame)`` hears data frames; ``on_ready`` runs after each (re)connection once everything is
    acknowledged, ``on_up`` when it counts as ready, ``on_lost`` when it no longer does. ``run`` goes on until it is cancelled.

    auth: makes the auth frame, for private and trade streams.  hide: takes keys out of what is heard.
    freshness_ms: topic prefix -> longest silence (0 or absent: any).  banned_ms: how long the exchange refuses this address yet: nobody
    knocks meanwhile.  on_forbidden: awaited after HTTP 403 to a connection, to find out whether it does.  gives_way_to: what a stream of
    prices waits for before each frame.
    """

    def __init__(
        self,
        name: str,
        url: str,
        session: aiohttp.ClientSession,
        topics: Sequence[str],
        on_data: Callable[[str, wire.WebSocketFrame], None],
        *,
        notify: Notify,
        auth: Callable[[], dict[str, Any]] | None = None,
        hide: Callable[[bytes], bytes] = lambda raw: raw,
        on_ready: Callable[[], Awaitable[None]] | None = None,
        on_up: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
        on_answer: Callable[[wire.WebSocketFrame], None] | None = None,
        freshness_ms: Mapping[str, int] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now_ms: Callable[[], int] = monotonic_ms,
        rng: random.Random | None = None,
        budget: ConnectBudget | None = None,
        banned_ms: Callable[[], int] = lambda: 0,
        on_forbidden: Callable[[], Awaitable[object]] | None = None,
        gives_way_to: RightOfWay | None = None,
    ) -> None:
        self.name, self._url, self._session = name, url, session
        self.topics = list(topics)
        self._on_data, self._on_answer, self._hide = on_data, on_answer, hide
        self._notify, self._auth, self._on_ready, self._on_up, self._on_lost = notify, auth, on_ready, on_up, on_lost
        self._freshness_ms = dict(freshness_ms or {})
        self._sleep, self._now_ms = sleep, now_ms
        self._rng = rng if rng is not None else machine.rng()
        self._banned_ms, self._on_forbidden, self._gives_way_to = banned_ms, on_forbidden, gives_way_to
        self._budget = budget if budget is not None else ConnectBudget(now_ms=now_ms)
        self.last_data_ms: dict[str, int] = {}
        """Monotonic time of the latest data per topic."""
        self.connects = self.handler_errors = self.quarantined = 0
        self.unknown_topics: dict[str, int] = {}
        self.problem = "not connected yet"
        """Why the stream is not ready; empty when it is."""
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._ready = asyncio.Event()
        self._last_pong_ms = 0
        self._requests: dict[str, asyncio.Future[wire.WebSocketFrame]] = {}
        self._count = 0

    @property
    def is_ready(self) -> bool:
        """Whether it is authenticated and every topic acknowledged."""
        return self._ready.is_set()

    async def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Raises VenueError, with the reason, when it is not ready in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            raise VenueError(f"the {self.name} stream of {self._url} is not ready after {timeout_s:g} s: {self.problem}") from None

    async def reconnect(self, why: str) -> None:
        """Give the present connection up; ``run`` makes a new one."""
        self.problem = why
        self._lose()
        if self._socket is not None and not self._socket.closed:
            await self._socket.close()

    async def send(self, frame: Mapping[str, Any]) -> None:
        """One text frame. Raises StreamBroken when there is no connection."""
        socket = self._socket
        if socket is None or socket.closed:
            raise StreamBroken(f"the {self.name} stream is not connected")
        try:
            await socket.send_str(msgspec.json.encode(frame).decode())
        except (aiohttp.ClientError, OSError) as error:
            raise StreamBroken(f"the {self.name} stream broke: {type(error).__name__}") from error

    async def flush(self) -> None:
        """Return when everything that the other side had sent by now has been heard: its pong comes after it. Raises StreamBroken."""
        request = self._next_id()
        await self._request(request, {"op": "ping", "req_id": request})

    async def run(self) -> None:
        """Connect, listen, and connect again, for ever. Raises LoginRefused after three refused logins in a row."""
        attempt = refused = 0
        while True:
            await self._pause(attempt)
            begun = self._now_ms()
            try:
                await self._live_once()
            except LoginRefused as error:
                self.problem, refused = str(error), refused + 1
                if refused >= _LOGIN_TRIES:
                    raise
            except (VenueError, PayloadError, aiohttp.ClientError, OSError, TimeoutError) as error:
                self.problem, refused = str(error) or type(error).__name__, 0
            finally:
                self._drop()
            attempt = 0 if self._now_ms() - begun > _STEADY_MS else attempt + 1
            self._notify(Notice(machine.wall_ms(), "stream_lost", f"{self.name} stream: {self.problem}", severity="info"))

    # --- one connection ---

    async def _pause(self, attempt: int) -> None:
        if attempt:
            await self._sleep(self._rng.uniform(0.0, min(_BACKOFF_CAP_S, 0.25 * 2.0 ** min(attempt, 10))))
        while wait := max(self._budget.wait_ms(), self._banned_ms()):
            await self._sleep(wait / 1000)
        self._budget.take()

    async def _live_once(self) -> None:
        self.connects += 1
        try:
            async with asyncio.timeout(ACK_S):
                refuse_redirects(self._session)
                self._socket = await self._session.ws_connect(self._url, autoping=True, max_msg_size=8 * 1024 * 1024)
        except aiohttp.WSServerHandshakeError as error:
            if error.status == 403 and self._on_forbidden is not None:
                await self._on_forbidden()
            raise
        self._last_pong_ms = self._now_ms()
        listening = asyncio.create_task(self._read(self._socket))
        tending = asyncio.create_task(self._tend())
        try:
            done, _ = await asyncio.wait({listening, tending}, return_when=asyncio.FIRST_COMPLETED)
            for task in (listening, tending):
                if task in done:
                    task.result()
        finally:
            for task in (listening, tending):
                task.cancel()
            await asyncio.gather(listening, tending, return_exceptions=True)
            await self._socket.close()

    async def _tend(self) -> None:
        """Log in, subscribe, say that we are ready; then ping and watch."""
        if self._auth is not None:
            await self._login(self._auth())
        await asyncio.gather(*(self._subscribe(topic) for topic in self.topics))
        now = self._now_ms()
        self.last_data_ms = dict.fromkeys(self.topics, now)
        if self._on_ready is not None:
            await self._on_ready()
        self.problem = ""
        self._ready.set()
        self._on_up()
        next_ping = self._now_ms()
        while True:
            if self._now_ms() >= next_ping:
                await self.send({"op": "ping", "req_id": self._next_id()})
                next_ping = self._now_ms() + int(PING_S * 1000)
            await self._sleep(_TICK_S)
            self._check_alive()

    def _check_alive(self) -> None:
        now = self._now_ms()
        if now - self._last_pong_ms > (PING_S + PONG_S) * 1000:
            raise StreamBroken("pings are not answered")
        for topic, seen in self.last_data_ms.items():
            limit = self._freshness_ms.get(topic.partition(".")[0], 0)
            if limit and now - seen > limit:
                raise StreamBroken(f"topic {topic} has been silent for {(now - seen) // 1000} s")

    async def _login(self, frame: dict[str, Any]) -> None:
        answer = await self._request(str(frame["req_id"]), frame)
        if answer.success is True or answer.retCode in (0, 20001):
            return
        raise LoginRefused(f"login refused: {answer.retCode or ''} {answer.ret_msg or answer.retMsg or ''}".strip())

    async def _subscribe(self, topic: str) -> None:
        request = self._next_id()
        answer = await self._request(request, {"op": "subscribe", "args": [topic], "req_id": request})
        if answer.success is not True and "already subscribed" not in (answer.ret_msg or ""):
            raise StreamBroken(f"topic {topic} refused: {answer.ret_msg}")

    async def _request(self, request: str, frame: dict[str, Any]) -> wire.WebSocketFrame:
        """Send and wait for the answer with this id; the waiting is registered before the first byte leaves."""
        waiting: asyncio.Future[wire.WebSocketFrame] = asyncio.get_running_loop().create_future()
        self._requests[request] = waiting
        patience: asyncio.Future[Any] = asyncio.ensure_future(self._sleep(ACK_S))
        either: set[asyncio.Future[Any]] = {waiting, patience}
        try:
            await self.send(frame)
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done() or waiting.cancelled():
                what = frame["args"][0] if frame["op"] == "subscribe" else ""
                raise StreamBroken(f"no answer to {frame['op']} {what}".strip())
            return waiting.result()
        finally:
            patience.cancel()
            self._requests.pop(request, None)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        right_of_way = self._gives_way_to
        async for message in socket:
            if right_of_way is not None and right_of_way.is_taken:
                await right_of_way.cleared()
            if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                self._receive(message.data)
            elif message.type is aiohttp.WSMsgType.ERROR:
                break
        raise StreamBroken(self.problem or f"closed by the other side (code {socket.close_code})")

    # --- frames ---

    def _receive(self, raw: str | bytes) -> None:
        try:
            frame = wire.decode(wire.WebSocketFrame, self._hide(raw.encode(errors="surrogatepass") if isinstance(raw, str) else raw))
        except PayloadError as error:
            self._quarantine(error)
            return
        if frame.op is not None or (frame.topic is None and (frame.retCode is not None or frame.success is not None)):
            self._control(frame)
        elif frame.topic is not None:
            self._data(frame.topic, frame)
        else:
            self._quarantine(PayloadError("a frame with neither topic nor op"))

    def _control(self, frame: wire.WebSocketFrame) -> None:
        if frame.op == "pong" or frame.ret_msg == "pong":
            self._last_pong_ms = self._now_ms()
            asked = self._requests.get(str(frame.req_id))
            if asked is not None and not asked.done():
                asked.set_result(frame)
            return
        request = frame.req_id if frame.req_id not in (None, "") else frame.reqId
        waiting = self._requests.get(str(request)) if request is not None else self._only_waiting(frame)
        if waiting is not None and not waiting.done():
            waiting.set_result(frame)
        elif self._on_answer is not None:
            self._on_answer(frame)

    def _only_waiting(self, frame: wire.WebSocketFrame) -> asyncio.Future[wire.WebSocketFrame] | None:
        """The one request that an answer without an id can belong to: a login has no other beside it."""
        return next(iter(self._requests.values())) if frame.op == "auth" and len(self._requests) == 1 else None

    def _data(self, topic: str, frame: wire.WebSocketFrame) -> None:
        if topic not in self.last_data_ms and topic not in self.topics:
            if len(self.unknown_topics) < _MAX_UNKNOWN or topic in self.unknown_topics:
                self.unknown_topics[topic] = self.unknown_topics.get(topic, 0) + 1
            return
        self.last_data_ms[topic] = self._now_ms()
        try:
            self._on_data(topic, frame)
        except PayloadError as error:
            self._quarantine(error)
        except InvariantError:
            raise  # our own mistake: nobody swallows this
        except Exception as error:  # noqa: BLE001  # one bad frame must not end the feed; it is counted, told, and looked after
            self.handler_errors += 1
            text = f"{self.name} stream, topic {topic}: the handler raised {type(error).__name__}: {error}"
            self._notify(Notice(machine.wall_ms(), "handler_error", text, severity="error"))

    def _quarantine(self, error: PayloadError) -> None:
        self.quarantined += 1
        self._notify(Notice(machine.wall_ms(), "bad_message", f"{self.name} stream: {str(error)[:300]}"))

    def _drop(self) -> None:
        self._socket = None
        for waiting in self._requests.values():
            waiting.cancel()
        self._requests.clear()
        self._lose()

    def _lose(self) -> None:
        if self._ready.is_set():
            self._ready.clear()
            self._on_lost()

    def _next_id(self) -> str:
        self._count += 1
        return f"{self.name}-{self.connects}-{self._count}"
