"""Wire rows become core messages: pure functions, and the only place where the exchange's texts become numbers.

Prices and quantities must lie exactly on the instrument's grid; money becomes an integer of 1e-8, rounded half-even once. What is
missing, not finite, off the grid or absurd raises PayloadError: the message is quarantined, never acted on.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, Literal

from keel.adapters.bybit.wire.return_codes import PayloadError
from keel.adapters.bybit.wire.shapes import (
    CoinRow,
    ExecutionRow,
    FundingRow,
    KlineRow,
    Number,
    OrderRow,
    PositionRow,
)
from keel.core.errors import ConfigError
from keel.core.model.instrument import Grid, Instrument
from keel.core.model.messages import (
    BalanceReport,
    Bar,
    Fill,
    FillKind,
    FundingPayment,
    FundingRate,
    Liquidation,
    MarkPrice,
    OrderStatus,
    PositionReport,
    Side,
)
from keel.core.model.money import UNIT, to_units
from keel.core.model.timeframe import MINUTE_MS, tf_ms

_NUMBER: Final = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?")
_MOST_DIGITS: Final = 15
_PLAIN: Final = re.compile(r"[0-9]+(\.[0-9]+)?")
_EARLIEST_MS: Final = 946_684_800_000
_LATEST_MS: Final = 4_102_444_800_000
_SIDES: Final[dict[str, Side]] = {"Buy": "BUY", "Sell": "SELL"}

INTERVALS: Final[dict[str, str]] = {
    "1m": "1", "3m": "3", "5m": "5", "15m": "15", "30m": "30", "1h": "60", "2h": "120", "4h": "240", "6h": "360", "12h": "720",
    "1d": "D", "1w": "W",
}  # fmt: skip
"""Our timeframes as the exchange names them."""
TIMEFRAME_OF: Final = {interval: timeframe for timeframe, interval in INTERVALS.items()}

TRADES: Final = frozenset({"Trade"})
MOVES_QUANTITY: Final = frozenset(
    {"Trade", "AdlTrade", "BustTrade", "Delivery", "Settle", "BlockTrade", "MovePosition", "FutureSpread", "CorporateAction"}
)
"""Kinds of execution after which there is more or less of a position. Funding is none of them."""

MarginMode = Literal["isolated", "cross"]
MARGIN_MODES: Final[dict[MarginMode, str]] = {"isolated": "ISOLATED_MARGIN", "cross": "REGULAR_MARGIN"}
"""Ours -> the exchange's word."""

ROLES: Final = {
    "TakeProfit": "tp",
    "PartialTakeProfit": "tp",
    "StopLoss": "sl",
    "PartialStopLoss": "sl",
    "TrailingStop": "ts",
}
"""stopOrderType of what the exchange makes out of a bracket -> the suffix of its name."""
REASONS: Final = {"tp": "take_profit", "sl": "stop_loss", "ts": "trailing"}

_EXPIRED: Final = frozenset({"EC_PostOnlyWillTakeLiquidity", "EC_NoImmediateQtyToFill", "EC_CancelForNoFullFill"})
_NO_REASON: Final = frozenset({"", "EC_NoError", "EC_PerCancelRequest", "UNKNOWN", "EC_OrigClOrdIDDoesNotExist"})
_OPEN: Final[dict[str, OrderStatus]] = {
    "New": "accepted",
    "Untriggered": "accepted",
    "Triggered": "triggered",
    "PartiallyFilled": "partially_filled",
}


# --- numbers ---------------------------------------------------------------------------------------------------------


def number(value: Number, what: str = "") -> Decimal | None:
    """A number of the wire, None for what is absent. Raises PayloadError, naming the field, for what is not finite or beyond 1e15."""
    if value is None or value == "":
        return None
    text = value if isinstance(value, str) else repr(value)
    if _NUMBER.fullmatch(text) is None:
        raise PayloadError(f"{what} {text[:40]!r} is not a number".lstrip())
    found = Decimal(text)
    if found.adjusted() >= _MOST_DIGITS:
        raise PayloadError(f"{what} {text[:40]!r} is not a number that can be".lstrip())
    return found


