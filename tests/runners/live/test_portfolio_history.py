"""What a session holds for a portfolio strategy: rows as they come to be known, coarser candles out of them, and clear refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, Outcome
from keel.core.errors import ConfigError, DataError
from keel.core.features.aggregate import aggregate
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.messages import Bar, FundingRate
from keel.runners.live.market.portfolio_history import PortfolioHistory
from keel.runners.live.market.series_reader import SeriesReader
from keel.runners.live.memory.records import SeriesRows
from keel.runners.portfolio.archive import DataType
from keel.runners.portfolio.system import base_timeframes
from tests.builders import DAY, HOUR, MINUTE, START, bar, perpetual

MARK: DataType = "mark_ohlcv_futures"
INDEX: DataType = "index_ohlcv_futures"
TYPES: tuple[DataType, ...] = (MARK, INDEX, "funding_rates")
SINCE = START - DAY


def history(**changes: Any) -> PortfolioHistory:
    values: dict[str, Any] = {"symbols": ["BTCUSDT"], "bases": ("5m",), "data_types": TYPES, "since": SINCE, "start": START}
    return PortfolioHistory(**(values | changes))


def rows(numbers: list[int], data_type: str = MARK) -> SeriesRows:
    return SeriesRows(data_type, "5m", tuple((START + n * 5 * MINUTE, (n + 1.0, n + 3.0, n + 0.0, n + 2.0, 0.0)) for n in numbers))


@pytest.mark.parametrize(
    ("asked", "bases"),
    [(["5m", "1h", "15m"], ("5m",)), (["1h", "1h", "15m"], ("15m",)), (["3m", "5m", "15m"], ("3m", "5m")), (["1d", "4h"], ("4h",))],
)
def test_as_few_timeframes_as_possible_are_read(asked: list[str], bases: tuple[str, ...]) -> None:
    assert base_timeframes(asked) == bases


@given(steps=st.lists(st.lists(st.integers(0, 40), max_size=6), max_size=12))
def test_coarser_candles_that_grow_are_those_of_the_whole(steps: list[list[int]]) -> None:
    """Rows come in portions, some of them again, with holes; each portion is asked for before the next comes."""
    held = history()
    for numbers in steps:
        held.take("BTCUSDT", [rows(sorted(set(numbers)))])
        for timeframe in ("15m", "1h"):
            try:
                seen = held.series("BTCUSDT", timeframe, MARK, SINCE)
            except DataError:
                continue
            base = held.series("BTCUSDT", "5m", MARK, SINCE)
            whole = aggregate(base, timeframe)
            assert seen.ts.tolist() == whole.ts.tolist() and all(np.array_equal(seen[name], whole[name]) for name in BAR_COLUMNS)
            assert not seen["close"].flags.writeable and seen.kind == "mark" and seen.timeframe == timeframe
    again = history()
    again.restore(held.state())
    assert again.state() == held.state()


def test_what_is_not_loaded_is_refused_with_the_attribute_to_set() -> None:
    held = history()
    held.take("BTCUSDT", [rows([0, 1, 2])])
    for timeframe, kind, since, words in [
        ("1m", MARK, SINCE, "name 1m in data_timeframes"),
        ("5m", "open_interest", SINCE, "name it in data_types"),
        ("5m", MARK, SINCE - 5 * DAY, "with lookback_days = 6 the strategy has it"),
    ]:
        with pytest.raises(ConfigError, match=words):
            held.series("BTCUSDT", timeframe, kind, since)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="the exchange has had none so far"):
        held.series("BTCUSDT", "", "funding_rates", SINCE)
    assert len(held.series("BTCUSDT", "15m", MARK, SINCE)) == 1


def test_what_was_written_down_with_the_journal_serves_if_it_is_all() -> None:
    held, again = history(), history()
    held.take("BTCUSDT", [rows([0, 1, 2])])
    frames: dict[tuple[str, str, str], Frame] = held.frames()
    assert again.take_frames(frames) and again.state() == held.state()
    assert again.series("BTCUSDT", "15m", INDEX, SINCE).kind == "index"  # of the index there is nothing: the mark stands for it
    assert not history(data_types=("mark_ohlcv_futures", "open_interest")).take_frames(frames)


class Market:
    """An exchange of five-minute candles up to ``now``; of the index it offers none."""

    def __init__(self) -> None:
        self.now, self.asked = START, list[tuple[str, int, int]]()
        self.rates = {START - 8 * HOUR: 0.0001, START: 0.0002}

    async def bars(self, symbol: str, timeframe: str, start_ms: int, end_ms: int, kind: str = "last") -> list[Bar]:
        self.asked.append((kind, start_ms, end_ms))
        if kind == "index":
            raise ExchangeRefusal("interval invalid", Outcome.REFUSED)
        first, last = -((START - start_ms) // 300_000), min(-((START - end_ms) // 300_000), (self.now - START) // 300_000)
        return [bar(number, 100.0 + number, tf="5m") for number in range(first, last)]

    async def funding_rates(self, symbol: str, start_ms: int, end_ms: int) -> list[FundingRate]:
        return [FundingRate(symbol, ts, rate) for ts, rate in self.rates.items() if start_ms <= ts < end_ms and ts <= self.now]

    async def coming_rate(self, symbol: str) -> FundingRate | None:
        return None

    async def open_interest(self, symbol: str, step: str, start_ms: int, end_ms: int) -> list[tuple[int, float]]:
        raise AssertionError("nobody asked for it")


async def test_a_decision_bar_waits_for_its_candles_and_not_for_ever() -> None:
    market, held, told, clock = Market(), history(), list[Notice](), [0]
    reader = SeriesReader(
        held, market, None, "linear", {"BTCUSDT": perpetual()}, waits=True, notify=told.append, now_ms=lambda: clock[0]
    )  # fmt: skip
    await reader.load()
    assert len(held.series("BTCUSDT", "5m", MARK, SINCE)) == 288 and held.series("BTCUSDT", "", "funding_rates", SINCE).ts[-1] == START
    assert [notice.code for notice in told] == ["series_incomplete", "series_incomplete", "stand_in"]
    hour = bar(0, 1.0)
    market.now = START + 55 * MINUTE
    assert await reader.rows(hour) is None  # the last candle is not published yet
    market.now = START + HOUR
    (read,) = await reader.rows(hour) or ()
    assert (read.data_type, len(read.rows)) == (MARK, 12)
    held.take("BTCUSDT", [read])
    market.now, following = START + HOUR + 50 * MINUTE, bar(1, 1.0)
    assert await reader.rows(following) is None
    clock[0] = 60_000
    (read,) = await reader.rows(following) or ()
    assert (len(read.rows), read.missing) == (10, 2)  # two candles never came: the step is taken without them, counted and told
    held.take("BTCUSDT", [read])
    market.now, clock[0] = START + 3 * HOUR, 0
    (read,) = await reader.rows(bar(2, 1.0)) or ()
    assert (len(read.rows), read.missing) == (14, 0)  # they are read with the next one, which has all
    assert [notice.code for notice in told][3:] == ["series_late", "series_back"]
    assert "BTCUSDT mark_ohlcv_futures 5m: 2 due" in told[3].text and "without all of it: 1" in told[4].text
    assert sum(kind == "index" for kind, _, _ in market.asked) == 1  # what is not offered is not asked for again
