"""The public streams of linear and spot: who is subscribed to what, and the frames of each topic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from keel.sim.sandbox.engine import Engine, Moved
from keel.sim.sandbox.http.parameters import CATEGORIES
from keel.sim.sandbox.market.intervals import end_of
from keel.sim.sandbox.market.symbol_market import Level, SymbolMarket, book_name
from keel.sim.sandbox.texts import decimal
from keel.sim.sandbox.ws.websocket import WebSocketConnection

DEPTHS: Final = (1, 50, 200, 1000)
MAX_TRADES: Final = 1024
_FIRST_UPDATE: Final = 1000


@dataclass(slots=True)
class _BookState:
    u: int = _FIRST_UPDATE
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    sent_at: float = 0.0


class PublicHub:
    """Subscriptions by market and topic."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._topics: dict[str, dict[str, list[WebSocketConnection]]] = {name: {} for name in engine.markets}
        self._books: dict[tuple[str, int], _BookState] = {}
        self._tickers: dict[str, dict[str, str]] = {}
        self._cs = 10**9

    def now_ms(self) -> int:
        """Market time."""
        return self._engine.now_ms

    # --- subscriptions ---

    def market_of(self, category: str, topic: str) -> SymbolMarket | None:
        """The market that a topic is about; None when there is no such topic, as in categories of which nothing is traded here."""
        if category not in CATEGORIES:
            return None
        parts = topic.split(".")
        market = self._engine.markets.get(book_name(category, parts[-1]))
        if market is None:
            return None
        head = parts[0]
        if len(parts) == 2:
            known = head in ("tickers", "publicTrade", "priceLimit") or (head == "allLiquidation" and market.is_linear)
        elif len(parts) == 3:
            known = (head == "kline" and market.candles.offers(parts[1])) or (head == "orderbook" and parts[1] in map(str, DEPTHS))
        else:
            known = False
        return market if known else None

    def add(self, connection: WebSocketConnection, market: SymbolMarket, topic: str) -> None:
        """Subscribe; what begins with a snapshot gets it now."""
        self._topics[market.name].setdefault(topic, []).append(connection)
        connection.topics[topic] = None
        head = topic.split(".")[0]
        if head == "tickers":
            state = self._tickers.get(market.name)
            if state is None or len(self._topics[market.name][topic]) == 1:
                state = self._tickers[market.name] = market.live_ticker()
            connection.send(self._ticker_frame(topic, market, state, "snapshot"), topic, symbol=market.symbol)
        elif head == "orderbook":
            depth = int(topic.split(".")[1])
            is_first = len(self._topics[market.name][topic]) == 1
            connection.send(self._book_snapshot(market, depth, topic, is_first), topic, symbol=market.symbol)
        elif head == "priceLimit":
            connection.send(self._price_limit_frame(market, topic), topic, symbol=market.symbol)

    def remove(self, connection: WebSocketConnection, topic: str) -> None:
        """Unsubscribe."""
        connection.topics.pop(topic, None)
        for topics in self._topics.values():
            subscribers = topics.get(topic)
            if subscribers is not None and connection in subscribers:
                subscribers.remove(connection)
                if not subscribers:
                    del topics[topic]

    def update_of(self, market: SymbolMarket) -> int:
        """The latest ``u`` of the stream of 1000 levels."""
        state = self._books.get((market.name, 1000))
        return state.u if state is not None else _FIRST_UPDATE + market.moves

    def restart(self) -> None:
        """The service begins anew: books go on from u = 1."""
        for name in self._engine.markets:
            for depth in DEPTHS:
                self._books[name, depth] = _BookState(u=0)

    # --- frames ---

    def publish(self, moved: Moved, now_s: float) -> None:
        """Tell what a move has changed. ``now_s``: the loop's time."""
        for market in moved.markets:
            trades, market.fresh_trades = market.fresh_trades, []
            liquidations, market.liquidations = market.liquidations, []
            for topic, subscribers in list(self._topics[market.name].items()):
                head = topic.split(".")[0]
                if head == "kline":
                    frames = self._kline_frames(market, topic, moved)
                elif head == "tickers":
                    frames = self._ticker_frames(market, topic)
                elif head == "orderbook":
                    frames = self._book_frames(market, topic, now_s)
                elif head == "publicTrade":
                    frames = self._trade_frames(market, topic, trades)
                elif head == "priceLimit":
                    frames = [self._price_limit_frame(market, topic)]
                else:
                    frames = [self._frame(topic, "snapshot", liquidations)] if liquidations else []
                for frame in frames:
                    state = "confirm" if head == "kline" and frame["data"][0]["confirm"] else ""
                    for connection in list(subscribers):
                        connection.send(frame, topic, symbol=market.symbol, state=state)

    def repeat_level1(self, now_s: float, after_s: float) -> None:
        """Depth 1 is sent again when it has not changed for a while, with the same ``u``."""
        for name, topics in self._topics.items():
            for topic, subscribers in list(topics.items()):
                state = self._books.get((name, 1))
                if topic.startswith("orderbook.1.") and state is not None and now_s - state.sent_at >= after_s:
                    state.sent_at = now_s
                    frame = self._book_frame(self._engine.markets[name], topic, "snapshot", state.bids, state.asks, state.u)
                    for connection in list(subscribers):
                        connection.send(frame, topic, symbol=self._engine.markets[name].symbol)

    def _frame(self, topic: str, kind: str, data: Any) -> dict[str, Any]:
        return {"topic": topic, "type": kind, "ts": self._engine.now_ms, "data": data}

    def _kline_frames(self, market: SymbolMarket, topic: str, moved: Moved) -> list[dict[str, Any]]:
        interval = topic.split(".")[1]
        newest = market.candles.newest(interval)
        if newest is None:
            return []
        start, (open_, high, low, close, volume, turnover) = newest
        end = end_of(start, interval)
        row = {
            "start": start, "end": end - 1, "interval": interval, "open": market.price(open_), "close": market.price(close),
            "high": market.price(high), "low": market.price(low), "volume": decimal(volume), "turnover": decimal(turnover, 4),
            "confirm": market in moved.closed and moved.ts_close == end, "timestamp": moved.ts_close,
        }  # fmt: skip
        return [self._frame(topic, "snapshot", [row])]

    def _trade_frames(self, market: SymbolMarket, topic: str, trades: list[Any]) -> list[dict[str, Any]]:
        rows = []
        for trade in trades:
            row = {
                "T": trade.ts, "s": market.symbol, "S": trade.side, "v": trade.size, "p": trade.price,
                "L": trade.direction, "i": trade.trade_id, "BT": False, "RPI": False, "seq": trade.seq,
            }  # fmt: skip
            if not market.is_linear:
                del row["L"]
            rows.append(row)
        return [self._frame(topic, "snapshot", rows[at : at + MAX_TRADES]) for at in range(0, len(rows), MAX_TRADES)]

    def _ticker_frames(self, market: SymbolMarket, topic: str) -> list[dict[str, Any]]:
        """Linear: what has changed; spot: all of it, when anything has."""
        before, now = self._tickers.get(market.name, {}), market.live_ticker()
        self._tickers[market.name] = now
        changed = {name: value for name, value in now.items() if before.get(name) != value}
        if not changed:
            return []
        if market.is_linear:
            return [self._ticker_frame(topic, market, {"symbol": market.symbol, **changed}, "delta")]
        return [self._ticker_frame(topic, market, now, "snapshot")]

    def _ticker_frame(self, topic: str, market: SymbolMarket, data: dict[str, str], kind: str) -> dict[str, Any]:
        self._cs += 1
        return {"topic": topic, "type": kind, "data": data, "cs": self._cs, "ts": self._engine.now_ms}

    def _price_limit_frame(self, market: SymbolMarket, topic: str) -> dict[str, Any]:
        buy, sell = market.price_limits()
        return {"topic": topic, "data": {"symbol": market.symbol, "buyLmt": buy, "sellLmt": sell}, "ts": self._engine.now_ms}

    # --- books ---

    def _book_snapshot(self, market: SymbolMarket, depth: int, topic: str, is_first: bool) -> dict[str, Any]:
        """The book now; with other hearers the state that their deltas go on from."""
        state = self._books.setdefault((market.name, depth), _BookState())
        if is_first or not state.bids:
            bids, asks = market.book(depth)
            state.bids, state.asks = dict(bids), dict(asks)
            state.u += 1
        return self._book_frame(market, topic, "snapshot", state.bids, state.asks, state.u)

    def _book_frames(self, market: SymbolMarket, topic: str, now_s: float) -> list[dict[str, Any]]:
        depth = int(topic.split(".")[1])
        state = self._books.setdefault((market.name, depth), _BookState())
        was_empty = not state.bids
        bids, asks = (dict(side) for side in market.book(depth))
        gone_bids, gone_asks = _difference(state.bids, bids), _difference(state.asks, asks)
        if not gone_bids and not gone_asks:
            return []
        state.bids, state.asks = bids, asks
        state.u += 1
        state.sent_at = now_s
        if depth == 1 or was_empty:
            return [self._book_frame(market, topic, "snapshot", bids, asks, state.u)]
        return [self._book_frame(market, topic, "delta", gone_bids, gone_asks, state.u)]

    def _book_frame(
        self, market: SymbolMarket, topic: str, kind: str, bids: dict[int, int], asks: dict[int, int], u: int
    ) -> dict[str, Any]:
        ordered: tuple[list[Level], list[Level]] = (sorted(bids.items(), reverse=True), sorted(asks.items()))
        now = self._engine.now_ms
        data = {"s": market.symbol, "b": market.levels(ordered[0]), "a": market.levels(ordered[1]), "u": u, "seq": market.seq}
        return {"topic": topic, "type": kind, "ts": now, "data": data, "cts": now}


def _difference(before: dict[int, int], now: dict[int, int]) -> dict[int, int]:
    """Levels that are new or other, and those that fell out of the window (size 0)."""
    changed = {ticks: steps for ticks, steps in now.items() if before.get(ticks) != steps}
    return changed | {ticks: 0 for ticks in before if ticks not in now}
