"""Order entry by the trade WebSocket, where the environment has it. An answer means what a REST answer means; a connection that is lost
after the send makes every command in flight unknown. Source: Bybit API documentation v5, "Websocket Trade Guideline".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import msgspec

from keel.adapters.bybit.notices import Notify
from keel.adapters.bybit.transport.credentials import Credentials
from keel.adapters.bybit.transport.exchange_clock import ServerClock
from keel.adapters.bybit.transport.rate_budget import Budget, CircuitOpen, reset_of
from keel.adapters.bybit.transport.rest import Answer
from keel.adapters.bybit.transport.send_stop import (
    Durable,
    SendStop,
    Written,
    durable_already,
    may_add,
    never_stopped,
    untold,
)
from keel.adapters.bybit.transport.signing import RECV_WINDOW_MS, stream_auth
from keel.adapters.bybit.transport.streams import Stream, StreamBroken
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.return_codes import Outcome, of_code

OPERATIONS: Final = {
    "/v5/order/create": "order.create",
    "/v5/order/amend": "order.amend",
    "/v5/order/cancel": "order.cancel",
    "/v5/order/create-batch": "order.create-batch",
    "/v5/order/amend-batch": "order.amend-batch",
    "/v5/order/cancel-batch": "order.cancel-batch",
}
AUTH_AHEAD_MS: Final = 10_000


class TradeStream:
    """Sends commands and gives their answers. ``run`` keeps the connection; ``command`` looks like RestClient's."""

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        credentials: Credentials,
        clock: ServerClock,
        budget: Budget,
        *,
        notify: Notify,
        deadline_s: float = 5.0,
        stop: SendStop = never_stopped,
        **stream_options: Any,
    ) -> None:
        self._clock, self._budget, self._deadline_s, self._stop = clock, budget, deadline_s, stop
        self._pending: dict[str, asyncio.Future[wire.WebSocketFrame]] = {}
        self._count = 0
        self.stream = Stream(
            "trade",
            url,
            session,
            (),
            lambda topic, frame: None,
            notify=notify,
            hide=credentials.without,
            auth=lambda: stream_auth(credentials, clock.now_ms + AUTH_AHEAD_MS, self._next_id()),
            on_answer=self._on_answer,
            on_lost=self._on_lost,
            **stream_options,
        )

    @property
    def is_ready(self) -> bool:
        """Whether commands can go this way now."""
        return self.stream.is_ready

    async def run(self) -> None:
        """Keep the connection, until cancelled."""
        await self.stream.run()

    async def command(
        self, path: str, body: Mapping[str, Any], *, amount: int = 1, written: Written = untold, durable: Durable = durable_already
    ) -> Answer:
        """Send once and wait for the answer. Never raises for what the network does. ``written``, ``durable``: as RestClient's."""
        try:
            await self._budget.take(path, amount)
        except CircuitOpen as error:
            return Answer(Outcome.BANNED, message=str(error))
        request = self._next_id()
        waiting: asyncio.Future[wire.WebSocketFrame] = asyncio.get_running_loop().create_future()
        self._pending[request] = waiting  # before the first byte: an answer may be very fast
        header = {"X-BAPI-TIMESTAMP": str(self._clock.now_ms), "X-BAPI-RECV-WINDOW": str(RECV_WINDOW_MS)}
        try:
            if why := await durable():
                return Answer(Outcome.REFUSED, message=why)
            if not self.is_ready:
                return Answer(Outcome.NOT_SENT, message="the trade stream is not connected")
            if why := self._stop() if may_add(path, body) else "":  # nothing is awaited between this look and the frame's bytes
                return Answer(Outcome.REFUSED, message=why)
            await self.stream.send({"reqId": request, "header": header, "op": OPERATIONS[path], "args": [body]})
            written()
            async with asyncio.timeout(self._deadline_s):
                return self._understand(path, await waiting)
        except (StreamBroken, TimeoutError) as error:
            return Answer(Outcome.UNKNOWN, message=f"no answer on the trade stream: {type(error).__name__}")
        finally:
            self._pending.pop(request, None)

    def _understand(self, path: str, frame: wire.WebSocketFrame) -> Answer:
        code = frame.retCode if frame.retCode is not None else -1
        outcome = of_code(code)
        headers = {str(name): str(value) for name, value in (frame.header or {}).items()}
        reset = reset_of(headers)
        if outcome is Outcome.LIMITED:
            self._budget.on_limited(path, reset, self._clock.now_ms)
        else:
            self._budget.on_answer(path, headers)
        now = headers.get("Timenow", "")
        result = frame.data if bytes(frame.data) != b"null" else msgspec.Raw(b"{}")
        return Answer(outcome, code, frame.retMsg or "", result, frame.retExtInfo, int(now) if now.isdecimal() else 0, reset)

    def _on_answer(self, frame: wire.WebSocketFrame) -> None:
        waiting = self._pending.get(str(frame.reqId))
        if waiting is not None and not waiting.done():
            waiting.set_result(frame)

    def _on_lost(self) -> None:
        for waiting in self._pending.values():
            if not waiting.done():
                waiting.set_exception(StreamBroken("the trade stream was lost"))

    def _next_id(self) -> str:
        self._count += 1
        return f"t{self._clock.now_ms}-{self._count}"
