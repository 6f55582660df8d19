"""The local socket at which a session is asked how it is, and told to lift a cause: one line of JSON each way.

Only this user can open it (mode 0600, in a folder of mode 0700); who asked is what the system says of the other end, not what that says.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

import msgspec

from keel.adapters.bybit.notices import Notice, Notify
from keel.core.errors import KeelError, SafetyError
from keel.core.model.time_range import to_iso
from keel.runners.live.checks.release import release
from keel.runners.live.reporting.restrictions import Restriction
from keel.runners.live.reporting.status import SessionStatus, status_of
from keel.runners.live.session_address import Card, bound, put_card, socket_path, take_away

if TYPE_CHECKING:
    from keel.runners.live.session.live import Live

_PATIENCE_S = 5.0
_MAX_LINE = 65_536


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a session is asked. cause, symbol: of a release."""

    do: Literal["status", "release"]
    cause: str = ""
    symbol: str | None = None


class Told(msgspec.Struct, frozen=True):
    """Its answer. error: why not, with the exit code of the command that asked."""

    status: SessionStatus | None = None
    lifted: list[Restriction] = []
    by: str = ""
    error: str = ""
    exit_code: int = 0


@asynccontextmanager
async def open_control_socket(live: Live, notify: Notify) -> AsyncIterator[None]:
    """Listen while the block runs. Where that cannot be, the session trades on without, and says so."""
    path = socket_path(live.account)
    try:
        listener = bound(path)
        put_card(path, _card(live))
    except (OSError, SafetyError) as error:
        notify(Notice(live.venue.stamp_ms(), "no_session_socket", f"keel session cannot reach this session: {error}"))
        yield
        return
    server = await asyncio.start_unix_server(lambda reader, writer: _serve(live, reader, writer), sock=listener, limit=_MAX_LINE)
    try:
        async with server:
            yield
    finally:
        take_away(path)


def _card(live: Live) -> Card:
    plan, arming = live.plan, live.plan.arming
    token = None if arming is None else arming.command.arm_token
    return Card(
        plan.system.system, plan.environment.value, live.account, os.getpid(), to_iso(live.venue.stamp_ms()),
        "demo" if arming is None else "live", live.connection.where.rest, "" if token is None else str(token),
    )  # fmt: skip


async def _serve(live: Live, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            line = await reader.readline()
        if line:
            writer.write(msgspec.json.encode(await _answer(live, line, _who(writer))) + b"\n")
            await writer.drain()
    except (TimeoutError, ConnectionError, ValueError):
        pass  # whoever asked is gone, or never said what
    finally:
        writer.close()


async def _answer(live: Live, line: bytes, who: str) -> Told:
    try:
        ask = msgspec.json.decode(line, type=Ask)
    except msgspec.MsgspecError as error:
        return Told(error=f"the session was asked what it does not understand: {error}", exit_code=2)
    if ask.do == "status":
        return Told(status=status_of(live))
    try:
        return Told(lifted=await release(live, ask.cause, ask.symbol, who), by=who, status=status_of(live))
    except KeelError as error:
        return Told(error=str(error), exit_code=error.exit_code)


def _who(writer: asyncio.StreamWriter) -> str:
    """The user at the other end."""
    peer = writer.get_extra_info("socket")
    uid = os.getuid()
    if sys.platform.startswith("linux") and peer is not None:
        _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
