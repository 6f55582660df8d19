"""Private REST of orders, executions, positions and the account."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from keel.core.model.money import to_units
from keel.core.model.timeframe import DAY_MS, WEEK_MS
from keel.sim.sandbox import texts
from keel.sim.sandbox.account import modes
from keel.sim.sandbox.account.records import OPEN, SandboxOrder
from keel.sim.sandbox.account.simulated_account import SimulatedAccount
from keel.sim.sandbox.account.views import position_row, wallet_row
from keel.sim.sandbox.http.call import Call
from keel.sim.sandbox.http.choices import check_words
from keel.sim.sandbox.http.errors import ApiError, bad_params, params_error
from keel.sim.sandbox.http.paging import from_place, listing, page, window
from keel.sim.sandbox.http.parameters import Params, category, market, number, text, whole
from keel.sim.sandbox.market.symbol_market import SymbolMarket

# --- orders ---


def create(call: Call) -> dict[str, Any]:
    """POST /v5/order/create"""
    return call.engine.order_requests.create(call.account, call.params)


def amend(call: Call) -> dict[str, Any]:
    """POST /v5/order/amend"""
    return call.engine.order_requests.amend(call.account, call.params)


def cancel(call: Call) -> dict[str, Any]:
    """POST /v5/order/cancel"""
    return call.engine.order_requests.cancel(call.account, call.params)


def cancel_all(call: Call) -> dict[str, Any]:
    """POST /v5/order/cancel-all"""
    return call.engine.order_requests.cancel_all(call.account, call.params)


def create_batch(call: Call) -> dict[str, Any]:
    """POST /v5/order/create-batch"""
    return _batch(call, "create")


def amend_batch(call: Call) -> dict[str, Any]:
    """POST /v5/order/amend-batch"""
    return _batch(call, "amend")


def cancel_batch(call: Call) -> dict[str, Any]:
    """POST /v5/order/cancel-batch"""
    return _batch(call, "cancel")


def _batch(call: Call, action: str) -> dict[str, Any]:
    if call.is_demo and category(call.params) == "spot":
        raise ApiError(10032, "Demo trading are not supported.")
    result, call.extension = call.engine.order_requests.batch(call.account, action, call.params, call.budget_left)
    return result


def realtime(call: Call) -> dict[str, Any]:
    """Open orders (openOnly 0), or the last 500 closed ones (1, ASSUMED to mean only those); newest first. By its id an order is found
    whether it is open or among the last 500 closed: openOnly is then ignored."""
    wanted = category(call.params)
    if wanted == "linear" and not any(text(call.params, name) for name in ("symbol", "baseCoin", "settleCoin", "orderId", "orderLinkId")):
        raise ApiError(10001, "Missing some parameters that must be filled in, symbol or settleCoin or baseCoin")  # ASSUMED words
    check_words(call.params)
    wants_closed = whole(call.params, "openOnly", 0, low=0, high=2) == 1
    account = call.account
    named = _named(account, wanted, call.params)
    is_by_id = named is not None
    pool: Iterable[SandboxOrder] = account.open_orders.values()
    if named is not None:
        pool = [record for record in named if record.is_open or any(record is each for each in account.recent_closed)]
    elif call.lag_ms or wants_closed:
        pool = [*account.recent_closed, *pool]
    found = _matching(sorted(pool, key=_number, reverse=True), wanted, call.params)
    rows = (
        (record.number, row)
        for record in found
        if (row := _visible(record, call)) is not None and (is_by_id or (row["orderStatus"] in OPEN) != wants_closed)
    )
    return _page_of(wanted, rows, call.params, limit=20, highest=50)


def history(call: Call) -> dict[str, Any]:
    """Closed orders of at most seven days; those that ended without a fill for 24 hours only."""
    wanted = category(call.params)
    now = call.engine.now_ms
    account = call.account
    check_words(call.params)
    start, end = window(call.params, now)
    status = text(call.params, "orderStatus")
    named = _named(account, wanted, call.params)
    pool = reversed(account.closed_orders) if named is None else named

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        for record in _matching(pool, wanted, call.params):
            age = now - record.updated
            if not start <= record.created <= end or (not record.filled and age > DAY_MS) or (call.is_demo and age > WEEK_MS):
                continue
            row = _visible(record, call)
            if row is not None and row["orderStatus"] not in OPEN and status in ("", row["orderStatus"]):
                yield record.number, row

    return _page_of(wanted, rows(), call.params, limit=20, highest=50)


def _named(account: SimulatedAccount, wanted: str, params: Params) -> list[SandboxOrder] | None:
    """The order that is asked for by an id, if there is one; None without an id."""
    order_id, link = text(params, "orderId"), text(params, "orderLinkId")
    if not order_id and not link:
        return None
    found = account.by_order_id.get(order_id) if order_id else account.by_link_id.get((wanted, link))
    return [] if found is None else [found]


def _visible(record: SandboxOrder, call: Call) -> dict[str, Any] | None:
    """The order as the lists have it already; None when they do not have it yet."""
    if not call.lag_ms or not record.versions:
        return record.row()
    horizon = call.wall_ms - call.lag_ms
    seen = [row for wall, row in record.versions if wall <= horizon]
    return seen[-1] if seen else None


def _matching(records: Iterable[SandboxOrder], wanted: str, params: Params) -> Iterable[SandboxOrder]:
    """Lookup by orderId > orderLinkId > symbol > baseCoin > settleCoin."""
    order_id, link = text(params, "orderId"), text(params, "orderLinkId")
    accepts = _order_filter(text(params, "orderFilter"))
    for record in records:
        if record.category != wanted or not accepts(record):
            continue
        if order_id:
            fits = record.order_id == order_id
        elif link:
            fits = record.link_id == link
        else:
            fits = _fits(record.market, params)
        if fits:
            yield record


def _fits(one: SymbolMarket, params: Params) -> bool:
    symbol, base, settle = text(params, "symbol"), text(params, "baseCoin"), text(params, "settleCoin")
    if symbol:
        return one.symbol == symbol
    return one.instrument.base == base if base else settle in ("", one.instrument.quote)


def _order_filter(name: str) -> Any:
    if name == "Order":
        return lambda record: not record.stop_order_type
    if name in ("StopOrder", "tpslOrder", "OcoOrder"):
        return lambda record: bool(record.stop_order_type)
    return lambda record: True


def _number(record: SandboxOrder) -> int:
    return record.number


def _page_of(wanted: str, rows: Iterable[tuple[int, dict[str, Any]]], params: Params, *, limit: int, highest: int) -> dict[str, Any]:
    kept, cursor = page(rows, params, limit=limit, highest=highest, key=lambda row: row[0])
    return listing(wanted, [row for _, row in kept], cursor)


def executions(call: Call) -> dict[str, Any]:
    """Executions of at most seven days, newest first."""
    wanted = category(call.params)
    check_words(call.params)
    start, end = window(call.params, call.engine.now_ms)
    horizon = call.wall_ms - call.lag_ms
    kind, order_id, link = text(call.params, "execType"), text(call.params, "orderId"), text(call.params, "orderLinkId")
    statement = call.account.statement
    known = statement.executions_of.get(order_id, []) if order_id else statement.executions
    symbol = "" if link else text(call.params, "symbol")
    rows = (
        (row["_number"], rest_execution(row))
        for row in reversed(known)
        if row["category"] == wanted
        and not (call.lag_ms and row["_seen"] > horizon)
        and start <= int(row["execTime"]) <= end
        and kind in ("", row["execType"])
        and (order_id or (link in ("", row["orderLinkId"]) and symbol in ("", row["symbol"])))
    )
    return _page_of(wanted, rows, call.params, limit=50, highest=100)


def rest_execution(row: dict[str, Any]) -> dict[str, Any]:
    """An execution without what only the stream has."""
    stream_only = ("category", "isLeverage", "execPnl", "marketUnit", "_number", "_seen")
    return {name: value for name, value in row.items() if name not in stream_only}


# --- positions ---


def positions(call: Call) -> dict[str, Any]:
    """With a symbol: its rows, flat ones too; with a settle coin: what is open. Spot has none, and is not refused."""
    wanted = category(call.params)
    if wanted != "linear":
        return listing(wanted, [], "")
    account = call.account
    symbol, settle = text(call.params, "symbol"), text(call.params, "settleCoin")
    if not symbol and not settle:
        raise ApiError(10001, "Missing some parameters that must be filled in, symbol or settleCoin")  # ASSUMED words
    if symbol:
        markets = [market(call.params, call.engine.markets)]
    else:
        markets = [one for one in call.engine.markets.values() if one.is_linear and one.instrument.quote == settle]
    rows = []
    for one in markets:
        for position in account.exchange.books[one.name].positions:
            if symbol or position.steps:
                rows.append(position_row(account, one.name, position.idx))
    limit = whole(call.params, "limit", 20, low=1, high=200)
    begin, cursor = from_place(call.params, limit, len(rows))
    return listing(wanted, rows[begin : begin + limit], cursor)


def set_leverage(call: Call) -> dict[str, Any]:
    """POST /v5/position/set-leverage"""
    one = _linear(call)
    bad = bad_params("leverage invalid")
    buy, sell = number(call.params, "buyLeverage", bad), number(call.params, "sellLeverage", bad)
    if buy is None or sell is None:
        raise params_error("buyLeverage and sellLeverage are required")  # ASSUMED words
    if buy != sell:
        raise ApiError(10001, "buy leverage not equal sell leverage")  # ASSUMED words; in hedge mode too (limit of the sandbox)
    modes.set_leverage(call.account, one, buy)
    return {}


def switch_mode(call: Call) -> dict[str, Any]:
    """POST /v5/position/switch-mode"""
    mode = whole(call.params, "mode", -1)
    if text(call.params, "symbol"):
        modes.switch_mode(call.account, _linear(call), mode)
        return {}
    coin = text(call.params, "coin")
    if not coin:
        raise params_error("symbol or coin is required")  # ASSUMED words
    chosen = [one for one in call.engine.markets.values() if one.is_linear and one.instrument.quote == coin]
    modes.switch_modes(call.account, chosen, mode)
    return {}


def trading_stop(call: Call) -> dict[str, Any]:
    """POST /v5/position/trading-stop"""
    return call.engine.order_requests.trading_stop(call.account, call.params)


def add_margin(call: Call) -> dict[str, Any]:
    """POST /v5/position/add-margin: answers with the position."""
    one = _linear(call)
    amount = number(call.params, "margin", bad_params("margin invalid"))
    if amount is None:
        raise params_error("margin is required")
    idx = whole(call.params, "positionIdx", 0, low=0, high=2)
    modes.add_margin(call.account, one, idx, amount)
    return {"category": "linear", **position_row(call.account, one.name, idx)}


def set_auto_add_margin(call: Call) -> dict[str, Any]:
    """POST /v5/position/set-auto-add-margin: off only; under cross margin not at all."""
    one = _linear(call)
    idx = whole(call.params, "positionIdx", 0, low=0, high=2)
    modes.set_auto_add_margin(call.account, one, idx, whole(call.params, "autoAddMargin", -1))
    return {}


def closed_pnl(call: Call) -> dict[str, Any]:
    """Closed PnL per closing order, newest first."""
    wanted = category(call.params)
    start, end = window(call.params, call.engine.now_ms)
    horizon = call.wall_ms - call.lag_ms
    symbol = text(call.params, "symbol")
    rows = (
        (entry.number, entry.row())
        for entry in reversed(call.account.statement.closed_pnl)
        if symbol in ("", entry.record.market.symbol) and start <= entry.created <= end
        and entry.record.category == wanted and not (call.lag_ms and entry.seen > horizon)
    )  # fmt: skip
    return _page_of(wanted, rows, call.params, limit=50, highest=100)


def symbol_info(call: Call) -> dict[str, Any]:
    """Leverage without a position."""
    wanted = [_linear(call)] if text(call.params, "symbol") else [one for one in call.engine.markets.values() if one.is_linear]
    rows = []
    for one in wanted:
        book = call.account.exchange.books[one.name]
        for position in book.positions:
            side = "Buy" if position.steps > 0 else "Sell" if position.steps else ""
            rows.append({"symbol": one.symbol, "leverage": texts.money(book.leverage), "side": side, "positionIdx": position.idx})
    return {"category": "linear", "list": rows}


def switch_isolated(call: Call) -> dict[str, Any]:
    """Dead for unified accounts."""
    raise ApiError(100028, "The API cannot be accessed by unified account users.")  # ASSUMED words


def _linear(call: Call) -> SymbolMarket:
    one = market(call.params, call.engine.markets)
    if not one.is_linear:
        raise params_error("Category is invalid")
    return one


# --- account ---


def wallet_balance(call: Call) -> dict[str, Any]:
    """GET /v5/account/wallet-balance"""
    if text(call.params, "accountType") != "UNIFIED":
        raise ApiError(10001, "accountType only support UNIFIED.")  # ASSUMED words
    coins = text(call.params, "coin")
    return {"list": [wallet_row(call.account, coins.split(",") if coins else None)]}


def account_info(call: Call) -> dict[str, Any]:
    """GET /v5/account/info"""
    return {
        "unifiedMarginStatus": 5, "marginMode": modes.MARGIN_MODES[call.account.margin_mode], "isMasterTrader": False,
        "spotHedgingStatus": "OFF", "updatedTime": str(call.wall_ms), "dcpStatus": "OFF", "timeWindow": 10, "smpGroup": 0,
    }  # fmt: skip


def set_margin_mode(call: Call) -> dict[str, Any]:
    """POST /v5/account/set-margin-mode"""
    settings = call.engine.settings
    return modes.set_margin_mode(
        call.account, text(call.params, "setMarginMode"), has_isolated=not call.is_demo or settings.demo_isolated
    )  # fmt: skip


def fee_rate(call: Call) -> dict[str, Any]:
    """GET /v5/account/fee-rate; without a category of the contracts (ASSUMED: the field was added later, and clients leave it out)."""
    wanted = category({"category": "linear", **call.params})
    if text(call.params, "symbol"):
        chosen = [market({**call.params, "category": wanted}, call.engine.markets)]
    else:
        chosen = [one for one in call.engine.markets.values() if one.category == wanted]
    rows = []
    for one in chosen:
        book = call.account.exchange.books[one.name]
        row = {"symbol": one.symbol, "takerFeeRate": texts.rate(book.taker_fee), "makerFeeRate": texts.rate(book.maker_fee)}
        rows.append({**row, "baseCoin": one.instrument.base} if wanted == "spot" else row)
    return {"category": wanted, "list": rows} if wanted == "spot" else {"list": rows}


def transaction_log(call: Call) -> dict[str, Any]:
    """Every change of a balance, newest first; change = cashFlow + funding - fee."""
    params = call.params
    start, end = window(params, call.engine.now_ms, default_ms=DAY_MS)
    wanted = {"category": text(params, "category"), "currency": text(params, "currency"), "type": text(params, "type")}
    rows = (
        (row["_number"], {name: value for name, value in row.items() if name != "_number"})
        for row in reversed(call.account.statement.log)
        if start <= int(row["transactionTime"]) <= end and all(not value or row[name] == value for name, value in wanted.items())
    )
    kept, cursor = page(rows, params, limit=20, highest=50, key=lambda row: row[0])
    return {"list": [row for _, row in kept], "nextPageCursor": cursor}


def user_setting(call: Call) -> dict[str, Any]:
    """GET /v5/account/user-setting-config: both defaults (futures moved to the band, spot refused)."""
    return {"lpaSpot": False, "lpaPerp": False, "smsef": False, "fmsef": False}


def query_api(call: Call) -> dict[str, Any]:
    """GET /v5/user/query-api"""
    account = call.account
    may_trade = not account.settings.read_only
    return {
        "id": str(account.uid), "note": "sandbox", "apiKey": account.settings.key, "readOnly": int(not may_trade), "secret": "",
        "permissions": {
            "ContractTrade": ["Order", "Position"] if may_trade else [], "Spot": ["SpotTrade"] if may_trade else [],
            "Wallet": list(account.settings.wallet_rights),
            "Options": [], "Derivatives": ["DerivativesTrade"] if may_trade else [], "CopyTrading": [], "BlockTrade": [], "Exchange": [],
            "NFT": [], "Affiliate": [], "Earn": [],
        },
        "ips": list(account.settings.addresses), "type": 1, "deadlineDay": account.settings.deadline_days,
        "expiredAt": "1970-01-01T00:00:00Z", "createdAt": "2026-01-01T00:00:00Z", "unified": 0,
        "uta": 1, "userID": account.uid, "inviterID": 0, "vipLevel": "No VIP", "mktMakerLevel": "0", "affiliateID": 0, "rsaPublicKey": "",
        "isMaster": True, "parentUid": "0", "kycLevel": "LEVEL_DEFAULT", "kycRegion": "", "userIDInt64": str(account.uid),
        "inviterIDInt64": "0", "affiliateIDInt64": "0",
    }  # fmt: skip


def coin_info(call: Call) -> dict[str, Any]:
    """GET /v5/asset/coin/query-info: names only; nothing can be deposited or withdrawn here."""
    wanted = text(call.params, "coin")
    names = dict.fromkeys(coin for one in call.engine.markets.values() for coin in (one.instrument.quote, one.instrument.base))
    return {"rows": [{"name": coin, "coin": coin, "remainAmount": "0", "chains": []} for coin in names if wanted in ("", coin)]}


def apply_demo_money(call: Call) -> dict[str, Any]:
    """POST /v5/account/demo-apply-money, of USDT: it goes into the wallet at once."""
    if not call.is_demo:
        raise ApiError(10001, "Only demo trading accounts can apply for demo funds")  # ASSUMED words
    items = call.params.get("utaDemoApplyMoney")
    adjust = whole(call.params, "adjustType", 0, low=0, high=1)
    if not isinstance(items, list) or not items:
        raise params_error("utaDemoApplyMoney is required")
    amounts = []
    for item in items:
        amount = number(item, "amountStr", bad_params("amountStr invalid")) if isinstance(item, dict) else None
        if amount is None or not 0 < amount <= 100_000 or text(item, "coin") != "USDT":
            raise params_error("amountStr invalid; the sandbox has USDT only, at most 100000 a time")
        amounts.append(to_units(-amount if adjust else amount))
    call.account.transfer(sum(amounts))
    return {}
