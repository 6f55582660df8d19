"""REST: signed, budgeted, with a deadline, and with an answer that always says what it is evidence for.

Reads are asked again, with backoff, after whatever may pass. Commands are sent once; whether one may be sent again is decided by who knows
the order (``keel.adapters.bybit.execution.venue``), never here. GET carries no body (the exchange bans addresses for that) and no redirect
is followed: a signed request goes where it was meant to go or nowhere.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
from yarl import URL

from keel.adapters import machine
from keel.adapters.bybit.execution.sending.command_hold import CommandHold
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.transport.credentials import Credentials
from keel.adapters.bybit.transport.endpoints import Endpoints
from keel.adapters.bybit.transport.exchange_clock import ServerClock
from keel.adapters.bybit.transport.rate_budget import Budget, CircuitOpen, reset_of
from keel.adapters.bybit.transport.send_stop import (
    Durable,
    SendStop,
    SentBody,
    Written,
    durable_already,
    may_add,
    never_stopped,
    untold,
)
from keel.adapters.bybit.transport.signing import RECV_WINDOW_MS, body_bytes, query_string, rest_headers
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.return_codes import (
    READ_AGAIN,
    SUCCESS,
    ExchangeRefusal,
    Outcome,
    PayloadError,
    of_code,
    of_status,
    words_of_page,
    words_of_status,
)
from keel.core.errors import SafetyError

T = TypeVar("T")

_READ_TRIES: Final = 5
_MAX_PAGES: Final = 200
_RAW_OBJECT: Final = msgspec.Raw(b"{}")


class Answer(msgspec.Struct, frozen=True):
    """What came back, and what it is evidence for. ``time`` is the exchange's, 0 where it said none."""

    outcome: Outcome
    code: int = 0
    message: str = ""
    result: msgspec.Raw = _RAW_OBJECT
    extra: msgspec.Raw = _RAW_OBJECT
    time: int = 0
    reset_ms: int | None = None

    @property
    def reason(self) -> str:
        """Code and words, as order events state them."""
        return f"{self.code} {self.message}".strip() if self.code else self.message or self.outcome.value


