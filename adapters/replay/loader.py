"""Loads what a run replays, and refuses what would make it lie: gaps, missing warm-up, timeframes that contradict each other."""

from __future__ import annotations

from keel.adapters.replay.bars import ReplayPlan, coarser_bars, completed_bars, execution_bars, missing_bars, with_warmup
from keel.adapters.replay.data_quality import data_quality_of
from keel.adapters.replay.funding import funding_columns
from keel.adapters.replay.history import SymbolHistory
from keel.adapters.replay.marks import price_columns
from keel.adapters.replay.volatility import rolling_volatility_bps
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError
from keel.core.model.frame import Frame

__all__ = ["ReplayPlan", "load_histories"]


def load_histories(store: HistoricalDataStore, plan: ReplayPlan) -> list[SymbolHistory]:
    """One history per symbol, in the plan's order. Raises DataError, naming symbol, timeframe and time, for what is not there."""
    histories = [_load_symbol(store, plan, symbol) for symbol in plan.symbols]
    quotes = {history.instrument.quote: history.symbol for history in histories}
    if len(quotes) > 1:
        named = ", ".join(f"{symbol} in {quote}" for quote, symbol in quotes.items())
        raise ConfigError(f"the symbols of a system share one quote coin, and these do not: {named}")
    return histories


def _load_symbol(store: HistoricalDataStore, plan: ReplayPlan, symbol: str) -> SymbolHistory:
    window, env, category = plan.window, plan.env, plan.category
    one_timeframe = plan.execution_timeframe == plan.timeframe
    if one_timeframe:
        decision = with_warmup(store, plan, symbol, plan.timeframe)
        execution = decision.between(window.start_ms, window.end_ms)
    else:
        execution = execution_bars(store, plan, symbol)
    skipped = missing_bars(store, plan, execution)
    known = store.instrument_and_assumptions(symbol, category, window.start_ms, env=env)
    instrument = known.instrument
    partial = 0
    coarser: dict[str, Frame] = {}
    for timeframe in plan.warmup if one_timeframe else {plan.timeframe: 0, **plan.warmup}:
        if timeframe != plan.execution_timeframe:
            coarser[timeframe], count = coarser_bars(store, plan, timeframe, execution, instrument, skipped)
            partial += count
    loaded = [decision if one_timeframe else execution, *coarser.values()]
    completed = [said for frame in loaded if (said := completed_bars(store, plan, frame, instrument)) is not None]
    history = SymbolHistory(instrument, execution, decision if one_timeframe else coarser.pop(plan.timeframe), coarser)
    if category == "linear":
        history.mark = price_columns(store, execution, "mark", env=env, category=category)
        history.index = price_columns(store, execution, "index", env=env, category=category, fallback=history.mark)
    history.funding = funding_columns(store, instrument, execution, history.mark, window, plan.execution, env=env)
    if "open_interest" in plan.inputs:
        history.open_interest = store.find(symbol, "", window.start_ms, window.end_ms + 1, env=env, kind="open_interest", category=category)
    window_bars = plan.execution.volatility_window
    if window_bars is not None:
        history.volatility_bps = rolling_volatility_bps(execution["close"], window_bars)
    history.trust = data_quality_of(store, plan, history, skipped, partial, completed)
    history.trust |= {"assumed": [*known.assumed], "doubts": [*known.doubts]}
    return history
