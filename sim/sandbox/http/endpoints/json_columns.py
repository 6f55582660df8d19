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

from keel.core.model.instrument import Grid
from keel.sim.sandbox import texts
from keel.sim.sandbox.market.bar_source import Floats, Ints

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
    return decimal_columns(values[None], [places], is_short=is_short)[0]


def decimal_columns(rows: Floats, places: Sequence[int], *, is_short: bool = False) -> list[Column]:
    """``decimals`` of several columns, the rows of a table, each with its own places."""
    sizes = np.abs(rows)
    if max(places) > _MOST_PLACES or not sizes.max(initial=0.0) < _LARGEST:
        return [
            _written([texts.decimal(value, each) if is_short else f"{value:.{each}f}" for value in row])
            for row, each in zip(rows.tolist(), places, strict=True)
        ]
    whole, fraction = _rounded(sizes, places)
    columns = _columns(whole, fraction, places, is_short)
    is_negative = np.signbit(rows)
    if not is_negative.any():
        return columns
    if is_short:
        is_negative &= (whole | fraction) != 0
    return [_signed(column, mask) for column, mask in zip(columns, is_negative, strict=True)]


def on_grid(grid: Grid, counts: Ints) -> Column:
    """``Grid.text`` of counts that are not negative."""
    scale = 10**grid.decimals
    if scale % grid.den or int(counts.max(initial=0)) * grid.num * scale >= 2**63:
        return _written([grid.text(count) for count in counts.tolist()])
    units = counts * (grid.num * scale // grid.den)
    whole = units // scale
    return _columns(whole[None], (units - whole * scale)[None], [grid.decimals], False)[0]


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
    return _columns(values[None], values[None], [0], False)[0]


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
    whole, fraction = _rounded(np.abs(values)[None], [places])
    published: Floats = np.copysign((whole[0] * 10**places + fraction[0]) / scale, values)
    return published


def _rounded(sizes: Floats, places: Sequence[int]) -> tuple[Ints, Ints]:
    """Whole part and fraction (in units of the last place), rounded as Python rounds: the exact binary value, halves to even."""
    scales = np.array([[10.0**each] for each in places])
    floors = np.floor(sizes)
    scaled = (sizes - floors) * scales
    rounded = np.rint(scaled)
    whole, fraction = floors.astype(np.int64), rounded.astype(np.int64)
    is_full = rounded == scales
    off = np.abs(scaled - rounded)
    off += scaled * 2.0**-51  # the product is off by half a unit of its last bit: what may be on the other side of a half is looked at
    if off.max(initial=0.0) >= 0.5:
        for row, at in np.argwhere(off >= 0.5).tolist():
            before, _, after = f"{sizes[row, at]:.{places[row]}f}".partition(".")
            whole[row, at], fraction[row, at], is_full[row, at] = int(before), int(after or 0), False
    if is_full.any():
        whole += is_full
        fraction[is_full] = 0
    return whole, fraction


def _columns(whole: Ints, fraction: Ints, places: Sequence[int], is_short: bool) -> list[Column]:
    count, most = whole.shape[1], max(places)
    if not count:
        return [(np.empty((0, 1), dtype=np.uint8), np.empty((0, 1), dtype=np.bool_))] * len(places)
    widths = [len(str(size)) for size in whole.max(axis=1).tolist()]
    least = [len(str(size)) for size in whole.min(axis=1).tolist()]
    before = _digits(whole, max(widths))
    after = _digits(fraction, most) if most else before[:, :, :0]
    made = []
    for row, (width, each) in enumerate(zip(widths, places, strict=True)):
        chars: Bytes = np.empty((count, width + each + (each > 0)), dtype=np.uint8)
        kept: Mask = np.ones(chars.shape, dtype=np.bool_)
        chars[:, :width] = before[row, :, -width:]
        for place in range(width - least[row]):
            np.greater_equal(whole[row], 10 ** (width - 1 - place), out=kept[:, place])
        if each:
            chars[:, width] = _POINT
            chars[:, width + 1 :] = after[row, :, -each:]
            if is_short:
                _drop_zeros(chars[:, width:], kept[:, width:])
        made.append((chars, kept))
    return made


def _signed(column: Column, is_negative: Mask) -> Column:
    chars, kept = column
    signs = np.full((len(chars), 1), _MINUS, dtype=np.uint8)
    return np.concatenate((signs, chars), axis=1), np.concatenate((is_negative[:, None], kept), axis=1)


def _drop_zeros(chars: Bytes, kept: Mask) -> None:
    """What follows the last digit that is not 0 goes, and the point with all of them."""
    stands = np.zeros(len(chars), dtype=np.bool_)
    for place in range(chars.shape[1] - 1, 0, -1):
        stands |= chars[:, place] != _ZERO
        kept[:, place] = stands
    kept[:, 0] = stands


def _digits(values: Ints, width: int) -> Any:
    """So many digits of each number, along a further axis; made four at a time."""
    groups = -(-width // 4)
    made = np.empty((*values.shape, groups), dtype=np.uint32)
    for place in range(groups - 1, 0, -1):
        rest = values // 10_000
        made[..., place] = _FOUR[values - rest * 10_000]
        values = rest
    made[..., 0] = _FOUR[values]
    return made.view(np.uint8)[..., 4 * groups - width :]


def _written(rows: list[str]) -> Column:
    width = max(map(len, rows))
    chars = np.array([row.encode() for row in rows], dtype=f"S{width}").view(np.uint8).reshape(len(rows), width)
    return chars, chars != 0
