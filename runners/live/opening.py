"""How a journal begins: what the account holds at our first look, taken over as it is; and whether an old journal may go on."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.bybit import translate, wire
from core.errors import SafetyError
from core.instrument import Instrument
from core.money import UNIT
from core.timeframe import tf_ms
from runners.live.connection import Connection
from runners.live.plan import Plan
from runners.live.records import Opened

Held = tuple[str, int, int]
"""(symbol, signed steps of the book's grid, cost in 1e-8)"""


async def first_look(plan: Plan, account: str, connection: Connection, instruments: Mapping[str, Instrument], start_ms: int) -> Opened:
    """What the account holds before our first order: the opening of the books. Raises SafetyError without money in the quote coin."""
    quote = next(iter(instruments.values())).quote
    wallet = await connection.account.wallet()
    cash = next((translate.units(str(row.walletBalance)) for row in wallet.coin if row.coin == quote and row.walletBalance), 0)
    if cash <= 0:
        raise SafetyError(f"the account {account} has no {quote}: fund it first (a demo account: request funds on the exchange's page)")
    if plan.system.category == "spot":
        held = await _coins(wallet, connection, instruments, plan.system.execution_timeframe or plan.system.timeframe)
    else:
        held = held_positions(await connection.account.positions(), instruments)
    nonce = f"{connection.clock.now_ms // 1000:x}"
    return Opened(connection.market_ms, start_ms, account, plan.uid, cash, tuple(held), nonce, grids_of(instruments))


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
