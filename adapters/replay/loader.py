"""Loads what a run replays, and refuses what would make it lie: gaps, missing warm-up, timeframes that contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from adapters.replay.funding import funding_columns
from adapters.replay.history import Floats, SymbolHistory
from adapters.replay.marks import price_columns
from adapters.store import HistoricalDataStore
from core.aggregate import aggregate
from core.config import ExecutionConfig, ImpactConfig
from core.errors import ConfigError, DataError
from core.frame import BAR_COLUMNS, Frame
from core.instrument import Category, Instrument
from core.time_range import TimeRange, to_iso
from core.timeframe import floor_ts, is_finer, tf_ms


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What to load. ``warmup``: bars before the window per timeframe, the decision timeframe and each higher one."""

    symbols: tuple[str, ...]
    category: Category
    timeframe: str
    execution_timeframe: str
    warmup: Mapping[str, int]
    window: TimeRange
    execution: ExecutionConfig
    inputs: frozenset[str] = frozenset()
    """Further inputs that features read: mark_close, funding_rate, open_interest."""
    env: str = "live"


def load_histories(store: HistoricalDataStore, plan: ReplayPlan) -> list[SymbolHistory]:
    """One history per symbol, in the plan's order. Raises DataError, naming symbol, timeframe and time, for what is not there."""
    _check_window(plan)
    return [_load_symbol(store, plan, symbol) for symbol in plan.symbols]


def _check_window(plan: ReplayPlan) -> None:
    for moment in plan.window.to_tuple_ms():
        if floor_ts(moment, plan.timeframe) != moment:
            raise ConfigError(f"the window's {to_iso(moment)} is not the start of a {plan.timeframe} bar: move it to one")


def _load_symbol(store: HistoricalDataStore, plan: ReplayPlan, symbol: str) -> SymbolHistory:
    window, env, category = plan.window, plan.env, plan.category
    instrument = store.instrument(symbol, category, window.start_ms)
    skipped = 0
    if plan.execution_timeframe == plan.timeframe:
        decision, skipped = _warm_frame(store, plan, symbol, plan.timeframe)
        execution = decision.between(window.start_ms, window.end_ms)
    else:
        execution = store.get_ohlcv(symbol, plan.execution_timeframe, window, env=env, category=category)
        skipped = _check_complete(execution, window.start_ms, window.end_ms, plan)
        decision = _coarser(store, plan, symbol, plan.timeframe, execution, instrument, skipped)
    higher = {
        timeframe: _coarser(store, plan, symbol, timeframe, execution, instrument, skipped)
        for timeframe in plan.warmup
        if timeframe != plan.timeframe
    }
    mark = price_columns(store, execution, "mark", env=env, category=category, earlier=decision) if category == "linear" else None
    index = price_columns(store, execution, "index", env=env, category=category, earlier=decision) if category == "linear" else None
    mark_opens = _finest_marks(store, plan, symbol) if category == "linear" else None
    funding = funding_columns(store, instrument, execution, mark, mark_opens, window, plan.execution, env=env)
    open_interest = None
    if "open_interest" in plan.inputs:
        open_interest = store.find(symbol, "", window.start_ms, window.end_ms, env=env, kind="open_interest", category=category)
    history = SymbolHistory(instrument, execution, decision, higher, mark, index, funding, open_interest)
    if isinstance(plan.execution.impact, ImpactConfig):
        history.volatility_bps = rolling_volatility_bps(execution["close"], plan.execution.impact.window)
    history.trust = _trust(store, plan, history, skipped)
    return history


def _coarser(
    store: HistoricalDataStore, plan: ReplayPlan, symbol: str, timeframe: str, execution: Frame, instrument: Instrument, skipped: int
) -> Frame:
    """Bars of a timeframe above the execution's: warm-up from its own series; with skipped gaps the window's are built from what is there."""
    frame, _ = _warm_frame(store, plan, symbol, timeframe, allow_gaps=bool(skipped))
    if not skipped:
        _check_agreement(frame, execution, instrument)
        return frame
    before = frame.between(0, floor_ts(plan.window.start_ms, timeframe))
    built = aggregate(execution, timeframe, complete=False)
    columns = {name: np.concatenate([before[name], built[name]]) for name in BAR_COLUMNS}
    return Frame(np.concatenate([before.ts, built.ts]), columns, symbol=symbol, timeframe=timeframe)


def _anchor(plan: ReplayPlan, timeframe: str) -> int:
    return floor_ts(plan.window.start_ms, timeframe) - plan.warmup.get(timeframe, 0) * tf_ms(timeframe)


def _warm_frame(
    store: HistoricalDataStore, plan: ReplayPlan, symbol: str, timeframe: str, *, allow_gaps: bool = False
) -> tuple[Frame, int]:
    """Warm-up and window of one timeframe, complete; returns (frame, bars skipped in the window)."""
    start, end = _anchor(plan, timeframe), floor_ts(plan.window.end_ms, timeframe)
    frame = store.get_ohlcv(symbol, timeframe, start, end, env=plan.env, category=plan.category)
    warm_end = floor_ts(plan.window.start_ms, timeframe)
    warm = frame.between(start, warm_end)
    wanted = plan.warmup.get(timeframe, 0)
    if len(warm) < wanted:
        raise DataError(
            f"{symbol} {timeframe}: {wanted} warm-up bars are needed before {to_iso(plan.window.start_ms)}, the store has {len(warm)}"
            f" (from {to_iso(start)} on); import earlier history, start the window later, or set warmup_bars"
        )
    if allow_gaps:
        return frame, 0
    return frame, _check_complete(frame.between(warm_end, end), warm_end, end, plan, timeframe)