def _plain(value: Number) -> float | None:
    """A number as prices and volumes are usually written, None for any other. With at most 15 digits the float is the one that the exact
    decimal would become, and two that differ stay apart."""
    if isinstance(value, str) and len(value) <= _MOST_DIGITS and _PLAIN.fullmatch(value) is not None:
        return float(value)
    return None


def required(value: Number, what: str) -> Decimal:
    """``number`` of a field that must be there. Raises PayloadError, with ``what``, where it is not."""
    found = number(value, what)
    if found is None:
        raise PayloadError(f"{what} is missing")
    return found


def units(value: Number, what: str = "") -> int:
    """Money or a rate as an integer of 1e-8, half-even; 0 where it is absent."""
    found = number(value, what)
    if found is None:
        return 0
    try:
        return to_units(found)
    except ConfigError as error:
        raise PayloadError(f"{what} {error}".lstrip()) from error


def count(grid: Grid, value: Decimal, what: str) -> int:
    """How many grid steps the value is; PayloadError where it is not a whole number of them."""
    top, bottom = value.as_integer_ratio()
    steps, rest = divmod(top * grid.den, bottom * grid.num)
    if rest:
        raise PayloadError(f"{what} {value} is not on the grid of {grid.num}/{grid.den}")
    return steps


def price(instrument: Instrument, value: Number, what: str) -> float:
    """A positive price on the grid."""
    ticks = count(instrument.price_grid, required(value, what), what)
    if ticks <= 0:
        raise PayloadError(f"{instrument.symbol}: {what} of {value!r}")
    return instrument.price_grid.value(ticks)


def steps(instrument: Instrument, value: Number, what: str) -> int:
    """A quantity, not negative, in steps; 0 where it is absent."""
    found = number(value, what)
    if found is None:
        return 0
    quantity = count(instrument.qty_grid, found, what)
    if quantity < 0:
        raise PayloadError(f"{instrument.symbol}: {what} of {value!r}")
    return quantity


def price_or_none(instrument: Instrument, value: Number) -> float | None:
    """A price where there is one; "0" and "" say that there is none."""
    found = number(value, "price")
    if found is None or found == 0:
        return None
    return price(instrument, value, "price")


def time_ms(value: Number, what: str = "time") -> int:
    """A time of this century, in ms. Raises PayloadError for another."""
    found = value if type(value) is int else required(value, what)
    if int(found) != found or not _EARLIEST_MS <= found < _LATEST_MS:
        raise PayloadError(f"{what} {value!r} is not a time in milliseconds")
    return int(found)


def side_of(text: str | None) -> Side:
    """Buy or Sell as we say it."""
    side = _SIDES.get(text or "")
    if side is None:
        raise PayloadError(f"side {text!r}")
    return side


# --- market ----------------------------------------------------------------------------------------------------------


def bar(symbol: str, timeframe: str, start: Number, prices: tuple[Number, Number, Number, Number], volume: Number) -> Bar:
    """A closed candle out of its start and (open, high, low, close). Raises PayloadError for a candle that cannot be."""
    ts = time_ms(start)
    plain = [quick for value in (*prices, volume) if (quick := _plain(value)) is not None]
    if len(plain) == 5 and 0 < plain[2] <= min(plain[0], plain[3]) <= max(plain[0], plain[3]) <= plain[1]:
        return Bar(symbol, timeframe, ts, ts + tf_ms(timeframe), *plain)
    first, high, low, last = (required(value, name) for value, name in zip(prices, ("open", "high", "low", "close"), strict=True))
    if not 0 < low <= min(first, last) <= max(first, last) <= high:
        raise PayloadError(f"{symbol} {timeframe} {ts}: open {first}, high {high}, low {low}, close {last} cannot be a candle")
    amount = number(volume)
    if amount is None or amount < 0:
        raise PayloadError(f"{symbol} {timeframe} {ts}: volume {volume!r}")
    return Bar(symbol, timeframe, ts, ts + tf_ms(timeframe), float(first), float(high), float(low), float(last), float(amount))


