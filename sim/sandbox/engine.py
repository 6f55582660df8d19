"""The market and all accounts, moved together: piece by piece in real time, or bar by bar on command.

Order within one piece: every account's exchange processes every symbol (symbols in their order), then the public market has moved. A bar
therefore closes in public after everything that it caused in private.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from keel.core.engine.clock import ReplayClock
from keel.core.model.instrument import Instrument
from keel.sim.exchange.book import SymbolBook
from keel.sim.exchange.exchange import SimulatedExchange
from keel.sim.sandbox.account.ids import IdSource
from keel.sim.sandbox.account.order_requests import OrderRequests
from keel.sim.sandbox.account.simulated_account import ACCOUNT_UIDS, SimulatedAccount
from keel.sim.sandbox.account.views import position_push, wallet_row
from keel.sim.sandbox.market.bar_source import SymbolSeries
from keel.sim.sandbox.market.random_walk import Piece
from keel.sim.sandbox.market.symbol_market import SymbolMarket
from keel.sim.sandbox.settings import SandboxSettings


@dataclass(slots=True)
class Move:
    """A while of market: [ts_open, ts_close), and what each symbol did in it (by book name); None stands for no bar."""

    ts_open: int
    ts_close: int
    pieces: dict[str, Piece]
    volatility: dict[str, float] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)
    """The mark at the end, where it is another than the path's (by book name)."""


Schedule = tuple[list[int], list[int], list[int]]
"""Funding: stamps in ms, rates and marks in 1e-8."""


class Feed(Protocol):
    """Where moves come from."""

    duration_ms: int
    is_now: bool
    """Whether its market time is the wall's (at factor 1), from its start on."""
    is_synthetic: bool
    """Whether its prices are invented."""

    def instruments(self) -> list[Instrument]: ...
    def history(self, name: str) -> SymbolSeries | None: ...
    def schedule(self, name: str) -> Schedule | None: ...
    def start_ms(self) -> int: ...
    def next_bar(self) -> Move | None: ...
    def next_move(self, length_ms: int) -> Move | None: ...
    def funding_due(self, ts_open: int) -> list[tuple[str, int, int, int]]: ...
    def next_funding(self, name: str, ts: int) -> tuple[int, int] | None: ...
    def bars_left(self) -> int | None: ...


@dataclass(slots=True)
class Moved:
    """What the public can be told after a move: symbols that moved, and those whose base bar has closed."""

    markets: list[SymbolMarket]
    closed: list[SymbolMarket]
    ts_open: int
    ts_close: int


