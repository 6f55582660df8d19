"""BacktestEngine as the documents use it: an instance, a class or a plain function over stored history, alone or inside run_epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError, DataError, StrategyError
from keel.core.model.frame import BAR_COLUMNS
from keel.core.model.messages import Signal
from keel.core.model.time_range import TimeRange
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import ExecutionConfig, RiskConfig, SizingConfig
from keel.runners.backtest.engine import BacktestEngine, PreparedFrame, run_system
from keel.runners.epoch import StrategyEpoch, run_epoch
from keel.runners.portfolio.backtester import Backtester
from keel.strategies.atr_breakout import AtrBreakout
from keel.strategies.base import BaseStrategy
from keel.strategies.hold import Hold
from keel.strategies.momentum import MomentumStrategy
from tests.builders import DAY, HOUR, START, builtin, run, sample_store

FROM, TO = "2024-01-25", "2024-02-05"


@pytest.fixture(scope="module")
def store() -> Iterator[HistoricalDataStore]:
    """Forty days of 5m bars from 2024-01-01 on: more than the 500 hours of warm-up before the window."""
    with sample_store() as made:
        yield made


def engine(store: HistoricalDataStore, **more: Any) -> BacktestEngine:
    return BacktestEngine("BTCUSDT", "1h", FROM, TO, store=store, **more)


def test_the_documents_example(store: HistoricalDataStore, tmp_path: Path) -> None:
    """A strategy, its parameters, ``return engine.run(...)`` inside a run function, tracked as an epoch."""

    def my_backtest(symbol: str, timeframe: str, start: str, end: str) -> Any:
        made = BacktestEngine(symbol, timeframe, start, end, store=store)
        return made.run(MomentumStrategy(), {"momentum_period": 20})

    result = run_epoch(
        epoch=StrategyEpoch.BACKTEST,
        symbol="BTCUSDT",
        strategy_id="momentum-v1",
        runner_fn=my_backtest,
        timeframe="1h",
        start=FROM,
        end=TO,
        home=tmp_path,
    )
    assert (result["status"], result["error"]) == ("completed", None)
    assert result["metrics"]["total_trades"] > 0
    plain = engine(store).run(MomentumStrategy, {"momentum_period": 20})
    assert result["metrics"] == dict(plain)
    assert {path.name for path in result.artifacts.iterdir()} >= {"config.json", "results.json", "trades.jsonl", "equity.csv"}


METRICS = {
    "total_pnl", "net_profit", "win_rate", "loss_rate", "sharpe", "sortino", "calmar", "cagr", "volatility", "max_drawdown_abs",
    "max_drawdown_pct", "longest_drawdown_days", "recovery_days", "total_trades", "winning_trades", "losing_trades", "avg_trade_pnl",
    "avg_trade_return_pct", "avg_win", "avg_loss", "expectancy", "payoff_ratio", "profit_factor", "avg_holding_time_s", "exposure_pct",
}  # fmt: skip


def test_the_result_is_a_mapping_of_its_metrics(store: HistoricalDataStore) -> None:
    made = engine(store)
    result = made.run(MomentumStrategy())
    assert set(result) >= METRICS
    assert all(value is None or (isinstance(value, (int, float)) and math.isfinite(value)) for value in result.values())
    assert result["total_trades"] == len(result.trades) == len(made.get_trades()) > 0
    assert result["final_equity"] == pytest.approx(10_000 + result["net_profit"])
    curve = made.get_equity_curve()
    assert curve is result.equity_curve
    assert curve.ts[0] == START + 24 * DAY and len(curve) == 11 * 24 + 1
    assert (curve["equity"][0], curve["equity"][-1]) == (10_000.0, result["final_equity"])


def test_an_instance_a_class_and_a_function_are_the_same(store: HistoricalDataStore) -> None:
    """A function is asked at each bar with its parameters, and has no features but what it makes of the history."""

    def momentum(snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        close, period = snapshot.history.close, params["momentum_period"]
        change = 100 * (close[-1] / close[-1 - period] - 1)
        wanted = "LONG" if change > params["threshold"] else "SHORT" if change < -params["threshold"] else "FLAT"
        return Signal(snapshot.symbol, wanted) if wanted != snapshot.position.side else None

    params = {"momentum_period": 12, "threshold": 1.0}
    results = [engine(store).run(each, params) for each in (MomentumStrategy(), MomentumStrategy, momentum)]
    trades = [[(t.entry_ts, t.exit_ts, t.entry_price, t.exit_price, t.qty) for t in result.trades] for result in results]
    assert trades[0] == trades[1] == trades[2] and len(trades[0]) > 5
    assert results[0].message_hash == results[1].message_hash


def test_times_may_be_given_in_every_form(store: HistoricalDataStore) -> None:
    """The end is not part of the window."""
    forms: list[tuple[Any, Any]] = [
        (FROM, TO),
        (date(2024, 1, 25), date(2024, 2, 5)),
        (datetime(2024, 1, 25), datetime(2024, 2, 5, tzinfo=UTC)),
        (START + 24 * DAY, START + 35 * DAY),
    ]
    windows = {BacktestEngine("BTCUSDT", "1h", start, end, store=store).window for start, end in forms}
    assert windows == {TimeRange(START + 24 * DAY, START + 35 * DAY)}


def test_finer_execution_costs_and_limits_are_the_system_files(store: HistoricalDataStore) -> None:
    """The engine with the sections of a built-in system does what that system does."""
    system, strategy = builtin("momentum", "params.threshold=1.5")
    expected = run(store, system, FROM, TO, strategy())
    made = engine(
        store, initial_capital=10_000.0, execution=ExecutionConfig(slippage_bps=1.0), execution_timeframe="5m",
        risk=RiskConfig(leverage=2.0, max_drawdown_percent=40.0), sizing=SizingConfig(model="fixed_usd", usd=5000.0),
    )  # fmt: skip
    result = made.run(MomentumStrategy, dict(system.params))
    assert [(t.entry_ts, t.exit_ts, t.net_pnl) for t in result.trades] == [(t.entry_ts, t.exit_ts, t.net_pnl) for t in expected.trades]
    assert result.equity_curve["equity"].tobytes() == expected.equity_curve["equity"].tobytes()
    whole = BacktestEngine.from_system(system, TimeRange.from_dates(FROM, TO), store=store).run(strategy)  # its parameters are the system's
    assert whole.system_uid[:8] in whole.fills[0].client_order_id  # as in keel backtest, the uid begins every order's name
    again = run_system(store, system, TimeRange.from_dates(FROM, TO), strategy(), system.params, uid=whole.system_uid)
    assert whole.message_hash == again.message_hash and again.trades == expected.trades


def test_a_multi_timeframe_strategy(store: HistoricalDataStore) -> None:
    """4h bars are built; 500 of them before the window would be 84 days, which the store does not have: an error says so."""
    with pytest.raises(DataError, match="BTCUSDT 4h: 500 warm-up bars are needed before 2024-01-25"):
        engine(store).run(AtrBreakout)
    system, strategy = builtin("atr_breakout", "warmup_bars=100")
    result = BacktestEngine.from_system(system, TimeRange.from_dates(FROM, TO), store=store).run(strategy)
    assert result.trades


def test_the_prepared_frame(store: HistoricalDataStore) -> None:
    """Before any run it is the bars; after one, with the features of the strategy that ran: warm-up before the window, values as known."""
    made = engine(store)
    bare = made.prepare_backtest_frame()
    assert isinstance(bare, PreparedFrame)
    assert (bare.warmup_bars, bare.simulation_start, bare.first_valid_index) == (500, START + 24 * DAY, 0)
    assert bare.df.columns == BAR_COLUMNS and len(bare.df) == 11 * 24 and len(bare.full_df) == 500 + 11 * 24
    made.run(MomentumStrategy, {"momentum_period": 30})
    prepared = made.prepare_backtest_frame()
    assert prepared.full_df.columns == (*BAR_COLUMNS, "momentum")
    assert prepared.first_valid_index == 30 == int(np.flatnonzero(np.isfinite(prepared.full_df["momentum"]))[0])
    assert prepared.df.ts[0] == prepared.simulation_start == prepared.full_df.ts[prepared.warmup_bars]
    close = prepared.full_df["close"]
    assert prepared.full_df["momentum"][30:] == pytest.approx(100 * (close[30:] / close[:-30] - 1))


def test_a_run_leaves_nothing_behind_for_the_next(store: HistoricalDataStore) -> None:
    made = engine(store)
    first = made.run(MomentumStrategy, {"threshold": 0.5})
    other = made.run(Hold())
    again = made.run(MomentumStrategy, {"threshold": 0.5})
    assert again.message_hash == first.message_hash != other.message_hash
    assert made.get_trades() == first.trades


class Raises(BaseStrategy):
    """Raises at its thousandth bar... or here at its third."""

    def __init__(self) -> None:
        self.asked = 0

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        self.asked += 1
        if self.asked == 3:
            raise ValueError("no such luck")
        return None


def test_what_a_strategy_raises_names_symbol_and_time(store: HistoricalDataStore, tmp_path: Path) -> None:
    with pytest.raises(StrategyError, match=r"strategy .*:Raises raised ValueError for BTCUSDT at 2024-01-25T03:00:00Z: no such luck"):
        engine(store).run(Raises())
    result = run_epoch(
        StrategyEpoch.BACKTEST, "BTCUSDT", "raises", lambda symbol: engine(store).run(Raises()), home=tmp_path
    )  # fmt: skip
    assert (result["status"], result["passed"]) == ("failed", False) and "no such luck" in str(result["error"])


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"category": "option"}, "category 'option': use linear or spot"),
    ({"initial_capital": -1.0}, "initial_capital: must be a number above 0, not -1.0"),
    ({"initial_capital": float("nan")}, "initial_capital: must be a number above 0, not nan"),
    ({"initial_capital": "1000"}, "initial_capital: must be a number above 0, not the text '1000'"),
    ({"initial_capital": None}, "initial_capital: must be a number above 0, not empty"),
]


@pytest.mark.parametrize(("options", "words"), REFUSED)
def test_what_makes_no_sense_is_refused(store: HistoricalDataStore, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        engine(store, **options)


@pytest.mark.parametrize("option", ["leverage", "initial_balance"])
@pytest.mark.parametrize("value", ["10", None, True, float("nan"), 0.0])
def test_the_backtester_takes_numbers_only(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{option}: must be a number"):
        Backtester(**{option: value})


def test_other_mistakes(store: HistoricalDataStore) -> None:
    with pytest.raises(ConfigError, match="unknown timeframe '7m'"):
        BacktestEngine("BTCUSDT", "7m", FROM, TO, store=store)
    with pytest.raises(ConfigError, match="is empty: its end must be later"):
        BacktestEngine("BTCUSDT", "1h", TO, FROM, store=store)
    with pytest.raises(ConfigError, match="the engine has not run yet: call run"):
        engine(store).get_trades()
    with pytest.raises(ConfigError, match="5 is neither a strategy nor a function"):
        engine(store).run(5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="MomentumStrategy has no such parameter"):
        engine(store).run(MomentumStrategy, {"momentum_perod": 3})
    with pytest.raises(DataError, match="SOLUSDT"):
        BacktestEngine("SOLUSDT", "1h", FROM, TO, store=store).run(Hold)
    with pytest.raises(ConfigError, match="is not the start of a 1h bar"):
        BacktestEngine("BTCUSDT", "1h", START + 24 * DAY + HOUR // 2, TO, store=store).run(Hold)


def test_without_a_store_it_is_the_current_folders(store: HistoricalDataStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = engine(store).run(Hold).message_hash
    (tmp_path / "data").mkdir()
    with HistoricalDataStore(tmp_path / "data" / "keel.duckdb") as own:
        own.upsert_instrument(store.instrument("BTCUSDT"))
        for kind in ("last", "mark", "index"):
            bars = store.find("BTCUSDT", "5m", kind=kind)
            assert bars is not None
            own.upsert_bars("BTCUSDT", "5m", bars.to_dict(), source="test", kind=kind)
        own.upsert_funding("BTCUSDT", store.get_funding_rates("BTCUSDT").to_dict(), source="test")
    monkeypatch.chdir(tmp_path)
    made = BacktestEngine("BTCUSDT", "1h", FROM, TO)
    assert made.run(Hold).message_hash == expected
    assert len(made.prepare_backtest_frame().df) == 11 * 24
    HistoricalDataStore(tmp_path / "data" / "keel.duckdb").close()  # it was let go of
