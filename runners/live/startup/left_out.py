"""A symbol that cannot be traded any more does not refuse the rest: it is named, with why, what the account has in it, and the way on.

A portfolio on a demo account goes on without symbols that do not trade by itself; a signal system, and anything on live, needs to be told.
"""

from __future__ import annotations

from collections.abc import Mapping

from keel.adapters.bybit.market.instruments import NotTrading
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, PayloadError
from keel.core.errors import ConfigError
from keel.core.model.instrument import Instrument
from keel.runners.live.startup.connection import Connection
from keel.runners.live.startup.plan import Plan


class SomeNotTrading(ConfigError):
    """Symbols that do not trade, by why; the others could be traded."""

    def __init__(self, text: str, symbols: Mapping[str, str]) -> None:
        super().__init__(text)
        self.symbols = dict(symbols)


async def read_instruments(plan: Plan, connection: Connection) -> dict[str, Instrument]:
    """The instruments of a plan. Raises ConfigError that names every symbol that cannot be traded, and how to start without it; it is a
    SomeNotTrading where the exchange knows all of these, and others trade."""
    found: dict[str, Instrument] = {}
    refused: dict[str, ConfigError] = {}
    for symbol in plan.system.symbols:
        try:
            found[symbol] = await connection.reader.instrument(symbol)
        except ConfigError as error:
            refused[symbol] = error
    if not refused:
        return found
    lines = [f"{error}; the account has {await what_is_there(connection, symbol)} in it" for symbol, error in refused.items()]
    if found:
        options = " ".join(f"--without {symbol}" for symbol in (*plan.without, *refused))
        lines.append(f"to trade the rest ({', '.join(found)}), start with {options}: what is there stays, and is not touched")
    text, first = "\n".join(lines), next(iter(refused.values()))
    if found and all(isinstance(error, NotTrading) for error in refused.values()):
        raise SomeNotTrading(text, {symbol: str(error).removeprefix(f"{symbol}: ") for symbol, error in refused.items()}) from first
    raise ConfigError(text) from first


async def tell_left_out(plan: Plan, connection: Connection, notify: Notify) -> None:
    """Say of each symbol that is left out what the account has in it."""
    for symbol in plan.without:
        why = f" ({plan.why_without[symbol]})" if symbol in plan.why_without else ""
        text = f"{symbol} is left out{why}: the account has {await what_is_there(connection, symbol)} in it, which nobody looks after"
        notify(Notice(connection.clock.now_ms, "left_out", text, symbol, "warning"))


async def what_is_there(connection: Connection, symbol: str) -> str:
    """Position, or coins, and resting orders of a symbol in words; that it could not be read, where it could not."""
    account = connection.account
    try:
        positions = [row for row in await account.positions() if row.symbol == symbol and row.size not in (None, "", "0")]
        orders = [row for row in await account.open_orders() if row.symbol == symbol]
        coins = [] if connection.reader.is_linear else [row for row in (await account.wallet()).coin if symbol.startswith(row.coin)]
    except (ExchangeRefusal, PayloadError) as error:
        return f"something that could not be read ({error})"
    held = [f"a position of {row.side} {row.size}" for row in positions]
    held += [f"{row.walletBalance} {row.coin}" for row in coins if row.walletBalance not in (None, "", "0")]
    held += [f"{len(orders)} resting order{'s' if len(orders) > 1 else ''}"] if orders else []
    return " and ".join(held) or "neither a position nor an order"