class Engine:
    """Implements ``ClockTick`` of sim/sandbox/account/order_requests.py."""

    def __init__(self, settings: SandboxSettings, feed: Feed, wall_ms: Callable[[], int]) -> None:
        self.settings, self.feed = settings, feed
        self._wall = wall_ms
        self.clock = ReplayClock(feed.start_ms())
        self.played_to = self.clock.now_ms
        """Market time up to which the feed has been played."""
        self._volumes: dict[str, float] = {}
        """Of the latest piece of each symbol, where an order may take a share of it only."""
        self.has_ended = False
        """Whether the feed had nothing more when it was asked."""
        self._begun_at: tuple[int, int] | None = None
        self.first_number = wall_ms() if settings.has_fresh_ids else 0
        """With what numbers of this start begin, and by what its ids are told from those of other starts; 0: as at every start."""
        start = str(self.first_number or "")
        self.markets: dict[str, SymbolMarket] = {}
        share = settings.execution.max_volume_share
        for number, instrument in enumerate(feed.instruments(), start=1):
            market = SymbolMarket(instrument, number, feed.duration_ms, settings.seed, self.first_number, 1.0 if share == "none" else share)
            self.markets[market.name] = market
            self._load(market)
        self.accounts: dict[str, SimulatedAccount] = {}
        for number, one in enumerate(settings.accounts, start=1):
            chosen = msgspec.structs.replace(one, margin_mode=settings.mode_of(one))
            self.accounts[one.key] = SimulatedAccount(
                number,
                chosen,
                self.markets,
                settings.execution,
                self.clock,
                IdSource(settings.seed, str(ACCOUNT_UIDS + number), start),
                self,
                self.first_number,
            )
        for account in self.accounts.values():
            self._prepare(account)
        self.order_requests = OrderRequests(self.markets, self, settings.seed)

    def _load(self, market: SymbolMarket) -> None:
        series = self.feed.history(market.name)
        market.now = self.clock.now_ms
        if series is not None and series.first:
            market.candles.load(series, series.first)
            row = series.first - 1
            mark = series.mark or series.last
            market.last, market.mark, market.index = float(series.last[3][row]), float(mark[3][row]), float((series.index or mark)[3][row])
            if series.mark_closes is not None:
                market.mark = float(series.mark_closes[row])
            past = slice(0, series.first)
            open_, high, low, close = (column[past] for column in series.last)
            market.print_past(series.ts[past], (open_, high, low, close), series.volume[past], self.feed.duration_ms)
        if series is not None and series.open_interest is not None:
            stamps, values = series.open_interest
            market.interest_stamps, market.interest_values = stamps.tolist(), values.tolist()
        if series is not None:
            market.funding = list(zip(*series.past_funding, strict=True))
        self._push_funding(market)

    def _push_funding(self, market: SymbolMarket) -> None:
        schedule = self.feed.schedule(market.name)
        if schedule is not None:
            market.settle_until(self.clock.now_ms, schedule)
        elif market.is_linear:
            market.next_funding = self.feed.next_funding(market.name, self.clock.now_ms)

    def _prepare(self, account: SimulatedAccount) -> None:
        """Stand every book at the price with which play begins."""
        for name, market in self.markets.items():
            book = account.exchange.books[name]
            book.ts, book.last, book.mark, book.index = self.clock.now_ms, market.last, market.mark, market.index
            schedule = self.feed.schedule(name)
            if schedule is not None and market.is_linear:
                account.exchange.set_funding(name, *schedule)

    # --- time ---

    def wall_ms(self) -> int:
        """The server's own clock, which requests are signed against."""
        return self._wall() + self.settings.clock_skew_ms

    @property
    def is_lockstep(self) -> bool:
        """Whether the market moves on command only."""
        return self.settings.pace == "lockstep"

    @property
    def now_ms(self) -> int:
        """Market time."""
        if self.settings.pace != "real" or self._begun_at is None:
            return self.clock.now_ms
        return max(self.clock.now_ms, self.due_ms())

    def due_ms(self) -> int:
        """The market time that the wall clock asks for, at pace real."""
        if self._begun_at is None:
            start = self.clock.now_ms
            self._begun_at = (start if self.feed.is_now and self.settings.factor == 1.0 else self._wall(), start)
        wall, market = self._begun_at
        return market + int((self._wall() - wall) * self.settings.factor)

    # --- moves ---

    def step_bar(self) -> Moved | None:
        """One whole base bar; None when the feed has ended."""
        return self._played(self.feed.next_bar())

    def move(self, length_ms: int) -> Moved | None:
        """The next piece, at most so long; None when the feed has ended."""
        return self._played(self.feed.next_move(length_ms))

    def _played(self, move: Move | None) -> Moved | None:
        self.has_ended = move is None
        return None if move is None else self._apply(move)

    def _apply(self, move: Move) -> Moved:
        for name, stamp, rate, mark in self.feed.funding_due(move.ts_open):
            self.markets[name].funding.append((stamp, rate))
            for account in self.accounts.values():
                account.exchange.books[name].funding.append(stamp, rate, mark)
        self.played_to = move.ts_close
        self.clock.now_ms = max(self.clock.now_ms, move.ts_close)
        for account in self.accounts.values():
            for name, piece in move.pieces.items():
                book = account.exchange.books[name]
                _pass(account.exchange, book, move.ts_open, move.ts_close, piece, move.volatility.get(name, 0.0))
            self.settle(account)
        if self.settings.execution.max_volume_share != "none":
            self._volumes.update((name, piece.volume) for name, piece in move.pieces.items())
        moved = [self.markets[name] for name in move.pieces]
        for market in moved:
            piece = move.pieces[market.name]
            market.take(move.ts_open, move.ts_close, piece.prices, piece.volume, move.marks.get(market.name))
        for market in self.markets.values():
            self._push_funding(market)
        is_end = move.ts_close % self.feed.duration_ms == 0
        if is_end:
            for market in moved:
                market.candles.close()
        return Moved(moved, moved if is_end else [], move.ts_open, move.ts_close)

    def answer_at(self, account: SimulatedAccount, name: str, now: int) -> None:
        """A moment without movement, at this market time: what has arrived at this account's book is answered. Where orders take a share
        of what is traded, it is a share of the latest piece (ASSUMED): between two moves a market is no less liquid."""
        market, exchange = self.markets[name], account.exchange
        self.clock.now_ms = now
        exchange.instant(exchange.books[name], now, market.last, market.mark, market.index, self._volumes.get(name, 0.0))
        self.settle(account)

    def settle(self, account: SimulatedAccount) -> None:
        """After something happened to an account: what it says of positions and wallet."""
        for market, liquidation in account.liquidations:
            market.liquidations.append({
                "T": liquidation.ts, "s": market.symbol, "S": "Buy" if liquidation.side == "SELL" else "Sell",
                "v": market.instrument.format_qty(liquidation.qty), "p": market.price(liquidation.bankruptcy_price),
            })  # fmt: skip
        account.liquidations.clear()
        account.finish(lambda name, idx: position_push(account, name, idx), lambda: wallet_row(account))


def _pass(exchange: SimulatedExchange, book: SymbolBook, ts_open: int, ts_close: int, piece: Piece, volatility_bps: float) -> None:
    """A piece goes through one account's book."""
    open_, high, low, close, *others = piece.prices
    mark_open, mark_high, mark_low, mark_close, index_open, index_high, index_low, index_close = others
    exchange.step(
        book, ts_open, ts_close, open_, high, low, close, piece.volume, mark_open, mark_high, mark_low, mark_close,
        index_open, index_high, index_low, index_close, volatility_bps,
    )  # fmt: skip


def piece_length(settings: SandboxSettings, duration_ms: int) -> int:
    """How long a piece of real-time play is: one tick, at most a base bar, dividing it."""
    wanted = max(1, int(settings.tick_ms * settings.factor))
    if wanted >= duration_ms:
        return duration_ms
    return next(length for length in range(wanted, 0, -1) if duration_ms % length == 0)
