"""Columns of numbers as the JSON of an answer: a list of rows, each a list of decimal strings.

The texts are those of ``texts`` (and so Python's own), digit for digit; they are written for a whole column at once, into a table of bytes
of which a mask says what is kept. What no table holds (numbers from 2**63 on, and what is no number) Python writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from core.instrument import Grid
from sim.sandbox import texts
from sim.sandbox.feed import Floats, Ints

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Column = tuple[Bytes, Mask]
"""A row of characters per number, and which of them stand."""

_FOUR: Final = np.frombuffer("".join(f"{number:04d}" for number in range(10_000)).encode(), dtype=np.uint32)
_LARGEST: Final = 2.0**63
_MOST_PLACES: Final = 15
_ZERO, _POINT, _MINUS = b"0.-"


def decimals(values: Floats, places: int, *, is_short: bool = False) -> Column:
    """``f"{value:.{places}f}"``, or with ``is_short`` ``texts.decimal``: without trailing zeros."""
    sizes = np.abs(values)
    if places > _MOST_PLACES or not (sizes < _LARGEST).all():
        return _written([texts.decimal(value, places) if is_short else f"{value:.{places}f}" for value in values.tolist()])
    whole, fraction = _rounded(sizes, places)
    is_negative = np.signbit(values)
    if is_short:
        is_negative &= (whole | fraction) != 0
    return _column(whole, fraction, places, is_short, is_negative)


def on_grid(grid: Grid, counts: Ints) -> Column:
    """``Grid.text`` of counts that are not negative."""
    scale = 10**grid.decimals
    if scale % grid.den or int(counts.max(initial=0)) * grid.num * scale >= 2**63:
        return _written([grid.text(count) for count in counts.tolist()])
    units = counts * (grid.num * scale // grid.den)
    return _column(units // scale, units % scale, grid.decimals, False, np.zeros(len(counts), dtype=np.bool_))


def plain_zeros(column: Column, is_zero: Mask) -> Column:
    """The column with nothing but one digit where it is 0."""
    chars, kept = column
    if is_zero.any():
        chars, kept = chars.copy(), kept.copy()
        kept[is_zero] = False
        chars[is_zero, 0], kept[is_zero, 0] = _ZERO, True
    return chars, kept


def whole_numbers(values: Ints) -> Column:
    """``str`` of integers that are not negative."""
    return _column(values, np.zeros_like(values), 0, False, np.zeros(len(values), dtype=np.bool_))


def json_rows(columns: Sequence[Column]) -> msgspec.Raw:
    """The rows of columns that are equally long."""
    count = len(columns[0][0])
    if not count:
        return msgspec.Raw(b"[]")
    width = sum(chars.shape[1] + 3 for chars, _ in columns) + 2  # quotes and comma; brackets
    table: Bytes = np.empty((count, width), dtype=np.uint8)
    kept: Mask = np.ones((count, width), dtype=np.bool_)
    line = np.frombuffer(b'["' + b'","'.join(b"0" * chars.shape[1] for chars, _ in columns) + b'"],', dtype=np.uint8)
    table[:] = line
    at = 2
    for chars, mask in columns:
        end = at + chars.shape[1]
        table[:, at:end], kept[:, at:end] = chars, mask
        at = end + 3
    return msgspec.Raw(b"[" + table[kept].tobytes()[:-1] + b"]")


def as_published(values: Floats, places: int) -> Floats:
    """What a reader of ``decimals`` takes the numbers for."""
    scale = 10.0**places
    if places > _MOST_PLACES or not (np.abs(values) < 2.0**53 / scale).all():
        return np.array([float(f"{value:.{places}f}") for value in values.tolist()])
    whole, fraction = _rounded(np.abs(values), places)
    published: Floats = np.copysign((whole * 10**places + fraction) / scale, values)
    return published


def _rounded(sizes: Floats, places: int) -> tuple[Ints, Ints]:
    """Whole part and fraction (in units of the last place), rounded as Python rounds: the exact binary value, halves to even."""
    floors = np.floor(sizes)
    scaled = (sizes - floors) * 10.0**places
    whole, fraction = floors.astype(np.int64), np.rint(scaled).astype(np.int64)
    is_near_half = np.abs(scaled - np.floor(scaled) - 0.5) <= scaled * 2.0**-52  # the product is off by half a unit of its last bit
    for at in np.flatnonzero(is_near_half).tolist():
        before, _, after = f"{sizes[at]:.{places}f}".partition(".")
        whole[at], fraction[at] = int(before), int(after or 0)
    is_full = fraction == 10**places
    return whole + is_full, fraction * ~is_full


def _column(whole: Ints, fraction: Ints, places: int, is_short: bool, is_negative: Mask) -> Column:
    before = len(str(int(whole.max(initial=0))))
    width = 1 + before + (1 + places if places else 0)
    chars: Bytes = np.empty((len(whole), width), dtype=np.uint8)
    kept: Mask = np.ones((len(whole), width), dtype=np.bool_)
    chars[:, 0], kept[:, 0] = _MINUS, is_negative
    chars[:, 1 : before + 1] = _digits(whole, before)
    for place in range(1, before):
        kept[:, place] = whole >= 10 ** (before - place)
    if places:
        chars[:, before + 1] = _POINT
        chars[:, before + 2 :] = _digits(fraction, places)
        if is_short:
            _drop_zeros(chars[:, before + 1 :], kept[:, before + 1 :])
    return chars, kept


def _drop_zeros(chars: Bytes, kept: Mask) -> None:
    """What follows the last digit that is not 0 goes, and the point with all of them."""
    stands = np.zeros(len(chars), dtype=np.bool_)
    for place in range(chars.shape[1] - 1, 0, -1):
        stands |= chars[:, place] != _ZERO
        kept[:, place] = stands
    kept[:, 0] = stands


def _digits(values: Ints, width: int) -> Any:
    """So many digits of each number, four at a time."""
    groups = -(-width // 4)
    made = np.empty((len(values), groups), dtype=np.uint32)
    for place in range(groups - 1, -1, -1):
        rest = values // 10_000 if place else np.zeros_like(values)
        made[:, place] = _FOUR[values - rest * 10_000]
        values = rest
    return made.view(np.uint8)[:, 4 * groups - width :]


def _written(rows: list[str]) -> Column:
    width = max(map(len, rows))
    chars = np.array([row.encode() for row in rows], dtype=f"S{width}").view(np.uint8).reshape(len(rows), width)
    return chars, chars != 0
