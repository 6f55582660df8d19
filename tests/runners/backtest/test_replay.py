"""The loop: whichever way it goes through the same history, the messages and the equity are the same; and how a run ends."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from keel.adapters.replay.feed import ReplayFeed
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import InvariantError, StrategyError
from keel.core.model.messages import Bar, Fill, FundingRate, Halt, MarkPrice, Message, OrderUpdate, Resume, Signal
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import ExecutionConfig, RiskConfig, SizingConfig, SystemConfig
from keel.runners.backtest.outcome import message_hash
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import BacktestParts, wire_backtest
from keel.strategies.base import BaseStrategy
from keel.strategies.ema_cross import EmaCross
from keel.strategies.hold import Hold
from keel.strategies.rsi_reversion import RsiReversion
from tests.builders import (
    DAY,
    HOUR,
    MINUTE,
    START,
    add_series,
    builtin,
    listen,
    made_ready,
    perpetual,
    plain_system,
    run,
    sample_store,
    store_of,
)

FROM, TO = START + 15 * DAY, START + 40 * DAY
Way = Callable[[BacktestParts], None]


def outcome(parts: BacktestParts) -> tuple[str, int]:
    """Hash and number of fills of what is run now."""
    replay(parts.feed, parts.engine, parts.venue)
    return message_hash(parts.messages, np.frombuffer(parts.portfolio.equity_values, dtype=np.float64)), len(parts.venue.fills)


# --- ways through the same history ---


def in_general(parts: BacktestParts) -> None:
    """Through the loop for any number of symbols, of which every bar is told: somebody wants to hear them."""
    listen(parts.engine.bus, lambda message: None)


def in_small_chunks(parts: BacktestParts) -> None:
    parts.feed = ReplayFeed(parts.feed.histories, parts.feed.timeframe, chunk_rows=97)


def at_every_bar(parts: BacktestParts) -> None:
    """The venue is stepped whether or not it says that something can happen."""
    step = parts.venue.step

    def stepped(book: Any, *values: Any) -> None:
        step(book, *values)
        book.wake_ts = -1

    parts.venue.step = stepped  # type: ignore[method-assign]  # an instrument of this test
    for book in parts.venue.books.values():
        book.wake_ts = -1


WAYS: tuple[Way, ...] = (in_general, in_small_chunks, at_every_bar)
SYSTEMS: list[tuple[str, tuple[str, ...]]] = [
    ("ema_cross", ("params={fast: 3, slow: 8}",)),
    ("ema_cross", ("params={fast: 3, slow: 8}", "execution_timeframe=1h", "execution.latency_ms=90000")),
    ("rsi_reversion", ("params={period: 5, oversold: 35, exit_level: 50, overbought: 65}", "exits.max_bars=5")),
    ("momentum", ("params={momentum_period: 3, threshold: 0.2}", "risk.daily_loss_percent=0.5", "risk.leverage=10")),
    ("atr_breakout", ("params.breakout_atr=0.5", "execution={max_volume_share: 0.0005, half_spread_bps: 2, impact: {coefficient: 0.2}}")),
]


@pytest.mark.parametrize(("name", "overrides"), SYSTEMS)
def test_every_way_gives_the_same_messages_and_equity(name: str, overrides: tuple[str, ...]) -> None:
    system, strategy = builtin(name, "warmup_bars=80", *overrides)
    with sample_store() as store:
        ready = made_ready(store, system, FROM, TO, strategy())
        expected = outcome(wire_backtest(ready, "t"))
        assert expected[1] > 10
        for way in WAYS:
            parts = wire_backtest(replace(ready, strategy=strategy()), "t")
            way(parts)
            assert outcome(parts) == expected, way.__name__


class EagerCross(EmaCross):
    """Asked at each bar, as a strategy without an array is."""

    reads_every_bar = True  # type: ignore[assignment]  # a constant does for the property


class EagerReversion(RsiReversion):
    """As above; its array holds HOLD, 0 and both sides."""

    reads_every_bar = True  # type: ignore[assignment]


@pytest.mark.parametrize(("name", "eager"), [("ema_cross", EagerCross), ("rsi_reversion", EagerReversion)])
@pytest.mark.parametrize("execution", ["5m", "1h"])
def test_asking_a_vector_strategy_at_every_bar_changes_nothing(name: str, eager: type[BaseStrategy], execution: str) -> None:
    """Also where entries are denied: a value that was denied is not asked for again until it changes."""
    system, strategy = builtin(
        name, "warmup_bars=80", f"execution_timeframe={execution}", "risk.cooldown_bars=30", "exits.stop_loss.percent=1"
    )
    with sample_store() as store:
        expected = outcome(wire_backtest(made_ready(store, system, FROM, TO, strategy()), "t"))
        assert outcome(wire_backtest(made_ready(store, system, FROM, TO, eager()), "t")) == expected


def test_two_symbols_alone_and_together() -> None:
    """With money enough for both, what is done in one symbol does not depend on the other's being there."""
    pair = ("BTCUSDT", "ETHUSDT")
    common = ("warmup_bars=80", "params={fast: 3, slow: 8}", "sizing={model: fixed_usd, usd: 1000}", "risk={policy: none}")
    with sample_store(pair) as store:
        fills: dict[str, list[Any]] = {}
        for symbols in (pair, pair[:1], pair[1:]):
            system, strategy = builtin("ema_cross", f"symbols=[{', '.join(symbols)}]", *common)
            parts = wire_backtest(made_ready(store, system, FROM, TO, strategy()), "t")
            replay(parts.feed, parts.engine, parts.venue)
            for symbol in symbols:
                own = [(f.ts, f.side, f.qty, f.price, f.fee, f.realized_pnl) for f in parts.venue.fills if f.symbol == symbol]
                assert fills.setdefault(symbol, own) == own and own


