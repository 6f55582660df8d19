"""Checks of what is in the store. What must never be (duplicates, NaN, impossible bars) is an error: the writes forbid it, so it
means a damaged or foreign file; so is a bar of the last price that contradicts its finer bars, which a backtest refuses.
What markets do (silence, leaps, odd prices, gaps) is a warning or for information."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from keel.adapters.store.connection import Database
from keel.adapters.store.gaps import gaps_of
from keel.adapters.store.importing.agreement import first_disagreement
from keel.adapters.store.importing.unfinished import is_unfinished
from keel.adapters.store.instruments.funding_intervals import INTERVALS_MS, LATE_MS
from keel.adapters.store.instruments.inference import off_grid_rows
from keel.adapters.store.records import Finding, Severity
from keel.adapters.store.schema import BAR_KINDS, SeriesKey
from keel.adapters.store.series import EARLIEST, LATEST
from keel.core.errors import DataError
from keel.core.features.aggregate import aggregate
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.instrument import Grid, Instrument
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import is_finer

OUTLIER_SIGMAS = 25.0
OUTLIER_LEAST = 0.05
"""A close is an outlier when its log return is beyond so many robust deviations (1.4826 x median absolute deviation), and beyond 5 %."""

_ZERO_VOLUME_SHARE = 0.01


InstrumentOf = Callable[[SeriesKey], Instrument]
"""Gives the instrument of a series, or raises DataError."""


def verify_group(
    db: Database, group: Sequence[tuple[int, SeriesKey]], instrument_of: InstrumentOf, now_ms: int | None = None
) -> list[Finding]:
    """All checks of the series (id, key) of one symbol, env, category and kind: of each alone, then of bars against finer bars."""
    found: list[Finding] = []
    frames: list[tuple[SeriesKey, Frame]] = []
    for ident, key in group:
        stored = db.arrays(key.table.select, [ident, EARLIEST, LATEST])
        if not len(stored["ts"]):
            continue
        order = np.argsort(stored["ts"], kind="stable")
        columns = {name: column[order] for name, column in stored.items()}
        found += _of_series(key, stored["ts"], columns, instrument_of)
        if now_ms is not None:
            found += _unfinished(key, columns["ts"], now_ms)
        if key.kind in BAR_KINDS:
            frames += _as_frame(key, columns)
    for key, coarse in frames:
        for _, fine in frames:
            if is_finer(fine.timeframe, coarse.timeframe):
                found += _agreement(key, coarse, fine, instrument_of)
    return found


def _of_series(key: SeriesKey, written: np.ndarray, columns: dict[str, np.ndarray], instrument_of: InstrumentOf) -> list[Finding]:
    """The checks of one series: its times as they were written, its columns by time."""
    found = [*_times(key, written), *_numbers(key, columns)]
    if key.kind in BAR_KINDS:
        found += [*_bars(key, columns), *_returns(key, columns)]
    if key.kind == "last":
        found += [*_volume(key, columns), *_grid(key, columns, instrument_of)]
    return found


def _as_frame(key: SeriesKey, columns: dict[str, np.ndarray]) -> list[tuple[SeriesKey, Frame]]:
    """The series as a frame to compare; none where a time stands twice, which is a finding of its own."""
    ts = columns["ts"]
    if not bool((ts[1:] > ts[:-1]).all()):
        return []
    return [(key, Frame(ts, {name: columns[name] for name in BAR_COLUMNS}, symbol=key.symbol, timeframe=key.timeframe, kind=key.kind))]


def _agreement(key: SeriesKey, coarse: Frame, fine: Frame, instrument_of: InstrumentOf) -> Iterator[Finding]:
    """Bars that contradict their finer bars: an error for the last price, which backtests trade on; a warning for mark and index."""
    try:
        instrument = instrument_of(key)
    except DataError:  # there is no quantity step to compare volumes by: the finding off_grid tells why
        return
    wrong = first_disagreement(coarse, aggregate(fine, coarse.timeframe), instrument)
    if wrong is not None:
        detail = (
            f"{wrong.count} rows: not what their {fine.timeframe} bars make; first {to_iso(wrong.ts)}, {wrong.column} {wrong.stored!r}, "
            f"made {wrong.built!r}; one of the two series is wrong: import both from one source"
        )
        yield _make(key, "disagreement", wrong.ts, detail, "error" if key.kind == "last" else "warning", wrong.count)


def _times(key: SeriesKey, ts: np.ndarray) -> Iterator[Finding]:
    back = np.flatnonzero(ts[1:] < ts[:-1]) + 1
    yield from _finding(key, "disorder", ts, back, "stored after a later one; reads put them in order", "info")
    times = np.sort(ts)
    if key.kind != "trades":
        twice = np.flatnonzero(times[1:] == times[:-1]) + 1
        yield from _finding(key, "duplicate", times, twice, "the same time twice", "error")
        times = np.unique(times)
    if key.kind == "funding" and len(times) > 1:
        close = np.flatnonzero(np.diff(times) < INTERVALS_MS[0] - LATE_MS) + 1
        yield from _finding(
            key, "funding_interval", times, close, "less than an hour after the one before, as no exchange settles", "warning"
        )
    gaps = gaps_of(key.kind, key.timeframe, times)
    if gaps:
        missing, longest = sum(gap.missing for gap in gaps), max(gaps, key=lambda gap: gap.missing)
        detail = f"{missing} missing in {len(gaps)} gaps; the longest is {longest.missing} from {to_iso(longest.start)}"
        yield _make(key, "gap", gaps[0].start, detail, "warning", len(gaps))


def _unfinished(key: SeriesKey, ts: np.ndarray, now_ms: int) -> Iterator[Finding]:
    rows = np.flatnonzero(is_unfinished(key, ts, now_ms))
    yield from _finding(
        key, "unfinished", ts, rows, f"not final by the clock, {to_iso(now_ms)}; import them again later, with --overwrite", "warning"
    )


def _numbers(key: SeriesKey, columns: dict[str, np.ndarray]) -> Iterator[Finding]:
    for name, kind in key.table.columns:
        if kind == "DOUBLE":
            bad = np.flatnonzero(~np.isfinite(columns[name]))
            yield from _finding(key, "not_a_number", columns["ts"], bad, f"{name} is not a finite number", "error")


def _bars(key: SeriesKey, columns: dict[str, np.ndarray]) -> Iterator[Finding]:
    high, low = columns["high"], columns["low"]
    top, bottom = np.maximum(columns["open"], columns["close"]), np.minimum(columns["open"], columns["close"])
    bad = np.flatnonzero((high < low) | (top > high) | (bottom < low) | (low <= 0))
    yield from _finding(key, "ohlc", columns["ts"], bad, "low <= open, close <= high, above zero, does not hold", "error")


def _returns(key: SeriesKey, columns: dict[str, np.ndarray]) -> Iterator[Finding]:
    close = columns["close"]
    usable = np.flatnonzero(np.isfinite(close) & (close > 0))
    if len(usable) < 30:
        return
    change = np.diff(np.log(close[usable]))
    spread = 1.4826 * float(np.median(np.abs(change - np.median(change))))
    rows = usable[np.flatnonzero(np.abs(change) > max(OUTLIER_LEAST, OUTLIER_SIGMAS * spread)) + 1]
    yield from _finding(
        key, "outlier", columns["ts"], rows, f"the close leaps by more than {OUTLIER_SIGMAS:g} robust deviations", "warning"
    )


def _volume(key: SeriesKey, columns: dict[str, np.ndarray]) -> Iterator[Finding]:
    rows = np.flatnonzero(columns["volume"] == 0)
    share = len(rows) / len(columns["ts"])
    severity: Severity = "warning" if share > _ZERO_VOLUME_SHARE else "info"
    yield from _finding(key, "zero_volume", columns["ts"], rows, f"nothing traded ({share:.2%} of the bars)", severity)


def _grid(key: SeriesKey, columns: dict[str, np.ndarray], instrument_of: InstrumentOf) -> Iterator[Finding]:
    try:
        grid: Grid = instrument_of(key).price_grid
    except DataError as error:  # prices on no grid at all are a finding too, not the end of the checks
        yield _make(key, "off_grid", int(columns["ts"][0]), str(error), "warning", len(columns["ts"]))
        return
    prices = np.stack([columns[name] for name in ("open", "high", "low", "close")])
    rows = off_grid_rows(prices, grid)
    yield from _finding(key, "off_grid", columns["ts"], rows, f"a price is not a multiple of {grid.text(1)}", "warning")


def _finding(key: SeriesKey, check: str, ts: np.ndarray, rows: np.ndarray, what: str, severity: Severity) -> Iterator[Finding]:
    if len(rows):
        first = ", ".join(to_iso(int(ts[row])) for row in rows[:3])
        yield _make(key, check, int(ts[rows[0]]), f"{len(rows)} rows: {what}; first {first}", severity, len(rows))


def _make(key: SeriesKey, check: str, ts: int, detail: str, severity: Severity, count: int) -> Finding:
    return Finding(check, key.symbol, key.category, key.kind, key.timeframe, key.env, ts, detail, severity, count)
