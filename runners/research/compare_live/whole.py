"""The comparison as a whole: the session's profit, the backtest's, and every part of the difference."""

from __future__ import annotations

from dataclasses import dataclass

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import DataError, InvariantError, KeelError
from keel.core.model.time_range import TimeRange
from keel.runners.home import Home
from keel.runners.live.memory.records import Adjusted
from keel.runners.live.session_journal import SessionJournal
from keel.runners.research.compare_live.heard import prepared_heard
from keel.runners.research.compare_live.parts import PARTS, Parts, Row, rows_of, totals
from keel.runners.research.compare_live.sides import (
    BacktestSide,
    LiveSide,
    backtest_side,
    live_side,
    prepared_over,
    same_bars,
)
from keel.runners.systems import LoadedSystem
from keel.strategies.base import PortfolioStrategy

HEARD = "the bars that the session heard"
STORED = "the store's bars, which are those that the session heard"
STORE_ALONE = "the store's bars alone, as a portfolio's: data is not told apart from the other parts"
BOTH = "the store's bars; data is the difference to the backtest over the bars that the session heard"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Money in 1e-8. bars: whose the backtest ran over, in words.  note: why the store's were not used; "" where they were.
    live_profit - backtest_profit == sum(parts.values()), exactly. adjusted: what was taken over from outside, and why."""

    window: TimeRange
    live_profit: int
    backtest_profit: int
    parts: Parts
    rows: list[Row]
    bars: str
    note: str
    adjusted: list[Adjusted]
    sessions: int
    quoted: bool

    @property
    def difference(self) -> int:
        """The session's profit less the backtest's."""
        return self.live_profit - self.backtest_profit


def compare_live(journal: SessionJournal, loaded: LoadedSystem, home: Home) -> Comparison:
    """Set a session beside the backtest of its system. Raises ConfigError, DataError and StrategyError."""
    live = live_side(journal, loaded)
    window = live.window
    if issubclass(loaded.strategy, PortfolioStrategy):
        return _of_a_portfolio(journal, loaded, home, live)
    own = prepared_heard(journal, live, loaded)
    over_heard = backtest_side(own, live)
    stored, note = None, ""
    if home.store.exists():
        try:
            with HistoricalDataStore(home.store, read_only=True) as store:
                other = prepared_over(store, journal, loaded, window)
                is_same = same_bars(own, other)
                stored = backtest_side(other, live)
        except KeelError as error:
            note = f"the store's bars were not compared, and data is 0: {str(error).partition(chr(10))[0]}"
    else:
        note = f"there is no store in {home.root}: data is 0"
    if stored is not None and is_same and _same_trips(stored, over_heard):
        return _whole(live, stored, None, window, STORED, note)
    if stored is not None:
        return _whole(live, over_heard, stored, window, BOTH, note)
    return _whole(live, over_heard, None, window, HEARD, note)


def _of_a_portfolio(journal: SessionJournal, loaded: LoadedSystem, home: Home, live: LiveSide) -> Comparison:
    """Over the store alone: what its strategy reads beside bars (marks, index, rates of any length) is not rebuilt from a journal."""
    if not home.store.exists():
        raise DataError(
            f"there is no store in {home.root}: a portfolio's session is compared over the store's history, which has what its strategy"
            " reads beside bars; name the home that has it (--home DIR)"
        )
    with HistoricalDataStore(home.store, read_only=True) as store:
        stored = backtest_side(prepared_over(store, journal, loaded, live.window), live)
    return _whole(live, stored, None, live.window, STORE_ALONE, "")


def _same_trips(a: BacktestSide, b: BacktestSide) -> bool:
    return a.profit == b.profit and [trip.net for trip in a.trips] == [trip.net for trip in b.trips]


def _whole(live: LiveSide, own: BacktestSide, stored: BacktestSide | None, window: TimeRange, bars: str, note: str) -> Comparison:
    base = own if stored is None else stored
    rows = rows_of(live.trips, own.trips, None if stored is None else stored.trips)
    outside = (live.profit - sum(trip.net for trip in live.trips)) - (base.profit - sum(trip.net for trip in base.trips))
    parts = totals(rows, outside)
    if sum(parts[name] for name in PARTS) != live.profit - base.profit:
        raise InvariantError(f"the parts of {live.profit - base.profit} add up to {sum(parts.values())}")
    heard = live.heard
    return Comparison(
        window, live.profit, base.profit, parts, rows, bars, note, heard.adjusted, heard.sessions, bool(heard.quotes)
    )  # fmt: skip
