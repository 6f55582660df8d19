"""Which price bars are of (last, mark, index), and their volume in base units."""

from __future__ import annotations

import numpy as np

from keel.adapters.store.columns.names import counts_in_quote
from keel.adapters.store.columns.volume import VolumeColumns, find_volume, hold_against_prices, missing_volume, refuse_rival
from keel.adapters.store.files.table import RawFile
from keel.adapters.store.importing.checks import Columns
from keel.adapters.store.instruments.inference import split_symbol
from keel.adapters.store.schema import BAR_KINDS, KINDS
from keel.core.errors import DataError

_PLACES = 8
"""Decimals of a volume that is computed."""


def kind_and_volume(
    raw: RawFile, symbol: str, kind: str | None, columns: Columns, notes: list[str], *, in_column: bool
) -> tuple[str, np.ndarray]:
    """The kind of bars, and their volume in base units. in_column: the file's own column says the kind."""
    if kind in KINDS and kind not in BAR_KINDS:
        raise DataError(f"{raw.name}: --kind {kind} was given, but the columns are those of bars (last, mark or index)")
    found = find_volume(raw.name, raw.headers, symbol)
    volume = np.zeros(raw.rows) if found.base is None else raw.numbers_or_nan(found.base)
    if kind is None and (volume > 0).any():
        notes.append("kind last was assumed, as there is volume (--kind says otherwise)")
        kind = "last"
    if kind is None:
        raise DataError(
            f"{raw.name}: bars without volume may be of the last, mark or index price: use --kind last, --kind mark or --kind index"
        )
    if kind not in BAR_KINDS:
        mend = "correct the file's own column" if in_column else "give the file a name and a folder that do not say so, and use --kind"
        raise DataError(f"{raw.name}: this says {kind} bars, which the store does not keep: if they are last, mark or index bars, {mend}")
    if kind == "last":
        return kind, _base_volume(raw, symbol, found, columns, notes)
    if not in_column:
        _refuse_traded(raw, kind, found, volume)
    return kind, np.zeros(raw.rows) if found.base is None else np.nan_to_num(raw.numbers(found.base, empty=0.0), nan=0.0)


def _refuse_traded(raw: RawFile, kind: str, found: VolumeColumns, volume: np.ndarray) -> None:
    """Bars with a volume are of the last price, whatever an option or the path says; mark and index bars have none, or 0."""
    traded = np.flatnonzero(volume > 0)
    if found.base is None or not len(traded):
        return
    title, row = raw.headers[found.base], int(traded[0])
    raise DataError(
        f"{raw.name}, {raw.where(row)}: {title} is {volume[row]:g}, and only bars of the last price have a volume; these are said to be "
        f"{kind} bars. If they are of the last price, use --kind last, and a name and a folder that do not say {kind}; if they are "
        f"{kind} bars, remove the column {title}. Nothing was imported"
    )


def _base_volume(raw: RawFile, symbol: str, found: VolumeColumns, columns: Columns, notes: list[str]) -> np.ndarray:
    if found.base is None:
        raise missing_volume(raw.name, found, symbol, raw.headers)
    volume = raw.numbers(found.base)
    notes += found.notes
    is_pair = split_symbol(symbol)[0] != symbol
    if is_pair and found.quote is None and (raw.quote_volume or counts_in_quote(raw.headers)):
        notes.append(
            "Yahoo and CoinMarketCap count the volume of a coin in the quote currency: it was divided by the close, to eight decimals"
        )
        return np.round(volume / columns["close"], _PLACES)
    price = (columns["low"] + columns["high"]) / 2
    for place in found.rivals:
        refuse_rival(raw.name, (raw.headers[found.base], raw.headers[place]), symbol, volume, raw.numbers_or_nan(place), price, raw.where)
    if found.quote is not None:
        titles = (raw.headers[found.base], raw.headers[found.quote])
        quote = raw.numbers_or_nan(found.quote)
        notes += hold_against_prices(raw.name, titles, volume, quote, price, raw.where)
    return volume