class RestClient:
    """One account's REST (or, without credentials, market data only). The session belongs to who made it."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        where: Endpoints,
        credentials: Credentials | None,
        clock: ServerClock,
        budget: Budget,
        *,
        notify: Notify = lambda notice: None,
        deadline_s: float = 5.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
        stop: SendStop = never_stopped,
    ) -> None:
        if credentials is not None and credentials.environment is not where.environment:
            raise SafetyError(f"a {credentials.environment.value} key may not be used in the {where.environment.value} environment")
        self._session, self._where, self._credentials = session, where, credentials
        self.clock, self.budget = clock, budget
        self._notify, self._sleep = notify, sleep
        self._patience = aiohttp.ClientTimeout(total=deadline_s, sock_connect=deadline_s / 2)
        self._addresses: dict[tuple[str, bool], URL] = {}
        """(path, private) -> its URL, once this environment was found to allow it."""
        self._rng = rng if rng is not None else machine.rng()
        self.hold: CommandHold | None = None
        """Keeps every command back while it stands: a live session that is not armed, a dry run."""
        self.stop = stop
        """Asked in the moment in which a command's bytes are written: why nothing that adds exposure may leave; "" while it may."""

    # --- commands ---

    async def command(
        self, path: str, body: Mapping[str, Any], *, amount: int = 1, written: Written = untold, durable: Durable = durable_already
    ) -> Answer:
        """POST once. Never raises for what the exchange or the network does: the outcome says what is certain. ``durable``: awaited
        before its first byte; ``written``: called when its bytes have been handed to the connection."""
        if self.hold is not None and (why := await self.hold.passed()):
            return Answer(Outcome.NOT_SENT, message=why)
        return await self._once("POST", path, body, amount=amount, private=True, written=written, durable=durable)

    # --- reads ---

    async def ask(self, path: str, params: Mapping[str, Any] | None = None, *, private: bool = True) -> Answer:
        """GET until it is answered, at most five times. Raises ExchangeRefusal for a definite refusal, or when no try was answered."""
        answer = Answer(Outcome.NOT_SENT)
        for attempt in range(_READ_TRIES):
            if attempt:
                await self._sleep(self._rng.uniform(0.1, 0.25) * 2**attempt)
            answer = await self._once("GET", path, params or {}, private=private)
            if answer.outcome in SUCCESS:
                return answer
            if answer.outcome is Outcome.CLOCK:
                await self.measure_clock()
            if answer.outcome not in READ_AGAIN:
                break
        raise ExchangeRefusal(f"GET {path}: {answer.reason}", answer.outcome, answer.code)

    async def read(self, shape: type[T], path: str, params: Mapping[str, Any] | None = None, *, private: bool = True) -> T:
        """The result in this shape. Raises ExchangeRefusal; PayloadError for a result of another shape."""
        return wire.decode(shape, (await self.ask(path, params, private=private)).result)

    async def pages(self, path: str, params: Mapping[str, Any], *, private: bool = True) -> AsyncIterator[wire.Listing]:
        """All pages of a list, following the cursor; ends after the last, or when the cursor repeats itself."""
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(_MAX_PAGES):
            page = await self.read(wire.Listing, path, {**params, "cursor": cursor}, private=private)
            yield page
            cursor = page.nextPageCursor or None
            if cursor is None or cursor in seen or not page.rows:
                return
            seen.add(cursor)
        raise PayloadError(f"{path}: more than {_MAX_PAGES} pages")

    async def rows(
        self, shape: type[T], path: str, params: Mapping[str, Any], refuse: Callable[[PayloadError], None], *, private: bool = True
    ) -> list[T]:
        """All rows of all pages; a row that cannot be read is handed to ``refuse`` and left out."""
        found: list[T] = []
        async for page in self.pages(path, params, private=private):
            for raw in page.rows:
                try:
                    found.append(wire.decode(shape, raw))
                except PayloadError as error:
                    refuse(error)
        return found

    async def server_ms(self) -> int:
        """The exchange's clock. Asked once, not again: a late answer is no measurement."""
        answer = await self._once("GET", "/v5/market/time", {}, private=False)
        if answer.outcome is not Outcome.OK:
            raise ExchangeRefusal(f"GET /v5/market/time: {answer.reason}", answer.outcome, answer.code)
        nano = wire.decode(wire.ServerTime, answer.result).timeNano
        if nano is None or not str(nano).isdecimal():
            raise PayloadError(f"server time {nano!r}")
        return int(nano) // 1_000_000

    async def measure_clock(self) -> int:
        """Measure the clock's offset anew; a failed measurement keeps the old one. Returns the offset in ms."""
        try:
            return await self.clock.measure(self.server_ms)
        except (ExchangeRefusal, PayloadError) as error:
            self._notify(Notice(self.clock.now_ms, "clock_unmeasured", str(error)))
            return self.clock.offset_ms

    # --- one request ---

    async def _once(
        self,
        method: str,
        path: str,
        fields: Mapping[str, Any],
        *,
        private: bool,
        amount: int = 1,
        written: Written = untold,
        durable: Durable = durable_already,
    ) -> Answer:
        base = self._address(path, private=private)
        if method != "GET" and self.hold is not None and self.hold.stands:
            return Answer(Outcome.NOT_SENT, message=self.hold.why)
        if private and self._credentials is None:
            return Answer(Outcome.DENIED, message="no key was given for a private request")
        try:
            await self.budget.take(path, amount)
        except CircuitOpen as error:
            return Answer(Outcome.BANNED, message=str(error))
        payload = query_string(fields) if method == "GET" else body_bytes(fields).decode()
        headers: dict[str, str] = {"Content-Type": "application/json"} if method == "POST" else {}
        if private and self._credentials is not None:
            headers |= rest_headers(self._credentials, self.clock.now_ms, RECV_WINDOW_MS, payload)
        url = URL(f"{base}?{payload}", encoded=True) if method == "GET" and payload else base
        stop = self.stop if may_add(path, fields) else never_stopped
        data = SentBody(payload.encode(), stop, written, durable) if method == "POST" else None
        if data is not None and data.refused():
            return Answer(Outcome.REFUSED, message=data.why)
        try:
            async with self._session.request(
                method,
                url,
                data=data,
                headers=headers,
                allow_redirects=False,
                timeout=self._patience,
            ) as response:
                raw = await response.read()
                raw = raw if self._credentials is None else self._credentials.without(raw)
                return self._understand(path, response.status, response.headers, raw)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Answer(Outcome.NOT_SENT, message=f"no connection: {type(error).__name__}")  # before the first byte
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if data is not None and data.why:
                return Answer(Outcome.REFUSED, message=data.why)  # no byte of the command was written
            if data is not None and not data.is_begun:
                return Answer(Outcome.NOT_SENT, message=f"no byte was written: {type(error).__name__}")
            return Answer(Outcome.UNKNOWN, message=f"no answer: {type(error).__name__}")

    def _address(self, path: str, *, private: bool) -> URL:
        """Raises SafetyError where this environment may not open it."""
        known = self._addresses.get((path, private))
        if known is None:
            known = URL(self._where.check_url(self._where.rest + path, private=private), encoded=True)
            self._addresses[path, private] = known
        return known

    def _understand(self, path: str, status: int, headers: Mapping[str, str], raw: bytes) -> Answer:
        by_status = of_status(status)
        if by_status is Outcome.BANNED:
            self._ban(f"{path}: HTTP 403, the exchange refuses this address; nothing is sent for ten minutes")
        if by_status is not None:
            return Answer(by_status, message=words_of_status(status, headers.get("Location", "")), reset_ms=reset_of(headers))
        try:
            envelope = wire.decode(wire.Envelope, raw)
        except PayloadError:
            return Answer(Outcome.UNKNOWN, message=words_of_page(headers.get("Content-Type", ""), raw))
        outcome = of_code(envelope.retCode)
        if outcome is Outcome.BANNED:
            self._ban(f"{path}: {envelope.retCode} {envelope.retMsg or ''}, the address's limit; nothing is sent for ten minutes")
        reset = reset_of(headers)
        if outcome is Outcome.LIMITED:
            self.budget.on_limited(path, reset, self.clock.now_ms)
        else:
            self.budget.on_answer(path, headers)
        return Answer(outcome, envelope.retCode, envelope.retMsg or "", envelope.result, envelope.retExtInfo, envelope.time, reset_ms=reset)

    def _ban(self, text: str) -> None:
        self.budget.ban()
        self._notify(Notice(self.clock.now_ms, "banned", text, severity="error", freezes=True))