# --- the order within one instant ---


class Witness(BaseStrategy):
    """Notes who was asked, and what it was told; buys once, sells once."""

    def __init__(self, said: list[Any]) -> None:
        self._said = said

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        self._said.append(("asked", snapshot.symbol, snapshot.ts_close - START, snapshot.position.qty))
        number = (snapshot.ts_close - START) // HOUR
        return Signal(snapshot.symbol, "LONG" if number == 1 else "FLAT") if number in (1, 3) else None


@pytest.mark.parametrize("symbols", [("BTCUSDT", "ETHUSDT"), ("ETHUSDT", "BTCUSDT")])
def test_the_order_within_one_instant(symbols: tuple[str, str]) -> None:
    """The venue first, so that a strategy sees the fills of the bar that has just closed; then funding, then bars, symbols in the order of
    the system file; then the strategy, in that order; its orders wait for the next bar."""
    store = store_of([(100.0, 101.0, 99.0, 100.0)] * 4)
    add_series(store, [(10.0, 11.0, 9.0, 10.0)] * 4, "ETHUSDT")
    for symbol in symbols:
        store.upsert_funding(symbol, {"ts": START + HOUR * np.arange(-8, 9), "funding_rate": np.full(17, 1e-4)}, source="test")
    said: list[Any] = []
    system = plain_system(*symbols, execution=ExecutionConfig(slippage_bps=0.0, taker_fee=0.0))
    parts = wire_backtest(made_ready(store, system, START, START + 4 * HOUR, Witness(said)), "t")
    bus = parts.engine.bus
    listen(bus, lambda message: said.append((type(message).__name__, message.symbol, parts.engine.clock.now_ms - START)))
    bus.subscribe(Fill, lambda fill: said.append(("Fill", fill.symbol, fill.ts - START)))
    replay(parts.feed, parts.engine, parts.venue)
    first, second = symbols
    at = lambda hour: [entry for entry in said if entry[2] == hour * HOUR and entry[0] != "Fill"]  # noqa: E731
    assert [entry[:2] for entry in at(2)] == [
        ("FundingRate", first), ("FundingRate", second), ("Bar", first), ("Bar", second), ("asked", first), ("asked", second),
    ]  # fmt: skip
    assert [entry[3] for hour in (1, 2, 3, 4) for entry in at(hour) if entry[0] == "asked"] == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    entries = [entry for entry in said if entry[0] == "Fill"]
    assert entries == [("Fill", symbol, hour * HOUR) for hour in (1, 3) for symbol in symbols]  # at the open of the bar after the decision
    assert said.index(entries[0]) < said.index(("Bar", first, 2 * HOUR))


