"""Nothing that a strategy can reach tells of a later bar: proven by looking everywhere, and by cutting the history off after each bar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import StrategyError
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.messages import Signal
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import SystemConfig
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import wire_backtest
from keel.strategies.base import BaseStrategy, Features, VectorStrategy
from tests.builders import DAY, HOUR, MINUTE, START, builtin, coarser, grow, made_ready, plain_system, sample, sample_store, store_of

FROM = START + 9 * DAY
DAYS = 12
BARS = 16
SYMBOLS = ("BTCUSDT",)
NOW = ("position", "equity", "mark_price", "funding_rate")
"""Of a snapshot that was kept these are the account's and the market's now; all else stays at its bar."""

Seen = dict[str, Any]


def look(thing: Any, path: str = "snapshot") -> Iterator[tuple[str, Any]]:
    """Everything that can be reached from an object by public names: (path, plain value or array)."""
    if thing is None or isinstance(thing, (bool, int, float, str, np.ndarray)):
        yield path, thing
    elif isinstance(thing, Frame):
        yield f"{path}.name", f"{thing.symbol} {thing.timeframe} {thing.kind} {len(thing)}"
        for name, column in thing.to_dict().items():
            yield from look(column, f"{path}.{name}")
    elif isinstance(thing, Mapping):
        for name in thing:
            yield from look(thing[name], f"{path}[{name}]")
    elif isinstance(thing, (tuple, list)):
        for number, entry in enumerate(thing):
            yield from look(entry, f"{path}[{number}]")
    else:
        for name in dir(thing):
            if not name.startswith("_") and not callable(value := getattr(thing, name)):
                yield from look(value, f"{path}.{name}")


def plain(value: Any) -> Any:
    """A value to compare bit by bit."""
    return value.tobytes() if isinstance(value, np.ndarray) else np.float64(value).tobytes() if isinstance(value, float) else value


def behind(array: Any) -> Iterator[np.ndarray]:
    """An array, and every buffer that it is a view of."""
    while array is not None:
        if isinstance(array, memoryview):
            array = array.obj
            continue
        yield np.asarray(array)
        array = getattr(array, "base", None)


def growing(first: int, last: int) -> Iterator[tuple[int, HistoricalDataStore]]:
    """A store that ends at the close of the window's bar of this number, then of the next, and so on."""
    with sample_store(SYMBOLS, DAYS, until=FROM + (first - 1) * HOUR) as store:
        for number in range(first, last + 1):
            grow(store, SYMBOLS, DAYS, FROM + (number - 1) * HOUR, FROM + number * HOUR)
            yield number, store


class Spy(BaseStrategy):
    """Turns with an average, so that there are orders, positions and funding; notes all that it can see, each time it is called."""

    features: ClassVar[Features] = {
        "average": {"fn": "EMA", "timeperiod": 3},
        "basis": {"fn": "SUB", "input": ["mark_close", "close"]},
        "carry": {"fn": "MULT", "input": ["funding_rate", "open_interest"]},
        "trend": {"fn": "EMA", "timeperiod": 4, "timeframe": "4h"},
    }

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.numbers: list[set[float]] = []
        self.kept: list[RuntimeSnapshot] = []

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        found = dict(look(snapshot)) | dict(look(params, "params"))
        self.seen.append({path: plain(value) for path, value in found.items()})
        numbers = {value for value in found.values() if isinstance(value, float)}
        for value in found.values():
            if isinstance(value, np.ndarray):
                for buffer in behind(value):
                    numbers.update(buffer.ravel().tolist())
        self.numbers.append(numbers)
        self.kept.append(snapshot)
        is_up = snapshot.bar_ltf.close > snapshot.features["average"]
        return Signal(snapshot.symbol, "LONG" if is_up else "SHORT")


def spied(store: HistoricalDataStore, bars: int) -> Spy:
    """A run over so many hours with a strategy that looks at everything; fills inside 5m bars, 4h above, marks and funding."""
    spy = Spy()
    system = plain_system(execution_timeframe="5m", warmup_bars=40, params={"level": 2.5})
    parts = wire_backtest(made_ready(store, system, FROM, FROM + bars * HOUR, spy), "t")
    replay(parts.feed, parts.engine, parts.venue)
    assert len(spy.seen) == bars
    return spy


def test_looking_everywhere_finds_what_is_public() -> None:
    """The search itself finds the fields that the interface promises, so that the tests below say something."""
    with sample_store(SYMBOLS, DAYS) as store:
        seen = spied(store, 3).seen[-1]
    wanted = {
        "snapshot.bar_ltf.close", "snapshot.features[average]", "snapshot.features[carry]", "snapshot.features[trend]",
        "snapshot.htf[4h].bar.close", "snapshot.htf[4h].features[trend]", "snapshot.htf[4h].history.close", "snapshot.history.ts",
        "snapshot.history.volume", "snapshot.history.trend", "snapshot.position.qty", "snapshot.equity", "snapshot.mark_price",
        "snapshot.funding_rate", "snapshot.index", "snapshot.target", "snapshot.ts_close", "params[level]",
    }  # fmt: skip
    assert wanted <= set(seen)
    assert seen["snapshot.history.name"] == "BTCUSDT 1h last 43"


def test_no_price_of_a_later_bar_can_be_reached() -> None:
    """Not in a value, not in an array, nor in the buffer behind an array."""
    with sample_store(SYMBOLS, DAYS) as store:
        spy = spied(store, BARS)
    made = sample(SYMBOLS, DAYS).series["BTCUSDT"]
    columns = [(coarser(bars, size), size) for bars in (made.last, made.mark) for size in (5, 60, 240)]
    for number, numbers in enumerate(spy.numbers):
        close = FROM + (number + 1) * HOUR
        shown: set[float] = {0.0}
        later: set[float] = set()
        for bars, size in columns:
            has_closed = bars["ts"] + size * MINUTE <= close
            for name in BAR_COLUMNS:
                shown.update(bars[name][has_closed].tolist())
                later.update(bars[name][~has_closed].tolist())
        # An open repeats the close before it, and a price may come twice: what has never been shown gives a later bar away.
        assert len(later - shown) > 1000
        assert not numbers & (later - shown), number


