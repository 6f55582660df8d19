"""The values of a file's rows: prices, sides, ids, as arrays in the order of the file."""

from __future__ import annotations

import numpy as np

from keel.adapters.store.columns.names import plain_names
from keel.adapters.store.files.table import RawFile
from keel.adapters.store.importing.checks import Columns, is_newest_first
from keel.adapters.store.schema import TABLES
from keel.adapters.store.words import shortened
from keel.core.errors import DataError

_SIDES = {"buy": 1, "b": 1, "1": 1, "+1": 1, "bid": 1, "long": 1, "sell": -1, "s": -1, "-1": -1, "ask": -1, "short": -1}
_TRUTHS = {"true": -1, "t": -1, "1": -1, "false": 1, "f": 1, "0": 1}
"""Whether the buyer was the maker -> the taker's side."""
_PERCENT_LIKE = 0.005
"""Half of all settled rates beyond this: they are in percent, or of a market that no exchange has had for long."""


def price_and_points(raw: RawFile, group: str, places: dict[str, int], ts: np.ndarray, notes: list[str]) -> Columns:
    """The columns of a kind but ts, and but the volume of bars. ts: the rows' times in ms."""
    if group == "bars":
        return {name: raw.numbers(places[name]) for name in ("open", "high", "low", "close")}
    if group == "trades":
        qty = raw.numbers(places["qty"])
        _refuse_contracts(raw, places, qty)
        return {"price": raw.numbers(places["price"]), "qty": qty, **_sides(raw, places), **_ids(raw, places, ts)}
    name = TABLES[group].columns[0][0]
    values = raw.numbers(places[name])
    if group == "funding" and len(values) and float(np.nanmedian(np.abs(values))) > _PERCENT_LIKE:
        notes.append(f"half of the rates are beyond {_PERCENT_LIKE:.1%} per interval: are they in percent? keel takes them as fractions")
    return {name: values}


def _sides(raw: RawFile, places: dict[str, int]) -> Columns:
    name, meaning = ("side", _SIDES) if "side" in places else ("buyer_is_maker", _TRUTHS)
    texts, inverse = np.unique(raw.texts(places[name]).astype(str), return_inverse=True)
    for text in texts:
        if text.strip().lower() not in meaning:
            row = int(np.argmax(texts[inverse] == text))
            shown = shortened(repr(str(text)))
            raise DataError(f"{raw.name}, {raw.where(row)}: {raw.headers[places[name]]} is {shown}, which is no side (buy or sell)")
    codes = np.array([meaning[text.strip().lower()] for text in texts], dtype=np.int8)
    return {"side": codes[inverse]}


def _refuse_contracts(raw: RawFile, places: dict[str, int], qty: np.ndarray) -> None:
    """Files of Bybit and BitMEX say a trade's value in coins and in dollars: a size that is not the one in coins is no quantity."""
    plain = plain_names(raw.headers)
    if not {"homenotional", "foreignnotional"} <= set(plain):
        return
    home, foreign = (raw.numbers_or_nan(plain.index(name)) for name in ("homenotional", "foreignnotional"))
    with np.errstate(invalid="ignore"):
        of_home, of_foreign = (np.abs(qty - value) <= 1e-6 * np.abs(value) for value in (home, foreign))
    if 2 * int((of_foreign & ~of_home).sum()) > len(qty):
        raise DataError(f"{raw.name}: the sizes are in dollars, these are trades of an inverse contract, which keel does not trade")
    others = np.isfinite(home) & ~of_home
    if 2 * int(others.sum()) > len(qty):
        row, size, coins = int(np.argmax(others)), raw.headers[places["qty"]], raw.headers[plain.index("homenotional")]
        raise DataError(
            f"{raw.name}, {raw.where(row)}: {size} is {qty[row]:g} and {coins} {home[row]:g}, so {size} counts contracts and not coins: "
            f"call {size} contracts, and {coins} size. Nothing was imported"
        )


def _ids(raw: RawFile, places: dict[str, int], ts: np.ndarray) -> Columns:
    """The exchange's ids, trimmed, or the number of the trade within its millisecond, which makes a second import find the same trades."""
    if "trade_id" in places and raw.has_cells(places["trade_id"]):
        ids = np.array([text.strip() for text in raw.texts(places["trade_id"])], dtype=object)
        empty = ids == ""
        if empty.any():
            row, title = int(np.argmax(empty)), raw.headers[places["trade_id"]]
            raise DataError(f"{raw.name}, {raw.where(row)}: {title} is empty, and others are not: give each trade its id, or none")
        return {"trade_id": ids}
    rows = np.arange(len(ts))[::-1] if is_newest_first(ts) else np.arange(len(ts))
    order = rows[np.argsort(ts[rows], kind="stable")]
    ordered = ts[order]
    first = np.searchsorted(ordered, ordered, side="left")
    ordinal = np.empty(len(ts), dtype=np.int64)
    ordinal[order] = np.arange(len(ts)) - first
    return {"trade_id": ordinal.astype(str).astype(object)}