def bar_of_push(symbol: str, timeframe: str, row: KlineRow) -> Bar:
    """A candle as the stream pushes it."""
    return bar(symbol, timeframe, row.start, (row.open, row.high, row.low, row.close), row.volume)


def bar_of_list(symbol: str, timeframe: str, row: list[Number]) -> Bar:
    """A candle as REST lists it: [start, open, high, low, close, volume, ...]; mark and index candles have no volume (0)."""
    if len(row) < 5:
        raise PayloadError(f"{symbol} {timeframe}: a candle of {len(row)} values")
    return bar(symbol, timeframe, row[0], (row[1], row[2], row[3], row[4]), row[5] if len(row) > 5 else 0)


def mark_price(symbol: str, ts: int, value: Number) -> MarkPrice:
    """The mark price of a ticker."""
    found = _plain(value) or required(value, "markPrice")
    if found <= 0:
        raise PayloadError(f"{symbol}: a mark price of {value!r}")
    return MarkPrice(symbol, ts, float(found))


def funding_rate(row: FundingRow) -> FundingRate:
    """A settled funding rate."""
    rate = required(row.fundingRate, "fundingRate")
    if abs(rate) > 1:
        raise PayloadError(f"{row.symbol}: a funding rate of {rate}")
    return FundingRate(row.symbol, time_ms(row.fundingRateTimestamp, "fundingRateTimestamp"), float(rate))


# --- account ---------------------------------------------------------------------------------------------------------


def order_status(row: OrderRow, filled_steps: int) -> tuple[OrderStatus, str] | None:
    """(status, reason) that an order row tells, with what has been filled of it; None for a status that nobody documents.

    Source: Bybit API documentation v5, "Enums Definitions". A cancel that nobody asked for (post-only, IOC, FOK) has expired; one for
    another error of the exchange was rejected, unless something of it was filled.
    """
    reject, cancel = row.rejectReason or "", row.cancelType or ""
    reason = reject if reject not in _NO_REASON else cancel if cancel not in _NO_REASON else ""
    status = row.orderStatus
    if status in _OPEN:
        return _OPEN[status], reason
    if status == "Filled":
        return "filled", ""
    if status == "Rejected":
        return ("rejected" if not filled_steps else "expired"), reason or "Rejected"
    if status in ("Cancelled", "PartiallyFilledCanceled", "Deactivated"):
        if reject in _EXPIRED:
            return "expired", reject
        if reject not in _NO_REASON and cancel in _NO_REASON:
            return ("rejected" if not filled_steps else "expired"), reject
        return "cancelled", reason or status
    return None


def fee(row: ExecutionRow, instrument: Instrument) -> tuple[int, str]:
    """(fee, its coin); positive is paid. In 1e-8, or for a spot fee in base in the units of the base coin's ledger. Taxes are in it."""
    spot_coin = instrument.base if row.side == "Buy" else instrument.quote
    coin = row.feeCurrency or (instrument.quote if instrument.category == "linear" else spot_coin)
    total = number(row.execFee, "execFee") or Decimal(0)
    if isinstance(row.extraFees, list):
        total += sum((number(extra.fee, "fee") or Decimal(0) for extra in row.extraFees if extra.feeCoin in ("", None, coin)), Decimal(0))
    if instrument.category == "spot" and coin == instrument.base and instrument.base_unit != UNIT:
        return round(total * instrument.base_unit), coin
    return units(str(total)), coin


