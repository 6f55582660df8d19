"""A whole run over series that grow bar by bar gives the messages of the replay, to the byte: a backtest decides what live would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from keel.adapters.replay.history import SymbolHistory
from keel.adapters.store import HistoricalDataStore
from keel.core.actors.live_series import LiveSeries
from keel.core.actors.market_data import SymbolContext
from keel.core.actors.portfolio import Portfolio
from keel.core.features import by_timeframe, parse_features
from keel.core.model.frame import Frame
from keel.core.model.messages import FeedGap, Fill
from keel.core.model.time_range import Moment
from keel.core.model.timeframe import tf_ms
from keel.core.risk.exits import hidden_features
from keel.core.system.config import SystemConfig
from keel.runners.backtest.outcome import message_hash
from keel.runners.backtest.preparation import Prepared, SymbolColumns, vector_targets
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import BacktestParts, wire_backtest
from keel.runners.user_code import load_function
from keel.strategies.base import BaseStrategy, Features, VectorStrategy
from tests.builders import DAY, START, add_series, builtin, coarser, made_ready, sample, sample_store

FROM, TO = START + 20 * DAY, START + 40 * DAY


def grown(
    prepared: Prepared, gaps: list[FeedGap], inputs: Mapping[str, Mapping[str, np.ndarray]]
) -> Callable[[Prepared, Portfolio], list[SymbolContext]]:
    """Contexts over LiveSeries, opened on the warm-up bars alone. inputs: by symbol, further inputs as known at each decision bar."""
    system, strategy, params = prepared.system, prepared.strategy, prepared.params
    declared = {**strategy.features, **system.features, **hidden_features(system.exits, system.sizing)}
    specs = by_timeframe(parse_features(declared, params, system.timeframe), system.timeframe)

    def series_of(history: SymbolHistory, columns: SymbolColumns) -> tuple[LiveSeries, dict[str, LiveSeries]]:
        higher = {}
        for timeframe, (frame, _) in columns.higher.items():
            closed = int(np.searchsorted(frame.ts + tf_ms(timeframe), prepared.window.start_ms, side="right"))
            higher[timeframe] = LiveSeries(known(frame, closed), specs[timeframe], load=load_function)
        extra = inputs.get(history.symbol, {})
        opens = {ts: row for row, ts in enumerate(columns.decision.ts.tolist())}
        series = LiveSeries(
            known(columns.decision, columns.first).with_columns({name: column[: columns.first] for name, column in extra.items()}),
            specs[system.timeframe],
            load=load_function,
            inputs=lambda bar: {name: float(column[opens[bar.ts_open]]) for name, column in extra.items()},
            higher=list(higher.values()),
            targets=(lambda frame: vector_targets(strategy, frame, params)) if isinstance(strategy, VectorStrategy) else None,
            report=gaps.append,
            qty_grid=history.instrument.qty_grid,
        )
        return series, higher

    def make(prepared: Prepared, portfolio: Portfolio) -> list[SymbolContext]:
        contexts = []
        for history, columns in zip(prepared.histories, prepared.columns, strict=True):
            series, higher = series_of(history, columns)
            contexts.append(SymbolContext(history.symbol, system.timeframe, series, higher, portfolio))
        return contexts

    return make


def known(frame: Frame, rows: int) -> Frame:
    return Frame(frame.ts[:rows], {name: frame[name][:rows] for name in ("open", "high", "low", "close", "volume")},
                 symbol=frame.symbol, timeframe=frame.timeframe)  # fmt: skip


def hash_of(parts: BacktestParts) -> str:
    replay(parts.feed, parts.engine, parts.venue)
    return message_hash(parts.messages, np.frombuffer(parts.portfolio.equity_values, dtype=np.float64))


def both_ways(
    store: HistoricalDataStore,
    system: SystemConfig,
    strategy: type[BaseStrategy],
    inputs: Callable[[Frame], Mapping[str, np.ndarray]] = lambda frame: {},
    span: tuple[Moment, Moment] = (FROM, TO),
) -> tuple[str, str, list[Fill]]:
    """The hash of a run over revealed columns, that of one over growing series, and the latter's fills."""
    prepared = made_ready(store, system, *span, strategy())
    revealed = hash_of(wire_backtest(prepared, "t"))
    fresh = replace(
        prepared,
        strategy=strategy(),
        histories=[replace(history, higher={}) for history in prepared.histories],  # what is built is not fed, too
    )
    known_inputs = {history.symbol: inputs(history.decision) for history in fresh.histories}
    gaps: list[FeedGap] = []
    parts = wire_backtest(fresh, "t", make_contexts=grown(fresh, gaps, known_inputs))
    growing = hash_of(parts)
    assert not gaps
    return revealed, growing, parts.venue.fills


SYSTEMS = [
    ("ema_cross", ()),
    ("rsi_reversion", ("params.oversold=35", "params.overbought=65")),
    ("momentum", ("params.threshold=1",)),
    ("hold", ()),
    ("atr_breakout", ()),
    (
        "atr_breakout",
        ("execution_timeframe=1h", "timeframe=1h", "features.trend={fn: EMA, timeperiod: 5, timeframe: 1d}", "warmup_bars=20"),
    ),
    ("ema_cross", ("exits={stop_loss: {atr: 2}, take_profit: {atr: 3}}", "sizing={model: inverse_vol}", "timeframe=30m")),
]