def _check_complete(frame: Frame, start: int, end: int, plan: ReplayPlan, timeframe: str | None = None) -> int:
    """The number of missing bars in [start, end): 0, or with ``gaps: skip`` any; otherwise DataError names the first gap."""
    timeframe = timeframe or frame.timeframe
    duration = tf_ms(timeframe)
    missing = (end - start) // duration - len(frame)
    if missing <= 0 or (plan.execution.gaps == "skip" and len(frame)):
        return max(0, missing)
    edges = np.concatenate([[start - duration], frame.ts, [end]])
    hole = int(np.argmax(np.diff(edges) > duration))
    first, until = int(edges[hole]) + duration, int(edges[hole + 1])
    raise DataError(
        f"{frame.symbol} {timeframe}: {missing} bars are missing in the window, first from {to_iso(first)} to {to_iso(until)};"
        f" import them, build them with `keel data fill`, shorten the window, or set execution.gaps to skip"
    )


def _check_agreement(coarse: Frame, fine: Frame, instrument: Instrument) -> None:
    """A stored coarse bar must be what its fine bars make: O H L C exactly, volume to the quantity step."""
    if not is_finer(fine.timeframe, coarse.timeframe) or not len(fine):
        return
    built = aggregate(fine, coarse.timeframe)
    _, here, there = np.intersect1d(coarse.ts, built.ts, assume_unique=True, return_indices=True)
    step = instrument.qty_grid.value(1)
    for name in BAR_COLUMNS:
        own, rebuilt = coarse[name][here], built[name][there]
        differs = np.abs(own - rebuilt) > step / 2 if name == "volume" else own != rebuilt
        if differs.any():
            row = int(np.argmax(differs))
            raise DataError(
                f"{coarse.symbol}: the stored {coarse.timeframe} bar of {to_iso(int(coarse.ts[here[row]]))} has {name} {float(own[row])!r}, its"
                f" {fine.timeframe} bars make {float(rebuilt[row])!r}: one of the two series is wrong; import both from one source"
            )


def _finest_marks(store: HistoricalDataStore, plan: ReplayPlan, symbol: str) -> Frame | None:
    names = store.timeframes(symbol, kind="mark", env=plan.env, category=plan.category)
    if not names:
        return None
    finest = min(names, key=tf_ms)
    return store.find(symbol, finest, plan.window, env=plan.env, kind="mark", category=plan.category)


def rolling_volatility_bps(closes: Floats, window: int) -> Floats:
    """Sample deviation of the log returns of the ``window`` bars before each bar, in bps; of fewer while there are fewer, 0 under 2."""
    returns = np.diff(np.log(closes)) * 1e4
    count = np.arange(len(closes)) - 1.0  # bar i has i - 1 returns that end before it begins (those between bars 0 .. i - 1)
    sums = np.concatenate([[0.0, 0.0], np.cumsum(returns)])[: len(closes)]
    squares = np.concatenate([[0.0, 0.0], np.cumsum(returns**2)])[: len(closes)]
    count = np.maximum(count, 0.0)
    back = np.minimum(count, float(window)).astype(np.int64)
    at = np.arange(len(closes))
    total = sums - sums[at - back]
    total_squares = squares - squares[at - back]
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (total_squares - total**2 / back) / (back - 1)
    result: Floats = np.where(back >= 2, np.sqrt(np.maximum(variance, 0.0)), 0.0)
    return result


def _trust(store: HistoricalDataStore, plan: ReplayPlan, history: SymbolHistory, skipped: int) -> dict[str, object]:
    """Where the symbol's series came from, and for how many bars each stands."""
    execution = history.execution
    bars = len(execution)
    grid = history.instrument.price_grid
    opens, closes = execution["open"], execution["close"]
    on_grid = np.round(closes * grid.den / grid.num) * grid.num / grid.den == closes
    return {
        "bars": bars,
        "data_source": sorted(_sources(store, plan, history)),
        "instrument": history.instrument.source,
        "mark": _source(history.mark, bars),
        "index": _source(history.index, bars) if history.index is not None else "mark" if history.mark is not None else "last",
        "funding": "none" if history.funding is None else f"{history.funding.source}, {len(history.funding.stamps)} times",
        "open_is_previous_close": float(np.mean(opens[1:] == closes[:-1])) if bars > 1 else None,
        "zero_volume_bars": int(np.count_nonzero(execution["volume"] == 0)),
        "off_grid_prices": int(bars - np.count_nonzero(on_grid)),
        "skipped_bars": skipped,
    }


def _sources(store: HistoricalDataStore, plan: ReplayPlan, history: SymbolHistory) -> set[str]:
    """Where the bars of the window came from; for bars that were built, where the series that they can have been built of did."""
    where = {"env": plan.env, "category": plan.category}
    own = store.timeframes(history.symbol, **where)
    named = [history.execution.timeframe] if history.execution.timeframe in own else own
    return {name for timeframe in named for name in store.sources(history.symbol, timeframe, "last", plan.window, **where)}


def _source(columns: object, bars: int) -> str:
    exact = getattr(columns, "exact", None)
    if exact is None:
        return "last"
    return f"own series for {exact} bars, derived from a coarser one for {bars - exact}" if exact < bars else f"own series for {bars} bars"
