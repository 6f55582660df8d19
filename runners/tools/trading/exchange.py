"""Account, market-data, order and position tools: one look at an exchange, or one order by hand, on a demo account or a sandbox.

Orders go out only where no session holds the account: the same lock. An order by hand is somebody else's to a session that comes later,
which says so; that is what these tools are for: looking, and clearing up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.endpoints import Environment
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire import request_bodies as requests
from keel.adapters.bybit.wire.return_codes import SUCCESS
from keel.core.errors import ConfigError, VenueError
from keel.core.model.instrument import Category
from keel.core.model.messages import CancelOrder, SubmitOrder
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import tf_ms
from keel.runners.live.startup.connection import Connection, connect
from keel.runners.live.startup.lock import AccountLock
from keel.runners.process.own_loop import run_to_end
from keel.runners.tools.registry import Request, Response, ToolContext, tool
from keel.runners.user_path import user_path

T = TypeVar("T")


class At(Request, frozen=True, kw_only=True):
    """Which account: a sandbox's URL, or without one Bybit's demo account; key_file as in ``keel demo``."""

    sandbox_url: str | None = None
    key_file: str | None = None
    category: Category = "linear"


class Balance(msgspec.Struct, frozen=True):
    """One coin; exact decimal texts."""

    coin: str
    wallet: str
    equity: str
    unrealised: str


class AccountResponse(Response, frozen=True, kw_only=True):
    """What the account is and holds."""

    account: str
    margin_mode: str
    balances: list[Balance]
    clock_offset_ms: int


@tool("account_show", At, AccountResponse)
def account_show_tool(request: At, context: ToolContext) -> AccountResponse:
    """Show an account: its mode, its balances, how far this computer's clock is off."""

    async def look(to: Connection) -> AccountResponse:
        name = await to.account_name()
        info, wallet = await to.account.info(), await to.account.wallet()
        balances = [Balance(row.coin, str(row.walletBalance), str(row.equity), str(row.unrealisedPnl)) for row in wallet.coin]
        return AccountResponse(account=name, margin_mode=info.marginMode, balances=balances, clock_offset_ms=to.clock.offset_ms)

    return _ask(request, look)


class CommandResponse(Response, frozen=True, kw_only=True):
    """What the exchange said. accepted: it took the command; what became of it is told by order_list and position_list."""

    accepted: bool
    answer: str


class FundRequest(At, frozen=True, kw_only=True):
    """How much of which coin. The exchange allows one request a minute, and at most 15 BTC, 200 ETH, 100,000 USDT or USDC in it."""

    coin: Literal["USDT", "USDC", "BTC", "ETH"] = "USDT"
    amount: Annotated[float, msgspec.Meta(gt=0, le=100_000)] = 10_000.0
    take_away: bool = False


@tool("account_fund", FundRequest, CommandResponse)
def account_fund_tool(request: FundRequest, context: ToolContext) -> CommandResponse:
    """Ask for play money on a demo account (or a sandbox with the demo profile), or give some back; a session takes it over."""
    amount = format(Decimal(repr(request.amount)), "f")
    body = {"adjustType": int(request.take_away), "utaDemoApplyMoney": [{"coin": request.coin, "amountStr": amount}]}
    return _ask(request, lambda to: _command(to, "/v5/account/demo-apply-money", body))


class BarsRequest(At, frozen=True, kw_only=True):
    """The newest closed bars of a series. kind: last, mark, index."""

    symbol: str
    timeframe: str = "1h"
    limit: int = 10
    kind: Literal["last", "mark", "index"] = "last"


class BarRow(msgspec.Struct, frozen=True):
    """One closed candle."""

    time: str
    open: float
    high: float
    low: float
    close: float
    volume: float


class BarsResponse(Response, frozen=True, kw_only=True):
    """Oldest first."""

    symbol: str
    timeframe: str
    bars: list[BarRow]


