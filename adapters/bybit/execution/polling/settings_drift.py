"""Whether the account's settings are still those under which a session was started, and what else lies on it. Reads only."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from keel.adapters.bybit.execution.polling.account_reader import AccountReader, MarginMode
from keel.adapters.bybit.wire import parsing as translate

SETTINGS = ("margin_mode", "leverage", "position_mode", "auto_add_margin")
"""Causes of the gate that this reading raises and ends."""


class Drift(msgspec.Struct, frozen=True):
    """A setting that is another now: a cause of the gate. symbol None: the account's."""

    cause: str
    symbol: str | None
    text: str


async def drift(reader: AccountReader, symbols: Iterable[str], leverage: float, mode: MarginMode) -> list[Drift]:
    """What differs from what the system asks for. Raises what a read raises."""
    found: list[Drift] = []
    stated = (await reader.info()).marginMode
    if stated != translate.MARGIN_MODES[mode]:
        found.append(Drift("margin_mode", None, f"the account is in {stated} now; the system trades in {translate.MARGIN_MODES[mode]}"))
    for symbol in symbols:
        rows = await reader.position_rows(symbol)
        if any(row.positionIdx for row in rows):
            found.append(Drift("position_mode", symbol, f"{symbol} is in hedge mode now"))
        values = sorted(
            {str(row.leverage) for row in rows if (value := translate.number(row.leverage)) is None or float(value) != leverage}
        )
        if values:
            found.append(Drift("leverage", symbol, f"{symbol}: leverage is {', '.join(values)} now; the system trades with {leverage:g}"))
        if mode == "isolated" and any(row.autoAddMargin for row in rows):
            found.append(Drift("auto_add_margin", symbol, f"{symbol}: margin is added to the position by itself now"))
    return found


async def elsewhere(reader: AccountReader, symbols: Iterable[str]) -> dict[str, str]:
    """Symbol -> what rests or is held in it, of symbols that are not these. Raises what a read raises."""
    own = set(symbols)
    found: dict[str, str] = {}
    for row in await reader.positions():
        if row.symbol not in own and translate.number(row.size):
            found[row.symbol] = f"a position of {row.size} ({row.side})"
    for order in await reader.open_orders():
        if order.symbol not in own:
            found.setdefault(order.symbol, f"an order ({order.orderLinkId or order.orderId})")
    return found
