"""What the names of a file and its folders say: symbol, timeframe, kind, category.

The name nearest to the rows decides: of an archive the file inside it, then the archive, then the folders.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from keel.adapters.store.files.formats import PACKED, SUFFIXES
from keel.adapters.store.schema import BAR_KINDS
from keel.adapters.store.symbols import symbol_in_name
from keel.adapters.store.words import shortened
from keel.core.errors import DataError
from keel.core.model.timeframe import TIMEFRAMES

_INTERVALS = {
    "1": "1m", "3": "3m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "120": "2h", "240": "4h", "360": "6h", "720": "12h",
    "1440": "1d", "10080": "1w", "D": "1d", "W": "1w", "1H": "1h", "2H": "2h", "4H": "4h", "6H": "6h", "12H": "12h", "1D": "1d", "1W": "1w",
    "1min": "1m", "3min": "3m", "5min": "5m", "15min": "15m", "30min": "30m", "60min": "1h", "M1": "1m", "M5": "5m", "M15": "15m",
    "M30": "30m", "H1": "1h", "H4": "4h", "D1": "1d", "W1": "1w",
}  # fmt: skip
_FOLDERS, _FAR_FOLDERS = 3, 6
"""So many folders above a file say what it is; those beyond, only whether it is of spot or of perpetuals, as in Binance's archive."""
_HOMES = ("home", "Users")
"""Folders of which each entry is a person's: one called mark says nothing of prices."""
_OF_TABLES = ("pandas", "df", "dataframe", "row", "unnamed", "no", "with", "without", "reset", "time", "datetime", "date", "multi")
"""After these words an index is one of rows, not of prices."""
_FREQTRADE = re.compile(
    r"^(?P<pair>[A-Z0-9]+_[A-Z0-9]+(?:_[A-Z0-9]+)?)-(?:(?P<timeframe>\d+[a-zA-Z]{1,2})(?:-(?P<kind>futures|mark|index|premiumIndex|funding_rate|open_interest))?|(?P<trades>trades))$"
)


@dataclass(slots=True)
class Hints:
    """What names say, of each only what stands nearest to the rows. number: a bare 60 behind the symbol, a timeframe if the times agree."""

    symbol: set[str] = field(default_factory=set)
    timeframe: set[str] = field(default_factory=set)
    kind: set[str] = field(default_factory=set)
    category: set[str] = field(default_factory=set)
    number: set[str] = field(default_factory=set)
    freqtrade: str = ""
    """What freqtrade's name says of the rows: futures, mark, index, funding_rate, trades, or spot; "" for other names."""

    def of(self, what: str) -> set[str]:
        """The values for symbol, timeframe, kind or category."""
        return {"symbol": self.symbol, "timeframe": self.timeframe, "kind": self.kind, "category": self.category}[what]


def path_hints(path: Path, names: Sequence[str] = ()) -> Hints:
    """What the names say; names: of the rows' file inside an archive and of the archive, where the file is one."""
    folders = [folder.name for folder in path.absolute().parents if folder.parent.name not in _HOMES]
    stems = [_stem(name) for name in (names or (path.name,))]
    hints = Hints()
    _freqtrade(hints, stems[0], (names or (path.name,))[0])
    near = len(stems) + _FOLDERS
    for depth, level in enumerate([*stems, *folders][: len(stems) + _FAR_FOLDERS]):
        found = _level(level, f"{path}: ", is_stem=depth < len(stems))
        for what in ("symbol", "timeframe", "kind", "category", "number") if depth < near else ("category",):
            if not getattr(hints, what):
                setattr(hints, what, getattr(found, what))
    return hints


