"""Both sides: the session out of its journal, and the backtest over the bars that it heard, or over the store's."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from keel.adapters.journal import SessionStarted
from keel.adapters.store import HistoricalDataStore
from keel.core.engine.instant import InstantClosed
from keel.core.errors import ConfigError, DataError, StrategyError
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Bar, Fill, FundingPayment, FundingRate, MarkPrice, Message, OrderUpdate, SubmitOrder
from keel.core.model.money import UNIT
from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import floor_ts
from keel.core.system.config import SystemConfig
from keel.runners.backtest.preparation import Prepared, prepare
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import wire_backtest
from keel.runners.live.memory.history import known
from keel.runners.live.memory.records import Adjusted, Decided, InputsKnown, Quoted
from keel.runners.live.session.decisions import decided_command
from keel.runners.live.session_journal import SessionJournal
from keel.runners.live.startup.program import instruments_of
from keel.runners.research.compare_live.account import HeardAccount
from keel.runners.research.compare_live.trips import Prices, Trip, round_trips
from keel.runners.systems import LoadedSystem
from keel.runners.user_code import load_function

Event = Fill | FundingPayment


@dataclass(slots=True)
class Heard:
    """What a session heard and ordered, up to the end of the comparison."""

    bars: dict[tuple[str, str], dict[int, Bar]] = field(default_factory=dict)
    marks: dict[str, dict[int, float]] = field(default_factory=dict)
    rates: dict[str, dict[int, float]] = field(default_factory=dict)
    inputs: list[InputsKnown] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    updates: list[OrderUpdate] = field(default_factory=list)
    orders: list[SubmitOrder] = field(default_factory=list)
    quotes: dict[str, Quoted] = field(default_factory=dict)
    adjusted: list[Adjusted] = field(default_factory=list)
    sessions: int = 0


@dataclass(frozen=True, slots=True)
class LiveSide:
    """The session: its trips, its profit (1e-8: what equity changed by, money from outside left out), what it heard, and the span of the
    comparison."""

    trips: list[Trip]
    profit: int
    heard: Heard
    instruments: Mapping[str, Instrument]
    window: TimeRange


@dataclass(frozen=True, slots=True)
class BacktestSide:
    """The backtest over a window: trips and profit (1e-8)."""

    trips: list[Trip]
    profit: int


# --- the session ---


def live_side(journal: SessionJournal, loaded: LoadedSystem) -> LiveSide:
    """Let the journal be heard up to the end of the run's session. Raises ConfigError for what cannot be compared."""
    if loaded.config.category != "linear":
        raise ConfigError("compare-live takes perpetuals only so far: a spot fee is taken out of the holding, in the base coin")
    window = window_of(journal, loaded)
    instruments = instruments_of(journal.program)
    heard, account = Heard(), HeardAccount(journal.opened, instruments)
    for record in journal.records():
        message = known(record)
        if isinstance(message, SessionStarted):
            if journal.session and message.number > journal.session:
                break
            heard.sessions += 1
        account.receive(message)
        _note(heard, message)
        if isinstance(message, InstantClosed) and message.ts >= window.end_ms:
            break
    portfolio, opened = account.portfolio, journal.opened
    paths = _paths(heard, loaded.config)
    own = f"{opened.system_uid[:8]}-{opened.nonce}-"
    prices = _Anchors(paths, heard.orders, heard.updates, loaded.config, lambda name: name.startswith(own), _half_spreads(journal, heard))
    marks = {symbol: portfolio.mark(symbol) for symbol in instruments}
    trips = round_trips(heard.events, instruments, prices, marks, held=opened.positions, held_since=opened.ts)
    value = sum(_unrealized(line) for line in portfolio.lines.values())
    moved = sum(each.cash_change for each in heard.adjusted)
    return LiveSide(trips, portfolio.cash + value - opened.cash - moved, heard, instruments, window)


def window_of(journal: SessionJournal, loaded: LoadedSystem) -> TimeRange:
    """From the decision bar in which the journal began to the last decision bar that had closed when the run's session ended."""
    last, timeframe = 0, loaded.config.timeframe
    for record in journal.records():
        message = record.message
        if isinstance(message, SessionStarted) and journal.session and message.number > journal.session:
            break
        if isinstance(message, InstantClosed):
            last = message.ts
    start, end = floor_ts(journal.opened.start_ms, timeframe), floor_ts(last, timeframe)
    if end <= start:
        raise DataError(f"{journal.name} ended before a bar of {timeframe} had closed: there is nothing to compare")
    return TimeRange(start, end)


def _unrealized(line: Any) -> int:
    """As a trip that is still open is valued (trips.py)."""
    steps = line.book.steps
    worth = round(abs(steps) * line.instrument.qty_grid.value(1) * line.mark * 1e8)
    return 0 if not steps else (worth - line.book.cost) * (1 if steps > 0 else -1)


def _note(heard: Heard, message: Message) -> None:
    if isinstance(message, Bar):
        heard.bars.setdefault((message.symbol, message.tf), {}).setdefault(message.ts_open, message)
    elif isinstance(message, MarkPrice):
        heard.marks.setdefault(message.symbol, {})[message.ts] = message.price
    elif isinstance(message, FundingRate):
        heard.rates.setdefault(message.symbol, {})[message.ts] = message.rate
    elif isinstance(message, InputsKnown):
        heard.inputs.append(message)
    elif isinstance(message, (Fill, FundingPayment)):
        heard.events.append(message)
    elif isinstance(message, OrderUpdate):
        heard.updates.append(message)
    elif isinstance(message, Quoted):
        heard.quotes[message.client_order_id] = message
    elif isinstance(message, Adjusted):
        heard.adjusted.append(message)
    elif isinstance(message, Decided):
        command = decided_command(message.made)
        if isinstance(command, SubmitOrder):
            heard.orders.append(command)


