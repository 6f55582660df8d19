"""Marks at bars of the last price: taken as they are, else derived, never from what was not known yet."""

from __future__ import annotations

import numpy as np
import pytest

from keel.adapters.replay.marks import PATH, derive, price_columns
from keel.core.model.frame import Frame
from tests.builders import HOUR, START, emptied

FIVE = 300_000


def frame_of(store, columns, timeframe="5m"):
    store.upsert_bars("BTCUSDT", timeframe, columns, source="test")
    return store.get_ohlcv("BTCUSDT", timeframe)


def marks_of(store, frame, kind="mark", **more):
    return price_columns(store, frame, kind, env="live", category="linear", **more)


def framed(columns, timeframe):
    return Frame(columns["ts"], {name: column for name, column in columns.items() if name != "ts"}, symbol="BTCUSDT", timeframe=timeframe)


def add(store, timeframe, columns, kind="mark"):
    if not len(columns["ts"]):
        return
    store.upsert_bars("BTCUSDT", timeframe, columns, source="test", kind=kind)


def head(columns, until):
    """What had been known of bars at ``until``."""
    duration = int(np.diff(columns["ts"]).min())
    return {name: column[columns["ts"] + duration <= until] for name, column in columns.items()}


def test_a_series_of_the_timeframe_itself_is_taken_as_it_is(store, walk):
    marks = walk(48, basis=True)
    frame = frame_of(store, walk(48))
    add(store, "5m", marks)
    found = marks_of(store, frame)
    for name in PATH:
        assert np.array_equal(getattr(found, name), marks[name])
    assert np.array_equal(found.valuation, marks["close"])
    assert (found.exact, found.derived) == (48, 0)


def test_finer_marks_are_put_together(store, walk, coarser):
    minutes = walk(60, "1m", basis=True)
    frame = frame_of(store, walk(12))
    add(store, "1m", minutes)
    found = marks_of(store, frame)
    assert np.array_equal(found.low, coarser(minutes, 5)["low"])
    assert (found.exact, found.derived) == (12, 0)


def test_a_coarse_mark_gives_a_basis_from_its_close_on(store):
    """Last 100, 102, 104, ...; the marks of two hours close 1 % above the last price, then 2 %."""
    closes = 100.0 + 2 * np.arange(36)
    bars = {"ts": START + FIVE * np.arange(36), "open": closes - 2, "high": closes + 1, "low": closes - 3, "close": closes}
    frame = frame_of(store, {**bars, "volume": np.ones(36)})
    marks = np.array([closes[11] * 1.01, closes[23] * 1.02])
    prices = {"open": marks, "high": marks + 900, "low": marks - 90, "close": marks}
    add(store, "1h", {"ts": START + HOUR * np.arange(2), **prices, "volume": np.zeros(2)})
    found = marks_of(store, frame)
    assert found.valuation[:11] == pytest.approx(closes[:11])  # nothing was known yet
    assert found.valuation[11] == marks[0]  # both close here: the mark itself, to the bit
    assert found.valuation[12:23] == pytest.approx(closes[12:23] * 1.01)
    assert found.valuation[23] == marks[1]
    assert found.valuation[24:] == pytest.approx(closes[24:] * 1.02)
    assert found.low[12:24] == pytest.approx((closes[12:24] - 3) * 1.01)  # the path goes by the basis at its bar's open
    assert (found.exact, found.derived) == (0, 25)


def test_the_derived_path_stays_inside_the_bar_that_covers_it(store, walk, coarser):
    """A basis that has moved would carry it out: a liquidation that never was."""
    frame = frame_of(store, walk(96, seed=3))
    marks = coarser(walk(96, basis=True, seed=3), 12)
    add(store, "1h", marks)
    found = marks_of(store, frame)
    hour = np.arange(96) // 12
    unclamped = frame["low"][12:] * (found.valuation / frame["close"])[11:-1]
    assert (unclamped < marks["low"][hour][12:] - 1e-9).any()
    for name in PATH:
        column = getattr(found, name)
        assert (column >= marks["low"][hour]).all()
        assert (column <= marks["high"][hour]).all()
    assert (found.low <= np.minimum(found.open, found.close)).all()
    assert (found.high >= np.maximum(found.open, found.close)).all()


