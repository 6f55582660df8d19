"""The store's tables, columns and allow-lists: SQL about rows is put together here, and only from names in this file.

A series is one symbol's data of one kind: (env, category, symbol, kind, timeframe), with a small integer id in ``series``. Its rows
are in ``bars`` (last, mark and index candles), ``funding``, ``open_interest`` or ``trades``. No table of rows has a primary key: an
index over a million rows costs seconds per import; ``writes.py`` keeps (series, ts) unique instead, and ``quality.py`` checks it.

| table | columns |
|---|---|
| meta | key, value: schema_version |
| series | id, env, category, symbol, kind, timeframe ('' for funding, open interest and trades) |
| sources | id, name: where rows came from, such as import:kline_5m/BTCUSDT.parquet, built:5m, synthetic |
| bars | series_id, source_id, ts (open, ms UTC), open, high, low, close, volume (base units) |
| funding | series_id, source_id, ts (settlement, ms UTC), funding_rate (fraction per interval) |
| open_interest | series_id, source_id, ts, open_interest (base units) |
| trades | series_id, source_id, ts, price, qty, side (+1 the taker bought, -1 sold), trade_id |
| instruments | category, symbol, known_since and the fields of core.model.instrument.Instrument; rates and money in 1e-8 |
| risk_tiers | category, symbol, known_since, tier (0 is the lowest), limit_value, initial_rate, maintenance_rate, max_leverage, deduction |
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from keel.adapters.store.words import shortened
from keel.core.errors import ConfigError
from keel.core.model.timeframe import tf_ms

SCHEMA_VERSION = 1

ENVS = ("live", "demo")
CATEGORIES = ("linear", "spot")
BAR_KINDS = ("last", "mark", "index")
KINDS = (*BAR_KINDS, "funding", "open_interest", "trades")

_SYMBOL = re.compile(r"^[A-Z0-9][A-Z0-9._/-]{0,39}$")


@dataclass(frozen=True, slots=True)
class Table:
    """One table of rows: its name, its value columns with their SQL types, and what makes a row the same row within a series."""

    name: str
    columns: tuple[tuple[str, str], ...]
    identity: tuple[str, ...] = ("ts",)

    @property
    def names(self) -> tuple[str, ...]:
        """ts and the value columns, in order."""
        return ("ts", *(name for name, _ in self.columns))

    @property
    def create(self) -> str:
        """The statement that makes the table."""
        columns = ", ".join(f"{name} {kind} NOT NULL" for name, kind in self.columns)
        return f"CREATE TABLE {self.name} (series_id INTEGER NOT NULL, source_id INTEGER NOT NULL, ts BIGINT NOT NULL, {columns})"

    @property
    def select(self) -> str:
        """Rows of a series in [start, end). Parameters: series id, start, end. Without ORDER BY: it would double the time."""
        return f"SELECT {', '.join(self.names)} FROM {self.name} WHERE series_id = ? AND ts >= ? AND ts < ?"  # noqa: S608

    @property
    def select_ts(self) -> str:
        """The times of a series in [start, end). Parameters: series id, start, end."""
        return f"SELECT ts FROM {self.name} WHERE series_id = ? AND ts >= ? AND ts < ?"  # noqa: S608

    @property
    def insert(self) -> str:
        """Rows of the view ``incoming`` that the series lacks. Parameters: series id, source id, series id, first ts, last ts."""
        return (
            f"INSERT INTO {self.name} SELECT ?, ?, {', '.join(f'i.{name}' for name in self.names)} FROM incoming i "  # noqa: S608
            f"WHERE NOT EXISTS (SELECT 1 FROM {self.name} t WHERE t.series_id = ? AND t.ts BETWEEN ? AND ? AND {self._same})"
        )

    @property
    def insert_all(self) -> str:
        """Every row of the view ``incoming``. Parameters: series id, source id."""
        return f"INSERT INTO {self.name} SELECT ?, ?, {', '.join(self.names)} FROM incoming"  # noqa: S608

    @property
    def compare(self) -> str:
        """(rows that are there, of these with other values). Parameters: series id, first ts, last ts."""
        return f"SELECT count(*), count(*) FILTER ({self._differs}) {self._joined}"

    @property
    def first_difference(self) -> str:
        """ts, the stored values and then the incoming ones, of the first row that differs. Parameters as ``compare``."""
        old = ", ".join(f"t.{name}" for name in self.names[1:])
        new = ", ".join(f"i.{name}" for name in self.names[1:])
        return f"SELECT t.ts, {old}, {new} {self._joined} AND ({self._differs}) ORDER BY t.ts LIMIT 1"

    @property
    def delete_different(self) -> str:
        """Stored rows that the view ``incoming`` has with other values. Parameters: series id, first ts, last ts."""
        return f"DELETE FROM {self.name} t USING incoming i WHERE t.series_id = ? AND t.ts BETWEEN ? AND ? AND {self._same} AND ({self._differs})"  # noqa: S608, E501

    @property
    def count(self) -> str:
        """Rows of a series. Parameter: series id."""
        return f"SELECT count(*) FROM {self.name} WHERE series_id = ?"  # noqa: S608

    @property
    def delete(self) -> str:
        """All rows of a series. Parameter: series id."""
        return f"DELETE FROM {self.name} WHERE series_id = ?"  # noqa: S608

    @property
    def span(self) -> str:
        """First and last ts of a series. Parameter: series id."""
        return f"SELECT min(ts), max(ts) FROM {self.name} WHERE series_id = ?"  # noqa: S608

    @property
    def summary(self) -> str:
        """Per series: id, rows, first and last ts."""
        return f"SELECT series_id, count(*), min(ts), max(ts) FROM {self.name} GROUP BY series_id"  # noqa: S608

    @property
    def source_counts(self) -> str:
        """(source, rows) of a series in [start, end). Parameters: series id, start, end."""
        return (
            f"SELECT s.name, count(*) FROM {self.name} t JOIN sources s ON s.id = t.source_id "  # noqa: S608
            "WHERE t.series_id = ? AND t.ts >= ? AND t.ts < ? GROUP BY s.name ORDER BY s.name"
        )

    @property
    def _joined(self) -> str:
        return f"FROM {self.name} t JOIN incoming i ON {self._same} WHERE t.series_id = ? AND t.ts BETWEEN ? AND ?"

    @property
    def _same(self) -> str:
        return " AND ".join(f"t.{name} = i.{name}" for name in self.identity)

    @property
    def _differs(self) -> str:
        return " OR ".join(f"t.{name} IS DISTINCT FROM i.{name}" for name in self.names if name not in self.identity)


BARS = Table("bars", (("open", "DOUBLE"), ("high", "DOUBLE"), ("low", "DOUBLE"), ("close", "DOUBLE"), ("volume", "DOUBLE")))
FUNDING = Table("funding", (("funding_rate", "DOUBLE"),))
OPEN_INTEREST = Table("open_interest", (("open_interest", "DOUBLE"),))
TRADES = Table(
    "trades", (("price", "DOUBLE"), ("qty", "DOUBLE"), ("side", "TINYINT"), ("trade_id", "VARCHAR")), identity=("ts", "trade_id")
)
TABLES: dict[str, Table] = {
    "last": BARS,
    "mark": BARS,
    "index": BARS,
    "funding": FUNDING,
    "open_interest": OPEN_INTEREST,
    "trades": TRADES,
}
"""The table of each kind."""

INSTRUMENT_COLUMNS = (
    "category",
    "symbol",
    "known_since",
    "source",
    "base",
    "quote",
    "price_tick",
    "qty_step",
    "min_qty",
    "max_qty",
    "max_market_qty",
    "min_notional",
    "taker_fee",
    "maker_fee",
    "max_leverage",
    "funding_interval_min",
    "price_limit_x",
    "price_limit_y",
    "base_unit",
)

CREATE = (
    "CREATE TABLE meta (key VARCHAR PRIMARY KEY, value VARCHAR NOT NULL)",
    "CREATE TABLE series (id INTEGER PRIMARY KEY, env VARCHAR NOT NULL, category VARCHAR NOT NULL, symbol VARCHAR NOT NULL, "
    "kind VARCHAR NOT NULL, timeframe VARCHAR NOT NULL, UNIQUE (env, category, symbol, kind, timeframe))",
    "CREATE TABLE sources (id INTEGER PRIMARY KEY, name VARCHAR NOT NULL UNIQUE)",
    "CREATE TABLE instruments (category VARCHAR, symbol VARCHAR, known_since BIGINT, source VARCHAR, base VARCHAR, quote VARCHAR, "
    "price_tick VARCHAR, qty_step VARCHAR, min_qty DOUBLE, max_qty DOUBLE, max_market_qty DOUBLE, min_notional BIGINT, "
    "taker_fee BIGINT, maker_fee BIGINT, max_leverage BIGINT, funding_interval_min INTEGER, price_limit_x BIGINT, "
    "price_limit_y BIGINT, base_unit BIGINT, PRIMARY KEY (category, symbol, known_since))",
    "CREATE TABLE risk_tiers (category VARCHAR, symbol VARCHAR, known_since BIGINT, tier INTEGER, limit_value BIGINT, "
    "initial_rate BIGINT, maintenance_rate BIGINT, max_leverage BIGINT, deduction BIGINT, "
    "PRIMARY KEY (category, symbol, known_since, tier))",
    *(table.create for table in (BARS, FUNDING, OPEN_INTEREST, TRADES)),
)
"""The statements that make an empty store."""


@dataclass(frozen=True, slots=True, order=True)
class SeriesKey:
    """Which series: every part is checked against its list. Raises ConfigError for what is not on it.

    ``timeframe`` is that of bars; of other kinds it is ''.
    """

    env: str
    category: str
    symbol: str
    kind: str
    timeframe: str = ""

    def __post_init__(self) -> None:
        for what, value, allowed in (("env", self.env, ENVS), ("category", self.category, CATEGORIES), ("kind", self.kind, KINDS)):
            if value not in allowed:
                raise ConfigError(f"unknown {what} {value!r}: use one of {', '.join(allowed)}")
        if not isinstance(self.symbol, str) or not _SYMBOL.fullmatch(self.symbol):
            raise ConfigError(f"{shortened(repr(self.symbol))} is not a symbol: capital letters and digits are expected, such as BTCUSDT")
        if self.kind in BAR_KINDS:
            tf_ms(self.timeframe)
        elif self.timeframe:
            raise ConfigError(f"{self.kind} has no timeframe, {self.timeframe!r} was given")

    @property
    def table(self) -> Table:
        """The table that holds the rows of this kind of series."""
        return TABLES[self.kind]

    @property
    def values(self) -> list[object]:
        """The parts as parameters of a statement."""
        return [self.env, self.category, self.symbol, self.kind, self.timeframe]

    def __str__(self) -> str:
        return " ".join(part for part in (self.symbol, self.category, self.kind, self.timeframe, self.env) if part)
