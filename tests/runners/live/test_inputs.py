"""Features that read mark prices, funding rates and open interest: a session decides as the backtest, or says why it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from keel.adapters.bybit.notices import Notice
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError, DataError, VenueError
from keel.core.model.messages import Bar, FundingRate, Signal
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import ExecutionConfig, SizingConfig, SystemConfig
from keel.runners.live.market.input_reader import InputReader
from keel.runners.live.market.input_wait import PATIENCE_MS, InputWait
from keel.runners.live.memory.records import InputsKnown
from keel.strategies.base import BaseStrategy
from tests.builders import DAY, HOUR, MINUTE, START, add_series, bar, coarser, perpetual, plain_system, sample, spot_pair
from tests.runners.live.conftest import plan_of, run_session, stored_sandbox
from tests.runners.live.test_same_decisions import FROM, both, check_same

TO = FROM + 30 * HOUR


class Threshold(BaseStrategy):
    """Long above its own average, short below: ``fast`` and ``slow`` read the same input."""

    features: ClassVar[Mapping[str, Any]] = {}

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        fast, slow = snapshot.features["fast"], snapshot.features["slow"]
        return Signal(snapshot.symbol, "LONG" if fast > slow else "SHORT" if fast < slow else "FLAT")


def reading(name: str, **slow: Any) -> type[BaseStrategy]:
    features = {
        "fast": {"fn": "SMA", "timeperiod": 2, "input": name},
        "slow": {"fn": "SMA", "timeperiod": 5, "input": name} | slow,
    }
    return type(f"Reads_{name}", (Threshold,), {"features": features})


def full_store() -> HistoricalDataStore:
    """Five-minute bars and marks (on the tick: the wire has no more digits), funding and open interest of the sample."""
    store = HistoricalDataStore(":memory:")
    made = sample(days=40).series["BTCUSDT"]
    add_series(store, coarser(made.last, 5), "BTCUSDT", "5m", made.instrument)
    mark, grid = coarser(made.mark, 5), made.instrument.price_grid
    prices = {name: np.round(mark[name] * grid.den / grid.num) * grid.num / grid.den for name in ("open", "high", "low", "close")}
    columns = {"ts": mark["ts"], **prices, "volume": np.zeros(len(mark["ts"]))}
    store.upsert_bars("BTCUSDT", "5m", columns, source="test", kind="mark")
    stamps = made.funding["ts"]
    rates = np.random.default_rng(7).integers(-30_000, 30_000, len(stamps)) / 1e8
    store.upsert_funding("BTCUSDT", {"ts": stamps, "funding_rate": rates}, source="test")
    store.upsert_open_interest("BTCUSDT", made.open_interest, source="test")
    return store


def system_of(**changes: Any) -> SystemConfig:
    sizing = SizingConfig(model="fixed_usd", usd=2_000)
    values: dict[str, Any] = {"sizing": sizing, "timeframe": "15m", "execution_timeframe": "5m", "warmup_bars": 400}
    return plain_system(**(values | {"execution": ExecutionConfig()} | changes))


@pytest.mark.parametrize(
    "strategy",
    [
        reading("mark_close"),
        pytest.param(reading("funding_rate"), marks=pytest.mark.long),
        reading("open_interest"),
        pytest.param(reading("mark_close", timeframe="1h", timeperiod=3), marks=pytest.mark.long),
    ],
)
def test_a_session_decides_as_the_backtest(strategy: type[BaseStrategy], journals: Path) -> None:
    system = system_of()
    span = (FROM, FROM + (6 * DAY if "funding_rate" in strategy.__name__ else 30 * HOUR))
    with full_store() as store:
        parts, ran, truth = both(store, system, strategy, span, journals)
    check_same(parts, ran, truth)
    assert len(parts.venue.fills) > 2
    known = [message for message in ran.journal if isinstance(message, InputsKnown)]
    assert len(known) == (span[1] - span[0]) // (15 * MINUTE) and len(known[0].values) == 1


@pytest.mark.long
def test_a_restart_has_what_the_decisions_had(journals: Path) -> None:
    system, strategy = system_of(), reading("mark_close", input="open_interest")
    with full_store() as store:
        parts, _, _ = both(store, system, strategy, (FROM, TO), journals / "at once")
        with stored_sandbox(store, system, FROM, TO) as sandbox:
            for bars in (50, 70, None):
                ran = run_session(plan_of(system, strategy, store, sandbox.url, journals), max_bars=bars)
    assert ran.live.journal.recovery.snapshot_seq
    assert ran.live.books.portfolio.equity_values == parts.portfolio.equity_values


def test_open_interest_that_the_store_has_none_of_is_refused(journals: Path) -> None:
    with full_store() as store:
        system = system_of()
        with stored_sandbox(store, system, FROM, TO) as sandbox, pytest.raises(DataError, match="open_interest is read, and the store"):
            run_session(plan_of(system, reading("open_interest"), None, sandbox.url, journals))


@pytest.mark.parametrize("name", ["funding_rate", "open_interest"])
def test_spot_has_neither_funding_nor_open_interest(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: spot has none"):
        InputReader(Exchange(), None, "spot", {"BTCUSDT": spot_pair()}, (name,), waits=True)


# --- what is published late --------------------------------------------------------------------------------------------


class Exchange:
    """Candles, rates and interest by their times, and how many questions pass before one is there."""

    def __init__(self, late: int = 0) -> None:
        self.late, self.asked = late, 0

    def _is_there(self) -> bool:
        self.asked += 1
        return self.asked > self.late

    async def bars(self, symbol: str, timeframe: str, start_ms: int, end_ms: int, kind: str = "last") -> list[Bar]:
        return [bar((start_ms - START) // HOUR, 77.0)] if self._is_there() else []

    async def funding_rates(self, symbol: str, start_ms: int, end_ms: int) -> list[FundingRate]:
        stamps = range(START, end_ms if self._is_there() else end_ms - 1, 8 * HOUR)
        return [FundingRate(symbol, ts, ts / 1e18) for ts in stamps if ts >= start_ms]

    async def coming_rate(self, symbol: str) -> FundingRate | None:
        raise AssertionError("the exchange's history is waited for")

    async def open_interest(self, symbol: str, step: str, start_ms: int, end_ms: int) -> list[tuple[int, float]]:
        return [(ts, float(ts - START)) for ts in range(START, end_ms if self._is_there() else end_ms - 1, HOUR) if ts >= start_ms]


def wait_for(
    exchange: Exchange, name: str, closes: list[int], store: HistoricalDataStore | None = None
) -> tuple[list[Any], list[Any], list[Notice]]:
    """(bars given with their inputs, errors, notices) after bars with these closes came; time passes when it is slept."""
    given: list[Any] = []
    errors: list[BaseException] = []
    notices: list[Notice] = []
    now = [0]

    async def sleep(seconds: float) -> None:
        now[0] += int(seconds * 1000)
        await asyncio.sleep(0)

    async def run() -> None:
        reader = InputReader(exchange, store, "linear", {"BTCUSDT": perpetual()}, (name,), waits=True)
        wait = InputWait(
            reader, lambda bar, known: given.append((bar.ts_close, known.values[name])), fail=errors.append, notify=notices.append,
            sleep=sleep, now_ms=lambda: now[0],
        )  # fmt: skip
        for close in closes:
            wait.put(bar((close - START) // HOUR - 1, 100.0))
        await wait.settle()

    asyncio.run(run())
    return given, errors, notices


def test_a_bar_waits_for_its_mark_candle_and_those_after_it_wait_too() -> None:
    given, errors, notices = wait_for(Exchange(late=3), "mark_close", [START + HOUR, START + 2 * HOUR])
    assert given == [(START + HOUR, 77.0), (START + 2 * HOUR, 77.0)] and not errors
    assert [notice.code for notice in notices] == ["inputs_late"]


def test_a_rate_that_is_settled_at_the_close_is_waited_for() -> None:
    stamp = START + 8 * HOUR
    given, errors, _ = wait_for(Exchange(late=2), "funding_rate", [stamp - HOUR, stamp, stamp + HOUR])
    assert given == [(stamp - HOUR, START / 1e18), (stamp, stamp / 1e18), (stamp + HOUR, stamp / 1e18)] and not errors


def test_open_interest_of_the_close_is_waited_for() -> None:
    with full_store() as store:
        given, errors, _ = wait_for(Exchange(late=2), "open_interest", [START + 3 * HOUR], store)
    assert given == [(START + 3 * HOUR, 3.0 * HOUR)] and not errors


def test_what_never_comes_ends_the_session_with_the_reason() -> None:
    given, errors, notices = wait_for(Exchange(late=PATIENCE_MS), "mark_close", [START + HOUR])
    assert not given and len(notices) == 1
    assert isinstance(errors[0], VenueError) and "mark_close at 2024-01-01T01:00:00Z: not published yet" in str(errors[0])