@pytest.mark.long
def test_each_bar_shows_what_a_history_that_ends_there_shows() -> None:
    """The store cut off after bar k: everything that can be seen at bar k is the same, bit for bit, the account included."""
    with sample_store(SYMBOLS, DAYS) as store:
        whole = spied(store, BARS).seen
    for bars, store in growing(1, BARS):
        assert spied(store, bars).seen[-1] == whole[bars - 1], bars


def test_a_snapshot_that_was_kept_goes_on_showing_its_bar() -> None:
    with sample_store(SYMBOLS, DAYS) as store:
        spy = spied(store, BARS)
    for snapshot, seen in zip(spy.kept, spy.seen, strict=True):
        again = {path: plain(value) for path, value in look(snapshot)}
        changed = {path for path, value in again.items() if value != seen[path]}
        assert {path.split(".")[1] for path in changed} <= set(NOW)


def test_a_row_that_is_not_known_yet_is_refused_and_nothing_can_be_written() -> None:
    with sample_store(SYMBOLS, DAYS) as store:
        snapshot = spied(store, 5).kept[0]
    with pytest.raises(KeyError, match="no feature 'close'; declared are: average, basis, carry, trend"):
        snapshot.features["close"]
    with pytest.raises(ValueError, match="read-only"):
        snapshot.history.close[0] = 1.0
    with pytest.raises(IndexError):
        snapshot.history.close[snapshot.index + 1]


WINDOW = 24
LIVELY = {
    "ema_cross": ("params={fast: 2, slow: 3}",),
    "rsi_reversion": ("params={period: 2, oversold: 45, exit_level: 50, overbought: 55}",),
    "momentum": ("params={momentum_period: 2, threshold: 0.1}",),
    "hold": (),
    "atr_breakout": (
        "params={channel_period: 3, atr_period: 3, trend_period: 3, breakout_atr: 0.1, stop_atr: 0.7, take_profit_atr: 0.7}",
        "risk.cooldown_bars=0",
    ),
}


def decided(store: HistoricalDataStore, system: SystemConfig, strategy: BaseStrategy, bars: int) -> list[Signal]:
    """The signals of a run over so many hours."""
    signals: list[Signal] = []
    parts = wire_backtest(made_ready(store, system, FROM, FROM + bars * HOUR, strategy), "t")
    parts.engine.bus.subscribe(Signal, signals.append)
    replay(parts.feed, parts.engine, parts.venue)
    return signals


def test_the_built_in_systems_decide_the_same_on_a_history_that_ends_there() -> None:
    """At four bars of a window, every place within one of 4h: the decisions up to it are those of the run over the whole window."""
    systems = {name: builtin(name, "warmup_bars=40", *overrides) for name, overrides in LIVELY.items()}
    with sample_store(SYMBOLS, DAYS) as store:
        whole = {name: decided(store, system, strategy(), WINDOW) for name, (system, strategy) in systems.items()}
    assert {name: len(signals) > 3 for name, signals in whole.items()} == {name: name != "hold" for name in LIVELY}
    for bars, store in growing(WINDOW - 4, WINDOW - 1):
        for name, (system, strategy) in systems.items():
            expected = [signal for signal in whole[name] if signal.ts <= FROM + bars * HOUR]
            assert decided(store, system, strategy(), bars) == expected, (name, bars)


def test_the_search_is_not_blind() -> None:
    """A look-ahead that is put there on purpose, the rest of a column behind a view of it, is found."""
    frame = Frame(np.arange(4), {"close": np.array([1.0, 2.0, 3.0, 4.0])})
    leaky = frame[:2]  # a view: its base holds the rest
    arrays = [value for _, value in look(leaky) if isinstance(value, np.ndarray)]
    assert {4.0, 3.0} <= {value for array in arrays for buffer in behind(array) for value in buffer.ravel().tolist()}


# --- what looks ahead in whole columns is refused ------------------------------------------------------------------------


class PeeksByOneBar(VectorStrategy):
    """Knows whether the next close is higher."""

    def signals(self, frame: Any, params: Any) -> Any:
        following = np.append(frame.close[1:], frame.close[-1])
        return np.where(following > frame.close, 1, -1).astype(np.int8)


class ReadsAPeekingFeature(BaseStrategy):
    """Honest itself, with a feature that is not."""

    features: ClassVar = {"tomorrow": {"fn": "tests.runners.test_lookahead:next_close"}}


def next_close(frame: Any) -> Any:
    """A user's function that gives each bar the close of the next."""
    return np.append(frame.close[1:], frame.close[-1])


@pytest.mark.parametrize(
    ("strategy", "words"), [(PeeksByOneBar(), "PeeksByOneBar.signals looks ahead"), (ReadsAPeekingFeature(), "'tomorrow'")]
)
def test_an_array_or_a_feature_that_peeks_is_refused_before_the_run(strategy: BaseStrategy, words: str) -> None:
    closes = np.round(100.0 * np.exp(np.cumsum(np.random.default_rng(5).standard_normal(400) * 1e-2)), 1).tolist()
    bars = [(close, round(close + 0.5, 1), round(close - 0.5, 1), close) for close in closes]
    with store_of(bars) as store, pytest.raises(StrategyError, match=words):
        made_ready(store, plain_system(), START, START + 400 * HOUR, strategy)
