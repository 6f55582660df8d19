"""What a session heard, as the history of a backtest: bars, mark prices, funding, and what features read, out of its journal.

A journal says what was heard and nothing of what came before or after. So nothing is looked for around the window, as a store's holes are:
a session of an hour has one settled rate, or none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from keel.adapters.replay.funding import marks_at
from keel.adapters.replay.history import FundingColumns, SymbolHistory
from keel.adapters.replay.loader import load_histories
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import StrategyError
from keel.core.features import VectorEngine
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.messages import FundingPayment
from keel.core.model.money import UNIT
from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import tf_ms
from keel.runners.backtest.preparation import Prepared, SymbolInputs, assemble, guarded, make_plan
from keel.runners.live.session_journal import SessionJournal
from keel.runners.research.compare_live.sides import Heard, LiveSide, system_of
from keel.runners.systems import LoadedSystem
from keel.runners.user_code import load_function


def prepared_heard(journal: SessionJournal, live: LiveSide, loaded: LoadedSystem) -> Prepared:
    """The system with the session's opening balance over what the session heard. Raises DataError for what the journal lacks, and
    StrategyError with a note for a strategy that fails over it."""
    system, strategy, window = system_of(journal, loaded), loaded.strategy(), live.window
    try:
        plan = make_plan(system, window, strategy, loaded.params)
        is_heard = system.execution.funding == "history"
        execution = msgspec.structs.replace(system.execution, funding="none") if is_heard else system.execution
        bare = replace(plan.replay, inputs=frozenset(), execution=execution)
        with _store_of(journal, live, loaded) as store:
            histories = load_histories(store, bare)
        for history in histories:
            if is_heard:
                history.funding = _funding(live.heard, history, window)
            if "open_interest" in plan.replay.inputs:
                history.open_interest = _interest(live.heard, history.symbol)
        inputs = [_inputs_of(journal, live.heard, history, plan.replay.timeframe, plan.replay.inputs) for history in histories]
        return assemble(plan, system, strategy, loaded.params, inputs, guarded(VectorEngine(load_function)))
    except StrategyError as error:
        error.add_note("this came of the backtest that the session is held against")
        raise


def _store_of(journal: SessionJournal, live: LiveSide, loaded: LoadedSystem) -> HistoricalDataStore:
    """A store in memory of bars and mark prices that the session heard, and of the bars before them."""
    store, heard = HistoricalDataStore(":memory:"), live.heard
    timeframe = loaded.config.execution_timeframe or loaded.config.timeframe
    for instrument in live.instruments.values():
        store.upsert_instrument(instrument)
    for (symbol, each, data_type), frame in journal.warm_up.items():
        if len(frame) and not data_type:
            store.upsert_bars(symbol, each, _columns(frame), source="journal")
    for (symbol, each), bars in heard.bars.items():
        table = [bars[ts] for ts in sorted(bars)]
        columns = {name: np.array([getattr(bar, name) for bar in table], dtype=np.float64) for name in BAR_COLUMNS}
        store.upsert_bars(symbol, each, {"ts": np.array([bar.ts_open for bar in table], dtype=np.int64), **columns}, source="journal")
    for symbol in heard.marks:
        mark_bars = _mark_bars(heard, symbol, timeframe)
        if mark_bars is not None:
            store.upsert_bars(symbol, timeframe, mark_bars, source="journal", kind="mark")
    return store


def _mark_bars(heard: Heard, symbol: str, timeframe: str) -> dict[str, Any] | None:
    """Mark prices as bars: from the mark at the last close, or the one at which funding was paid, to the mark at this one. None where the
    mark was the last price at every close: the last price stands for it, as it does in a store without marks."""
    marks, bars = heard.marks[symbol], heard.bars.get((symbol, timeframe), {})
    paid = {each.ts: each.mark_price for each in heard.events if isinstance(each, FundingPayment) and each.symbol == symbol}
    rows = [(bar, marks[bar.ts_close]) for _, bar in sorted(bars.items()) if bar.ts_close in marks]
    if all(bar.close == mark for bar, mark in rows):
        return None
    opens = [paid.get(bar.ts_open, marks.get(bar.ts_open, mark)) for bar, mark in rows]
    table = np.array([(open_, max(open_, mark), min(open_, mark), mark) for open_, (_, mark) in zip(opens, rows, strict=True)])
    columns = {name: np.ascontiguousarray(table[:, place]) for place, name in enumerate(("open", "high", "low", "close"))}
    return {"ts": np.array([bar.ts_open for bar, _ in rows], dtype=np.int64), **columns, "volume": np.zeros(len(rows))}


def _columns(frame: Frame) -> dict[str, Any]:
    return {"ts": frame.ts, **{name: frame[name] for name in BAR_COLUMNS}}


def _funding(heard: Heard, history: SymbolHistory, window: TimeRange) -> FundingColumns:
    """The settled rates that the session heard or paid, from the last one before the window to its end. The mark at each is the one at
    which the session paid, else what is known of it from its bars."""
    symbol = history.symbol
    payments = [each for each in heard.events if isinstance(each, FundingPayment) and each.symbol == symbol]
    rates = {each.ts: each.rate / UNIT for each in payments} | heard.rates.get(symbol, {})
    before = [ts for ts in rates if ts < window.start_ms][-1:]
    stamps = np.array(sorted({*before, *(ts for ts in rates if window.start_ms <= ts <= window.end_ms)}), dtype=np.int64)
    marks = marks_at(stamps, history.execution, history.mark)
    paid = {each.ts: each.mark_price for each in payments}
    marks = np.array([paid.get(ts, mark) for ts, mark in zip(stamps.tolist(), marks.tolist(), strict=True)], dtype=np.float64)
    return FundingColumns(stamps, np.array([rates[ts] for ts in stamps.tolist()], dtype=np.float64), marks, "history")


def _inputs_of(journal: SessionJournal, heard: Heard, history: SymbolHistory, timeframe: str, names: frozenset[str]) -> SymbolInputs:
    """Every frame with what features read beside its bars, as the session knew it at each close."""
    symbol, frames = history.symbol, {timeframe: history.decision, **history.higher}
    known = {each.ts: each.values for each in heard.inputs if each.symbol == symbol}
    found: dict[str, Frame] = {}
    for each, frame in frames.items():
        warm_up, step = journal.warm_up.get((symbol, each, "")), tf_ms(each)
        columns: dict[str, Any] = {}
        for name in sorted(names):
            values = {ts: row[name] for ts, row in known.items() if name in row}
            if warm_up is not None and name in warm_up.columns:
                values = dict(zip((warm_up.ts + step).tolist(), warm_up[name].tolist(), strict=True)) | values
            columns[name] = np.array([values.get(ts, np.nan) for ts in (frame.ts + step).tolist()], dtype=np.float64)
        found[each] = frame.with_columns(columns) if columns else frame
    return SymbolInputs(history, found)


def _interest(heard: Heard, symbol: str) -> Frame | None:
    """Open interest as features saw it at each decision bar; None where they saw none."""
    points = {each.ts: each.values["open_interest"] for each in heard.inputs if each.symbol == symbol and "open_interest" in each.values}
    if not points:
        return None
    stamps = np.array(sorted(points), dtype=np.int64)
    values = np.array([points[ts] for ts in stamps.tolist()], dtype=np.float64)
    return Frame(stamps, {"open_interest": values}, symbol=symbol, timeframe="", kind="open_interest")
