"""The way to an exchange: endpoints, key, clock, budget, REST; and, for a sandbox, how its market moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from keel.adapters.bybit.execution.polling.account_reader import AccountReader
from keel.adapters.bybit.execution.sending.command_hold import CommandHold
from keel.adapters.bybit.market.market_data import MarketReader
from keel.adapters.bybit.notices import Notify
from keel.adapters.bybit.transport.credentials import Credentials, load_credentials
from keel.adapters.bybit.transport.endpoints import Endpoints, Environment, endpoints
from keel.adapters.bybit.transport.exchange_clock import MarketClock, ServerClock
from keel.adapters.bybit.transport.rate_budget import Budget
from keel.adapters.bybit.transport.redirects import refuse_redirects
from keel.adapters.bybit.transport.rest import RestClient
from keel.adapters.bybit.wire.return_codes import READ_AGAIN, ExchangeRefusal, Outcome, PayloadError
from keel.adapters.machine import monotonic_ms
from keel.core.errors import SafetyError, VenueError
from keel.core.model.instrument import Category
from keel.runners.live.panic.latch import LatchWatch, latch_path
from keel.runners.live.startup.pace import LOCK_STEP, REAL_TIME, Pace

_FIRST_TRIES, _FIRST_PAUSE_S = 3, 0.5
LIST_LAG_S = 4.0
"""0.6 to 3.2 s have been reported of the demo account's lists."""


class Sandbox(msgspec.Struct, frozen=True):
    """What a sandbox says of itself."""

    instance: str
    pace: str
    factor: float
    is_now: bool
    bar_ms: int
    market_time: int
    bars_left: int | None
    is_synthetic: bool
    has_ended: bool
    played_to: int

    @property
    def is_lockstep(self) -> bool:
        """Whether its market moves when we ask for it, and only then."""
        return self.pace == "lockstep"

    @property
    def budget_factor(self) -> float:
        """By how much its request budgets are larger than the exchange's."""
        return max(1.0, self.factor) if self.pace == "real" else 100.0


class Stepped(msgspec.Struct, frozen=True):
    """What a step in lock-step did."""

    bars: int
    market_time: int
    bars_left: int | None


class Connection:
    """One account's REST, its readers and clocks. Made by ``connect``. ``requests``: the session of REST, where nothing follows redirects
    or keeps cookies in the first place, so that its requests pass no hooks for them."""

    def __init__(
        self,
        where: Endpoints,
        session: aiohttp.ClientSession,
        requests: aiohttp.ClientSession,
        credentials: Credentials,
        sandbox: Sandbox | None,
        category: Category,
        notify: Notify,
        hold: CommandHold | None = None,
    ) -> None:
        self.where, self.session, self.credentials, self.sandbox = where, session, credentials, sandbox
        self.clock = ServerClock(notify=notify)
        self.market = MarketClock(self.clock, follows_stream=sandbox is not None and not sandbox.is_now)
        if sandbox is not None:
            self.market.observe(sandbox.market_time)
        self.budget = Budget(monotonic_ms, asyncio.sleep, factor=1.0 if sandbox is None else sandbox.budget_factor)
        self.latch = LatchWatch(latch_path(where.environment, where.rest))
        """Once a panic has latched this environment, nothing that adds leaves by this connection any more."""
        self.rest = RestClient(requests, where, credentials, self.clock, self.budget, notify=notify, stop=self.latch.why)
        self.rest.hold = hold
        self.reader = MarketReader(self.rest, category, notify, market=self.market)
        self.account = AccountReader(self.rest, category, notify)

    @property
    def market_ms(self) -> int:
        """The time of the market's data."""
        return self.market.now_ms

    @property
    def list_lag_s(self) -> float:
        """By how much lists of an exchange may be behind what it has executed. A sandbox's are not, unless a fault makes them."""
        return LIST_LAG_S if self.sandbox is None else 0.0

    async def look_at_market_time(self) -> None:
        """Where a sandbox's market has a time of its own: ask for it. Raises VenueError."""
        found = await self.look_at_sandbox()
        if found is not None:
            self.market.observe(found.market_time)

    @property
    def pace(self) -> Pace:
        """How we keep pace with its market."""
        return LOCK_STEP if self.sandbox is not None and self.sandbox.is_lockstep else REAL_TIME

    async def account_name(self, *, checks_key: bool = True) -> str:
        """Environment, place and number of the account, once the key has been found fit. Raises SafetyError, VenueError."""
        try:
            key = await (self.account.check_key(live=False) if checks_key else self.account.key_info())
        except ExchangeRefusal as error:
            if error.code in (10003, 10004, 33004, -2015):
                environment = self.where.environment.value
                raise SafetyError(
                    f"the exchange refuses the key ({error}): is it a key of the {environment} account, whole, and not expired?"
                    f" {self.where.key_name} and {self.where.secret_name} hold it; nothing was sent with it but this question"
                ) from error
            raise
        place = "" if self.sandbox is None else f" {self.where.rest.removeprefix('http://')} {self.sandbox.instance}"
        return f"{self.where.environment.value}{place} {key.userID}"

    async def look_at_sandbox(self) -> Sandbox | None:
        """What the sandbox says of itself now; None for an exchange. Raises VenueError."""
        return None if self.sandbox is None else await _about(self.session, self.where)

    async def step(self, bars: int = 1) -> Stepped:
        """Let a sandbox's market move. Raises VenueError."""
        try:
            async with self.session.post(f"{self.where.rest}/admin/step", json={"bars": bars}) as answer:
                raw = await answer.read()
                if answer.status != 200:
                    raise VenueError(f"the sandbox does not step: {raw.decode(errors='replace')[:300]}")
                return msgspec.json.decode(raw, type=Stepped)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise VenueError(f"the sandbox {self.where.rest} does not answer: {error}") from error
        except msgspec.MsgspecError as error:
            raise VenueError(f"{self.where.rest}/admin/step is no answer of a sandbox: {error}") from error


