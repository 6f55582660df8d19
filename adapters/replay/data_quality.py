"""What one symbol's numbers rest on: where its series came from, for how many bars each, and what was odd about them."""

from __future__ import annotations

import numpy as np

from keel.adapters.replay.bars import ReplayPlan
from keel.adapters.replay.history import FundingColumns, PriceColumns, SymbolHistory
from keel.adapters.store import HistoricalDataStore


def data_quality_of(
    store: HistoricalDataStore, plan: ReplayPlan, history: SymbolHistory, skipped: int, partial: int, completed: list[str]
) -> dict[str, object]:
    """Plain data for the run's ``trust``. skipped: execution bars that are missing; partial: coarser bars built from what was there;
    completed: what is said of stored series that finer bars have completed."""
    bars = len(history.execution)
    return {
        "bars": bars,
        "data_source": sorted(_sources(store, plan, history)),
        "instrument": history.instrument.source,
        "mark": _source(history.mark, bars, "last"),
        "index": _source(history.index, bars, "last" if history.mark is None else "mark"),
        "funding": _funding(history.funding, plan),
        "completed": completed + [said for columns in (history.mark, history.index) if columns is not None for said in columns.completed],
        "skipped_bars": skipped,
        "partial_bars": partial,
    }


def oddities(history: SymbolHistory) -> dict[str, object]:
    """What is odd about the execution bars themselves; whole-column work, done when the run's ``trust`` is first read."""
    execution, bars = history.execution, len(history.execution)
    opens, closes = execution["open"], execution["close"]
    return {
        "open_is_previous_close": float(np.mean(opens[1:] == closes[:-1])) if bars > 1 else None,
        "zero_volume_bars": int(np.count_nonzero(execution["volume"] == 0)),
        "off_grid_prices": _off_grid(history),
    }


def _sources(store: HistoricalDataStore, plan: ReplayPlan, history: SymbolHistory) -> set[str]:
    """Where the bars of the window came from; for bars that were built, where the series that they can have been built of did."""
    own = store.timeframes(history.symbol, env=plan.env, category=plan.category)
    named = [history.execution.timeframe] if history.execution.timeframe in own else own
    return {
        name
        for timeframe in named
        for name in store.sources(history.symbol, timeframe, "last", plan.window, env=plan.env, category=plan.category)
    }


def _source(columns: PriceColumns | None, bars: int, otherwise: str) -> str:
    if columns is None:
        return otherwise
    parts = [
        (columns.exact, "own series for {} bars"),
        (columns.derived, "derived from a coarser one for {}" if columns.exact else "derived from a coarser series for {} bars"),
        (bars - columns.exact - columns.derived, f"{otherwise} for {{}}"),
    ]
    return ", ".join(text.format(count) for count, text in parts if count)


def _funding(funding: FundingColumns | None, plan: ReplayPlan) -> str:
    if funding is None:
        return "none"
    inside = (funding.stamps >= plan.window.start_ms) & (funding.stamps < plan.window.end_ms)
    return f"{funding.source}, {int(np.count_nonzero(inside))} times"


def _off_grid(history: SymbolHistory) -> int:
    """How many closes of the execution bars are not on the instrument's price grid."""
    grid, closes = history.instrument.price_grid, history.execution["close"]
    return int(np.count_nonzero(np.rint(closes * grid.den / grid.num) * grid.num / grid.den != closes))