def test_a_mark_comes_before_its_bar_and_a_rate_before_both() -> None:
    with sample_store(days=12) as store:
        system, strategy = builtin("hold", "warmup_bars=40", "execution_timeframe=1h")
        parts = wire_backtest(made_ready(store, system, START + 9 * DAY, START + 10 * DAY, strategy()), "t")
    heard: list[Message] = []
    listen(parts.engine.bus, heard.append)
    replay(parts.feed, parts.engine, parts.venue)
    eight = START + 9 * DAY + 8 * HOUR
    kinds = [type(message) for message in heard if getattr(message, "ts", None) == eight or getattr(message, "ts_close", None) == eight]
    assert kinds == [FundingRate, MarkPrice, Bar]
    assert [type(message) for message in heard[-2:]] == [MarkPrice, Bar]
    assert sum(isinstance(message, Bar) for message in heard) == 24


def test_a_symbol_without_a_bar_is_not_asked_and_others_go_on() -> None:
    """``gaps: skip``: one symbol lacks the second hour."""
    store = store_of([(100.0, 101.0, 99.0, 100.0)] * 4)
    rows = np.array([0, 2, 3])
    flat = dict.fromkeys(("open", "high", "low", "close"), np.full(3, 10.0))
    add_series(store, {"ts": START + HOUR * rows, **flat, "volume": np.full(3, 5.0)}, "ETHUSDT")
    said: list[Any] = []
    system = plain_system("BTCUSDT", "ETHUSDT", execution=ExecutionConfig(gaps="skip", funding="none", slippage_bps=0.0))
    result = run(store, system, START, START + 4 * HOUR, Witness(said))
    asked = [(symbol, ts // HOUR) for _, symbol, ts, _ in said]
    assert asked == [("BTCUSDT", 1), ("ETHUSDT", 1), ("BTCUSDT", 2), ("BTCUSDT", 3), ("ETHUSDT", 3), ("BTCUSDT", 4), ("ETHUSDT", 4)]
    assert [(fill.symbol, (fill.ts - START) // HOUR) for fill in result.fills] == [
        ("BTCUSDT", 1),
        ("ETHUSDT", 2),
        ("BTCUSDT", 3),
        ("ETHUSDT", 3),
    ]
    assert len(result.equity_curve) == 5


# --- how a run ends ---


class Trips(BaseStrategy):
    """Buys, and raises at a bar: where it decides, or when it hears of its fill."""

    def __init__(self, at: int, hears: bool = False) -> None:
        self.asked = 0
        self._at = at
        if hears:
            self.on_fill = self._trip

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        self.asked += 1
        if self.asked == self._at:
            raise ZeroDivisionError("nothing to divide by")
        return Signal(snapshot.symbol, "LONG" if self.asked % 2 else "SHORT")

    def _trip(self, fill: Fill) -> None:
        raise KeyError(fill.symbol)


FLAT_BARS = [(100.0, 101.0, 99.0, 100.0)] * 12


@pytest.mark.parametrize("way", [None, in_general])
def test_a_strategy_that_raises_stops_the_run_at_once(way: Way | None) -> None:
    """on_fault makes no difference here: there is no position at a real exchange that could be closed."""
    strategy = Trips(5)
    parts = wire_backtest(made_ready(store_of(FLAT_BARS), plain_system(), START, START + 12 * HOUR, strategy), "t")
    if way is not None:
        way(parts)
    with pytest.raises(StrategyError, match="strategy test raised ZeroDivisionError for BTCUSDT at 2024-01-01T05:00:00Z") as caught:
        replay(parts.feed, parts.engine, parts.venue)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    bus = parts.engine.bus
    assert bus.failed is not None and "ZeroDivisionError" in bus.failed
    assert strategy.asked == 5 and not bus.queue
    assert max(message.ts for message in parts.messages) < START + 5 * HOUR  # type: ignore[attr-defined]
    with pytest.raises(InvariantError, match="takes no more messages"):
        bus.drain()


@pytest.mark.parametrize("way", [None, in_general])
def test_a_strategy_that_raises_on_a_fill_stops_the_run_too(way: Way | None) -> None:
    parts = wire_backtest(made_ready(store_of(FLAT_BARS), plain_system(), START, START + 12 * HOUR, Trips(0, hears=True)), "t")
    if way is not None:
        way(parts)
    with pytest.raises(StrategyError, match="raised KeyError in on_fill for BTCUSDT at 2024-01-01T01:00:00Z"):
        replay(parts.feed, parts.engine, parts.venue)
    assert parts.engine.bus.failed is not None and parts.engine.bus.failed.startswith("Fill: StrategyError")


class AllIn(BaseStrategy):
    """Long from the first bar, and again whenever it is flat."""

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return Signal(snapshot.symbol, "LONG") if not snapshot.position.qty else None


def blown(symbols: int = 1) -> tuple[HistoricalDataStore, SystemConfig]:
    """Nine contracts of 100 at leverage 10 on an equity of 100; the smallest order is one contract; the third hour falls by a third."""
    bars = [(100.0, 100.0, 100.0, 100.0), (100.0, 100.0, 99.0, 99.0), (99.0, 99.0, 66.0, 66.0), *[(66.0, 66.0, 66.0, 66.0)] * 5]
    store = store_of(bars, instrument=perpetual(step="1"))
    for number in range(1, symbols):
        add_series(store, bars, f"X{number}USDT", instrument=perpetual(f"X{number}USDT", step="1"))
    names = ["BTCUSDT", *(f"X{number}USDT" for number in range(1, symbols))]
    system = plain_system(
        *names, initial_equity=100.0, risk=RiskConfig(policy="none", leverage=10.0), sizing=SizingConfig(model="fixed_qty", qty=9.0),
        execution=ExecutionConfig(slippage_bps=0.0, funding="none"),
    )  # fmt: skip
    return store, system


def test_an_account_that_is_blown_stops_the_run_and_the_result_is_whole() -> None:
    store, system = blown()
    result = run(store, system, START, START + 8 * HOUR, AllIn())
    assert result.status == "stopped" and result.stop_reason is not None
    assert result.stop_reason.code == "account_blown"
    assert START + 2 * HOUR <= result.stop_reason.ts <= START + 3 * HOUR
    assert result.equity_curve.ts.tolist() == [START + hour * HOUR for hour in range(4)]  # the bar in which it happened is the last
    assert [trade.exit_reason for trade in result.trades] == ["liquidation"] and not result.open_trades
    assert len(result.liquidations) == 1
    assert result.reconciliation.difference == 0
    assert result.equity_curve["equity"][-1] == result["final_equity"] < 10.0
    assert result.timing["bars"] == 3
    assert result.proof is not None and len(result.message_hash) == 64


def test_a_stopped_run_is_the_same_every_way() -> None:
    store, system = blown()
    results = set()
    for way in (None, *WAYS):
        parts = wire_backtest(made_ready(store, system, START, START + 8 * HOUR, AllIn()), "t")
        if way is not None:
            way(parts)
        results.add(outcome(parts))
    assert len(results) == 1


def test_a_limit_of_risk_closes_and_the_run_goes_on() -> None:
    """The day's loss is reached: flat at the next open, no entry before the next UTC day, and then again."""
    rows = [(100.0, 100.0, 100.0, 100.0), (100.0, 100.0, 100.0, 100.0), (100.0, 100.0, 94.0, 94.0), *[(94.0, 94.0, 94.0, 94.0)] * 33]
    system = plain_system(
        initial_equity=100.0, risk=RiskConfig(daily_loss_percent=5.0, margin_reserve_percent=0.0),
        execution=ExecutionConfig.frictionless(),
    )  # fmt: skip
    parts = wire_backtest(made_ready(store_of(rows), system, START, START + 36 * HOUR, AllIn()), "t")
    control: list[Message] = []
    for kind in (Halt, Resume):
        parts.engine.bus.subscribe(kind, control.append)
    replay(parts.feed, parts.engine, parts.venue)
    assert [(fill.side, (fill.ts - START) // HOUR, fill.reason) for fill in parts.venue.fills] == [
        ("BUY", 1, "signal"), ("SELL", 3, "limit"), ("BUY", 24, "signal"),
    ]  # fmt: skip
    assert control == [Halt(START + 3 * HOUR, "daily_loss_percent", True), Resume(START + 24 * HOUR, "daily_loss_percent")]


@pytest.mark.parametrize("way", [None, in_general])
def test_a_new_day_s_floor_is_watched_though_nothing_else_happens(way: Way | None) -> None:
    """100 becomes 120 on the first day: 112 would be a gain there, and is a loss of more than 5 % on the second. The strategy decides by an
    array that does not change, so that nobody is asked in between."""
    closes = [100.0, 100.0, *np.linspace(101.0, 120.0, 22).tolist(), 120.0, 119.0, 118.0, 112.0, 112.0, 112.0]
    rows = [(before, max(before, close), min(before, close), close) for before, close in zip([100.0, *closes], closes, strict=False)]
    system = plain_system(
        initial_equity=100.0, risk=RiskConfig(daily_loss_percent=5.0, margin_reserve_percent=0.0),
        execution=ExecutionConfig.frictionless(),
    )  # fmt: skip
    parts = wire_backtest(made_ready(store_of(rows), system, START, START + len(rows) * HOUR, Hold()), "t")
    if way is not None:
        way(parts)
    replay(parts.feed, parts.engine, parts.venue)
    assert parts.halts == [Halt(START + 28 * HOUR, "daily_loss_percent", True)]
    assert [(fill.side, (fill.ts - START) // HOUR) for fill in parts.venue.fills] == [("BUY", 1), ("SELL", 28)]


def test_progress_is_told_and_the_collector_is_left_as_it_was() -> None:
    parts = wire_backtest(made_ready(store_of(FLAT_BARS), plain_system(), START, START + 12 * HOUR, AllIn()), "t")
    in_small_chunks(parts)
    told: list[tuple[int, int]] = []
    assert gc.isenabled()
    assert replay(parts.feed, parts.engine, parts.venue, lambda done, total: told.append((done, total))) == 12
    assert told[-1] == (12, 12) and gc.isenabled() and gc.get_freeze_count() == 0


def test_a_strategy_that_listens_hears_what_became_of_its_orders() -> None:
    heard: list[tuple[str, str, int]] = []

    class Listener(Trips):
        def on_order(self, update: OrderUpdate) -> None:
            heard.append((update.status, update.client_order_id, (update.ts - START) // MINUTE))

    parts = wire_backtest(made_ready(store_of(FLAT_BARS), plain_system(), START, START + 3 * HOUR, Listener(0)), "t")
    replay(parts.feed, parts.engine, parts.venue)
    assert heard == [("filled", "t-1", 60), ("filled", "t-2", 120)]
