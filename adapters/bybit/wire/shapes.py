"""The exchange's JSON as it is: one Struct per shape, REST and WebSocket. Only what we use is named, unknown fields are ignored.

Numbers come as strings nearly everywhere and sometimes as JSON numbers, absent ones as "" or null: ``Number`` takes all of these, and
``keel.adapters.bybit.wire.parsing`` reads them. Decoders are built once. Source: Bybit API documentation v5.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from keel.adapters.bybit.wire.return_codes import PayloadError

Number = str | int | float | None
Text = str | None
T = TypeVar("T")


class Envelope(msgspec.Struct):
    """Every REST answer. Two documented answers lack retExtInfo and time."""

    retCode: int
    retMsg: str | None = ""
    result: msgspec.Raw = msgspec.Raw(b"{}")
    retExtInfo: msgspec.Raw = msgspec.Raw(b"{}")
    time: int = 0


class ItemResult(msgspec.Struct):
    """The fate of one item of a batch."""

    code: int
    msg: str = ""


class ItemResults(msgspec.Struct):
    """The fates of a batch, index-aligned with what was asked."""

    rows: list[ItemResult] = msgspec.field(default_factory=list, name="list")


class Listing(msgspec.Struct):
    """A page of rows that are decoded one by one, so that one bad row does not spoil the rest."""

    rows: list[msgspec.Raw] = msgspec.field(default_factory=list, name="list")
    nextPageCursor: str | None = ""
    category: str | None = ""


class ServerTime(msgspec.Struct):
    """The exchange's clock, in nanoseconds."""

    timeNano: Number


class OrderRow(msgspec.Struct):
    """One order, REST or stream."""

    orderId: str
    symbol: str
    side: str
    orderStatus: str
    orderLinkId: Text = ""
    parentOrderLinkId: Text = ""
    category: Text = ""
    orderType: Text = ""
    price: Number = None
    qty: Number = None
    triggerPrice: Number = None
    triggerDirection: Number = None
    cumExecQty: Number = None
    leavesQty: Number = None
    cancelType: Text = ""
    rejectReason: Text = ""
    stopOrderType: Text = ""
    createType: Text = ""
    tpslMode: Text = ""
    reduceOnly: bool | None = False
    positionIdx: int | None = 0
    createdTime: Number = None
    updatedTime: Number = None


class ExtraFee(msgspec.Struct):
    """A tax or the like on top of a fee."""

    fee: Number = None
    feeCoin: Text = ""


class ExecutionRow(msgspec.Struct):
    """One execution, REST or stream; its kind decides what it is (trades, funding, takeovers)."""

    symbol: str
    execId: str
    execType: str
    side: str
    execPrice: Number
    execQty: Number
    execTime: Number
    orderId: str = ""
    orderLinkId: Text = ""
    category: Text = ""
    execFee: Number = None
    feeRate: Number = None
    feeCurrency: Text = ""
    extraFees: list[ExtraFee] | str | None = None
    isMaker: bool | None = False
    markPrice: Number = None
    seq: Number = None
    orderQty: Number = None
    leavesQty: Number = None
    execPnl: Number = None
    stopOrderType: Text = ""
    createType: Text = ""


class PositionRow(msgspec.Struct):
    """One position; REST says avgPrice where the stream says entryPrice."""

    symbol: str
    side: Text
    size: Number
    avgPrice: Number = None
    entryPrice: Number = None
    positionValue: Number = None
    positionIdx: int | None = 0
    leverage: Number = None
    liqPrice: Number = None
    positionStatus: Text = ""
    autoAddMargin: int | None = 0
    stopLoss: Number = None
    trailingStop: Number = None
    category: Text = ""
    updatedTime: Number = None


class CoinRow(msgspec.Struct):
    """One coin of the wallet."""

    coin: str
    walletBalance: Number
    equity: Number = None
    unrealisedPnl: Number = None


class WalletRow(msgspec.Struct):
    """The account's wallet."""

    coin: list[CoinRow]
    accountType: Text = ""
    totalEquity: Number = None
    totalAvailableBalance: Number = None


class AccountInfo(msgspec.Struct):
    """What kind of account this is."""

    marginMode: str
    unifiedMarginStatus: int = 0


class KeyInfo(msgspec.Struct):
    """What a key may do."""

    readOnly: int = 0
    permissions: dict[str, Any] = {}
    ips: list[str] = []
    deadlineDay: int | None = None
    userID: int = 0
    uta: int = 0


class FeeRow(msgspec.Struct):
    """The account's fee rates for a symbol, as fractions."""

    symbol: str
    takerFeeRate: Number
    makerFeeRate: Number


