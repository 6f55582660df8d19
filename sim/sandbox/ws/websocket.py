"""One WebSocket: what goes out is queued, passes the faults, and is written in order by a task of its own."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web

from keel.sim.sandbox.account.simulated_account import SimulatedAccount
from keel.sim.sandbox.faults import AT_ONCE, Action, Event, Faults, patched

MAX_QUEUED: Final = 100_000
_REORDER_WAIT_S: Final = 1.0


class Server(Protocol):
    """What middleware and sockets ask of the server: a fault that concerns all of it, and an end when the books do not hold."""

    def act(self, action: Action, address: str) -> None: ...
    def fail(self, error: BaseException) -> None: ...


class WebSocketConnection:
    """``channel`` is public, private or trade. ``topics`` are what it is subscribed to, in order."""

    def __init__(
        self, socket: web.WebSocketResponse, request: web.BaseRequest, channel: str, conn_id: str, faults: Faults, server: Server
    ) -> None:
        self.socket, self._request, self.channel, self.conn_id = socket, request, channel, conn_id
        self.address = request.remote or ""
        self.topics: dict[str, None] = {}
        self.account: SimulatedAccount | None = None
        self.is_frozen = False
        self.keeps_pong = True
        self.is_over = False
        self.is_stale = False
        """Opened before the trade service restarted."""
        self.req_ids: set[str] = set()
        self.sent: dict[str, int] = {}
        self.last_ping = self.opened = asyncio.get_running_loop().time()
        self.idle_s: float | None = None
        self._faults, self._server = faults, server
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._held: list[str] | None = None
        self._window = 0
        self.close_code: int | None = None
        """With what the server wants to close."""
        self.reader: asyncio.Task[None] | None = None
        """What reads the client's frames."""
        self._writer = asyncio.create_task(self._write())

    def now(self) -> float:
        """The loop's time in seconds."""
        return asyncio.get_running_loop().time()

    # --- out ---

    def send(
        self, frame: dict[str, Any], name: str, *, symbol: str = "", state: str = "", is_pong: bool = False, delay_ms: int = 0
    ) -> None:
        """Queue a frame. ``name``: its topic, or op:<op> of a control frame."""
        if self.is_frozen and not (is_pong and self.keeps_pong):
            return
        self.sent[name] = self.sent.get(name, 0) + 1
        if self._faults.is_quiet:
            self._put_later(msgspec.json.encode(frame).decode(), delay_ms)
            return
        key = self.account.settings.key if self.account is not None else ""
        event = Event(side="ws", name=name, when="after_apply", symbol=symbol, account=key, state=state)
        self._send_with(frame, self._faults.fire(event), delay_ms)

    def _send_with(self, frame: dict[str, Any], actions: list[Action], delay_ms: int) -> None:
        copies, gap_ms = 1, 0
        cut: int | None = None
        for action in actions:
            kind = action.kind
            if kind == "drop":
                copies = 0
            elif kind == "delay":
                delay_ms += action.ms or 0
            elif kind == "dup":
                copies, gap_ms = 1 + (action.n or 1), action.gap_ms or 0
            elif kind == "reorder":
                self._begin_reorder(action.window or 2)
            elif kind == "truncate":
                cut = action.bytes
            elif kind == "mutate":
                frame = patched(frame, action.patch or ())
            elif kind == "error":
                frame = _as_error(frame, action)
            else:
                copies = copies if self._act(action) else 0
        text = msgspec.json.encode(frame).decode()
        for number in range(copies):
            self._put_later(text if cut is None else text[:cut], delay_ms + number * gap_ms)

    def _act(self, action: Action) -> bool:
        """What is done to the connection or the server; returns whether the frame still goes out."""
        if action.kind == "close":
            self.close(action.code or 1000)
        elif action.kind == "abort":
            self.abort()
        elif action.kind == "freeze":
            self.is_frozen, self.keeps_pong = True, action.keep_pong is not False
        elif action.kind in AT_ONCE:
            self._server.act(action, self._request.remote or "")
            return True
        return False

    def before(self, name: str, symbol: str) -> list[Action]:
        """What a rule does to a request that came on this connection, before it is looked at."""
        if self._faults.is_quiet:
            return []
        key = self.account.settings.key if self.account is not None else ""
        return self._faults.fire(Event(side="ws", name=name, when="before_apply", symbol=symbol, account=key))

    async def is_let_through(self, actions: list[Action]) -> bool:
        """Do what these say to a request; False: it never came."""
        for action in actions:
            if action.kind == "delay":
                await asyncio.sleep((action.ms or 0) / 1000)
            elif action.kind == "drop" or (action.kind != "error" and not self._act(action)):
                return False
        return True

    def _put_later(self, text: str, delay_ms: int) -> None:
        if not delay_ms:
            self._put(text)
            return
        loop = asyncio.get_running_loop()
        loop.call_later(delay_ms / 1000, self._put, text)

    def _put(self, text: str) -> None:
        if self._held is not None:
            self._held.append(text)
            if len(self._held) >= self._window:
                self._end_reorder()
            return
        if self.is_over:
            return
        if self._queue.qsize() > MAX_QUEUED:
            self.abort()  # a client that does not read
            return
        self._queue.put_nowait(text)

    def _begin_reorder(self, window: int) -> None:
        if self._held is None:
            self._held, self._window = [], window
            asyncio.get_running_loop().call_later(_REORDER_WAIT_S, self._end_reorder)

    def _end_reorder(self) -> None:
        held, self._held = self._held, None
        for place in self._faults.shuffled(len(held or ())):
            self._put((held or [])[place])

    async def _write(self) -> None:
        while True:
            text = await self._queue.get()
            try:
                if not self.socket.closed:
                    await self.socket.send_str(text)
            except (ConnectionError, RuntimeError):
                pass  # the client has gone; its reader ends this connection
            finally:
                self._queue.task_done()

    async def drained(self) -> None:
        """Wait until everything queued has been handed to the operating system."""
        await self._queue.join()

    # --- end ---

    def close(self, code: int) -> None:
        """Close with a close frame: reading ends, and whoever served the socket shakes hands."""
        if self.close_code is None:
            self.close_code = code
            if self.reader is not None:
                self.reader.cancel()

    def abort(self) -> None:
        """Cut the line without a close frame."""
        transport = self._request.transport
        if transport is not None:
            transport.abort()

    def end(self) -> None:
        """The connection is over: nobody waits for what can no longer be sent."""
        self.is_over = True
        self._writer.cancel()
        while not self._queue.empty():
            self._queue.get_nowait()
            self._queue.task_done()


def _as_error(frame: dict[str, Any], action: Action) -> dict[str, Any]:
    """A control frame or answer turned into a refusal, in the words of its channel."""
    changed = dict(frame)
    text = action.ret_msg or "sandbox fault"
    if "retCode" in frame:
        changed |= {"retCode": action.ret_code or 10016, "retMsg": text}
        if "data" in frame:
            changed["data"] = {}
    elif "success" in frame:
        changed |= {"success": False, "ret_msg": text}
    return changed