@asynccontextmanager
async def connect(
    environment: Environment,
    category: Category,
    notify: Notify,
    *,
    sandbox_url: str | None = None,
    key_file: Path | None = None,
    checks_clock: bool = True,
    hold: CommandHold | None = None,
) -> AsyncIterator[Connection]:
    """Find the key, measure the clock. Raises ConfigError without a key, SafetyError for a clock that is off, VenueError.

    checks_clock: False where the caller lists what is wrong with it.  hold: what commands pass before they leave.
    """
    where = endpoints(environment, sandbox_url)
    credentials = load_credentials(where, file=key_file)
    connector, jar = aiohttp.TCPConnector(limit=50, keepalive_timeout=30), aiohttp.DummyCookieJar
    async with (
        aiohttp.ClientSession(connector=connector, cookie_jar=jar()) as session,
        aiohttp.ClientSession(connector=connector, connector_owner=False, cookie_jar=jar()) as requests,
    ):
        refuse_redirects(session)
        sandbox = await _about(session, where) if environment is Environment.SANDBOX else None
        made = Connection(where, session, requests, credentials, sandbox, category, notify, hold)
        await _first_answer(made)
        if checks_clock:
            made.clock.check()
        yield made


async def _first_answer(made: Connection) -> None:
    """Measure the clock, by the first answer of all; what may pass is asked three times. Raises VenueError that says what came instead."""
    where = made.where.rest
    for attempt in range(_FIRST_TRIES):
        if attempt:
            await asyncio.sleep(_FIRST_PAUSE_S)
        try:
            await made.clock.measure(made.rest.server_ms)
            return
        except PayloadError as error:
            raise VenueError(f"{where} does not tell its time ({error}): is the address right?") from error
        except ExchangeRefusal as error:
            if error.outcome in READ_AGAIN and attempt + 1 < _FIRST_TRIES:
                continue
            asks = ": is the address right, and the network up?" if error.outcome in (Outcome.NOT_SENT, Outcome.REFUSED) else ""
            raise VenueError(f"{where} does not tell its time: {error}{asks}") from error


async def _about(session: aiohttp.ClientSession, where: Endpoints) -> Sandbox:
    try:
        async with session.get(f"{where.rest}/admin/about", timeout=aiohttp.ClientTimeout(total=5)) as answer:
            found: Any = await answer.read()
            if answer.status != 200:
                raise VenueError(f"{where.rest} is no sandbox of ours: it answers /admin/about with HTTP {answer.status}")
            return msgspec.json.decode(found, type=Sandbox)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise VenueError(f"there is no sandbox at {where.rest}: start one with `keel sandbox` in another terminal") from error
    except msgspec.MsgspecError as error:
        raise VenueError(f"{where.rest}/admin/about is no answer of a sandbox: {error}") from error
