"""Instruments in the store: written from the exchange's answers or by a maker of sample data, read as of a time, or else inferred."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from keel.adapters.store.connection import Database
from keel.adapters.store.instruments.exchange_answers import Tiers, read_answers
from keel.adapters.store.instruments.funding_intervals import usual_interval
from keel.adapters.store.instruments.inference import Inferred, infer_instrument, tiers_in_words
from keel.adapters.store.schema import INSTRUMENT_COLUMNS, SeriesKey
from keel.adapters.store.series import EARLIEST, LATEST, own_timeframes, read, read_times
from keel.core.errors import DataError
from keel.core.model.instrument import Category, Grid, Instrument, RiskTier, generic_tiers
from keel.core.model.time_range import to_datetime, to_ms
from keel.core.model.timeframe import MINUTE_MS

_FIELDS = ", ".join(INSTRUMENT_COLUMNS)
_MARKS = ", ".join("?" for _ in INSTRUMENT_COLUMNS)


def import_instruments(db: Database, path: Path, known_since: int | None = None, category: Category | None = None) -> int:
    """Put what a file of the exchange's answers says into the store; gives the number of symbols. Raises DataError."""
    instruments, tiers = read_answers(path, known_since, category)
    with db.transaction():
        for instrument in instruments:
            write_instrument(db, instrument)
        for found in tiers:
            write_tiers(db, found)
    return len({(one.category, one.symbol) for one in instruments} | {("linear", symbol) for symbol, _, _ in tiers})


def write_instrument(db: Database, instrument: Instrument) -> None:
    """An instrument as known since its ``known_since``, in place of what was known at that very time; its tiers, if it has any."""
    db.run("DELETE FROM instruments WHERE category = ? AND symbol = ? AND known_since = ?", _identity(instrument))
    values: list[Any] = [
        *_identity(instrument),
        instrument.source,
        instrument.base,
        instrument.quote,
        f"{instrument.price_grid.num}/{instrument.price_grid.den}",
        f"{instrument.qty_grid.num}/{instrument.qty_grid.den}",
        *(getattr(instrument, name) for name in INSTRUMENT_COLUMNS[8:]),
    ]
    db.run(f"INSERT INTO instruments ({_FIELDS}) VALUES ({_MARKS})", values)  # noqa: S608  # names from the schema
    if instrument.tiers:
        write_tiers(db, (instrument.symbol, instrument.known_since, instrument.tiers))


def write_tiers(db: Database, found: Tiers) -> None:
    """A symbol's risk tiers as known since a time."""
    symbol, since, tiers = found
    db.run("DELETE FROM risk_tiers WHERE category = 'linear' AND symbol = ? AND known_since = ?", [symbol, since])
    for rank, tier in enumerate(tiers):
        db.run(
            "INSERT INTO risk_tiers VALUES ('linear', ?, ?, ?, ?, ?, ?, ?, ?)",
            [symbol, since, rank, tier.limit, tier.initial_rate, tier.maintenance_rate, tier.max_leverage, tier.deduction],
        )


def read_instrument(db: Database, symbol: str, category: Category, at: int | None, env: str) -> Inferred:
    """The latest instrument known at ``at`` (None: at all), else one inferred from the quarter's series (None: the whole); and what of it
    was assumed."""
    latest = LATEST if at is None else at
    tiers = _tiers(db, symbol, latest) if category == "linear" else ()
    rows = db.rows(
        f"SELECT {_FIELDS} FROM instruments WHERE category = ? AND symbol = ? AND known_since <= ? ORDER BY known_since DESC LIMIT 1",  # noqa: S608
        [category, symbol, latest],
    )
    return _from_row(rows[0], tiers) if rows else _infer(db, symbol, category, at, env, tiers)


def has_instrument(db: Database, symbol: str, category: str) -> bool:
    """Whether the store has an instrument of its own of a symbol, whenever it was told."""
    return bool(db.rows("SELECT 1 FROM instruments WHERE category = ? AND symbol = ? LIMIT 1", [category, symbol]))


def _from_row(row: tuple[Any, ...], tiers: tuple[RiskTier, ...]) -> Inferred:
    values = dict(zip(INSTRUMENT_COLUMNS, row, strict=True))
    price, qty = _grid(values.pop("price_tick")), _grid(values.pop("qty_step"))
    generic = values["category"] == "linear" and not tiers
    if generic:
        tiers = generic_tiers(values["base"], values["max_leverage"])
    instrument = Instrument(**values, price_grid=price, qty_grid=qty, tiers=tiers)
    return Inferred(instrument, (tiers_in_words(instrument),) if generic else ())


def _grid(text: str) -> Grid:
    num, den = text.split("/")
    return Grid(int(num), int(den))


def _tiers(db: Database, symbol: str, latest: int) -> tuple[RiskTier, ...]:
    rows = db.rows(
        "SELECT limit_value, initial_rate, maintenance_rate, max_leverage, deduction FROM risk_tiers t WHERE category = 'linear' "
        "AND symbol = ? AND known_since = (SELECT max(known_since) FROM risk_tiers u WHERE u.category = 'linear' AND u.symbol = t.symbol "
        "AND u.known_since <= ?) ORDER BY tier",
        [symbol, latest],
    )
    return tuple(RiskTier(*row) for row in rows)


def _infer(db: Database, symbol: str, category: Category, at: int | None, env: str, tiers: tuple[RiskTier, ...]) -> Inferred:
    start, end = (EARLIEST, LATEST) if at is None else quarter_of(at)
    columns = _series_to_infer_from(db, symbol, category, env, start, end)
    if columns is None and at is not None:
        columns = _series_to_infer_from(db, symbol, category, env, EARLIEST, LATEST)
    if columns is None:
        raise DataError(
            f"{symbol} {category}: the store has neither the exchange's instrument nor bars to infer it from: "
            "import bars (keel data import FILE) or instruments (keel data import-instruments FILE.json)"
        )
    prices = np.concatenate([columns[name] for name in ("open", "high", "low", "close")])
    interval = _funding_interval(db, symbol, category, env, start, end)
    return infer_instrument(symbol, category, prices, columns["volume"], tiers=tiers, funding_interval_min=interval)


def _series_to_infer_from(db: Database, symbol: str, category: str, env: str, start: int, end: int) -> dict[str, np.ndarray] | None:
    """The finest bars in [start, end): of the last price, else of the mark or index price."""
    for kind in ("last", "mark", "index"):
        for timeframe in own_timeframes(db, SeriesKey(env, category, symbol, kind, "1m")):
            columns = read(db, SeriesKey(env, category, symbol, kind, timeframe), start, end)
            if columns is not None:
                return columns
    return None


def _funding_interval(db: Database, symbol: str, category: str, env: str, start: int, end: int) -> int:
    """Minutes between settlements: the commonest interval in [start, end); 480 where there is none that an exchange has."""
    found = usual_interval(np.diff(read_times(db, SeriesKey(env, category, symbol, "funding"), start, end)))
    return 480 if found is None else found // MINUTE_MS


def quarter_of(ts: int) -> tuple[int, int]:
    """[start, end) of the calendar quarter, UTC, in which ts (ms) lies."""
    moment = to_datetime(ts)
    first = 3 * ((moment.month - 1) // 3) + 1
    following = (moment.year + 1, 1) if first == 10 else (moment.year, first + 3)
    return to_ms(f"{moment.year:04d}-{first:02d}-01"), to_ms(f"{following[0]:04d}-{following[1]:02d}-01")


def _identity(instrument: Instrument) -> list[Any]:
    return [instrument.category, instrument.symbol, instrument.known_since]