def _freqtrade(hints: Hints, stem: str, name: str) -> None:
    match = _FREQTRADE.match(stem)
    if match is None or not name.lower().removesuffix(".gz").endswith((".feather", ".json", ".parquet")):
        return
    hints.freqtrade = match["kind"] or ("trades" if match["trades"] else "spot")
    kind = {"futures": "last", "spot": "last", "mark": "mark", "index": "index", "premiumIndex": "premium index"}.get(hints.freqtrade)
    hints.kind = {kind} if kind else set()
    if match["kind"]:
        hints.category = {"linear"}


def _stem(name: str) -> str:
    for suffix in (*PACKED, *SUFFIXES):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name


def _level(text: str, where: str, *, is_stem: bool) -> Hints:
    tokens = [token for token in re.split(r"[^A-Za-z0-9]+", text) if token]
    lowered = [token.lower() for token in tokens]
    kinds = {kind for kind in BAR_KINDS for token in lowered if token == kind or token.startswith(f"{kind}price")}
    if kinds == {"index"} and any(before in _OF_TABLES and word == "index" for before, word in pairwise(lowered)):
        kinds = set()
    if not kinds and any(token.startswith(("kline", "candle", "ohlc")) for token in lowered):
        kinds = {"last"}
    if any(token.startswith("premium") for token in lowered):
        kinds.add("premium index")
    symbols = symbol_in_name(text, where, is_stem=is_stem)
    categories = {"spot" if token == "spot" else "linear" for token in lowered if token in ("spot", "linear", "perp", "perpetual")}
    if not is_stem and lowered in (["um"], ["futures"]):  # Binance's folder of contracts settled in dollars, and freqtrade's
        categories = {"linear"}
    return Hints(
        symbol={symbol.name for symbol in symbols},
        timeframe={timeframe for token in tokens if (timeframe := read_timeframe(token, exact=False))},
        kind=kinds,
        category=categories or {symbol.category for symbol in symbols if symbol.category},
        number=_bare_numbers(text) if is_stem else set(),
    )


def _bare_numbers(text: str) -> set[str]:
    """Timeframes that stand as numbers of minutes behind a symbol: XBTUSD_60, BTCUSDT_15_2024-01-01, BTCUSDT.P, 240."""
    found = re.findall(r"[A-Za-z]{3,}(?:\.P)?[_, -]{1,2}(\d{1,5})(?![A-Za-z0-9-])", text)
    return {_INTERVALS[number] for number in found if number in _INTERVALS}


def read_timeframe(text: str, *, exact: bool = True) -> str | None:
    """Our name for a timeframe as others write it (60, D, 1H, 5min, M15); bare numbers only where the place says so (``exact``)."""
    if text in TIMEFRAMES:
        return text
    return _INTERVALS.get(text) if exact or (not text.isdigit() and len(text) > 1) else None


def choose(name: str, what: str, option: str | None, in_columns: set[str], hints: set[str]) -> str | None:
    """The one value that option, columns and path agree on; None when nothing says it. Raises DataError for a contradiction."""
    if option is not None:
        if in_columns and option not in in_columns:
            raise DataError(f"{name}: --{what} {option} was given, but the file's own column says {_listed(in_columns)}")
        if not in_columns and hints and option not in hints:
            raise DataError(
                f"{name}: --{what} {option} was given, but the path says {' and '.join(sorted(hints))}: leave the option out, or, "
                "if the path is wrong, give the file a name and a folder that do not say so"
            )
        return option
    if len(in_columns) > 1:
        raise DataError(
            f"{name}: there are several in one file, {what} {_listed(in_columns)}: choose one with --{what}{_such_as(what, in_columns)}"
        )
    if in_columns:
        return next(iter(in_columns))
    if len(hints) > 1:
        raise DataError(f"{name}: the path says {what} {' and '.join(sorted(hints))}: choose with --{what}{_such_as(what, hints)}")
    return next(iter(hints), None)


def _listed(values: set[str]) -> str:
    return shortened(", ".join(sorted(values)), 200)


def _such_as(what: str, values: set[str]) -> str:
    return f" (such as --{what} {shortened(min(values))})"