def _half_spreads(journal: SessionJournal, heard: Heard) -> dict[str, int]:
    """By order, as rates of 1e-8, where the market's own book filled it: that of a sandbox is invented, and fills come from the bars."""
    if journal.opened.account.startswith("sandbox"):
        return {}
    return {name: round((each.ask - each.bid) / (each.ask + each.bid) * UNIT) for name, each in heard.quotes.items()}


# --- where prices came from ---


class _Path:
    """The execution bars of one symbol."""

    def __init__(self, bars: Iterable[Bar]) -> None:
        self._bars = sorted(bars, key=lambda bar: bar.ts_open)
        self._opens = [bar.ts_open for bar in self._bars]

    def at(self, ts: int) -> Bar | None:
        """The bar in which a time lies; else the last before it."""
        place = bisect_right(self._opens, ts) - 1
        return self._bars[place] if place >= 0 else None

    def close_at(self, ts: int) -> float | None:
        """The close of the bar that ended then; else the last before it."""
        bar = self.at(ts - 1)
        return None if bar is None else bar.close


def _paths(heard: Heard, system: SystemConfig) -> dict[str, _Path]:
    timeframe = system.execution_timeframe or system.timeframe
    return {symbol: _Path(heard.bars.get((symbol, timeframe), {}).values()) for symbol in system.symbols}


class _Anchors:
    """The prices behind a fill, by the same rules on both sides."""

    def __init__(
        self,
        paths: Mapping[str, _Path],
        orders: Iterable[SubmitOrder],
        updates: Iterable[OrderUpdate],
        system: SystemConfig,
        is_own: Any,
        half_spreads: Mapping[str, int],
    ) -> None:
        self._paths, self._is_own, self._half_spreads = paths, is_own, half_spreads
        self._modelled = system.execution.half_spread_rate
        self._orders = {order.client_order_id: order for order in orders}
        self._triggers = {each.client_order_id: each.trigger_price for each in updates if each.trigger_price is not None}

    def __call__(self, fill: Fill) -> Prices:
        name, path = fill.client_order_id, self._paths[fill.symbol]
        order, bar = self._orders.get(name), path.at(fill.ts)
        reference = fill.price if bar is None else bar.open
        trigger = self._triggers.get(name)
        if order is not None and order.trigger_price is None:
            anchor = path.close_at(order.ts)
            decided = order.ts
        else:
            anchor, decided = trigger, fill.ts
            if trigger is not None and bar is not None and bar.low <= trigger <= bar.high:
                reference = trigger
        half = self._half_spreads.get(name, self._modelled) if not fill.maker else 0
        return Prices(reference if anchor is None else anchor, reference, half, decided, bool(self._is_own(name)))


# --- the backtest ---


def prepared_over(store: HistoricalDataStore, journal: SessionJournal, loaded: LoadedSystem, window: TimeRange) -> Prepared:
    """The system with the session's opening balance over a store. Raises DataError for history that is not there."""
    try:
        return prepare(store, system_of(journal, loaded), window, loaded.strategy(), loaded.params, load_function=load_function)
    except StrategyError as error:
        error.add_note("this came of the backtest that the session is held against")
        raise


def system_of(journal: SessionJournal, loaded: LoadedSystem) -> SystemConfig:
    """The system as its backtest has it: with the session's opening balance, and without what no session heard."""
    execution = msgspec.structs.replace(loaded.config.execution, gaps="skip")
    return msgspec.structs.replace(loaded.config, initial_equity=journal.opened.cash / UNIT, execution=execution)


def backtest_side(prepared: Prepared, live: LiveSide) -> BacktestSide:
    """Run it. Fills are measured against the bars that the session heard."""
    parts = wire_backtest(prepared, "bt")
    replay(parts.feed, parts.engine, parts.venue)
    messages = parts.messages
    orders = [each for each in messages if isinstance(each, SubmitOrder)]
    updates = [each for each in messages if isinstance(each, OrderUpdate)]
    prices = _Anchors(_paths(live.heard, prepared.system), orders, updates, prepared.system, lambda name: True, {})
    instruments = {history.symbol: history.instrument for history in prepared.histories}
    marks = {symbol: parts.portfolio.mark(symbol) for symbol in instruments}
    events = [each for each in messages if isinstance(each, (Fill, FundingPayment))]
    trips = round_trips(events, instruments, prices, marks)
    value = sum(_unrealized(line) for line in parts.portfolio.lines.values())
    return BacktestSide(trips, parts.portfolio.cash + value - parts.portfolio.initial_equity)


def same_bars(prepared: Prepared, other: Prepared) -> bool:
    """Whether two histories have the same bars, marks and rates in the window."""
    for ours, theirs in zip(prepared.histories, other.histories, strict=True):
        if ours.instrument != theirs.instrument or not _same(ours.execution, theirs.execution) or not _same(ours.decision, theirs.decision):
            return False
        if (ours.funding is None) != (theirs.funding is None):
            return False
        if ours.funding is not None and theirs.funding is not None:
            pairs = ((ours.funding.stamps, theirs.funding.stamps), (ours.funding.rates, theirs.funding.rates))
            if not all(np.array_equal(a, b) for a, b in pairs):
                return False
    return True


def _same(a: Frame, b: Frame) -> bool:
    return np.array_equal(a.ts, b.ts) and all(np.array_equal(a[name], b[name]) for name in BAR_COLUMNS)
