"""What the columns of a file are, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from keel.adapters.store.words import shortened
from keel.core.errors import DataError

_ALIASES: dict[str, tuple[str, ...]] = {
    "ts": (
        "ts", "timeopen", "tsopen", "opentime", "opentimems", "timestamp", "timestampms", "tsms", "fundingratetimestamp", "fundingtime",
        "calctime", "transacttime", "tradetime", "unix", "unixtimestamp", "time", "datetime", "date", "gmttime", "localtime", "starttime",
        "startat", "start", "createtime", "timeutc", "dateutc", "t",
    ),
    "open": ("open", "openprice", "o"),
    "high": ("high", "highprice", "h"),
    "low": ("low", "lowprice", "l"),
    "close": ("close", "closeprice", "c", "closelast"),
    "funding_rate": ("fundingrate", "lastfundingrate"),
    "open_interest": ("openinterest", "sumopeninterest", "oi"),
    "price": ("price", "p"),
    "qty": ("qty", "quantity", "size", "amount", "q", "volume"),
    "side": ("side", "takerside"),
    "buyer_is_maker": ("isbuyermaker", "buyerismaker", "m"),
    "trade_id": ("tradeid", "aggtradeid", "execid", "trdmatchid", "id", "a"),
    "symbol": ("symbol", "pair", "instrument", "ticker"),
    "timeframe": ("timeframe", "interval", "tf", "period", "per"),
    "kind": ("kind", "pricetype"),
    "category": ("category",),
}  # fmt: skip
"""Our column names and what others call them (lower case, letters and digits only), the surest name first."""

_KNOWN = frozenset(alias for aliases in _ALIASES.values() for alias in aliases)
_INDEX = ("", "unnamed0", "indexlevel0", "index")
"""What pandas calls an index without a name: in CSV, read again, and in Parquet."""
_DATES, _CLOCKS = ("date", "day"), ("time", "hour", "clock")
_DATE_TEXTS = ("date", "datetime", "dateutc", "timeutc")
_CLOSING = ("closetime", "closetimems", "closetimestamp", "tsclose", "endtime", "end")
_BOOK = {"issnapshot", "bid", "ask", "bidqty", "askqty", "bidprice", "askprice"}
_BAR_COLUMNS = ("open", "high", "low", "close")
_NEEDED = {
    "bars": ("ts", *_BAR_COLUMNS),
    "funding": ("ts", "funding_rate"),
    "open_interest": ("ts", "open_interest"),
    "trades": ("ts", "price", "qty"),
}


def name_columns(name: str, headers: Sequence[str]) -> dict[str, int]:
    """Our names for a file's columns -> their positions. Raises DataError for order books and for two columns of one name.

    Beside a column of dates, "clock" is one of times of day, and "ts_text" beside a column of numbers one of dates. An index without a name
    is the time where no other column is.
    """
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
    _pair_times(plain, found)
    return found


def _pair_times(plain: list[str], found: dict[str, int]) -> None:
    dates, clocks, texts = (_first(plain, names) for names in (_DATES, _CLOCKS, _DATE_TEXTS))
    if "ts" not in found:
        index = _first(plain, _INDEX)
        if index is not None:
            found["ts"] = index
        elif dates is not None:
            found["ts"] = dates
    if dates is not None and clocks is not None and found.get("ts") in (dates, clocks):
        found["ts"], found["clock"] = dates, clocks
    elif texts is not None and texts != found.get("ts"):
        found["ts_text"] = texts


def _first(plain: list[str], names: tuple[str, ...]) -> int | None:
    return next((place for name in names for place, header in enumerate(plain) if header == name), None)


def category_of(headers: Sequence[str]) -> str | None:
    """The category that the columns themselves say: the trades of Bybit's archive of spot have names of their own."""
    plain = plain_names(headers)
    return "spot" if plain[:5] == ["id", "timestamp", "price", "volume", "side"] else None


def counts_in_quote(headers: Sequence[str]) -> bool:
    """Whether the columns are those of a writer who counts the volume of a coin in the quote currency: Yahoo, CoinMarketCap."""
    plain = set(plain_names(headers))
    return "adjclose" in plain or {"marketcap", "timeopen"} <= plain


def is_known_name(plain: str) -> bool:
    """Whether a plain name is one that some column is known by."""
    return plain in _KNOWN


def plain_names(headers: Sequence[str]) -> list[str]:
    """Headers in lower case, letters and digits only."""
    return [re.sub(r"[^a-z0-9]", "", header.lower()) for header in headers]


def family(name: str, columns: dict[str, int], headers: Sequence[str], first_rows: str, *, with_times: str = "") -> str:
    """bars, funding, open_interest or trades. Raises DataError that names the missing column and shows the first rows.

    with_times: how such a file is written with its times, for one that has none.
    """
    for kind, sign in (("bars", {"open", "high", "low", "close"}), ("funding", {"funding_rate"}), ("open_interest", {"open_interest"})):
        if len(sign & set(columns)) > len(sign) / 2:
            return _complete(name, kind, columns, headers, first_rows, with_times)
    if {"price", "qty"} <= set(columns):
        return _complete(name, "trades", columns, headers, first_rows, with_times)
    raise DataError(
        f"{name}: the columns ({shortened(', '.join(headers), 200)}) are none that keel knows: bars have time, open, high, low, close, "
        f"volume; funding has time, funding_rate; open interest has time, open_interest; trades have time, price, qty, side; {first_rows}"
    )


def _complete(name: str, kind: str, columns: dict[str, int], headers: Sequence[str], first_rows: str, with_times: str) -> str:
    missing = [column for column in _NEEDED[kind] if column not in columns]
    if kind == "trades" and "side" not in columns and "buyer_is_maker" not in columns:
        missing.append("side")
    if missing:
        closing = next((header for header, plain in zip(headers, plain_names(headers), strict=True) if plain in _CLOSING), None)
        what = "a column of times" if missing[0] == "ts" else f"the column {missing[0]}"
        if missing[0] == "ts" and closing is not None:
            what = f"a column of opening times ({closing} holds closing times: subtract the bar's length and call it ts)"
        elif missing[0] == "ts" and with_times:
            first_rows = f"{with_times}; {first_rows}"
        raise DataError(f"{name}: {what} is missing; there are {shortened(', '.join(headers), 200)}; {first_rows}")
    return kind
