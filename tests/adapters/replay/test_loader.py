"""What a run loads: exactly its warm-up and its window; what is missing or contradicts itself is named."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from keel.adapters.replay.data_quality import oddities
from keel.adapters.replay.loader import load_histories
from keel.adapters.replay.volatility import rolling_volatility_bps
from keel.core.errors import ConfigError, DataError
from keel.core.system.config import ExecutionConfig, ImpactConfig
from tests.builders import HOUR, MINUTE, START, perpetual

FIVE = 5 * MINUTE
SKIP = ExecutionConfig(funding="none", gaps="skip")


@pytest.fixture
def day(store, walk):
    """A day of 5m bars in the store."""
    bars = walk(288)
    store.upsert_bars("BTCUSDT", "5m", bars, source="test")
    return bars


def hours(frame):
    """(first, last) bar in hours after START."""
    return (frame.ts[0] - START) / HOUR, (frame.ts[-1] - START) / HOUR


def fill(store, columns, timeframe="5m", symbol="BTCUSDT"):
    store.upsert_bars(symbol, timeframe, columns, source="test")


def test_each_timeframe_begins_exactly_its_warm_up_before_the_window(store, plan, day):
    """The 4h bar in which the window begins closes inside it, so that its warm-up ends where it begins."""
    plans = plan(14, 22, timeframe="1h", execution_timeframe="5m", warmup={"1h": 7, "4h": 2})
    (history,) = load_histories(store, plans)
    assert hours(history.execution) == (14, pytest.approx(22 - 1 / 12))
    assert hours(history.decision) == (7, 21)
    assert hours(history.higher["4h"]) == (4, 16)  # of 12, two before; the one of 20 is not closed at 22
    assert [len(frame) for frame in (history.execution, history.decision, history.higher["4h"])] == [96, 15, 4]
    assert history.decision["close"][-1] == day["close"][22 * 12 - 1]


def test_with_one_timeframe_the_execution_bars_are_those_of_decisions(store, plan, day):
    (history,) = load_histories(store, plan(2, 4, warmup={"5m": 24}))
    assert hours(history.decision)[0] == 0
    assert np.array_equal(history.execution["close"], day["close"][24:48])


def test_a_higher_bar_that_never_closes_in_the_window_is_not_needed(store, plan, day):
    (history,) = load_histories(store, plan(2, 4, warmup={"5m": 0, "1d": 0}))
    assert len(history.higher["1d"]) == 0


@pytest.mark.parametrize("timeframe", ["5m", "1h"])
def test_missing_warm_up_says_how_many_from_where_and_what_there_is(store, plan, day, timeframe):
    plans = plan(4, 8, timeframe=timeframe, execution_timeframe="5m", warmup={timeframe: 60})
    with pytest.raises(DataError) as error:
        load_histories(store, plans)
    said = str(error.value)
    begin, there = {"5m": ("2023-12-31 23:00", 48), "1h": ("2023-12-29 16:00", 4)}[timeframe]
    assert said == (
        f"BTCUSDT {timeframe}: 60 warm-up bars are needed before 2024-01-01 04:00 and {there} are there, missing from {begin} to"
        " 2024-01-01; the store has 5m 2024-01-01: import earlier history, start the window later, or set warmup_bars to "
        f"{there} or less"
    )


def test_the_warm_up_that_is_advised_works_in_spite_of_holes(store, plan, walk):
    """Bars before the last hole do not count, however many there are."""
    bars = walk(48, "1h")
    fill(store, {name: np.delete(values, [20, 25]) for name, values in bars.items()}, "1h")
    with pytest.raises(DataError, match=r"40 warm-up bars are needed before 2024-01-02 16:00 and 38 are there, .*set warmup_bars to 14 or"):
        load_histories(store, plan(40, 44, timeframe="1h", execution_timeframe="1h", warmup={"1h": 40}))
    (history,) = load_histories(store, plan(40, 44, timeframe="1h", execution_timeframe="1h", warmup={"1h": 14}))
    assert len(history.decision) == 18
    with pytest.raises(DataError, match="warmup_bars to 14 or less"):
        load_histories(store, plan(40, 44, timeframe="1h", execution_timeframe="1h", warmup={"1h": 15}))


def test_a_symbol_that_the_store_has_not_is_no_matter_of_warm_up(store, plan, day):
    plans = plan(4, 8, timeframe="1h", execution_timeframe="1h", warmup={"1h": 60})
    with pytest.raises(DataError, match=r"there are no SOLUSDT linear last 1h .* the store has BTCUSDT \(linear\): import this one"):
        load_histories(store, dataclasses.replace(plans, symbols=("SOLUSDT",)))


def test_a_warm_up_error_stays_short_however_much_there_is(store, plan, walk):
    for days, (timeframe, count) in enumerate([("5m", 288), ("15m", 96), ("1h", 48), ("2h", 36), ("4h", 24)]):
        store.upsert_bars("BTCUSDT", timeframe, walk(count, timeframe, start=START - days * 24 * HOUR), source="test")
    with pytest.raises(DataError, match="and 3 more") as error:
        load_histories(store, plan(4, 8, warmup={"5m": 60}))
    assert len(str(error.value)) < 270


def test_a_hole_in_the_warm_up_is_refused_or_with_skip_reached_over(store, plan, walk, without):
    fill(store, without(walk(100), 20, 21))
    with pytest.raises(DataError, match=r"8 are there, missing from 2024-01-01 01:40 to 2024-01-01 01:50;"):
        load_histories(store, plan(2, 3, warmup={"5m": 10}))
    (history,) = load_histories(store, plan(2, 3, warmup={"5m": 10}, execution=SKIP))
    assert history.decision.ts[0] == START + 12 * FIVE
    assert np.searchsorted(history.decision.ts, START + 2 * HOUR) == 10


@pytest.mark.parametrize(
    ("missing", "count", "first", "until"),
    [
        ((30, 31, 40), "3 bars are", "in 2 gaps, the first from 2024-01-01 02:30", "02:40"),
        ((30, 31), "2 bars are", "from 2024-01-01 02:30", "02:40"),
        ((24,), "1 bar is", "from 2024-01-01 02:00", "02:05"),
        ((71,), "1 bar is", "from 2024-01-01 05:55", "06:00"),
    ],
    ids=["two inside", "one inside", "at the start", "at the end"],
)
@pytest.mark.parametrize("timeframe", ["5m", "1h"])
def test_a_gap_is_named_with_its_span_and_the_ways_out(store, plan, walk, without, missing, count, first, until, timeframe):
    fill(store, without(walk(100), *missing))
    with pytest.raises(DataError) as error:
        load_histories(store, plan(2, 6, timeframe=timeframe, execution_timeframe="5m", warmup={timeframe: 0}))
    said = str(error.value)
    assert said.startswith(f"BTCUSDT 5m: {count} missing in the window, {first} to 2024-01-01 {until}")
    for way_out in ("import ", "shorten the window", "execution.gaps to skip"):
        assert way_out in said
    assert "data fill" not in said, "there is nothing finer to build of"


def test_where_missing_bars_are_passed_over_already_that_is_not_advised(store, plan, day):
    """An empty window is an error even with gaps: skip; the message looks at what is set."""
    with pytest.raises(DataError, match=r"import them or choose another window") as error:
        load_histories(store, plan(30, 31, timeframe="5m", execution=SKIP))
    assert "gaps" not in str(error.value)
    with pytest.raises(DataError, match=r"shorten the window, or set execution\.gaps to skip"):
        load_histories(store, plan(20, 31))


# --- series that finer ones complete ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [slice(0, 3), slice(5, 8), [0, 1, 2, 5, 6, 7]], ids=["stale", "begins late", "holed"])
@pytest.mark.parametrize("execution", ["5m", "1h"])
def test_a_stored_series_is_completed_out_of_finer_bars_and_that_is_said(store, plan, walk, coarser, rows, execution):
    """In the warm-up, the window and a higher timeframe: what an older file beside newer 5m bars lacks is built of these."""
    fine = walk(96)
    hour, two = coarser(fine, 12), coarser(fine, 24)
    fill(store, fine)
    fill(store, {name: column[rows] for name, column in hour.items()}, "1h")
    fill(store, {name: column[:1] for name, column in two.items()}, "2h")
    plans = plan(4, 8, timeframe="1h", execution_timeframe=execution, warmup={"1h": 3, "2h": 1})
    (history,) = load_histories(store, plans)
    assert history.decision["close"].tolist() == hour["close"][1:].tolist()
    assert history.decision["volume"] == pytest.approx(hour["volume"][1:])
    assert history.higher["2h"]["high"].tolist() == two["high"][1:].tolist()
    stored = {0: "02:00", 5: "07:00"}.get(getattr(rows, "start", 9), "07:00")
    begin = "2024-01-01 05:00" if rows == slice(5, 8) else "2024-01-01"
    have = 7 - sum(1 for ts in history.decision.ts if ts in hour["ts"][rows])
    assert history.trust["completed"] == [
        f"{have} of 7 1h bars were built out of finer ones; the stored series is from {begin} to 2024-01-01 {stored}",
        "3 of 3 2h bars were built out of finer ones; the stored series is from 2024-01-01 to 2024-01-01",
    ]


def test_a_stale_mark_series_is_completed_out_of_finer_marks(store, plan, walk, coarser):
    fine = walk(96)
    marks = {**fine, **{name: fine[name] + 5.5 for name in ("open", "high", "low", "close")}}
    fill(store, coarser(fine, 12), "1h")
    store.upsert_bars("BTCUSDT", "5m", marks, source="test", kind="mark")
    store.upsert_bars("BTCUSDT", "1h", {name: column[:3] for name, column in coarser(marks, 12).items()}, source="test", kind="mark")
    (history,) = load_histories(store, plan(0, 8, timeframe="1h", execution_timeframe="1h", warmup={"1h": 0}))
    assert history.mark.high.tolist() == coarser(marks, 12)["high"].tolist() and history.mark.exact == 8
    assert history.trust["completed"] == [
        "5 of 8 mark 1h bars were built out of finer ones; the stored series is from 2024-01-01 to 2024-01-01 02:00"
    ]


def test_finer_bars_that_contradict_the_stored_ones_do_not_complete_them(store, plan, walk, coarser):
    fill(store, walk(96))
    fill(store, {name: column[:5] for name, column in coarser(walk(96, seed=2), 12).items()}, "1h")
    with pytest.raises(DataError, match=r"the stored 1h bar of 2024-01-01T02:00:00Z has .* its 5m bars make .*one source"):
        load_histories(store, plan(2, 8, timeframe="1h", execution_timeframe="1h", warmup={"1h": 0}))


def test_a_window_beyond_the_data_says_what_there_is(store, plan, day):
    with pytest.raises(DataError, match=r"12 bars are missing .*the store has 5m 2024-01-01:"):
        load_histories(store, plan(20, 25))
    for execution in (ExecutionConfig(funding="none"), SKIP):
        with pytest.raises(DataError, match=r"5m.*2024-01-01"):
            load_histories(store, plan(30, 35, execution=execution))
        with pytest.raises(DataError, match=r"5m.*2024-01-01"):
            load_histories(store, plan(30, 35, execution=execution, timeframe="1h", execution_timeframe="5m", warmup={"1h": 0}))


def test_a_missing_symbol_is_named_with_those_that_are_there(store, plan, day):
    with pytest.raises(DataError, match=r"SOLUSDT.*BTCUSDT") as error:
        load_histories(store, plan(2, 4, symbols=("BTCUSDT", "SOLUSDT"), timeframe="1h", warmup={"1h": 0}))
    assert "SOLUSDT" in str(error.value)


@pytest.mark.parametrize(("begin", "end", "named"), [(1.25, 4, "01:15"), (1, 4.5, "04:30")])
def test_a_window_begins_and_ends_with_a_decision_bar(plan, begin, end, named):
    with pytest.raises(ConfigError, match=rf"2024-01-01T{named}:00Z is not the start of a 1h bar"):
        plan(begin, end, timeframe="1h")


@pytest.mark.parametrize("fine", ["1h", "3m", "2h"])
def test_execution_bars_divide_a_decision_bar(plan, fine):
    if fine == "3m":
        assert plan(0, 3, timeframe="15m", execution_timeframe=fine, warmup={}).execution_timeframe == "3m"
        return
    with pytest.raises(ConfigError, match=f"execution_timeframe: {fine} must be finer"):
        plan(0, 3, timeframe="15m", execution_timeframe=fine)


# --- gaps: skip ------------------------------------------------------------------------------------------------------


def test_skipped_gaps_leave_bars_out_and_coarser_ones_are_made_of_what_is_there(store, plan, walk, without, coarser):
    """Hole: 02:30 to 04:10. The hour of 3 is gone, those of 2 and 4 are part; the stored hours do not come in."""
    fine = walk(96)
    fill(store, without(fine, *range(30, 50)))
    fill(store, coarser(fine, 12), "1h")
    (history,) = load_histories(store, plan(1, 8, timeframe="1h", execution_timeframe="5m", warmup={"1h": 1}, execution=SKIP))
    assert len(history.execution) == 7 * 12 - 20
    assert ((history.decision.ts - START) // HOUR).tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert history.decision["close"][2] == fine["close"][29]
    assert history.decision["open"][3] == fine["open"][50]
    assert history.decision["low"][3] == fine["low"][50:60].min()
    assert (history.trust["skipped_bars"], history.trust["partial_bars"]) == (20, 2)


@pytest.mark.parametrize("stored", [True, False])
def test_the_bar_in_which_the_window_begins_is_whole_all_the_same(store, plan, walk, without, coarser, stored):
    """4h bars under a window from 02:00 on, with a hole at 09:00: the first reaches back before the window."""
    fine = walk(192)
    fill(store, without(fine, 108))
    if stored:
        fill(store, coarser(fine, 48), "4h")
    plans = plan(2, 14, timeframe="1h", execution_timeframe="5m", warmup={"1h": 0, "4h": 0}, execution=SKIP)
    (history,) = load_histories(store, plans)
    four = history.higher["4h"]
    assert ((four.ts - START) // HOUR).tolist() == [0, 4, 8]  # that of 12 is not closed at 14
    assert (four["open"][0], four["high"][0]) == (fine["open"][0], fine["high"][:48].max())
    assert history.trust["partial_bars"] == 2  # the hour of 9 and the four of 8


def test_a_coarse_series_with_a_hole_over_whole_fine_bars_is_made_of_them(store, plan, walk, coarser, without):
    fine = walk(96)
    fill(store, fine)
    fill(store, without(coarser(fine, 12), 3), "1h")
    plans = {"timeframe": "1h", "execution_timeframe": "5m", "warmup": {"1h": 1}}
    (history,) = load_histories(store, plan(1, 8, execution=SKIP, **plans))
    assert np.array_equal(history.decision["close"], coarser(fine, 12)["close"])
    assert (history.trust["skipped_bars"], history.trust["partial_bars"]) == (0, 0)
    (strict,) = load_histories(store, plan(1, 8, **plans))
    assert np.array_equal(strict.decision["close"], history.decision["close"])


# --- agreement -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
def test_a_stored_coarse_bar_that_its_fine_bars_contradict_is_an_error(store, plan, day, coarser, column):
    stored = coarser(day, 12)
    wrong = stored[column].copy()
    wrong[5] += {"high": 0.1, "low": -0.1, "volume": 0.001}.get(column, 0.0)
    wrong[5] = np.nextafter(wrong[5], (stored["high"][5] + stored["low"][5]) / 2) if column in ("open", "close") else wrong[5]
    fill(store, {**stored, column: wrong}, "1h")
    plans = {"timeframe": "1h", "execution_timeframe": "5m", "warmup": {"1h": 0}}
    with pytest.raises(DataError) as error:
        load_histories(store, plan(1, 8, **plans))
    assert str(error.value).startswith(
        f"BTCUSDT: the stored 1h bar of 2024-01-01T05:00:00Z has {column} {float(wrong[5])!r}, its 5m bars make"
    )
    load_histories(store, plan(6, 8, **plans))  # outside the window it is not looked at


def test_volume_is_compared_to_the_step(store, plan, day, coarser):
    """A sum of floats depends on its order: what is under half a step is no difference."""
    stored = coarser(day, 12)
    fill(store, {**stored, "volume": stored["volume"] + 0.0004}, "1h")
    load_histories(store, plan(1, 8, timeframe="1h", execution_timeframe="5m", warmup={"1h": 0}))


# --- the rest --------------------------------------------------------------------------------------------------------


def test_the_instrument_is_that_of_the_window_s_start(store, plan, day):
    store.upsert_instrument(perpetual(tick="0.2", known_since=START + 3 * HOUR, source="exchange"))
    assert [load_histories(store, plan(begin, 5))[0].instrument.price_grid.num for begin in (2, 3)] == [1, 1]
    assert [load_histories(store, plan(begin, 5))[0].instrument.price_grid.den for begin in (2, 3)] == [10, 5]


def test_the_environments_are_apart(store, plan, walk):
    store.upsert_bars("WIFUSDT", "5m", walk(50), source="test", env="demo")
    (history,) = load_histories(store, plan(1, 2, symbols=("WIFUSDT",), env="demo"))
    assert history.instrument.source == "inferred"
    with pytest.raises(DataError, match="WIFUSDT"):
        load_histories(store, plan(1, 2, symbols=("WIFUSDT",)))


def test_symbols_share_one_quote_coin(store, plan, day, walk):
    store.upsert_instrument(perpetual("ETHUSDC", quote="USDC", base="ETH"))
    fill(store, walk(288), symbol="ETHUSDC")
    with pytest.raises(ConfigError, match="BTCUSDT in USDT, ETHUSDC in USDC"):
        load_histories(store, plan(1, 2, symbols=("BTCUSDT", "ETHUSDC")))


def test_trust_says_where_everything_came_from(store, plan, walk, coarser):
    fine = walk(96)
    fine["close"][40] += 0.03
    fine["high"][40] += 0.03
    fine["volume"][10:13] = 0
    fill(store, fine)
    store.upsert_bars("BTCUSDT", "1h", coarser(walk(96, basis=True), 12), source="test", kind="mark")
    store.upsert_funding("BTCUSDT", {"ts": START + HOUR * np.arange(0, 40, 8), "funding_rate": np.full(5, 1e-4)}, source="test")
    (history,) = load_histories(store, plan(0, 8, execution=ExecutionConfig()))
    assert (history.trust.pop("assumed"), history.trust.pop("doubts")) == ([], [])
    assert {**history.trust, **oddities(history)} == {
        "bars": 96,
        "data_source": ["test"],
        "instrument": "inferred",
        "mark": "derived from a coarser series for 85 bars, last for 11",
        "index": "mark",
        "funding": "history, 1 times",
        "open_is_previous_close": pytest.approx(94 / 95),
        "zero_volume_bars": 3,
        "off_grid_prices": 1,
        "completed": [],
        "skipped_bars": 0,
        "partial_bars": 0,
    }


def test_open_interest_is_loaded_where_it_is_read(store, plan, day):
    store.upsert_open_interest("BTCUSDT", {"ts": START + HOUR * np.arange(6), "open_interest": np.arange(6.0)}, source="test")
    assert load_histories(store, plan(1, 3))[0].open_interest is None
    (history,) = load_histories(store, plan(1, 3, inputs=frozenset({"open_interest"})))
    assert history.open_interest["open_interest"].tolist() == [1, 2, 3]


def test_volatility_ends_before_the_bar(store, plan, day):
    (history,) = load_histories(store, plan(0, 8, execution=ExecutionConfig(funding="none", impact=ImpactConfig(window=5))))
    closes = day["close"][:96]
    returns = np.diff(np.log(closes)) * 1e4
    for row in range(96):
        past = returns[max(0, row - 6) : max(0, row - 1)]  # of closes up to the bar before this one
        assert history.volatility_bps[row] == pytest.approx(np.std(past, ddof=1) if len(past) > 1 else 0.0, abs=1e-6)
    assert np.array_equal(rolling_volatility_bps(closes[:50], 5), rolling_volatility_bps(closes, 5)[:50])
