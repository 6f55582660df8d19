"""Public REST: what needs no key."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import islice
from operator import itemgetter
from typing import Any

from keel.core.model.instrument import Instrument, generic_tiers
from keel.core.model.money import UNIT
from keel.sim.sandbox import texts
from keel.sim.sandbox.http.call import Call
from keel.sim.sandbox.http.endpoints.kline_texts import PREMIUM
from keel.sim.sandbox.http.endpoints.periods import on_grid, points
from keel.sim.sandbox.http.errors import ApiError, params_error
from keel.sim.sandbox.http.paging import from_place
from keel.sim.sandbox.http.parameters import category, market, moment, text, whole
from keel.sim.sandbox.market.candles import INDEX, LAST, MARK
from keel.sim.sandbox.market.intervals import start_of
from keel.sim.sandbox.market.symbol_market import SymbolMarket

_NOTHING = {"category": "", "list": [], "nextPageCursor": ""}
_LAUNCHED = "1585526400000"


def time(call: Call) -> dict[str, Any]:
    """The server's clock (of the signatures; market time is another where history is replayed)."""
    now = call.wall_ms
    return {"timeSecond": str(now // 1000), "timeNano": str(now * 1_000_000)}


def instruments_info(call: Call) -> dict[str, Any]:
    """Instruments of a category."""
    wanted = category(call.params)
    if text(call.params, "symbol"):
        rows = [market(call.params, call.engine.markets, result=_NOTHING)]
    else:
        base = text(call.params, "baseCoin")
        rows = [one for one in call.engine.markets.values() if one.category == wanted and base in ("", one.instrument.base)]
    if text(call.params, "status", "Trading") != "Trading":
        rows = []
    make = _linear_instrument if wanted == "linear" else _spot_instrument
    if wanted == "spot":
        return {"category": wanted, "list": [make(one) for one in rows]}
    limit = whole(call.params, "limit", 500, low=1, high=1000)
    begin, cursor = from_place(call.params, limit, len(rows))
    return {"category": wanted, "list": [make(one) for one in rows[begin : begin + limit]], "nextPageCursor": cursor}


def _linear_instrument(one: SymbolMarket) -> dict[str, Any]:
    instrument = one.instrument
    grid, lots = instrument.price_grid, instrument.qty_grid
    return {
        "symbol": one.symbol, "symbolId": one.symbol_id, "contractType": "LinearPerpetual", "status": "Trading",
        "baseCoin": instrument.base,
        "quoteCoin": instrument.quote, "settleCoin": instrument.quote, "launchTime": _LAUNCHED, "deliveryTime": "0", "deliveryFeeRate": "",
        "priceScale": str(grid.decimals),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": f"{instrument.max_leverage / UNIT:.2f}", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": grid.text(1), "maxPrice": grid.text(19_999_998), "tickSize": grid.text(1)},
        "lotSizeFilter": {
            "maxOrderQty": _qty(instrument, instrument.max_qty), "minOrderQty": _qty(instrument, instrument.min_qty),
            "qtyStep": lots.text(1),
            "postOnlyMaxOrderQty": _qty(instrument, instrument.max_qty), "maxMktOrderQty": _qty(instrument, instrument.max_market_qty),
            "minNotionalValue": texts.money(instrument.min_notional),
        },
        "unifiedMarginTrade": True, "fundingInterval": instrument.funding_interval_min, "copyTrading": "none", "upperFundingRate": "0.005",
        "lowerFundingRate": "-0.005", "isPreListing": False, "preListingInfo": None,
        "riskParameters": _risk_parameters(instrument),
        "displayName": "", "symbolType": "", "forbidUplWithdrawal": False,
    }  # fmt: skip


def _spot_instrument(one: SymbolMarket) -> dict[str, Any]:
    instrument = one.instrument
    largest = _qty(instrument, instrument.max_qty)
    return {
        "symbolId": one.symbol_id, "symbol": one.symbol, "baseCoin": instrument.base, "quoteCoin": instrument.quote, "innovation": "0",
        "status": "Trading", "marginTrading": "none", "stTag": "0",
        "lotSizeFilter": {
            "basePrecision": instrument.qty_grid.text(1), "quotePrecision": "0.0000001",
            "minOrderQty": _qty(instrument, instrument.min_qty),
            "maxOrderQty": largest, "minOrderAmt": texts.money(instrument.min_notional), "maxOrderAmt": "8000000",
            "maxLimitOrderQty": largest,
            "maxMarketOrderQty": _qty(instrument, instrument.max_market_qty), "postOnlyMaxLimitOrderSize": largest,
        },
        "priceFilter": {"tickSize": instrument.price_grid.text(1)},
        "riskParameters": _risk_parameters(instrument),
        "symbolType": "", "xstockMultiplier": "",
    }  # fmt: skip


def _risk_parameters(instrument: Instrument) -> dict[str, str]:
    return {"priceLimitRatioX": texts.rate(instrument.price_limit_x), "priceLimitRatioY": texts.rate(instrument.price_limit_y)}


def _qty(instrument: Instrument, value: float) -> str:
    return instrument.format_qty(value)


def kline(call: Call) -> dict[str, Any]:
    """Candles of the last price, newest first, with volume and turnover."""
    return _klines(call, LAST)


def mark_kline(call: Call) -> dict[str, Any]:
    """Candles of the mark price."""
    return _klines(call, MARK)


def index_kline(call: Call) -> dict[str, Any]:
    """Candles of the index price."""
    return _klines(call, INDEX)


def premium_kline(call: Call) -> dict[str, Any]:
    """Candles of the premium of the mark over the index."""
    return _klines(call, PREMIUM)


def _klines(call: Call, kind: int) -> dict[str, Any]:
    params = {"category": "linear", **call.params}
    one = market(params, call.engine.markets)
    interval = text(params, "interval")
    if not interval or not one.candles.offers(interval):
        raise ApiError(10001, "Invalid period!")  # ASSUMED words
    limit = whole(params, "limit", 200, low=1, high=1000)
    since, until = moment(params, "start"), moment(params, "end")
    since = None if since is None else start_of(since, interval)  # the candle in which it lies is the first
    is_oldest = since is not None and until is None  # ASSUMED: with a start alone the rows begin there
    rows = one.klines.rows(interval, kind, since, until, limit, is_oldest=is_oldest)
    return {"category": one.category, "symbol": one.symbol, "list": rows}


def funding_history(call: Call) -> dict[str, Any]:
    """Settled funding rates, newest first."""
    one = market(call.params, call.engine.markets)
    start, end = moment(call.params, "startTime"), moment(call.params, "endTime")
    if start is not None and end is None:
        raise params_error("startTime cannot be given without endTime")  # ASSUMED words
    limit = whole(call.params, "limit", 200, low=1, high=200)
    last = len(one.funding) if end is None else bisect_right(one.funding, end, key=itemgetter(0))
    first = 0 if start is None else bisect_left(one.funding, start, key=itemgetter(0))
    rows = [
        {"symbol": one.symbol, "fundingRate": texts.rate(rate), "fundingRateTimestamp": str(stamp)}
        for stamp, rate in reversed(one.funding[max(first, last - limit) : last])
    ]
    return {"category": one.category, "list": rows}


def open_interest(call: Call) -> dict[str, Any]:
    """Open interest, newest first: of the feed, or an invented one on a grid of times, back to the first candle."""
    one = market(call.params, call.engine.markets)
    kept, cursor = points(call, one, "intervalTime", 200, lambda step, oldest, newest: _interest(one, step, oldest, newest))
    rows = [{"openInterest": f"{value:.8f}", "singleOpenInterest": texts.decimal(value / 2), "timestamp": str(ts)} for ts, value in kept]
    return {"category": one.category, "symbol": one.symbol, "list": rows, "nextPageCursor": cursor}


def _interest(one: SymbolMarket, step: int, oldest: int, newest: int) -> Iterator[tuple[int, float]]:
    """(stamp, open interest) on a grid of times, newest first."""
    if not one.interest_stamps:
        yield from ((ts, one.invented_interest(ts)) for ts in on_grid(one, step, oldest, newest))
        return
    for at in range(bisect_right(one.interest_stamps, newest) - 1, -1, -1):
        ts = one.interest_stamps[at]
        if ts < oldest:
            return
        if ts % step == 0:
            yield ts, one.interest_values[at]


def tickers(call: Call) -> dict[str, Any]:
    """Tickers of a category, or of one symbol."""
    wanted = category(call.params)
    if text(call.params, "symbol"):
        rows = [market(call.params, call.engine.markets)]
    else:
        rows = [one for one in call.engine.markets.values() if one.category == wanted]
    return {"category": wanted, "list": [one.ticker() for one in rows]}


def orderbook(call: Call) -> dict[str, Any]:
    """The book now; ``u`` is that of the stream's 1000 levels."""
    one = market(call.params, call.engine.markets)
    depth = whole(call.params, "limit", 25 if one.is_linear else 1, low=1, high=1000)
    bids, asks = one.book_json(depth)
    now = call.engine.now_ms
    return {
        "s": one.symbol, "b": bids, "a": asks, "ts": now,
        "u": call.book_update(one), "seq": one.seq, "cts": now,
    }  # fmt: skip


def recent_trade(call: Call) -> dict[str, Any]:
    """The tape, newest first."""
    one = market(call.params, call.engine.markets)
    highest = 1000 if one.is_linear else 60
    limit = whole(call.params, "limit", 500 if one.is_linear else 60, low=1, high=highest)
    rows = [
        {
            "execId": trade.trade_id, "symbol": one.symbol, "price": trade.price, "size": trade.size, "side": trade.side,
            "time": str(trade.ts), "isBlockTrade": False, "isRPITrade": False, "seq": str(trade.seq),
        }
        for trade in islice(reversed(one.trades), limit)
    ]  # fmt: skip
    return {"category": one.category, "list": rows}


def risk_limit(call: Call) -> dict[str, Any]:
    """Risk tiers; without a symbol 15 symbols to a page."""
    if category(call.params) != "linear":
        raise params_error("Category is invalid")
    markets = [one for one in call.engine.markets.values() if one.is_linear]
    cursor = ""
    if text(call.params, "symbol"):
        markets = [market(call.params, call.engine.markets)]
    else:
        begin = whole({"at": text(call.params, "cursor")}, "at", 0, low=0)
        cursor = str(begin + 15) if begin + 15 < len(markets) else ""
        markets = markets[begin : begin + 15]
    rows = []
    for one in markets:
        for number, tier in enumerate(one.instrument.tiers or generic_tiers(), start=1):
            rows.append({
                "id": number, "symbol": one.symbol, "riskLimitValue": texts.money(tier.limit),
                "maintenanceMargin": texts.rate(tier.maintenance_rate),
                "initialMargin": texts.rate(tier.initial_rate), "isLowestRisk": int(number == 1),
                "maxLeverage": f"{tier.max_leverage / UNIT:.2f}",
                "mmDeduction": texts.money(tier.deduction) if number > 1 else "",
            })  # fmt: skip
    return {"category": "linear", "list": rows, "nextPageCursor": cursor}


def price_limit(call: Call) -> dict[str, Any]:
    """The allowed prices now."""
    one = market({"category": "linear", **call.params}, call.engine.markets)
    buy, sell = one.price_limits()
    return {"symbol": one.symbol, "buyLmt": buy, "sellLmt": sell, "ts": str(call.engine.now_ms)}
