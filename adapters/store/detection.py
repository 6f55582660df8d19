"""What a file is, from its columns and its path: kind, symbol, timeframe, category, and the unit of its times.

The file's columns say it first, then the name nearest to the file. An option chooses among several, and says what neither says; one that
contradicts them is refused, for one of the two is wrong. Where nothing says it, the error names the option that settles it; only two things
are assumed, and noted in the report: category linear, and that bars with volume are bars of the last price.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from adapters.store.checks import Where
from adapters.store.schema import BAR_KINDS
from adapters.store.words import shortened
from core.errors import DataError
from core.timeframe import TIMEFRAMES

_ALIASES: dict[str, tuple[str, ...]] = {
    "ts": (
        "ts", "tsopen", "opentime", "opentimems", "timestamp", "timestampms", "tsms", "fundingratetimestamp", "fundingtime", "calctime",
        "transacttime", "tradetime", "time", "datetime", "date", "unix", "unixtimestamp", "starttime", "start", "t",
    ),
    "open": ("open", "openprice", "o"),
    "high": ("high", "highprice", "h"),
    "low": ("low", "lowprice", "l"),
    "close": ("close", "closeprice", "c"),
    "funding_rate": ("fundingrate", "lastfundingrate"),
    "open_interest": ("openinterest", "sumopeninterest", "oi"),
    "price": ("price", "p"),
    "qty": ("qty", "quantity", "size", "amount", "q"),
    "side": ("side", "takerside"),
    "buyer_is_maker": ("isbuyermaker", "buyerismaker", "m"),
    "trade_id": ("tradeid", "aggtradeid", "execid", "trdmatchid", "id", "a"),
    "symbol": ("symbol", "pair", "instrument", "ticker"),
    "timeframe": ("timeframe", "interval", "tf"),
    "kind": ("kind", "pricetype"),
    "category": ("category",),
}  # fmt: skip
"""Our column names and what others call them (lower case, letters and digits only), the surest name first."""

_CLOSING = ("closetime", "closetimems", "closetimestamp", "tsclose", "endtime", "end")
_BOOK = {"issnapshot", "bid", "ask", "bidqty", "askqty", "bidprice", "askprice"}
_BAR_COLUMNS = ("open", "high", "low", "close")
_NEEDED = {
    "bars": ("ts", *_BAR_COLUMNS),
    "funding": ("ts", "funding_rate"),
    "open_interest": ("ts", "open_interest"),
    "trades": ("ts", "price", "qty"),
}
_EXCHANGE_INTERVALS = {
    "1": "1m", "3": "3m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "120": "2h", "240": "4h", "360": "6h", "720": "12h",
    "D": "1d", "W": "1w", "1H": "1h", "2H": "2h", "4H": "4h", "6H": "6h", "12H": "12h", "1D": "1d", "1W": "1w", "1min": "1m", "5min": "5m",
    "15min": "15m", "30min": "30m",
}  # fmt: skip
_SYMBOL_IN_PATH = re.compile(r"^(?=.*[A-Z])[A-Z0-9]{1,24}(USDT|USDC|USD|PERP|EUR|BTC|ETH)$")
_LEVELS = 4
_HOMES = ("home", "Users")
"""Folders of which each entry is a person's: one called mark says nothing of prices."""
_US_OF = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
_UNITS = (("s", 1e8, 1e11), ("ms", 1e11, 1e14), ("us", 1e14, 1e17), ("ns", 1e17, 1e20))
"""Units of time and the magnitudes that mean them: each covers the years 1973 to 5138."""


def name_columns(name: str, headers: list[str]) -> dict[str, int]:
    """Our names for a file's columns -> their positions. Raises DataError for order books and for two columns of one name."""
    plain = plain_names(headers)
    if _BOOK & set(plain):
        raise DataError(f"{name}: these are messages of an order book, which the store does not keep")
    found: dict[str, int] = {}
    for ours, aliases in _ALIASES.items():
        for alias in aliases:
            places = [place for place, header in enumerate(plain) if header == alias]
            if len(places) > 1:
                raise DataError(f"{name}: two columns are called {shortened(headers[places[0]])!r}: remove one")
            if places:
                found[ours] = places[0]
                break
    return found


def plain_names(headers: list[str]) -> list[str]:
    """Headers in lower case, letters and digits only."""
    return [re.sub(r"[^a-z0-9]", "", header.lower()) for header in headers]


def family(name: str, columns: dict[str, int], headers: list[str]) -> str:
    """bars, funding, open_interest or trades. Raises DataError that names the missing column."""
    for kind, sign in (("bars", {"open", "high", "low", "close"}), ("funding", {"funding_rate"}), ("open_interest", {"open_interest"})):
        if len(sign & set(columns)) > len(sign) / 2:
            return _complete(name, kind, columns, headers)
    if {"price", "qty"} <= set(columns):
        return _complete(name, "trades", columns, headers)
    raise DataError(
        f"{name}: the columns ({shortened(', '.join(headers), 200)}) are none that keel knows: bars have time, open, high, low, close, "
        "volume; funding has time, funding_rate; open interest has time, open_interest; trades have time, price, qty, side"
    )