QUICK = (SYSTEMS[0], SYSTEMS[3], SYSTEMS[5])
RUNS = [(*each, 20) if each == SYSTEMS[5] else pytest.param(*each, 20, marks=pytest.mark.long) for each in SYSTEMS]


@pytest.mark.parametrize(("name", "overrides", "days"), [*((*each, 5) for each in QUICK[:2]), *RUNS])
def test_the_messages_are_those_of_the_replay(name: str, overrides: tuple[str, ...], days: int) -> None:
    system, strategy = builtin(name, "warmup_bars=100", *overrides)
    with sample_store() as store:
        revealed, growing, fills = both_ways(store, system, strategy, span=(FROM, FROM + days * DAY))
    assert growing == revealed
    assert len(fills) > 0


class VolumeTrend(VectorStrategy):
    """Reads a 4h timeframe's volume as well as its closes."""

    features: ClassVar[Features] = {
        "flow": {"fn": "OBV", "timeframe": "4h"},
        "flow_mean": {"fn": "SMA", "timeperiod": 6, "timeframe": "4h", "input": "flow"},
    }

    def signals(self, frame, params):  # type: ignore[no-untyped-def]  # as a user may write it
        return np.where(frame["flow"] > frame["flow_mean"], 1, -1).astype(np.int8)


@pytest.mark.long
def test_two_symbols_and_volumes_of_a_higher_timeframe() -> None:
    """The store's own 4h bars state their volume on the step, and so do those that are built out of its 1h bars."""
    symbols = ("BTCUSDT", "ETHUSDT")
    system, _ = builtin("hold", "warmup_bars=60", "symbols=[BTCUSDT, ETHUSDT]", "sizing={model: fixed_usd, usd: 1000}")
    with sample_store(symbols, until=START + 40 * DAY) as store:
        for symbol, series in sample(symbols).series.items():
            for minutes in (60, 240):
                add_series(store, coarser(series.last, minutes), symbol, f"{minutes // 60}h", series.instrument)
        revealed, growing, fills = both_ways(store, system, VolumeTrend)
    assert growing == revealed
    assert {fill.symbol for fill in fills} == set(symbols)


class Carry(VectorStrategy):
    """Reads what is no bar: the mark, the funding rate, open interest."""

    features: ClassVar[Features] = {
        "basis": {"fn": "SUB", "input": ["mark_close", "close"]},
        "crowd": {"fn": "EMA", "timeperiod": 5, "input": "open_interest"},
        "rate": {"fn": "SMA", "timeperiod": 9, "input": "funding_rate"},
    }

    def signals(self, frame, params):  # type: ignore[no-untyped-def]  # as a user may write it
        score = np.sign(frame["basis"]) - np.sign(frame["rate"]) + np.sign(np.diff(frame["crowd"], prepend=np.nan))
        return np.where(score > 0, 1, np.where(score < 0, -1, 2)).astype(np.int8)


@pytest.mark.long
def test_features_of_mark_funding_and_open_interest() -> None:
    """Live they come with each bar, as the messages before its close left them; here worked out from the sample's own points."""
    made = sample().series["BTCUSDT"]
    marks = coarser(made.mark, 60)

    def known_at(points: Mapping[str, np.ndarray], name: str, closes: np.ndarray) -> np.ndarray:
        rows = np.searchsorted(points["ts"], closes, side="right") - 1
        return np.where(rows >= 0, points[name][rows], np.nan)

    def inputs(frame: Frame) -> dict[str, np.ndarray]:
        closes = frame.ts + tf_ms("1h")
        return {
            "mark_close": marks["close"][np.searchsorted(marks["ts"], frame.ts)],
            "funding_rate": known_at(made.funding, "funding_rate", closes),
            "open_interest": known_at(made.open_interest, "open_interest", closes),
        }

    system, _ = builtin("hold", "warmup_bars=100", "sizing={model: fixed_usd, usd: 1000}")
    with sample_store() as store:
        revealed, growing, fills = both_ways(store, system, Carry, inputs)
    assert growing == revealed
    assert len(fills) > 20


@pytest.mark.real_data
@pytest.mark.long
@pytest.mark.parametrize("name", ["atr_breakout", "hold"])
def test_on_real_bars(real_data: Path, name: str) -> None:
    """BTCUSDT, three months of 2025, with the exchange's own 1h and 4h bars in the replay and built ones beside it."""
    system, strategy = builtin(name)
    with HistoricalDataStore(":memory:") as store:
        for folder in ("kline_5m", "kline_1h", "kline_4h", "funding"):
            store.import_file(real_data / "bybit" / "linear" / folder / "BTCUSDT.parquet")
        chosen = VolumeTrend if name == "hold" else strategy
        revealed, growing, fills = both_ways(store, system, chosen, span=("2025-02-01", "2025-05-01"))
    assert growing == revealed
    assert len(fills) > 20
