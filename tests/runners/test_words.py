"""In a backtest no value but the words opens, closes or changes anything: the run fails, and says where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keel.adapters.artifacts import read_run
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import StrategyError
from keel.core.model.frame import Frame
from keel.core.model.messages import Signal
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import ExecutionConfig
from keel.runners.backtest.engine import BacktestEngine
from keel.runners.epoch import run_epoch
from keel.strategies.base import BaseStrategy, Features, VectorStrategy
from tests.builders import store_of

RISING = [(100.0 + k, 101.0 + k, 99.0 + k, 100.5 + k) for k in range(30)]
ALTERED = st.sampled_from(
    [("direction", value) for value in ("BUY", "long", "flat", "CLOSE", "LONG ", "", None, 1, True, b"LONG", ["LONG"])]
    + [("order_type", value) for value in ("LIMIT", "Market", "stop", "stop_market", None, 0)]
    + [(name, value) for name in ("stop_loss", "take_profit", "trailing", "limit_price") for value in ("100", True, float("nan"), 1j)]
    + [(name, value) for name in ("size_usd", "confidence") for value in ("100", None, float("inf"))]
)


@pytest.fixture(scope="module")
def store() -> Iterator[HistoricalDataStore]:
    with store_of(RISING) as made:
        yield made


class At(BaseStrategy):
    """At its fifth bar a signal with one field as it was given; altered: after it was made, not when it is made."""

    def __init__(self, field: str, value: Any, *, altered: bool) -> None:
        self._field, self._value, self._altered, self._bars = field, value, altered, 0
        self.fills: list[Any] = []

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        self._bars += 1
        if self._bars != 5:
            return None
        if not self._altered:
            return Signal(**{"symbol": snapshot.symbol, "direction": "LONG", self._field: self._value})
        signal = Signal(snapshot.symbol, "LONG")
        msgspec.structs.force_setattr(signal, self._field, self._value)
        return signal

    def on_fill(self, fill: Any) -> None:
        self.fills.append(fill)

    def on_order(self, update: Any) -> None:
        self.fills.append(update)


def engine(store: HistoricalDataStore) -> BacktestEngine:
    made = BacktestEngine("BTCUSDT", "1h", "2024-01-01", "2024-01-02", store=store, execution=ExecutionConfig.frictionless())
    made.system = msgspec.structs.replace(made.system, warmup_bars=0)
    return made


@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(ALTERED, st.booleans())
def test_no_other_value_trades(store: HistoricalDataStore, field: tuple[str, Any], altered: bool) -> None:
    made = engine(store)
    strategy = At(*field, altered=altered)
    with pytest.raises(StrategyError) as caught:
        made.run(strategy)
    told = str(caught.value)
    assert (
        told.startswith("strategy tests.runners.test_words:At ")
        and " for BTCUSDT at 2024-01-01T05:00:00Z" in told
        and f"Signal: {field[0]} must be " in told
    )
    assert "bar of BTCUSDT 1h that closed at 2024-01-01T05:00:00Z: open 104, high 105, low 103, close 104.5, volume 1000" in told
    assert strategy.fills == []


def test_the_exact_word_trades(store: HistoricalDataStore) -> None:
    made = engine(store)
    strategy = At("direction", "SHORT", altered=True)
    assert [fill.side for fill in made.run(strategy).fills] == ["SELL"]


class Array(VectorStrategy):
    """One value of an array as it was given."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def signals(self, frame: Frame, params: Mapping[str, Any]) -> Any:
        values = np.zeros(len(frame), dtype=type(self._value) if not isinstance(self._value, str) else object)
        values[6] = self._value
        return values


@pytest.mark.parametrize("value", [3, -2, 0.5, 1.5, float("nan"), float("inf"), "LONG", None, 127, 256, 257])
def test_no_other_value_of_an_array_trades(store: HistoricalDataStore, value: Any) -> None:
    """257 and 256 would be 1 and 0 as int8."""
    made = engine(store)
    with pytest.raises(StrategyError, match=r"Array.signals gave .* for BTCUSDT at the bar that closed at 2024-01-01T07:00:00Z \(row 6\)"):
        made.run(Array(value))


class Raises(VectorStrategy):
    features: ClassVar[Features] = {"slow": {"fn": "SMA", "timeperiod": 3}}

    def signals(self, frame: Frame, params: Mapping[str, Any]) -> Any:
        return frame["slow"] + missing_name  # noqa: F821  # type: ignore[name-defined]


def test_a_vector_strategy_that_raises_is_told_with_its_line_and_the_last_bar(store: HistoricalDataStore, tmp_path: Path) -> None:
    """And the failed run keeps it."""

    def runner(symbol: str) -> Any:
        made = engine(store)
        return made.run(Raises())

    done = run_epoch("backtest", "BTCUSDT", "raises", runner, home=tmp_path)
    assert done.error is not None and done.error.startswith("StrategyError: Raises.signals raised NameError for BTCUSDT: ")
    assert "test_words.py:" in done.error and 'Raises.signals: return frame["slow"] + missing_name' in done.error
    kept = (read_run(done.artifacts).results or {})["error"]["evidence"]
    assert (kept["symbol"], kept["timeframe"], kept["bars"], kept["bar"]["close"]) == ("BTCUSDT", "1h", 24, 123.5)
    assert kept["features"] == {"slow": 122.5}


def test_a_feature_that_raises_is_told_with_its_line(store: HistoricalDataStore, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def inner(values):\n    return values[10 ** 9]\n\n\ndef feature(frame):\n    return inner(frame['close'])\n")

    class Reads(BaseStrategy):
        features: ClassVar[Features] = {"mine": {"fn": f"{file}:feature"}}

        def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
            return None

    made = engine(store)
    with pytest.raises(StrategyError) as caught:
        made.run(Reads())
    told = str(caught.value)
    assert told.startswith(f"feature 'mine', function {file}:feature: it raised IndexError")
    assert f"{file}:2 in inner: return values[10 ** 9]" in told and "(the last of 24 bars)" in told