def _complete(name: str, kind: str, columns: dict[str, int], headers: list[str]) -> str:
    missing = [column for column in _NEEDED[kind] if column not in columns]
    if kind == "trades" and "side" not in columns and "buyer_is_maker" not in columns:
        missing.append("side")
    if missing:
        closing = next((header for header, plain in zip(headers, plain_names(headers), strict=True) if plain in _CLOSING), None)
        what = "a column of times" if missing[0] == "ts" else f"the column {missing[0]}"
        if missing[0] == "ts" and closing is not None:
            what = f"a column of opening times ({closing} holds closing times: subtract the bar's length and call it ts)"
        raise DataError(f"{name}: {what} is missing; there are {shortened(', '.join(headers), 200)}")
    return kind


def path_hints(path: Path) -> dict[str, set[str]]:
    """What the names say of symbol, timeframe, kind and category; of each, only what stands nearest to the file."""
    stem = path.name
    for suffix in (".gz", ".csv", ".parquet", ".pq"):
        stem = stem.removesuffix(suffix)
    folders = [folder.name for folder in path.absolute().parents if folder.parent.name not in _HOMES]
    levels = [stem, *folders][:_LEVELS]
    hints: dict[str, set[str]] = {"symbol": set(), "timeframe": set(), "kind": set(), "category": set()}
    for depth, level in enumerate(levels):
        tokens = [token for token in re.split(r"[^A-Za-z0-9]+", level) if token]
        for what, values in _level_hints(tokens, is_stem=depth == 0).items():
            hints[what] = hints[what] or values
    return hints


def _level_hints(tokens: list[str], *, is_stem: bool) -> dict[str, set[str]]:
    lowered = [token.lower() for token in tokens]
    kinds = {kind for kind in BAR_KINDS for token in lowered if token == kind or token.startswith(f"{kind}price")}
    if not kinds and any(token.startswith(("kline", "candle", "ohlc")) for token in lowered):
        kinds = {"last"}
    if any(token.startswith("premium") for token in lowered):
        kinds.add("premium index")
    names = [token.upper() for token in tokens] if is_stem else tokens
    return {
        "symbol": {token for token in names if _SYMBOL_IN_PATH.match(token)},
        "timeframe": {timeframe for token in tokens if (timeframe := read_timeframe(token, exact=False))},
        "kind": kinds,
        "category": {"spot" if token == "spot" else "linear" for token in lowered if token in ("spot", "linear", "perp", "perpetual")},
    }


def read_timeframe(text: str, *, exact: bool = True) -> str | None:
    """Our name for a timeframe as others write it (60, D, 1H, 5min); bare numbers only where the place says that it is one (``exact``)."""
    if text in TIMEFRAMES:
        return text
    return _EXCHANGE_INTERVALS.get(text) if exact or (not text.isdigit() and len(text) > 1) else None


def choose(name: str, what: str, option: str | None, in_columns: set[str], hints: set[str]) -> str | None:
    """The one value that option, columns and path agree on; None when nothing says it. Raises DataError for a contradiction."""
    if option is not None:
        if in_columns and option not in in_columns:
            raise DataError(f"{name}: --{what} {option} was given, but the file's own column says {', '.join(sorted(in_columns))}")
        if not in_columns and hints and option not in hints:
            raise DataError(
                f"{name}: --{what} {option} was given, but the path says {' and '.join(sorted(hints))}: leave the option out, or, "
                "if the path is wrong, give the file a name and a folder that do not say so"
            )
        return option
    if len(in_columns) > 1:
        raise DataError(f"{name}: there are several in one file, {what} {', '.join(sorted(in_columns))}: choose one with --{what}")
    if in_columns:
        return next(iter(in_columns))
    if len(hints) > 1:
        raise DataError(f"{name}: the path says {what} {' and '.join(sorted(hints))}: choose with --{what}")
    return next(iter(hints), None)


def timeframe_of_spacing(ts: np.ndarray) -> str | None:
    """The timeframe whose length is the smallest distance of times (any order) and that of more than half; None when there is none."""
    values, counts = np.unique(np.diff(np.unique(ts)), return_counts=True)
    if not len(values) or 2 * counts[0] <= counts.sum():
        return None
    return next((timeframe for timeframe, length in TIMEFRAMES.items() if length == values[0]), None)


def to_milliseconds(name: str, times: np.ndarray, where: Where) -> tuple[np.ndarray, str]:
    """(times in ms, unit) of integers or floats whose unit is told by their magnitude; all rows must agree. Raises DataError."""
    units = np.full(len(times), -1, dtype=np.int8)
    for index, (_, low, high) in enumerate(_UNITS):
        units[(times >= low) & (times < high)] = index
    strange = units != units[0] if units[0] >= 0 else units < 0
    if strange.any():
        row = int(np.argmax(strange))
        shown = f"{name}, {where(row)}: the time {times[row]}"
        if units[row] < 0:
            raise DataError(f"{shown} is no time in s, ms, us or ns since 1970")
        raise DataError(
            f"{shown} is in {_UNITS[units[row]][0]}, the first row ({times[0]}) in {_UNITS[units[0]][0]}: use one unit throughout"
        )
    unit = _UNITS[int(units[0])][0]
    if unit == "s" or times.dtype.kind == "f":
        return whole_milliseconds(np.rint(times * _US_OF[unit]).astype(np.int64)), unit
    return times // {"ms": 1, "us": 1_000, "ns": 1_000_000}[unit], unit


def whole_milliseconds(micros: np.ndarray) -> np.ndarray:
    """us as ms, to the nearest one, but never up into the next second: 59.999999 is a closing time, and stays one."""
    nearest = (micros + 500) // 1000
    carried = (nearest % 1000 == 0) & (nearest * 1000 > micros)
    return np.asarray(nearest - carried)
