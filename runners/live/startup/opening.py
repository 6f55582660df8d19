"""How a journal begins: what the account holds at our first look, taken over as it is; and whether an old journal may go on.

Cash, positions, the executions and the transaction log of the last hour are read together: between two readings of the lists that agree
nothing happened, so what was read in between contains just these. Whoever tells of one of them again (a list, the stream) tells no news.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from keel.adapters.bybit.execution.tracking.past import execution_key
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire import shapes as wire
from keel.core.errors import SafetyError
from keel.core.model.instrument import Instrument
from keel.core.model.money import UNIT
from keel.core.model.timeframe import DAY_MS, HOUR_MS, MINUTE_MS, tf_ms
from keel.runners.live.checks.transaction_log import log_rows
from keel.runners.live.memory.records import Opened
from keel.runners.live.startup.connection import Connection
from keel.runners.live.startup.plan import Plan

Held = tuple[str, int, int]
"""(symbol, signed steps of the book's grid, cost in 1e-8)"""
_LOOKS: Final = 10
"""So often is looked for a moment in which nothing is executed."""


async def first_look(plan: Plan, account: str, connection: Connection, instruments: Mapping[str, Instrument], start_ms: int) -> Opened:
    """What the account holds before our first order: the opening of the books. Raises SafetyError without money in the quote coin, and for
    an account that is traded all the while."""
    quote = next(iter(instruments.values())).quote
    ts, wallet, rows, executions, logged = await _one_moment(connection, account, instruments)
    cash = next(
        (translate.units(str(row.walletBalance), "walletBalance") for row in wallet.coin if row.coin == quote and row.walletBalance), 0
    )
    if cash <= 0:
        raise SafetyError(f"the account {account} has no {quote}: fund it first (a demo account: request funds on the exchange's page)")
    if plan.system.category == "spot":
        held = await _coins(wallet, connection, instruments, plan.system.execution_timeframe or plan.system.timeframe)
    else:
        held = held_positions(rows, instruments)
    nonce = f"{connection.clock.now_ms // 1000:x}"
    return Opened(ts, start_ms, account, plan.uid, cash, tuple(held), nonce, grids_of(instruments), executions, logged)


async def _one_moment(
    connection: Connection, account: str, instruments: Mapping[str, Instrument]
) -> tuple[int, wire.WalletRow, list[wire.PositionRow], tuple[str, ...], tuple[str, ...]]:
    """(a time before the reading began, wallet, positions, keys of the executions and of the log's rows that they contain)."""
    for _ in range(_LOOKS):
        await connection.look_at_market_time()
        ts = connection.market_ms
        before, logged = await _last_hour(connection, ts, instruments), await _last_rows(connection, ts)
        wallet, rows = await connection.account.wallet(), await connection.account.positions()
        await asyncio.sleep(connection.list_lag_s)
        after, logged_after = await _last_hour(connection, ts, instruments), await _last_rows(connection, ts)
        if before == after and logged == logged_after:
            return ts, wallet, rows, after, logged
    raise SafetyError(
        f"the account {account} is traded all the while: in {_LOOKS} looks there was none between which nothing was executed. Stop what"
        " trades it; two programs on one account undo each other"
    )


async def _last_hour(connection: Connection, now_ms: int, instruments: Mapping[str, Instrument]) -> tuple[str, ...]:
    """Keys of the executions of an hour in our symbols, oldest first."""
    ahead_ms = DAY_MS if connection.market.follows_stream else MINUTE_MS  # its own time may have run on unseen
    rows = await connection.account.executions(now_ms - HOUR_MS, now_ms + ahead_ms)
    return tuple(execution_key(row) for row in rows if row.symbol in instruments)


async def _last_rows(connection: Connection, now_ms: int) -> tuple[str, ...]:
    """Keys of the transaction log's rows of an hour, of all coins."""
    ahead_ms = DAY_MS // 2 if connection.market.follows_stream else MINUTE_MS
    rows = await log_rows(connection.rest, "", now_ms - HOUR_MS, now_ms + ahead_ms)
    return tuple(sorted(row.key for row in rows))


def held_positions(rows: list[wire.PositionRow], instruments: Mapping[str, Instrument]) -> list[Held]:
    """Listed positions in our symbols, with their entry price as cost."""
    found = []
    for row in rows:
        instrument = instruments.get(row.symbol)
        steps = 0 if instrument is None else translate.steps(instrument, row.size, "size")
        if not steps:
            continue
        price = translate.required(row.avgPrice, "avgPrice")
        size = translate.required(row.size, "size")
        sign = 1 if translate.side_of(row.side) == "BUY" else -1
        found.append((row.symbol, sign * steps, translate.units(str(round(price * size, 8)))))
    return found


async def _coins(wallet: wire.WalletRow, connection: Connection, instruments: Mapping[str, Instrument], timeframe: str) -> list[Held]:
    """The base coins in the wallet: at the price of our first look, for nobody tells what they cost."""
    found = []
    for symbol, instrument in instruments.items():
        row = next((row for row in wallet.coin if row.coin == instrument.base), None)
        units = 0 if row is None else coin_units(row, instrument)
        if units:
            now = connection.market_ms
            bars = await connection.reader.bars(symbol, timeframe, now - 100 * tf_ms(timeframe), now)
            price = bars[-1].close if bars else 0.0
            found.append((symbol, units, round(price * instrument.book_grid.value(units) * UNIT)))
    return found


def coin_units(row: wire.CoinRow, instrument: Instrument) -> int:
    """A wallet's base coin in units of the instrument's book, rounded to the nearest. Raises PayloadError for a missing balance."""
    stated = translate.required(row.walletBalance, "walletBalance")
    return round(stated * instrument.book_grid.den / instrument.book_grid.num)


def grids_of(instruments: Mapping[str, Instrument]) -> dict[str, str]:
    """Tick and step of each symbol: what a journal's numbers are counted in."""
    return {symbol: f"tick {each.price_grid.value(1):.12g}, step {each.qty_grid.value(1):.12g}" for symbol, each in instruments.items()}


def check_grids(opened: Opened, instruments: Mapping[str, Instrument]) -> None:
    """Raises SafetyError where a tick or step is another than when the journal began: its positions are counted in the old ones."""
    for symbol, grid in grids_of(instruments).items():
        before = opened.grids.get(symbol, grid)
        if before != grid:
            raise SafetyError(
                f"{symbol}: the exchange has changed it from {before} to {grid} since this journal began; begin a new one with --fresh:"
                " what is held is taken over"
            )