def fill(row: ExecutionRow, instrument: Instrument, client_order_id: str, reason: str, pnl: int, position_idx: int = 0) -> Fill:
    """An execution that moved quantity. ``reference`` is its own price: only a simulation knows what the path was before costs."""
    kind: FillKind = "bust" if row.execType == "BustTrade" else "trade"
    # A takeover is booked as stated, and its price need not lie on the grid.
    at = float(required(row.execPrice, "execPrice")) if kind == "bust" else price(instrument, row.execPrice, "execPrice")
    paid, coin = fee(row, instrument)
    quantity = steps(instrument, row.execQty, "execQty")
    if not quantity or not at > 0:
        raise PayloadError(f"{row.symbol} {row.execId}: an execution of {row.execQty!r} at {row.execPrice!r}")
    return Fill(
        row.execId, client_order_id, row.symbol, time_ms(row.execTime), side_of(row.side), instrument.qty_grid.value(quantity), at,
        paid, pnl, bool(row.isMaker), at, kind, coin, position_idx, reason,
    )  # fmt: skip


def execution_order(row: ExecutionRow) -> tuple[int, int, str]:
    """In which order executions happened: by time, then by the exchange's sequence; its lists are not stable among equal times."""
    return time_ms(row.execTime, "execTime"), int(number(row.seq, "seq") or 0), row.execId


def funding_payment(row: ExecutionRow, instrument: Instrument, held: int, position_idx: int = 0) -> FundingPayment:
    """An execution of type Funding. ``held``: the sign of our position, where it is known (0: the row's own side tells).

    Sign of the rate: longs pay when it is positive, so it follows from who paid; the row's own sign has two conventions.
    The stamp is the whole minute at or before the execution.
    """
    paid = units(row.execFee, "execFee")
    direction = held or (1 if side_of(row.side) == "BUY" else -1)
    rate = abs(units(row.feeRate, "feeRate")) * (1 if paid * direction >= 0 else -1)
    quantity = instrument.qty_grid.value(steps(instrument, row.execQty, "execQty")) * (1 if direction > 0 else -1)
    ts = time_ms(row.execTime, "execTime")
    mark = number(row.markPrice, "markPrice") or number(row.execPrice, "execPrice") or Decimal(0)
    return FundingPayment(row.symbol, ts - ts % MINUTE_MS, paid, rate, float(mark), quantity, position_idx)


def liquidation(filled: Fill, row: ExecutionRow, liquidation_price: float) -> Liquidation:
    """What a takeover's execution says; the fund's part is not told by the exchange."""
    mark = number(row.markPrice, "markPrice")
    return Liquidation(
        filled.symbol, filled.ts, filled.side, filled.qty, filled.price if mark is None else float(mark), liquidation_price, filled.price,
        max(0, filled.fee - filled.realized_pnl), 0, filled.position_idx,
    )  # fmt: skip


def position_report(row: PositionRow, instrument: Instrument, ts: int) -> PositionReport:
    """A position as the exchange states it; flat has no entry price."""
    quantity = steps(instrument, row.size, "size")
    sign = 0 if not quantity else 1 if side_of(row.side) == "BUY" else -1
    entry = number(row.avgPrice, "avgPrice") or number(row.entryPrice, "entryPrice") or Decimal(0)
    if quantity and entry <= 0:
        raise PayloadError(f"{row.symbol}: a position of {row.size!r} without an entry price")
    stamp = ts if number(row.updatedTime, "updatedTime") in (None, 0) else time_ms(row.updatedTime, "updatedTime")
    return PositionReport(
        row.symbol, stamp, sign * instrument.qty_grid.value(quantity), float(entry) if quantity else 0.0, row.positionIdx or 0
    )


def balance_report(row: CoinRow, ts: int) -> BalanceReport:
    """A coin of the wallet. Raises PayloadError where the balance is missing: an unknown balance is not zero."""
    return BalanceReport(row.coin, ts, units(str(required(row.walletBalance, "walletBalance"))))
