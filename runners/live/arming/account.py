"""What an account shows before a live session: its number, its key's rights, its settings, the clock. Reads only; everything is listed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from keel.adapters.bybit.execution.polling.settings_drift import drift
from keel.adapters.bybit.transport.endpoints import Environment
from keel.adapters.bybit.transport.exchange_clock import REFUSE_MS
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, PayloadError
from keel.adapters.bybit.wire.shapes import KeyInfo
from keel.core.errors import KeelError
from keel.core.system.config import SystemConfig
from keel.runners.live.arming.command_line import LiveCommand
from keel.runners.live.arming.missing import UNREAD, Missing
from keel.runners.live.startup.connection import Connection

T = TypeVar("T")


async def account_missing(connection: Connection, system: SystemConfig, command: LiveCommand) -> tuple[int | None, list[Missing]]:
    """(the account's UID, None where it could not be read; what is missing). command: of the session, for what is to be typed."""
    found: list[Missing] = []
    try:
        connection.clock.check()
    except KeelError as error:
        found.append(Missing("clock", str(error), f"it must be within {REFUSE_MS} ms of the exchange's"))
    key = await _read(connection.account.key_info, "key", found)
    if key is None:
        return None, found
    found += key_missing(key, system.category)
    pinned = system.live.account
    if pinned is not None and pinned != key.userID:
        found.append(
            Missing(
                "uid",
                f"the key is of account {key.userID}, and the system file says live.account: {pinned}",
                f"use a key of {pinned}, or correct live.account",
            )
        )
    if system.category == "linear":
        for each in await _settings(connection, system, command, found):
            found.append(each)
    return key.userID, found


def key_missing(key: KeyInfo, category: str) -> list[Missing]:
    """What is wrong with a key's rights."""
    group, old = ("ContractTrade", "Derivatives") if category == "linear" else ("Spot", "Exchange")
    found: list[Missing] = []
    if key.readOnly or not (key.permissions.get(group) or key.permissions.get(old)):
        found.append(Missing("key_trade", f"the API key may not trade {category}", "give it order and position rights, or use another"))
    if moving := key.permissions.get("Wallet") or []:
        text = f"the API key may move funds ({', '.join(map(str, moving))})"
        found.append(Missing("key_rights", text, "make one without these rights: a trading program needs none"))
    if not [address for address in key.ips if address not in ("", "*", "0.0.0.0", "0.0.0.0/0", "::/0")]:
        found.append(Missing("key_address", "the API key is bound to no address", "bind it: else it expires, and works from anywhere"))
    return found


async def _settings(connection: Connection, system: SystemConfig, command: LiveCommand, found: list[Missing]) -> list[Missing]:
    """Each symbol by itself: one that cannot be read does not hide the others. Hedge mode comes first: a demo session, which sets the rest
    on a sandbox, refuses it, too."""
    seen: dict[tuple[str, str | None], Missing] = {}
    place, one_way = "set it there", "close its positions and orders there and switch it to one-way mode"
    if connection.where.environment is Environment.SANDBOX:
        place = f"{command.demo()} sets it"
        one_way = "start the sandbox anew, whose accounts begin in one-way mode, or switch it by POST /v5/position/switch-mode with mode 0"
    way_out = f"{place}; then start again: a live session changes no setting"
    out_of_hedge = f"{one_way}; then start again: no session switches it"
    for symbol in system.symbols:
        read = await _read(
            lambda symbol=symbol: drift(connection.account, [symbol], system.risk.leverage, system.risk.margin_mode),  # type: ignore[misc]
            f"settings of {symbol}",
            found,
        )
        for each in read or ():
            seen[each.cause, each.symbol] = Missing(each.cause, each.text, out_of_hedge if each.cause == "position_mode" else way_out)
    return sorted(seen.values(), key=lambda each: each.code != "position_mode")


async def _read(call: Callable[[], Awaitable[T]], what: str, found: list[Missing]) -> T | None:
    try:
        return await call()
    except (ExchangeRefusal, PayloadError) as error:
        found.append(Missing(UNREAD, f"{what}: {error}", "the exchange must answer before anything is armed"))
        return None
