"""Files whose columns have no names: what they are is told by how many columns there are, and by what stands in them.

Known are the shapes that exchanges and programs write: Binance (12 columns of bars, trades, aggregated trades), Kraken, Bybit and ccxt
(six or seven), jesse (close before high), MetaTrader and HistData (a date, perhaps a time of day), freqtrade's trades.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from keel.adapters.store.files.table import RawFile
from keel.core.errors import DataError

_NUMBER = re.compile(r"^[-+]?\d[\d.,]*(e[-+]?\d+)?$", re.IGNORECASE)
_INTEGER = re.compile(r"^\d+$")
_EPOCH = re.compile(r"^\d{9,20}([.,]\d+)?$")
_DATE = re.compile(r"^(\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}|(19|20)\d{6})([T D]\S.*)?$")
_CLOCK = re.compile(r"^\d{1,2}:\d\d(:\d\d)?$|^\d{4}(\d\d)?$")
_TRUTH = re.compile(r"^(true|false)$", re.IGNORECASE)
_SIDE = re.compile(r"^(buy|sell)$", re.IGNORECASE)
_TESTS: dict[str, Callable[[str], bool]] = {
    "time": lambda cell: bool(_EPOCH.match(cell) or _DATE.match(cell)),
    "date": lambda cell: bool(_DATE.match(cell)),
    "clock": lambda cell: bool(_CLOCK.match(cell)),
    "id": lambda cell: bool(_INTEGER.match(cell)),
    "count": lambda cell: bool(_INTEGER.match(cell)),
    "number": lambda cell: bool(_NUMBER.match(cell)) or cell.lower() in ("", "nan"),
    "truth": lambda cell: bool(_TRUTH.match(cell)),
    "side": lambda cell: bool(_SIDE.match(cell)),
    "any": lambda cell: True,
}
_BAR = (("open", "number"), ("high", "number"), ("low", "number"), ("close", "number"))
_TRADES = (
    ("id", "id"),
    ("price", "number"),
    ("qty", "number"),
    ("quote_qty", "number"),
    ("time", "time"),
    ("is_buyer_maker", "truth"),
)
_AGGREGATED = (
    ("agg_trade_id", "id"),
    ("price", "number"),
    ("qty", "number"),
    ("first_id", "id"),
    ("last_id", "id"),
    ("time", "time"),
    ("is_buyer_maker", "truth"),
)
_SHAPES: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Binance's bars",
        (
            ("open_time", "time"),
            *_BAR,
            ("volume", "number"),
            ("close_time", "time"),
            ("quote_volume", "number"),
            ("count", "count"),
            ("taker_buy_base", "number"),
            ("taker_buy_quote", "number"),
            ("ignore", "any"),
        ),
    ),
    ("Kraken's answers", (("ts", "time"), *_BAR, ("vwap", "number"), ("volume", "number"), ("count", "count"))),
    ("bars with dates and times of day", (("date", "date"), ("time", "clock"), *_BAR, ("volume", "number"))),
    ("bars with a number of trades", (("ts", "time"), *_BAR, ("volume", "number"), ("count", "count"))),
    ("bars with a turnover", (("ts", "time"), *_BAR, ("volume", "number"), ("turnover", "number"))),
    ("bars", (("ts", "time"), *_BAR, ("volume", "number"))),
    ("bars without volume", (("ts", "time"), *_BAR)),
    ("Binance's trades", (*_TRADES, ("best", "truth"))),
    ("Binance's trades", _TRADES),
    ("Binance's aggregated trades", (*_AGGREGATED, ("best", "truth"))),
    ("Binance's aggregated trades", _AGGREGATED),
    (
        "freqtrade's trades",
        (
            ("timestamp", "time"),
            ("id", "any"),
            ("type", "any"),
            ("side", "side"),
            ("price", "number"),
            ("amount", "number"),
            ("cost", "number"),
        ),
    ),
)
_SAMPLE = 200


def name_by_shape(raw: RawFile, notes: list[str], *, is_funding: bool) -> None:
    """Give the columns of a file without names theirs; told in ``notes``. Raises DataError, with the first rows, for an unknown shape."""
    rows = raw.sample(_SAMPLE)
    start = 1 if raw.headers[0] == "" else 0
    if is_funding:
        raw.headers = ["ts", "funding_rate", *(f"column_{place}" for place in range(2, len(raw.headers)))]
        return
    for what, shape in _SHAPES:
        if len(shape) == len(raw.headers) - start and _fits(rows, start, [test for _, test in shape]):
            names = [name for name, _ in shape]
            if "open" in names:
                names = _ordered(raw, names, start)
            raw.headers = ["row"] * start + names
            notes.append(f"the columns have no names: they were taken as {', '.join(names)} ({what})")
            return
    raise DataError(
        f"{raw.name}: {_nameless(raw)}, and {len(raw.headers)} columns of this kind are not known: {_names_for(raw)}"
        f"{_no_side(rows, raw)} ({raw.first_rows()})"
    )


def _fits(rows: Sequence[Sequence[str]], start: int, tests: Sequence[str]) -> bool:
    return bool(rows) and all(all(_TESTS[test](cell) for test, cell in zip(tests, row[start:], strict=True)) for row in rows)


def _no_side(rows: Sequence[Sequence[str]], raw: RawFile) -> str:
    """What more to say of a file that looks like Kraken's trades."""
    if len(raw.headers) == 3 and _fits(rows, 0, ["time", "number", "number"]):
        return "; if these are trades, their sides are missing, without which they cannot be imported: import bars (Kraken's OHLCVT)"
    return ""


def _ordered(raw: RawFile, names: list[str], start: int) -> list[str]:
    """The names with open, high, low, close in the order that the numbers show: jesse writes open, close, high, low."""
    at = names.index("open")
    prices = np.array([raw.numbers_or_nan(start + place) for place in range(at, at + 4)])
    for order in (("open", "high", "low", "close"), ("open", "close", "high", "low")):
        high, low = prices[order.index("high")], prices[order.index("low")]
        with np.errstate(invalid="ignore"):
            wrong = (prices > high).any(axis=0) | (prices < low).any(axis=0)
        if not wrong.any():
            return [*names[:at], *order, *names[at + 4 :]]
        if 2 * int(wrong.sum()) < len(wrong) and order[1] == "high":
            return names
    raise DataError(
        f"{raw.name}: {_nameless(raw)}, and no order of open, high, low and close fits the numbers: {_names_for(raw)} ({raw.first_rows()})"
    )


def _nameless(raw: RawFile) -> str:
    return "the columns have no names" if raw.way_out else "the first line has no column names"


def _names_for(raw: RawFile) -> str:
    return raw.way_out or "add a line such as ts,open,high,low,close,volume"
