"""Columns as JSON: Python's own text of each number, digit for digit."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keel.core.model.instrument import Grid
from keel.core.model.timeframe import MINUTE_MS
from keel.sim.sandbox.http.endpoints import json_columns
from keel.sim.sandbox.http.endpoints.kline_texts import PREMIUM, KlineTexts
from keel.sim.sandbox.market.candles import INDEX, LAST, MARK, Candles
from keel.sim.sandbox.market.intervals import INTERVALS, end_of, start_of
from keel.sim.sandbox.market.random_walk import walk_instrument
from keel.sim.sandbox.market.symbol_market import SymbolMarket
from tests.sim.sandbox.conftest import made_bars

STEPS = ("0.1", "0.05", "0.25", "5", "10", "1", "0.001", "0.00000001", "2.5")
NUMBERS = st.one_of(
    st.floats(-1e6, 1e6), st.floats(0, 1e-6), st.floats(width=32, allow_nan=True),
    st.integers(-(10**12), 10**12).map(lambda count: count / 1000),
    st.integers(0, 10**9).map(lambda count: count / 16),  # halves of the last place, exactly
    st.sampled_from([0.0, -0.0, 0.5, 1.5, 2.5, 0.05, 0.15, 0.25, 9.5, 99.95, 2.0**53 + 2, 2.0**62, 2.0**63, 1e19, 1e300, float("inf")]),
)  # fmt: skip


def texts_of(column: json_columns.Column) -> list[str]:
    """What a column says, row by row."""
    rows: list[list[str]] = msgspec.json.decode(json_columns.json_rows([column, column]))
    assert all(first == second for first, second in rows)
    return [first for first, _ in rows]


def without_zeros(text: str) -> str:
    """The same number without trailing zeros; any zero is 0."""
    if "n" in text:  # inf, nan
        return text
    short = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if short in ("", "-", "-0") else short


@given(st.lists(NUMBERS, min_size=1, max_size=30), st.integers(0, 17))
@example([123456789.1, 0.00000001, 1.0], 8)
@example([0.125, 0.375, 1e15 + 0.125], 2)
@example([1e300], 9)
def test_each_number_is_written_as_python_writes_it(numbers: list[float], places: int) -> None:
    values = np.array(numbers)
    exact = [f"{number:.{places}f}" for number in numbers]
    assert texts_of(json_columns.decimals(values, places)) == exact
    assert texts_of(json_columns.decimals(values, places, is_short=True)) == [without_zeros(text) for text in exact]
    read = json_columns.as_published(values, places)
    assert [repr(value) for value in read.tolist()] == [repr(float(text)) for text in exact]


@given(st.sampled_from(STEPS), st.lists(st.integers(0, 10**13), min_size=1, max_size=20))
@example("5", [2**61])
def test_counts_of_a_grid_are_written_exactly(step: str, counts: list[int]) -> None:
    grid = Grid.from_text(step)
    with localcontext() as context:
        context.prec, context.rounding = 60, ROUND_HALF_EVEN
        unit = Decimal(1).scaleb(-grid.decimals)
        exact = [f"{(Decimal(step) * count).quantize(unit):f}" for count in counts]
    assert texts_of(json_columns.on_grid(grid, np.array(counts))) == exact
    assert [grid.text(count) for count in counts] == exact
    assert [grid.text(-count) for count in counts if count] == [f"-{text}" for text, count in zip(exact, counts, strict=True) if count]
    assert all(Fraction(text) == Fraction(step) * count for text, count in zip(exact, counts, strict=True))


def test_a_step_that_no_decimal_ends_is_written_all_the_same() -> None:
    third = Grid(1, 3)
    assert [third.text(count)[:6] for count in (1, 3, -2)] == ["0.3333", "1.0000", "-0.666"]
    assert texts_of(json_columns.on_grid(third, np.array([1, 3]))) == [third.text(1), third.text(3)]


def test_no_rows_are_an_empty_list() -> None:
    nothing = json_columns.whole_numbers(np.zeros(0, dtype=np.int64))
    assert bytes(json_columns.json_rows([nothing])) == b"[]"


@pytest.mark.parametrize("depth", [1, 24, 25, 1000])
def test_a_ladder_is_the_book_level_by_level(depth: int) -> None:
    """Few levels and many are written in two ways, and as the same text; a level that has gone has the size 0."""
    market = SymbolMarket(walk_instrument("BTCUSDT", "linear"), 1, MINUTE_MS, 7)
    market.last = 40.0  # so low that the bids end at a tick
    sides = market.book(depth)
    assert [len(side) for side in sides] == [min(depth, 400), depth]
    for levels, side in zip(sides, market.ladder(depth), strict=True):
        expected = [[f"{ticks / 10:.1f}", f"{steps / 1000:.3f}"] for ticks, steps in levels]
        assert msgspec.json.decode(market.ladder_json(side)) == expected == msgspec.json.decode(msgspec.json.encode(market.levels(levels)))
        gone = market.levels([(ticks, 0) for ticks, _ in levels])
        assert msgspec.json.decode(msgspec.json.encode(gone)) == [[price, "0"] for price, _ in expected]


def test_the_text_of_a_book_is_that_of_its_move_and_depth() -> None:
    market = SymbolMarket(walk_instrument("BTCUSDT", "linear"), 1, MINUTE_MS, 7)
    market.last = 40.0
    for price, depth in ((40.0, 5), (40.0, 30), (40.0, 5), (41.0, 5), (41.0, 30), (40.0, 30)):
        if price != market.last:
            market.take(0, MINUTE_MS, (price,) * 12, 0.0)
        expected = [market.ladder_json(side) for side in market.ladder(depth)]
        assert [bytes(side) for side in market.book_json(depth)] == [bytes(side) for side in expected]
    assert market.book_json(30) is market.book_json(30)


@given(
    st.integers(1, 3000), st.integers(0, 300), st.sampled_from(INTERVALS), st.integers(1, 40), st.integers(-5, 3300), st.integers(-5, 3300),
    st.booleans(), st.booleans(), st.sampled_from([LAST, MARK, INDEX]),
)  # fmt: skip
@example(2890, 10, "D", 2, 0, 3000, True, False, LAST)
def test_a_part_of_the_candles_is_the_same_as_of_all(
    loaded: int, added: int, interval: str, limit: int, since: int, until: int, is_oldest: bool, has_end: bool, kind: int
) -> None:
    """Whatever is asked for, and whether bars were there from the start or came one by one, with a hole between."""
    series = made_bars(loaded + added)
    series.ts[loaded:] += 2000 * MINUTE_MS
    whole, grown = Candles(MINUTE_MS), Candles(MINUTE_MS)
    whole.load(series, loaded + added)
    grown.load(series, loaded)
    mark, index = series.mark or series.last, series.index or series.mark or series.last
    for row in range(loaded, loaded + added):
        prices = tuple(float(column[row]) for columns in (series.last, mark, index) for column in columns)
        grown.add(int(series.ts[row]), prices, float(series.volume[row]))
    starts, made = whole.table(interval, None, None, 10**6, kind)
    assert starts.tolist() == sorted({start_of(ts, interval) for ts in series.ts.tolist()})
    begin = int(series.ts[0]) + since * MINUTE_MS
    end = int(series.ts[0]) + until * MINUTE_MS if has_end else None
    kept = (starts >= begin) & ((starts <= end) if end is not None else True)
    place = slice(None, limit) if is_oldest else slice(-limit, None)
    for candles in (whole, grown):
        some, columns = candles.table(interval, begin, end, limit, kind, is_oldest=is_oldest)
        assert some.tolist() == starts[kept][place].tolist()
        assert columns.tolist() == made[:, kept][:, place].tolist()
    inside = (series.ts >= starts[-1]) & (series.ts < end_of(int(starts[-1]), interval))
    highs = (series.last, mark, index)[kind][1]
    assert made[1, -1] == highs[inside].max() and made[4, -1] == pytest.approx(series.volume[inside].sum())


@given(
    st.sampled_from(["1", "5", "240", "D", "M"]),
    st.sampled_from([LAST, MARK, PREMIUM]),
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
)
def test_what_is_kept_of_candles_is_what_would_be_written_anew(interval: str, kind: int, limits: list[int]) -> None:
    """Bars come between the questions, and end candles or do not."""
    series = made_bars(3200, mark=tuple(column * 1.000037 for column in made_bars(3200).last))
    candles = Candles(MINUTE_MS)
    candles.load(series, 2700)
    klines, row = KlineTexts(candles, 1), 2700
    for limit in limits:
        ask = (interval, kind, None, None, limit)
        given_rows = msgspec.json.decode(klines.rows(*ask, is_oldest=False))
        assert given_rows == msgspec.json.decode(KlineTexts(candles, 1).rows(*ask, is_oldest=False))
        starts, made = candles.table(interval, None, None, limit, MARK if kind == PREMIUM else kind)
        assert [int(texts[0]) for texts in given_rows] == starts[::-1].tolist()
        if kind != PREMIUM:
            assert [texts[1:5] for texts in given_rows] == [[f"{value:.1f}" for value in values] for values in made[:4, ::-1].T.tolist()]
        for _ in range(limit):
            columns = (*series.last, *(series.mark or ()), *(series.index or ()))
            candles.add(int(series.ts[row]), tuple(float(column[row]) for column in columns), float(series.volume[row]))
            row += 1
