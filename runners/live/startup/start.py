"""One path for the first start and for every restart: understand the account, then be READY. Nothing that adds exposure leaves before.

key and account -> lock -> instruments and settings -> journal -> warm-up -> hear the journal again -> private stream, lists, executions
since -> compare -> READY. What the market did meanwhile comes after that, bar by bar.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.endpoints import Environment
from keel.adapters.bybit.transport.exchange_clock import ServerClock
from keel.adapters.bybit.wire.return_codes import PayloadError
from keel.adapters.journal import Journal
from keel.adapters.journal.journal import DISK_RESERVE_BYTES
from keel.core.engine.clock import Clock
from keel.core.errors import KeelError, VenueError
from keel.core.risk.gate.gate import Gate
from keel.core.system.config import SystemConfig
from keel.runners.live.arming.missing import NotArmedError
from keel.runners.live.checks.journal_watch import watch_journal
from keel.runners.live.memory.records import TYPES
from keel.runners.live.panic.latch import latch_of, refuse_latched
from keel.runners.live.session.background import background
from keel.runners.live.session.control_socket import open_control_socket
from keel.runners.live.session.live import Live
from keel.runners.live.startup.assembly import Assembly, Ground, Outside
from keel.runners.live.startup.connection import Connection, connect
from keel.runners.live.startup.left_out import read_instruments, tell_left_out
from keel.runners.live.startup.lock import AccountLock
from keel.runners.live.startup.plan import Plan
from keel.runners.live.startup.program import program_of

LOCK_LOOK_S = 10.0
SANDBOX_DISK_RESERVE = 1 << 20


@asynccontextmanager
async def start(plan: Plan, outside: Outside) -> AsyncIterator[Live]:
    """Start or recover. Raises SafetyError (locked, hedge mode, settings refused, journal damaged by other hands), ConfigError, VenueError,
    DataError: before anything that adds exposure could leave."""
    async with AsyncExitStack() as stack:
        try:
            live = await _begin(plan, stack, outside)
        except KeelError as error:
            if plan.arming is None or plan.arming.token is not None or isinstance(error, NotArmedError):
                raise
            raise plan.arming.refused(error) from error
        except PayloadError as error:
            raise VenueError(
                f"an answer of the exchange that a start needs cannot be read: {error}. Nothing was ordered; start again, and report it if"
                " it stays so"
            ) from error
        yield live


async def _begin(plan: Plan, stack: AsyncExitStack, outside: Outside) -> Live:
    system, arming, notify = plan.system, plan.arming, outside.notify
    if arming is None:
        refuse_latched(latch_of(plan.environment, plan.sandbox_url))
    else:
        arming.look_here()
    connection = await stack.enter_async_context(
        connect(
            plan.environment, system.category, notify, sandbox_url=plan.sandbox_url, key_file=plan.key_file, checks_clock=arming is None,
            hold=None if arming is None else arming.hold,
        )
    )  # fmt: skip
    if arming is not None:
        await arming.look(connection)
    account = await connection.account_name(checks_key=arming is None)
    lock = None if plan.dry is not None else stack.enter_context(AccountLock(account, f"keel {plan.environment.value} {system.system}"))
    instruments = await read_instruments(plan, connection)
    await tell_left_out(plan, connection, notify)
    if arming is None:
        await _check_settings(connection, system)
    journal = _open_journal(plan, account, connection.clock)
    stack.callback(journal.close)
    if journal.recovery.cut_bytes or journal.recovery.last_words:
        notify(Notice(connection.clock.now_ms, "journal_recovered", journal.recovery.text(), severity="warning"))
    journal.append(program_of(plan, instruments, connection.clock.now_ms))
    live = await Assembly(Ground(plan, account, connection, instruments, journal, stack, outside)).build()
    background(watch_journal(journal), stack, outside.fail)
    if lock is not None:
        background(_watch_lock(lock, live.gate), stack, outside.fail)
        await stack.enter_async_context(open_control_socket(live, notify))
    return live


async def _watch_lock(lock: AccountLock, gate: Gate) -> None:
    """See every ten seconds that the account is still ours alone."""
    while True:
        await asyncio.sleep(LOCK_LOOK_S)
        lost = lock.look()
        gate.hold("lock_lost", not lost, lost)


async def _check_settings(connection: Connection, system: SystemConfig) -> None:
    """Margin mode, one-way positions and leverage: checked, set where that is safe, read back. Raises SafetyError with what to do."""
    if system.category != "linear":
        return
    for symbol in system.symbols:
        await connection.account.ensure_one_way(symbol)
        await connection.account.ensure_no_added_margin(symbol)
    await connection.account.ensure_margin_mode(system.risk.margin_mode)
    for symbol in system.symbols:
        await connection.account.ensure_leverage(symbol, system.risk.leverage)


def journal_folder(plan: Plan, account: str) -> Path:
    """Where the journal of this account and system is."""
    return plan.journals / "-".join(account.split()).replace(":", "_").replace("/", "_") / f"{plan.system.system}-{plan.uid[:12]}"


def _open_journal(plan: Plan, account: str, clock: ServerClock) -> Journal:
    """The journal of this account and system; another code or configuration is another journal."""
    folder = journal_folder(plan, account)
    if plan.dry is not None:
        folder = plan.dry.copy_of(folder, fresh=plan.fresh)
    elif plan.fresh and folder.exists():
        number = 1
        while (kept := folder.with_name(f"{folder.name}.old{number}")).exists():
            number += 1
        folder.rename(kept)
    stamps = cast("Clock", clock)  # it is only read
    is_small = plan.environment is Environment.SANDBOX or plan.dry is not None
    reserve = SANDBOX_DISK_RESERVE if is_small else DISK_RESERVE_BYTES
    about = {"account": account, "system": plan.system.system, **plan.about}
    return Journal.open(folder, clock=stamps, session=about, types=TYPES, disk_reserve_bytes=reserve)
