"""Which column of a file of bars is the volume in base units, and which that in quote: names decide, numbers are held against them.

A column named after the base coin (volume_btc, Volume BTC, base_volume) is the base volume, and a bare ``volume`` beside it the quote
volume. Without one a bare ``volume`` is the base volume. Where no name decides between two columns, the file is refused and both are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from keel.adapters.store.columns.names import plain_names
from keel.adapters.store.instruments.inference import split_symbol
from keel.adapters.store.words import Where
from keel.core.errors import DataError

_DOLLARS = ("usd", "usdt", "usdc", "usde", "busd")
_TURNOVERS = tuple(f"turnover{coin}" for coin in _DOLLARS)
_BARE = ("volume", "vol", "v")
_BASE = ("basevolume", "volumebase", "baseassetvolume", "volumefrom", "basevol", "volbase")
_QUOTE = ("quotevolume", "volumequote", "quoteassetvolume", "volumeto", "volumecurrency", "turnover", "quotevol", "volquote", *_TURNOVERS)
_CONTRACTS = ("volccy", "volumeccy", "volumecontracts", "contractvolume")
"""Beside these a bare volume may be a number of contracts."""
_AMOUNTS = ("vol", "amount", "quantity", "qty", "size", "turnover", "value", "notional")
"""What is part of the name of a column that may be a volume, whatever else it says."""
_SAME_COIN = {"xbt": "btc", "btc": "xbt"}
_APART = 2.0
"""Quote volume / (base volume x price) beyond this factor, or its inverse: one of the two is not what its name says."""


@dataclass(slots=True)
class VolumeColumns:
    """Positions of base and quote volume, None where there is none, and what was decided."""

    base: int | None = None
    quote: int | None = None
    notes: list[str] = field(default_factory=list)
    rivals: list[int] = field(default_factory=list)
    """Columns beside a bare volume whose names leave open whether they are the base volume: their numbers are looked at."""
    undecided: list[str] = field(default_factory=list)
    """Columns of volume none of whose names says that it is in base units."""


def find_volume(name: str, headers: list[str], symbol: str) -> VolumeColumns:
    """The volume columns of bars of a symbol. Raises DataError that names both where no name decides between two."""
    plain = plain_names(headers)
    base_names, quote_names = _coin_names(symbol)
    base = _places(plain, (*_BASE, *base_names))
    quote = _places(plain, (*_QUOTE, *quote_names))
    bare = _places(plain, _BARE)
    rivals = _places(plain, _CONTRACTS)
    for candidates in (base, bare if not base else [], [*bare, *rivals] if bare and not base else []):
        if len(candidates) > 1:
            raise DataError(
                f"{name}: {' and '.join(headers[place] for place in candidates)} may both be the volume in {split_symbol(symbol)[0]}: "
                "keep one of them, or rename the other"
            )
    if base:
        return VolumeColumns(base[0], next(iter(quote or bare), None), _beside(headers, base[0], bare, is_quote=not quote))
    if bare:
        others = {bare[0], *quote}
        unknown = [place for place, word in enumerate(plain) if place not in others and any(part in word for part in _AMOUNTS)]
        return VolumeColumns(bare[0], quote[0] if quote else None, rivals=unknown)
    unsure = [header for header, word in zip(headers, plain, strict=True) if word.startswith("vol") or word.endswith("volume")]
    return VolumeColumns(undecided=unsure or [headers[place] for place in quote])


def missing_volume(name: str, found: VolumeColumns, symbol: str, headers: Sequence[str]) -> DataError:
    """The error for bars of the last price without a base volume."""
    if not found.undecided:
        return DataError(f"{name}: the column volume is missing; there are {', '.join(headers)}")
    coin = split_symbol(symbol)[0]
    return DataError(
        f"{name}: no name says that {' or '.join(found.undecided)} is the volume in {coin}: call the one that is volume_{coin.lower()}"
    )


def refuse_rival(
    name: str, titles: tuple[str, str], symbol: str, volume: np.ndarray, rival: np.ndarray, price: np.ndarray, where: Where
) -> None:
    """Raises DataError where another column x price is a bare volume in more than half of the rows: then that volume is in quote.

    titles: what the file calls volume and rival. Rows with a price near 1 tell nothing: there both are the same within the factor.
    """
    with np.errstate(all="ignore"):
        traded = (volume > 0) & (rival > 0) & (np.abs(np.log(price)) > 2 * np.log(_APART))
        ratio = volume / (rival * price)
    same = traded & (ratio < _APART) & (ratio > 1 / _APART)
    if 2 * int(same.sum()) <= int(traded.sum()):
        return
    row, (one, other), coin = int(np.argmax(same)), titles, split_symbol(symbol)[0]
    raise DataError(
        f"{name}: {one} is {other} x price in {int(same.sum()):,} of {int(traded.sum()):,} rows (the first is {where(row)}: "
        f"{one} {volume[row]:g}, {other} {rival[row]:g}, price {price[row]:g}), so {other} may be the volume in {coin}: "
        f"call the one that is volume_{coin.lower()}. Nothing was imported"
    )


def hold_against_prices(
    name: str, titles: tuple[str, str], base: np.ndarray, quote: np.ndarray, price: np.ndarray, where: Where
) -> list[str]:
    """Notes on rows whose quote volume is not base volume x price. Raises DataError where it is so in more than half of them.

    titles: what the file calls base and quote volume. Rows without one of the two do not count.
    """
    one, other = titles
    traded = np.isfinite(base) & np.isfinite(quote) & (base > 0) & (quote > 0)
    if not traded.any():
        return []
    with np.errstate(all="ignore"):
        ratio = quote / (base * price)
        off = traded & ~((ratio < _APART) & (ratio > 1 / _APART))
    count, all_rows = int(off.sum()), int(traded.sum())
    if not count:
        return []
    if np.array_equal(base[traded], quote[traded]):
        return [f"{other} says the same as {one} and was not read"]
    row = int(np.argmax(off))
    first = f"the first is {where(row)}: {one} {base[row]:g}, {other} {quote[row]:g}, price {price[row]:g}"
    found = f"in {count:,} of {all_rows:,} rows {other} is not {one} x price ({first})"
    if 2 * count > all_rows:
        raise DataError(f"{name}: {found}: the names or the numbers are wrong; correct them, or remove {other}. Nothing was imported")
    return [f"{found}: there one of the two is wrong, and {one} was stored as it stands"]


def _beside(headers: list[str], base: int, bare: list[int], *, is_quote: bool) -> list[str]:
    if not bare:
        return []
    others = " and ".join(headers[place] for place in bare)
    rest = f"{others} beside it as the quote volume, which is not kept" if is_quote else f"{others} beside it was not read"
    return [f"{headers[base]} was taken as the volume, by its name; {rest}"]


def _places(plain: list[str], names: Sequence[str]) -> list[int]:
    return [place for place, word in enumerate(plain) if word in names]


def _coin_names(symbol: str) -> tuple[list[str], list[str]]:
    """What a column of base volume and one of quote volume may be called after the symbol's coins."""
    base, quote = (coin.lower() for coin in split_symbol(symbol))
    bases = [base, _SAME_COIN.get(base, base)]
    quotes = [*_DOLLARS] if quote in _DOLLARS else [quote, _SAME_COIN.get(quote, quote)]
    return [word for coin in bases for word in _words(coin)], [word for coin in quotes for word in _words(coin)]


def _words(coin: str) -> list[str]:
    return [f"volume{coin}", f"{coin}volume", f"vol{coin}", f"{coin}vol"]