class TierRow(msgspec.Struct):
    """One tier of the risk-limit table."""

    symbol: str
    riskLimitValue: Number
    maintenanceMargin: Number
    maxLeverage: Number
    initialMargin: Number = None
    mmDeduction: Number = None


class PriceFilter(msgspec.Struct):
    """The grid of prices."""

    tickSize: str


class LotFilter(msgspec.Struct):
    """Quantities: linear and spot name them differently."""

    minOrderQty: str
    maxOrderQty: Number = None
    qtyStep: str | None = None
    basePrecision: str | None = None
    maxMktOrderQty: Number = None
    maxLimitOrderQty: Number = None
    maxMarketOrderQty: Number = None
    minNotionalValue: Number = None
    minOrderAmt: Number = None


class LeverageFilter(msgspec.Struct):
    """The range of leverage."""

    maxLeverage: Number = None


class RiskParameters(msgspec.Struct):
    """The price band."""

    priceLimitRatioX: Number = None
    priceLimitRatioY: Number = None


class InstrumentRow(msgspec.Struct):
    """One instrument, linear or spot."""

    symbol: str
    status: str
    baseCoin: str
    quoteCoin: str
    priceFilter: PriceFilter
    lotSizeFilter: LotFilter
    contractType: Text = None
    leverageFilter: LeverageFilter | None = None
    riskParameters: RiskParameters | None = None
    fundingInterval: int | None = None


class FundingRow(msgspec.Struct):
    """A settled funding rate."""

    symbol: str
    fundingRate: Number
    fundingRateTimestamp: Number


class KlineRow(msgspec.Struct):
    """One push of a candle; ``confirm`` says whether it is closed."""

    start: int
    interval: str
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number
    confirm: bool


class InterestRow(msgspec.Struct):
    """Open interest at a time; ``openInterest`` of both sides, in base units."""

    openInterest: Number
    timestamp: Number


class TickerRow(msgspec.Struct):
    """A ticker: whole in a snapshot, the changed fields only in a delta."""

    symbol: str
    markPrice: Number = None
    fundingRate: Number = None
    nextFundingTime: Number = None
    lastPrice: Number = None
    bid1Price: Number = None
    ask1Price: Number = None


class WebSocketFrame(msgspec.Struct):
    """Any frame of any stream: control (op) or data (topic). The public, private and trade dialects spell their fields differently."""

    topic: str | None = None
    op: str | None = None
    type: str | None = None
    success: bool | None = None
    ret_msg: str | None = None
    req_id: str | int | None = None
    retCode: int | None = None
    retMsg: str | None = None
    reqId: str | int | None = None
    ts: int = 0
    creationTime: int = 0
    data: msgspec.Raw = msgspec.Raw(b"null")
    retExtInfo: msgspec.Raw = msgspec.Raw(b"{}")
    header: dict[str, Any] | None = None


class OrderIds(msgspec.Struct):
    """The answer to an accepted command."""

    orderId: str | None = ""
    orderLinkId: str | None = ""


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {
    shape: msgspec.json.Decoder(shape, strict=False)
    for shape in (
        Envelope, ItemResults, Listing, ServerTime, OrderRow, ExecutionRow, PositionRow, WalletRow, AccountInfo, KeyInfo, FeeRow, TierRow,
        InstrumentRow, FundingRow, InterestRow, KlineRow, TickerRow, WebSocketFrame, OrderIds, list[Number], list[msgspec.Raw],
    )
}  # fmt: skip


_listed: dict[Any, msgspec.json.Decoder[Any]] = {KlineRow: msgspec.json.Decoder(list[KlineRow], strict=False)}
"""Rows that are pushed while decisions wait for them: read together, where all of them can be."""


def decode(shape: type[T], raw: bytes | str | msgspec.Raw) -> T:
    """The bytes as this shape. Raises PayloadError for whatever is not: broken JSON, a missing field, a wrong type, endless nesting."""
    try:
        decoded: T = _decoders[shape].decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise PayloadError(f"{getattr(shape, '__name__', shape)}: {error}") from error
    return decoded


def decode_rows(shape: type[T], raw: bytes | str | msgspec.Raw, refuse: Callable[[PayloadError], None]) -> list[T]:
    """The rows of a JSON array; each one that cannot be read is handed to ``refuse`` and left out. Raises PayloadError for no array."""
    whole = _listed.get(shape)
    if whole is not None:
        with suppress(msgspec.MsgspecError, UnicodeError, RecursionError):  # whichever row it is: they are read one by one then
            rows: list[T] = whole.decode(raw)
            return rows
    found: list[T] = []
    for row in decode(list[msgspec.Raw], raw):
        try:
            found.append(decode(shape, row))
        except PayloadError as error:
            refuse(error)
    return found
