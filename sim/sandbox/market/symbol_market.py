"""One symbol's market as the public sees it: prices, candles, trades, a book around the last price, funding and open interest."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import sin, tau
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from keel.core.model.instrument import Category, Instrument
from keel.core.model.money import to_text
from keel.core.model.timeframe import DAY_MS
from keel.sim.exchange.order_validation import band_edge
from keel.sim.sandbox import texts
from keel.sim.sandbox.http.endpoints import json_columns
from keel.sim.sandbox.http.endpoints.kline_texts import KlineTexts
from keel.sim.sandbox.market.bar_source import Floats, Ints, Prices
from keel.sim.sandbox.market.candles import Candles

Level = tuple[int, int]
"""(price in ticks, size in steps)"""
Side = tuple[Ints, Ints]
"""Levels in columns."""

TRADES_KEPT: Final = 1000
_FEW: Final = 24
"""So many levels are written one by one sooner."""
_HASH: Final = 2654435761
_BITS: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class PublicTrade:
    """One trade of the public tape; ``side`` is the taker's."""

    trade_id: str
    ts: int
    side: str
    ticks: int
    price: str
    size: str
    direction: str
    seq: int


class SymbolMarket:
    """What is known of one symbol. ``name`` is how the simulated exchanges call its book; ``symbol`` is the one on the wire."""

    def __init__(self, instrument: Instrument, symbol_id: int, duration_ms: int, seed: int, first_number: int = 0, depth_share: float = 1.0
    ) -> None:  # fmt: skip

        self.symbol = instrument.symbol
        self.category: Category = instrument.category
        self.is_linear = self.category == "linear"
        """Whether it is a contract."""
        self.name = book_name(self.category, self.symbol)
        self.instrument = instrument
        self._price_places = instrument.price_grid.decimals
        self.symbol_id = symbol_id
        self.candles = Candles(duration_ms)
        self.klines = KlineTexts(self.candles, instrument.price_grid.decimals)
        self.last = self.mark = self.index = 0.0
        self.trades: deque[PublicTrade] = deque(maxlen=TRADES_KEPT)
        self.fresh_trades: list[PublicTrade] = []
        self.liquidations: list[dict[str, Any]] = []
        self.funding: list[tuple[int, int]] = []
        """(stamp, rate in 1e-8) of what was settled, ascending: that of before the start, too."""
        self.next_funding: tuple[int, int] | None = None
        self.interest_stamps: list[int] = []
        self.interest_values: list[float] = []
        """Open interest of both sides as the feed has it, ascending; it holds future values, too, which no answer shows before their
        time."""
        self.now = 0
        """Market time of the latest move."""
        self._settled = 0
        self._largest = max(1, round(5000 * depth_share))
        self.moves = 0
        """How often the market moved: the book's sizes follow from it."""
        self._book_asked = (-1, 0)
        self._book_json = (msgspec.Raw(), msgspec.Raw())
        self.seq = first_number * 100 + 10_000_000 * symbol_id
        self._salt = seed * 7919 + symbol_id
        self._trade_count = first_number * 8
        self._direction = "PlusTick"

    def take(self, ts_open: int, ts_close: int, prices: tuple[float, ...], volume: float, mark: float | None = None) -> None:
        """A piece of market has passed: twelve prices (last, mark, index) and volume in base units. mark: what is published at its end,
        where that is another than the end of the path."""
        if mark is not None:
            prices = (*prices[:5], max(prices[5], mark), min(prices[6], mark), mark, *prices[8:])
        self.candles.add(ts_open, prices, volume)
        self.now = ts_close
        self.last, self.mark, self.index = prices[3], prices[7], prices[11]
        self.moves += 1
        self.seq += 1
        if volume > 0.0:
            self._trade(ts_open, ts_close, prices, volume)

    def print_past(self, ts: Ints, last: Prices, volume: Floats, duration_ms: int) -> None:
        """The tape of bars that lie before the start: columns of the series, oldest first."""
        for row in range(max(0, len(ts) - TRADES_KEPT // 2), len(ts)):
            prices = tuple(float(column[row]) for column in last)
            if volume[row] > 0.0:
                self._trade(int(ts[row]), int(ts[row]) + duration_ms, prices, float(volume[row]))
        self.fresh_trades.clear()

    def settle_until(self, ts: int, schedule: tuple[list[int], list[int], list[int]]) -> None:
        """Say which funding stamps of a known schedule lie behind, and which comes next."""
        stamps, rates, _ = schedule
        while self._settled < len(stamps) and stamps[self._settled] <= ts:
            self.funding.append((stamps[self._settled], rates[self._settled]))
            self._settled += 1
        self.next_funding = (stamps[self._settled], rates[self._settled]) if self._settled < len(stamps) else None

    def book(self, depth: int) -> tuple[list[Level], list[Level]]:
        """Bids (descending) and asks (ascending). Invented: sizes are a fixed function of level and of how often the market moved."""
        bids, asks = self.ladder(depth)
        return list(zip(*(column.tolist() for column in bids), strict=True)), list(zip(*(column.tolist() for column in asks), strict=True))

    def ladder(self, depth: int) -> tuple[Side, Side]:
        """``book`` in columns."""
        best = max(1, self.instrument.price_grid.count(self.last))
        bids, asks = np.arange(best, max(0, best - depth), -1), np.arange(best + 1, best + 1 + depth)
        ticks = np.concatenate((bids, asks))
        sizes = self._sizes(ticks, np.arange(len(ticks)) >= len(bids))
        return (bids, sizes[: len(bids)]), (asks, sizes[len(bids) :])

    def _sizes(self, ticks: Ints, is_ask: npt.NDArray[np.bool_]) -> Ints:
        """Steps at levels; a seventh of the levels change with each move. Only the lower 32 bits of any product count."""
        turn = (self.moves + ticks) // 7
        mixed = (((ticks * _HASH) ^ (turn * 40503 + (self._salt & _BITS) + is_ask)) & _BITS) * _HASH & _BITS
        return 1 + (mixed >> 8) % self._largest

    def _trade(self, ts_open: int, ts_close: int, prices: tuple[float, ...], volume: float) -> None:
        """Two prints: at the extreme that lies further off, and at the close."""
        grid, lots = self.instrument.price_grid, self.instrument.qty_grid
        steps = max(1, lots.count(volume))
        far = prices[1] if prices[1] - prices[0] > prices[0] - prices[2] else prices[2]
        shares = [(far, steps // 2), (prices[3], steps - steps // 2)]
        for place, (price, share) in enumerate(shares):
            if not share:
                continue
            ticks = max(1, grid.count(price))
            before = self.trades[-1].ticks if self.trades else ticks
            rises = ticks > before or (ticks == before and self._direction in ("PlusTick", "ZeroPlusTick"))
            self._direction = (
                ("Plus" if rises else "Minus") + "Tick" if ticks != before else "Zero" + ("Plus" if rises else "Minus") + "Tick"
            )
            self._trade_count += 1
            self.seq += 1
            ts = ts_open + (ts_close - 1 - ts_open) * (place + 1) // 2
            trade = PublicTrade(
                f"{self.symbol_id:08x}-0000-5000-8000-{self._trade_count:012x}", ts, "Buy" if rises else "Sell", ticks,
                grid.text(ticks), lots.text(share), self._direction, self.seq,
            )  # fmt: skip
            self.trades.append(trade)
            self.fresh_trades.append(trade)

    # --- texts ---

    def price(self, value: float) -> str:
        """A price with the tick's decimals; it need not be on the grid (mark, index)."""
        return f"{value:.{self._price_places}f}"

    def qty(self, steps: int) -> str:
        """A quantity in steps."""
        return self.instrument.qty_grid.text(steps)

    def levels(self, side: Sequence[Level]) -> Any:
        """Levels as the wire has them, a size of 0 as plain 0: a list, or where there are many its JSON."""
        if len(side) > _FEW:
            return self.ladder_json(tuple(np.array(side).T))
        grid, lots = self.instrument.price_grid, self.instrument.qty_grid
        return [[grid.text(ticks), lots.text(steps) if steps else "0"] for ticks, steps in side]

    def book_json(self, depth: int) -> tuple[msgspec.Raw, msgspec.Raw]:
        """Bids and asks as the wire has them. The latest that were asked for are kept until the market moves."""
        asked = (self.moves, depth)
        if asked != self._book_asked:
            bids, asks = self.ladder(depth)
            self._book_asked, self._book_json = asked, (self.ladder_json(bids), self.ladder_json(asks))
        return self._book_json

    def ladder_json(self, side: Side) -> msgspec.Raw:
        """One side of the book as the wire has it, out of columns."""
        ticks, steps = side
        prices, sizes = json_columns.on_grid(self.instrument.price_grid, ticks), json_columns.on_grid(self.instrument.qty_grid, steps)
        return json_columns.json_rows([prices, json_columns.plain_zeros(sizes, steps == 0)])

    def interest(self) -> tuple[float, float]:
        """(open interest of both sides, of one side) now, in base units; where the feed has none, an invented one."""
        at = bisect_right(self.interest_stamps, self.now) - 1
        value = self.interest_values[at] if at >= 0 else self.invented_interest(self.now)
        return value, value / 2.0

    def invented_interest(self, ts: int) -> float:
        """Open interest where nobody knows it: two slow waves around a constant, a function of time alone."""
        wave = 0.04 * sin(ts / DAY_MS * tau + self.symbol_id) + 0.08 * sin(ts / (5.3 * DAY_MS) * tau)
        return self.instrument.qty_grid.value(round(50_000_000 * (1.0 + wave)))

    def ticker(self) -> dict[str, str]:
        """The ticker as REST gives it."""
        day = self.candles.day() or (self.last, self.last, self.last, 0.0, 0.0, self.last)
        bids, asks = self.book(1)
        lots, grid = self.instrument.qty_grid, self.instrument.price_grid
        change = self.last / day[0] - 1.0 if day[0] else 0.0
        row = {
            "symbol": self.symbol, "bid1Price": grid.text(bids[0][0]), "bid1Size": lots.text(bids[0][1]),
            "ask1Price": grid.text(asks[0][0]), "ask1Size": lots.text(asks[0][1]), "lastPrice": self.price(self.last),
            "prevPrice24h": self.price(day[0]), "price24hPcnt": texts.decimal(change, 6), "highPrice24h": self.price(day[1]),
            "lowPrice24h": self.price(day[2]), "turnover24h": f"{day[4]:.4f}", "volume24h": f"{day[3]:.4f}",
        }  # fmt: skip
        if not self.is_linear:
            return {**row, "usdIndexPrice": texts.decimal(self.index)}
        both, single = self.interest()
        stamp, rate = self.next_funding or (0, 0)
        return {
            **row, "indexPrice": self.price(self.index), "markPrice": self.price(self.mark), "prevPrice1h": self.price(day[5]),
            "openInterest": texts.decimal(both), "openInterestValue": f"{both * self.mark:.2f}",
            "singleOpenInterest": texts.decimal(single),
            "singleOpenInterestValue": f"{single * self.mark:.2f}", "fundingRate": to_text(rate),
            "nextFundingTime": str(stamp) if stamp else "",
            "predictedDeliveryPrice": "", "basisRate": "", "basis": "", "deliveryFeeRate": "", "deliveryTime": "0", "preOpenPrice": "",
            "preQty": "", "curPreListingPhase": "", "fundingIntervalHour": str(self.instrument.funding_interval_min // 60),
            "fundingCap": "0.005", "basisRateYear": "",
        }  # fmt: skip

    def live_ticker(self) -> dict[str, str]:
        """The ticker as the stream gives it: linear has more, spot has no book."""
        row = self.ticker()
        if self.is_linear:
            for name in ("predictedDeliveryPrice", "basisRate", "basis", "deliveryFeeRate", "deliveryTime", "basisRateYear"):
                del row[name]
            return {"symbol": row.pop("symbol"), "tickDirection": self._direction, **row}
        for name in ("bid1Price", "bid1Size", "ask1Price", "ask1Size"):
            del row[name]
        return row

    def price_limits(self) -> tuple[str, str]:
        """(highest price of a buy, lowest of a sell) now; the premium term is taken as 0 (ASSUMED)."""
        grid = self.instrument.price_grid
        buy, sell = (band_edge(self.instrument, side, self.mark, self.index) for side in (1, -1))
        return grid.text(grid.floor(buy)), grid.text(max(1, grid.ceil(sell)))


def book_name(category: str, symbol: str) -> str:
    """Spot and linear of one symbol are two books of one account."""
    return symbol if category == "linear" else f"{symbol}.SPOT"