@tool("market_bars", BarsRequest, BarsResponse)
def market_bars_tool(request: BarsRequest, context: ToolContext) -> BarsResponse:
    """Read the newest closed bars of a symbol from the exchange."""
    if not 1 <= request.limit <= 1_000:
        raise ConfigError(f"limit {request.limit}: 1 to 1000 bars")

    async def look(to: Connection) -> BarsResponse:
        until = to.market_ms + 1
        bars = await to.reader.bars(
            request.symbol, request.timeframe, until - (request.limit + 1) * tf_ms(request.timeframe), until, request.kind
        )
        rows = [BarRow(to_iso(bar.ts_open), bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars[-request.limit :]]
        return BarsResponse(symbol=request.symbol, timeframe=request.timeframe, bars=rows)

    return _ask(request, look)


class InstrumentRequest(At, frozen=True, kw_only=True):
    """Which symbol."""

    symbol: str


class InstrumentResponse(Response, frozen=True, kw_only=True):
    """Grid, limits and the account's fees; exact texts, fees as fractions."""

    symbol: str
    tick: str
    step: str
    min_qty: float
    max_market_qty: float
    taker_fee: float
    maker_fee: float


@tool("market_instrument", InstrumentRequest, InstrumentResponse)
def market_instrument_tool(request: InstrumentRequest, context: ToolContext) -> InstrumentResponse:
    """Read a symbol's grid, limits and fees from the exchange."""

    async def look(to: Connection) -> InstrumentResponse:
        found = await to.reader.instrument(request.symbol)
        return InstrumentResponse(
            symbol=found.symbol, tick=found.price_grid.text(1), step=found.qty_grid.text(1), min_qty=found.min_qty,
            max_market_qty=found.max_market_qty, taker_fee=found.taker_fee / 1e8, maker_fee=found.maker_fee / 1e8,
        )  # fmt: skip

    return _ask(request, look)


class PositionRow(msgspec.Struct, frozen=True):
    """An open position; exact texts."""

    symbol: str
    side: str
    size: str
    entry_price: str
    leverage: str
    liquidation_price: str


class PositionsResponse(Response, frozen=True, kw_only=True):
    """Everything that is open."""

    positions: list[PositionRow]


@tool("position_list", At, PositionsResponse)
def position_list_tool(request: At, context: ToolContext) -> PositionsResponse:
    """List open positions."""

    async def look(to: Connection) -> PositionsResponse:
        rows = [row for row in await to.account.positions() if translate.number(row.size)]
        return PositionsResponse(
            positions=[
                PositionRow(row.symbol, row.side or "", str(row.size), str(row.avgPrice), str(row.leverage), str(row.liqPrice or ""))
                for row in rows
            ]
        )

    return _ask(request, look)


class OrderRow(msgspec.Struct, frozen=True):
    """A resting order; exact texts."""

    client_order_id: str
    order_id: str
    symbol: str
    side: str
    kind: str
    price: str
    qty: str
    status: str


class OrdersResponse(Response, frozen=True, kw_only=True):
    """Everything that rests, conditional orders and exits included."""

    orders: list[OrderRow]


@tool("order_list", At, OrdersResponse)
def order_list_tool(request: At, context: ToolContext) -> OrdersResponse:
    """List resting orders."""

    async def look(to: Connection) -> OrdersResponse:
        return OrdersResponse(
            orders=[
                OrderRow(
                    row.orderLinkId or "", row.orderId, row.symbol, row.side, row.stopOrderType or row.orderType or "",
                    str(row.price or row.triggerPrice or ""), str(row.qty), row.orderStatus,
                )
                for row in await to.account.open_orders()
            ]
        )  # fmt: skip

    return _ask(request, look)


class PlaceRequest(At, frozen=True, kw_only=True):
    """A market order, or with ``price`` a limit order. client_order_id: yours, never used before; asked twice, it is placed once."""

    symbol: str
    side: Literal["BUY", "SELL"]
    qty: float
    client_order_id: str
    price: float | None = None
    reduce_only: bool = False


@tool("order_place", PlaceRequest, CommandResponse)
def order_place_tool(request: PlaceRequest, context: ToolContext) -> CommandResponse:
    """Place one order by hand on a demo account or a sandbox; refused while a session holds the account."""

    async def act(to: Connection) -> CommandResponse:
        instrument = await to.reader.instrument(request.symbol)
        grid = instrument.qty_grid
        if not (request.qty > 0 and grid.is_on(request.qty)):
            raise ConfigError(f"{request.symbol}: a quantity of {request.qty!r} is not a positive multiple of {grid.text(1)}")
        if request.price is not None and not instrument.price_grid.is_on(request.price):
            raise ConfigError(f"{request.symbol}: a price of {request.price!r} is not a multiple of {instrument.price_grid.text(1)}")
        command = SubmitOrder(
            request.client_order_id, request.symbol, request.side, "market" if request.price is None else "limit", request.qty,
            to.market_ms, request.price, reduce_only=request.reduce_only, reason="hand",
        )  # fmt: skip
        return await _command(to, "/v5/order/create", requests.create_body(command, instrument))

    return _ask(request, act, locked=True)


class CancelRequest(At, frozen=True, kw_only=True):
    """Which order: by client_order_id, or with none all of the symbol."""

    symbol: str
    client_order_id: str | None = None


@tool("order_cancel", CancelRequest, CommandResponse)
def order_cancel_tool(request: CancelRequest, context: ToolContext) -> CommandResponse:
    """Cancel one order, or all of a symbol, on a demo account or a sandbox; refused while a session holds the account."""

    async def act(to: Connection) -> CommandResponse:
        if request.client_order_id is None:
            answer = await to.account.cancel_all(request.symbol)
            return CommandResponse(accepted=answer.outcome in SUCCESS, answer=answer.reason)
        instrument = await to.reader.instrument(request.symbol)
        command = CancelOrder(request.client_order_id, request.symbol, to.market_ms)
        return await _command(to, "/v5/order/cancel", requests.cancel_body(command, instrument))

    return _ask(request, act, locked=True)


class CloseRequest(At, frozen=True, kw_only=True):
    """Which position."""

    symbol: str
    client_order_id: str


@tool("position_close", CloseRequest, CommandResponse)
def position_close_tool(request: CloseRequest, context: ToolContext) -> CommandResponse:
    """Close a position at market, reduce-only, on a demo account or a sandbox; refused while a session holds the account."""

    async def act(to: Connection) -> CommandResponse:
        instrument = await to.reader.instrument(request.symbol)
        row = next((row for row in await to.account.positions() if row.symbol == request.symbol and translate.number(row.size)), None)
        if row is None:
            raise ConfigError(f"{request.symbol}: no position is open")
        steps = translate.steps(instrument, row.size, "size")
        side: Literal["BUY", "SELL"] = "SELL" if row.side == "Buy" else "BUY"
        command = SubmitOrder(
            request.client_order_id, request.symbol, side, "market", instrument.qty_grid.value(steps), to.market_ms, reduce_only=True,
            reason="hand",
        )  # fmt: skip
        return await _command(to, "/v5/order/create", requests.create_body(command, instrument))

    return _ask(request, act, locked=True)


async def _command(to: Connection, path: str, body: dict[str, Any]) -> CommandResponse:
    answer = await to.rest.command(path, body)
    return CommandResponse(accepted=answer.outcome in SUCCESS, answer=answer.reason)


def _ask(request: At, work: Callable[[Connection], Awaitable[T]], *, locked: bool = False) -> T:
    """Connect, do it, go. Raises KeelErrors."""
    problems: list[Notice] = []

    async def run() -> T:
        environment = Environment.DEMO if request.sandbox_url is None else Environment.SANDBOX
        file = None if request.key_file is None else user_path(request.key_file)
        async with connect(environment, request.category, problems.append, sandbox_url=request.sandbox_url, key_file=file) as to:
            if not locked:
                return await work(to)
            with AccountLock(await to.account_name(), "a tool"):
                return await work(to)

    try:
        return run_to_end(run())
    except TimeoutError as error:
        raise VenueError("the exchange did not answer in time") from error
