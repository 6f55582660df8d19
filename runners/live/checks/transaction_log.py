"""The exchange's transaction log: its rows as far as they are read, and which of them are of the system's own trading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from keel.adapters.bybit.transport.rest import RestClient
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire.return_codes import PayloadError
from keel.core.actors.portfolio import Line
from keel.core.model.messages import Fill
from keel.core.model.timeframe import DAY_MS

OWN_TYPES: Final = frozenset({"TRADE", "SETTLEMENT", "DELIVERY", "LIQUIDATION", "ADL"})
"""Types of rows that trading makes, our orders or the exchange's own; every other one, a type that nobody knows too, is money from
outside, or for it."""


class LogRow(msgspec.Struct, frozen=True):
    """A row of the transaction log, as far as it is read. ``change`` is signed: what the wallet gained."""

    type: str
    change: str
    transactionTime: str
    symbol: str = ""
    category: str = ""
    tradeId: str = ""
    id: str = ""
    currency: str = ""

    @property
    def ts(self) -> int:
        """Its time in ms."""
        return int(self.transactionTime)

    @property
    def units(self) -> int:
        """The change in 1e-8."""
        return translate.units(self.change, "change")

    @property
    def key(self) -> str:
        """What tells it from every other row."""
        return self.id or f"{self.type}:{self.transactionTime}:{self.currency}:{self.tradeId}:{self.change}"


def is_own(row: LogRow, lines: Mapping[str, Line]) -> bool:
    """Whether the row is of the system's own trading: not a transfer, and not of a symbol (or its spot twin) that it does not trade."""
    if row.type not in OWN_TYPES:
        return False
    line = lines.get(row.symbol)
    if line is None:
        return not row.symbol
    return row.category in ("", "linear" if line.is_linear else "spot")


def cash_of(fill: Fill, lines: Mapping[str, Line]) -> int:
    """What our books made of a fill in the quote coin, in 1e-8: what its row of the log should say."""
    line = lines[fill.symbol]
    if line.is_linear:
        return fill.realized_pnl - fill.fee
    instrument = line.instrument
    ticks, steps = instrument.price_grid.count(fill.price), instrument.qty_grid.count(fill.qty)
    paid = -instrument.notional(ticks, steps, up=True) if fill.side == "BUY" else instrument.notional(ticks, steps)
    return paid - (fill.fee if fill.fee_coin == instrument.quote else 0)


async def log_rows(rest: RestClient, coin: str, since_ms: int, until_ms: int) -> list[LogRow]:
    """The log's rows of one coin ("": of all) in [since, until], in windows of a day. Raises ExchangeRefusal, PayloadError."""
    found: list[LogRow] = []
    for begin in range(since_ms, until_ms + 1, DAY_MS):
        end = min(until_ms, begin + DAY_MS - 1)
        params: dict[str, Any] = {"accountType": "UNIFIED", "startTime": begin, "endTime": end, "limit": 50}
        if coin:
            params["currency"] = coin
        async for page in rest.pages("/v5/account/transaction-log", params):
            found += [_row(raw) for raw in page.rows]
    return found


def _row(raw: msgspec.Raw) -> LogRow:
    """Raises PayloadError for a row without the fields that are read, or whose time or amount is no number."""
    try:
        row = msgspec.json.decode(raw, type=LogRow)
        row.ts, row.units  # noqa: B018  # both are read later, where nobody expects them to be nonsense
    except (msgspec.MsgspecError, ValueError) as error:
        raise PayloadError(f"transaction-log: {error}") from error
    return row