def test_the_finest_covering_bar_counts(store, walk, coarser):
    frame = frame_of(store, walk(96, seed=3))
    marks = walk(96, basis=True, seed=3)
    hours = coarser(marks, 12)
    add(store, "1h", {name: column[2:5] for name, column in hours.items()})
    add(store, "4h", coarser(marks, 48))
    found = marks_of(store, frame)
    hour = np.arange(96) // 12
    inside = (hour >= 2) & (hour < 5)
    assert (found.low[inside] >= hours["low"][hour][inside]).all()
    assert (found.low >= coarser(marks, 48)["low"][np.arange(96) // 48]).all()
    assert found.valuation[95] == marks["close"][95]  # the four hours' close, where there is no hour's


SERIES = [("1h",), ("4h",), ("4h", "1h"), ("5m",), ("4h", "1h", "5m")]


@pytest.fixture
def three(walk, coarser):
    """Marks of twelve hours by timeframe; of the 5m every third is missing."""
    marks = walk(144, seed=5, basis=True)
    some = np.arange(144) % 3 > 0
    return {"1h": coarser(marks, 12), "4h": coarser(marks, 48), "5m": {name: column[some] for name, column in marks.items()}}


@pytest.mark.parametrize("timeframes", SERIES)
def test_no_valuation_knows_a_later_mark(walk, three, timeframes):
    """At every bar: with everything cut off behind its close, what is known at it and before is the same, to the bit."""

    def known_at(until):
        parts = {name: head(three[name], until) for name in timeframes}
        return [framed(part, name) for name, part in parts.items() if len(part["ts"])]

    last = walk(144, seed=5)
    whole = derive(framed(last, "5m"), known_at(1 << 60), [], source="mark").valuation
    for row in range(144):
        frame = framed(head(last, int(last["ts"][row]) + FIVE), "5m")
        then = known_at(int(last["ts"][row]) + FIVE)
        found = derive(frame, then, [], source="mark") if then else None
        assert np.array_equal(frame["close"] if found is None else found.valuation, whole[: row + 1]), f"row {row}"


@pytest.mark.parametrize("timeframes", SERIES)
def test_nor_does_what_is_read_from_the_store(store, walk, three, timeframes):
    last = walk(144, seed=5)
    whole = frame_of(store, last).between(START + 2 * HOUR, 1 << 60)
    for timeframe in timeframes:
        add(store, timeframe, three[timeframe])
    found = marks_of(store, whole).valuation
    for row in (0, 9, 10, 57, 58, 119):
        until = int(whole.ts[row]) + FIVE
        cut = emptied(store)
        frame = frame_of(cut, head(last, until)).between(START + 2 * HOUR, 1 << 60)
        for timeframe in timeframes:
            add(cut, timeframe, head(three[timeframe], until))
        then = marks_of(cut, frame)
        assert np.array_equal(frame["close"] if then is None else then.valuation, found[: row + 1]), f"row {row}"


def test_the_first_bar_has_the_basis_of_before(store, walk, coarser):
    frame = frame_of(store, walk(96, seed=3)).between(START + 4 * HOUR, START + 8 * HOUR)
    marks = walk(96, basis=True, seed=3)
    add(store, "1h", coarser(marks, 12))
    found = marks_of(store, frame)
    basis = marks["close"][47] / walk(96, seed=3)["close"][47]
    assert found.valuation[0] == pytest.approx(frame["close"][0] * basis)
    assert found.derived == len(frame)


def test_a_series_that_covers_a_part_is_exact_there_and_a_basis_afterwards(store, walk):
    frame, marks = frame_of(store, walk(30)), walk(30, basis=True)
    add(store, "5m", {name: column[10:20] for name, column in marks.items()})
    found = marks_of(store, frame)
    assert np.array_equal(found.valuation[:10], frame["close"][:10])
    for name in PATH:
        assert np.array_equal(getattr(found, name)[10:20], marks[name][10:20])
    assert found.valuation[20:] == pytest.approx(frame["close"][20:] * marks["close"][19] / frame["close"][19])
    assert (found.exact, found.derived) == (10, 10)


def test_without_any_there_are_none(store, walk):
    frame = frame_of(store, walk(30))
    assert marks_of(store, frame) is None
    add(store, "1h", walk(3, "1h", start=START + 90 * HOUR))
    assert marks_of(store, frame) is None


def test_a_coarser_series_that_no_bar_fits_into_is_put_together_first(store, walk, coarser):
    """Marks of 5m lie across bars of 3m; three of them make 15m, which covers five bars whole."""
    frame = frame_of(store, walk(20, "3m"), "3m")
    marks = walk(12, "5m", basis=True)
    add(store, "5m", marks)
    found, quarters = marks_of(store, frame), coarser(marks, 3)
    assert found.valuation[4::5] == pytest.approx(quarters["close"])
    assert (found.low >= quarters["low"][np.arange(20) // 5]).all()


def test_the_index_falls_back_to_the_mark_then_to_last(store, walk):
    frame, marks = frame_of(store, walk(30)), walk(30, basis=True)
    add(store, "5m", marks)
    add(store, "5m", {name: column[10:20] for name, column in walk(30, seed=9).items()}, kind="index")
    mark = marks_of(store, frame)
    index = marks_of(store, frame, "index", fallback=mark)
    assert np.array_equal(index.valuation[:10], mark.valuation[:10])
    assert np.array_equal(index.low[:10], mark.low[:10])
    assert np.array_equal(index.low[10:20], walk(30, seed=9)["low"][10:20])
    assert np.array_equal(marks_of(store, frame, "index").valuation[:10], frame["close"][:10])
