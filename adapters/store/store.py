"""The store of history, on DuckDB: one file, one owner. This is its face; the work is in the modules beside it.

Rules: times are int64 ms UTC, a bar's ts is its open, ranges are [start, end). Nothing is ever forward-filled. Rows of env "live" are
canonical for backtests, those of "demo" lie apart. Every write is one transaction and idempotent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from keel.adapters.store.connection import MEMORY, Database
from keel.adapters.store.coverage import coverage, fingerprint, source_counts
from keel.adapters.store.export import export_columns
from keel.adapters.store.files.table import Reading
from keel.adapters.store.gaps import build_missing, gaps_of
from keel.adapters.store.importing.agreement import first_disagreement
from keel.adapters.store.importing.checks import prepare
from keel.adapters.store.instruments.inference import Inferred
from keel.adapters.store.instruments.instruments import import_instruments, read_instrument, write_instrument
from keel.adapters.store.maintenance import delete_series, rename_series
from keel.adapters.store.quality import verify_group
from keel.adapters.store.reading import find_frame, finer_timeframes, frame_of, nothing, own_frame, spans_in_words, with_timeframe
from keel.adapters.store.records import Coverage, Disagreement, FillReport, Finding, Gap, ImportReport, WriteReport
from keel.adapters.store.schema import BAR_KINDS, CATEGORIES, CREATE, ENVS, SCHEMA_VERSION, SeriesKey
from keel.adapters.store.series import EARLIEST, LATEST, Bound, all_series, bounds, own_timeframes, read, read_times, span
from keel.adapters.store.writes import write
from keel.core.errors import DataError
from keel.core.features.aggregate import aggregate
from keel.core.model.frame import Frame
from keel.core.model.instrument import Category, Instrument
from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import floor_ts, tf_ms
from keel.core.model.words import check_word

STORE_PATH = Path("data") / "keel.duckdb"
"""Where the store lies in a home folder."""
Columns = Mapping[str, np.ndarray]


class HistoricalDataStore:
    """History in a DuckDB file. ``path`` None is data/keel.duckdb of the home (KEEL_HOME, else the current folder); ":memory:" is a store
    that is gone when it is closed.

    A missing file is made, with its folder, unless ``read_only``; it goes again when it is closed with nothing in it. Raises DataError
    when the file is locked by another process, damaged, not a store, or of another version. Use it as a context manager, or close it.
    """

    def __init__(self, path: Path | str | None = None, read_only: bool = False) -> None:
        self.path = str(Path(os.environ.get("KEEL_HOME") or "") / STORE_PATH if path is None else path)
        self._db = Database(self.path, read_only)
        try:
            self._check_schema()
        except BaseException:
            self._db.close()
            raise

    @classmethod
    def from_parquet(cls, folder: Path | str, now_ms: int | None = None) -> Self:
        """A folder of Parquet files (<symbol>/<kind>_<timeframe>.parquet, or any names that say as much) as a store in memory.

        Bars that have not closed at ``now_ms`` (None: now) are left out, with a UserWarning.
        """
        store = cls(MEMORY)
        try:
            from keel.adapters.store.importing.parquet_folder import load_folder

            load_folder(store._db, _file(folder), now_ms)
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Let the file go, for other processes too; one that this opening has made and nothing was written into is removed."""
        if self._db.is_new and self._is_empty():
            self._db.discard()
        else:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- reading -----------------------------------------------------------------------------------------------------

    def get_ohlcv(
        self,
        symbol: str,
        timeframe: str,
        start: Bound = None,
        end: Bound = None,
        env: str = "live",
        kind: str = "last",
        category: str = "linear",
    ) -> Frame:
        """Bars that open in [start, end): the store's own, and where it lacks some, complete bars built out of the coarsest finer series.

        start: a time, or a TimeRange for both; None: no bound. Columns open, high, low, close, volume (float64, base units).
        Raises DataError, which lists what is stored, where there is nothing.
        """
        return frame_of(self._db, SeriesKey(env, category, symbol, kind, timeframe), *bounds(start, end))

    def get_multi_timeframe_data(
        self,
        symbol: str,
        timeframes: Sequence[str],
        start: Bound = None,
        end: Bound = None,
        env: str = "live",
        category: str = "linear",
    ) -> dict[str, Frame]:
        """Last-price bars of several timeframes, by timeframe."""
        return {timeframe: self.get_ohlcv(symbol, timeframe, start, end, env=env, category=category) for timeframe in timeframes}

    def get_funding_rates(self, symbol: str, start: Bound = None, end: Bound = None, env: str = "live", category: str = "linear") -> Frame:
        """Settlements in [start, end): funding_rate, a fraction per interval. Raises DataError when there are none."""
        return frame_of(self._db, SeriesKey(env, category, symbol, "funding"), *bounds(start, end))

    def get_open_interest(self, symbol: str, start: Bound = None, end: Bound = None, env: str = "live", category: str = "linear") -> Frame:
        """Open interest in [start, end), base units. Raises DataError when there is none."""
        return frame_of(self._db, SeriesKey(env, category, symbol, "open_interest"), *bounds(start, end))

    def find(
        self,
        symbol: str,
        timeframe: str = "",
        start: Bound = None,
        end: Bound = None,
        env: str = "live",
        kind: str = "last",
        category: str = "linear",
    ) -> Frame | None:
        """Any series (kind: last, mark, index, funding, open_interest), as the ``get_`` methods give it; None when there is nothing."""
        return find_frame(self._db, SeriesKey(env, category, symbol, kind, timeframe), *bounds(start, end))

    def get_trades(self, symbol: str, start: Bound = None, end: Bound = None, env: str = "live", category: str = "linear") -> Frame:
        """Trades in [start, end): price, qty, side (int8: +1 the taker bought, -1 sold). Times may repeat. Raises DataError."""
        return frame_of(self._db, SeriesKey(env, category, symbol, "trades"), *bounds(start, end))

    def has_series(self, symbol: str, timeframe: str = "", kind: str = "last", env: str = "live", category: str = "linear") -> bool:
        """Whether the store itself has rows of a series (bars: of this timeframe, or of any when it is '')."""
        if kind in BAR_KINDS and not timeframe:
            return bool(self.timeframes(symbol, kind, env, category))
        return self.span(symbol, timeframe, kind, env, category) is not None

    def timeframes(self, symbol: str, kind: str = "last", env: str = "live", category: str = "linear") -> list[str]:
        """The timeframes of a symbol's bars that the store itself has, shortest first."""
        return own_timeframes(self._db, SeriesKey(env, category, symbol, kind, "1m"))

    def span(
        self, symbol: str, timeframe: str = "", kind: str = "last", env: str = "live", category: str = "linear"
    ) -> tuple[int, int] | None:
        """First and last ts of a series that the store itself has; None when it has no rows."""
        return span(self._db, SeriesKey(env, category, symbol, kind, timeframe))

    def spans_in_words(self, symbol: str, kind: str = "last", env: str = "live", category: str = "linear") -> str:
        """What the store itself has of a symbol and kind, for a message: "the store has 5m 2024-01-01 to 2024-01-31"."""
        return spans_in_words(self._db, SeriesKey(env, category, symbol, kind, "1m" if kind in BAR_KINDS else ""))

    def sources(
        self,
        symbol: str,
        timeframe: str = "",
        kind: str = "last",
        start: Bound = None,
        end: Bound = None,
        env: str = "live",
        category: str = "linear",
    ) -> dict[str, int]:
        """Where the rows of a series in [start, end) came from, and how many came from each."""
        return source_counts(self._db, SeriesKey(env, category, symbol, kind, timeframe), *bounds(start, end))

    def fingerprint(
        self,
        symbol: str,
        timeframe: str = "",
        kind: str = "last",
        start: Bound = None,
        end: Bound = None,
        env: str = "live",
        category: str = "linear",
    ) -> str:
        """32 hex digits that the rows of a series in [start, end) always give, in any store, process and version; other rows, others."""
        key = SeriesKey(env, category, symbol, kind, timeframe)
        first, last = bounds(start, end)
        columns = read(self._db, key, first, last)
        if columns is None:
            raise nothing(self._db, key, first, last)
        return fingerprint(columns)

    # --- writing -----------------------------------------------------------------------------------------------------

    def upsert_bars(
        self,
        symbol: str,
        timeframe: str,
        columns: Columns,
        *,
        source: str,
        kind: str = "last",
        env: str = "live",
        category: str = "linear",
    ) -> WriteReport:
        """Put bars in: ts (int64, opens), open, high, low, close, volume (float64). Bars of the same time are replaced."""
        return self._upsert(SeriesKey(env, category, symbol, kind, timeframe), columns, source)

    def upsert_funding(self, symbol: str, columns: Columns, *, source: str, env: str = "live", category: str = "linear") -> WriteReport:
        """Put settlements in: ts, funding_rate."""
        return self._upsert(SeriesKey(env, category, symbol, "funding"), columns, source)

    def upsert_open_interest(
        self, symbol: str, columns: Columns, *, source: str, env: str = "live", category: str = "linear"
    ) -> WriteReport:
        """Put open interest in: ts, open_interest."""
        return self._upsert(SeriesKey(env, category, symbol, "open_interest"), columns, source)

    def upsert_trades(self, symbol: str, columns: Columns, *, source: str, env: str = "live", category: str = "linear") -> WriteReport:
        """Put trades in: ts, price, qty, side (int8, +1 or -1), trade_id (text, objects)."""
        return self._upsert(SeriesKey(env, category, symbol, "trades"), columns, source)

    def import_file(
        self,
        path: Path | str,
        *,
        symbol: str | None = None,
        timeframe: str | None = None,
        kind: str | None = None,
        category: str | None = None,
        time_format: str | None = None,
        timezone: str | None = None,
        decimal: str = ".",
        skip_lines: int = 0,
        drop_empty: bool = False,
        env: str = "live",
        allow_overwrite: bool = False,
        keep_unfinished: bool = False,
        now_ms: int | None = None,
    ) -> ImportReport:
        """Import a file of history; what its columns or path say need not be said. Raises DataError, the store untouched.

        time_format (strptime), timezone (of times that say none), decimal ("." or ","), skip_lines (before the table), drop_empty (leave
        out rows with empty cells): how its cells are read. Rows that the store has with other values are an error, unless
        ``allow_overwrite``. Bars that have not closed at ``now_ms`` (None: now), and rows of the future, are dropped and told, unless
        ``keep_unfinished``.
        """
        from keel.adapters.store.importing.importer import import_file

        return import_file(
            self._db,
            _file(path),
            symbol=symbol,
            timeframe=timeframe,
            kind=kind,
            category=category,
            reading=Reading(time_format, timezone, decimal, skip_lines, drop_empty),
            env=env,
            allow_overwrite=allow_overwrite,
            keep_unfinished=keep_unfinished,
            now_ms=now_ms,
        )

    def delete(self, keys: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
        """Delete series with all their rows, or none of them; gives the rows of each. Raises ConfigError for one that is not there."""
        return delete_series(self._db, keys)

    def rename(self, moves: Mapping[SeriesKey, SeriesKey]) -> None:
        """Give series another symbol or category, all or none. Raises DataError where one of that name has rows already."""
        rename_series(self._db, dict(moves))

    def import_instruments(self, path: Path | str, known_since: int | None = None, category: Category | None = None) -> int:
        """Import the exchange's instruments-info or risk-limit answers (JSON); gives the number of symbols. Raises DataError.

        known_since (ms): from when they hold; None: the answer's own time, or from the beginning where it has none.
        category: of answers that do not say theirs; None: told by their rows. One that contradicts the answer is refused.
        """
        return import_instruments(self._db, Path(path), known_since, category)

    def upsert_instrument(self, instrument: Instrument) -> None:
        """Put an instrument in, as known since its ``known_since``."""
        with self._db.transaction():
            write_instrument(self._db, instrument)

    def instrument(self, symbol: str, category: Category = "linear", at: int | None = None, env: str = "live") -> Instrument:
        """The instrument as known at ``at`` (ms; None: now): the exchange's, where the store has it, else inferred from the bars.

        Inferred is from the quarter of ``at`` (None: from all bars); ``source`` says which it is. Raises DataError when there is neither.
        """
        return self.instrument_and_assumptions(symbol, category, at, env).instrument

    def instrument_and_assumptions(self, symbol: str, category: Category = "linear", at: int | None = None, env: str = "live") -> Inferred:
        """As ``instrument``, with what of it was assumed and what is doubtful, in sentences."""
        return read_instrument(self._db, symbol, category, at, env)

    # --- gaps, quality, files ----------------------------------------------------------------------------------------

    def find_gaps(
        self,
        symbol: str,
        timeframe: str = "",
        start: Bound = None,
        end: Bound = None,
        kind: str = "last",
        env: str = "live",
        category: str = "linear",
    ) -> list[Gap]:
        """What is missing between a series' rows, and from ``start`` on and up to ``end`` where given. DataError for an empty series."""
        key = SeriesKey(env, category, symbol, kind, timeframe)
        first, last = bounds(start, end)
        ts = read_times(self._db, key, first, last)
        if not len(ts) and (first == EARLIEST or last == LATEST or span(self._db, key) is None):
            raise nothing(self._db, key, first, last)
        return gaps_of(kind, timeframe, ts, first, last)

    def fill_gaps(
        self,
        symbol: str,
        timeframe: str,
        start: Bound = None,
        end: Bound = None,
        kind: str = "last",
        env: str = "live",
        category: str = "linear",
    ) -> FillReport:
        """Build the missing bars for which a finer timeframe has every bar, in one transaction; nothing else is filled.

        Without start or end: from the first to the last bar that a finer series has, where that is beyond the series itself.
        """
        key = SeriesKey(env, category, symbol, kind, timeframe)
        finer = finer_timeframes(self._db, key)
        first, last = self._span_with_finer(key, finer)
        gaps = self.find_gaps(
            symbol, timeframe, first if start is None else start, last if end is None and not isinstance(start, TimeRange) else end, kind,
            env, category,
        )  # fmt: skip
        built = build_missing(
            gaps,
            timeframe,
            finer,
            lambda finer, first, last: own_frame(self._db, with_timeframe(key, finer), first, last),
        )
        with self._db.transaction():
            for source, frame in built.items():
                write(self._db, key, frame.to_dict(), f"built:{source}", overwrite=False)
        counts = {source: len(frame) for source, frame in built.items()}
        remaining = self.find_gaps(symbol, timeframe, start, end, kind, env, category)
        return FillReport(sum(counts.values()), counts, remaining)

    def coverage(self) -> list[Coverage]:
        """Every series that has rows, in the order env, category, symbol, kind, timeframe."""
        return coverage(self._db)

    def verify(
        self, symbol: str | None = None, env: str | None = None, category: str | None = None, now_ms: int | None = None
    ) -> list[Finding]:
        """Check every series (or those of a symbol, env, category): see ``quality.py`` for what is looked at.

        now_ms: rows that are not final then are a finding; None: not looked at.
        """
        for name, given, allowed in (("env", env, ENVS), ("category", category, CATEGORIES)):
            if given is not None:
                check_word(given, allowed, name)
        found: list[Finding] = []
        groups = groupby(all_series(self._db).items(), key=lambda item: (item[1].symbol, item[1].env, item[1].category, item[1].kind))
        instrument_of = cache(self._instrument_of)
        for of, group in groups:
            if all(want in (None, have) for want, have in zip((symbol, env, category), of[:3], strict=True)):
                found += verify_group(self._db, list(group), lambda key: instrument_of(key.symbol, key.category, key.env), now_ms)
        return found

    def export(
        self,
        path: Path | str,
        symbol: str,
        timeframe: str = "",
        kind: str = "last",
        start: Bound = None,
        end: Bound = None,
        env: str = "live",
        category: str = "linear",
    ) -> int:
        """Write one series to a .parquet or .csv file, whole or not at all; gives the number of rows. Raises DataError."""
        key = SeriesKey(env, category, symbol, kind, timeframe)
        first, last = bounds(start, end)
        columns = read(self._db, key, first, last)
        if columns is None:
            columns = frame_of(self._db, key, first, last).to_dict()
        return export_columns(Path(path), key, columns)

    def check_built(
        self,
        symbol: str,
        coarse: str,
        fine: str,
        start: Bound = None,
        end: Bound = None,
        instrument: Instrument | None = None,
        kind: str = "last",
        env: str = "live",
        category: Category = "linear",
    ) -> Disagreement | None:
        """The first stored bar of ``coarse`` that differs from the one built out of ``fine``; None: they agree wherever both are complete.

        Prices are compared exactly, volumes by the count of quantity steps. Raises DataError when the two have no bar in common.
        """
        first, last = bounds(start, end)
        keys = [SeriesKey(env, category, symbol, kind, timeframe) for timeframe in (coarse, fine)]
        stored, finer = (own_frame(self._db, key, first, last) for key in keys)
        if stored is None or finer is None:
            raise nothing(self._db, keys[0 if stored is None else 1], first, last)
        built = aggregate(finer, coarse)
        if not len(np.intersect1d(stored.ts, built.ts)):
            raise DataError(f"{keys[0]}: no stored bar has all of its {fine} bars in this span: nothing can be compared")
        return first_disagreement(stored, built, instrument or self.instrument(symbol, category, env=env))

    def disagreement(
        self,
        symbol: str,
        coarse: str,
        fine: str,
        start: Bound,
        end: Bound,
        instrument: Instrument,
        kind: str = "last",
        env: str = "live",
        category: str = "linear",
    ) -> Disagreement | None:
        """As ``check_built``, and None where the two have no bar in common."""
        first, last = bounds(start, end)
        stored, finer = (own_frame(self._db, SeriesKey(env, category, symbol, kind, name), first, last) for name in (coarse, fine))
        return None if stored is None or finer is None else first_disagreement(stored, aggregate(finer, coarse), instrument)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _check_schema(self) -> None:
        named = [] if self.path == MEMORY else self._db.rows("SELECT table_name FROM duckdb_tables()")
        tables = {str(row[0]) for row in named}
        if not tables and not self._db.read_only:
            with self._db.transaction():
                for statement in CREATE:
                    self._db.run(statement)
                self._db.run("INSERT INTO meta VALUES ('schema_version', ?)", [str(SCHEMA_VERSION)])
            return
        if not {"meta", "series", "bars"} <= tables:
            raise DataError(f"{self.path} is a DuckDB file, but not a store of ours: give another path")
        version = str(self._db.rows("SELECT value FROM meta WHERE key = 'schema_version'")[0][0])
        if version != str(SCHEMA_VERSION):
            raise DataError(
                f"the store {self.path} has schema version {version}, this program knows {SCHEMA_VERSION}: use the version that made it"
            )

    def _upsert(self, key: SeriesKey, columns: Columns, source: str) -> WriteReport:
        ordered = prepare(key, dict(columns), name=str(key))
        with self._db.transaction():
            return write(self._db, key, ordered.columns, source, overwrite=True)

    def _instrument_of(self, symbol: str, category: str, env: str) -> Instrument:
        return self.instrument(symbol, "spot" if category == "spot" else "linear", env=env)

    def _span_with_finer(self, key: SeriesKey, finer: Sequence[str]) -> tuple[int | None, int | None]:
        """[start, end) of the whole bars of a series and of those that finer series can make; None where there are none."""
        own = span(self._db, key)
        if own is None:
            return None, None
        duration = tf_ms(key.timeframe)
        first, last = own[0], own[1] + duration
        for timeframe in finer:
            found = span(self._db, with_timeframe(key, timeframe))
            if found is not None:
                first = min(first, floor_ts(found[0] + duration - 1, key.timeframe))
                last = max(last, floor_ts(found[1] + tf_ms(timeframe), key.timeframe))
        return first, last

    def _is_empty(self) -> bool:
        """Whether nothing has ever been written; a store that has failed and cannot tell is not said to be."""
        try:
            return not any(self._db.rows(f"SELECT 1 FROM {table} LIMIT 1") for table in ("series", "instruments", "risk_tiers"))  # noqa: S608
        except DataError:
            return False


def _file(path: Path | str) -> Path:
    if not str(path):
        raise DataError("'': there is no such file: the name is empty")
    return Path(path)
