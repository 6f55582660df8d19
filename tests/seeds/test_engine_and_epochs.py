"""The third document, "Backtest Engine - Brainstorming & Architecture", from top to bottom.

Which passage is held by which test stands in README.md of this folder.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from keel.adapters.bybit.execution.venue import BybitVenue
from keel.adapters.logging import log_context, log_context_scope
from keel.adapters.store import HistoricalDataStore
from keel.core import metrics as metrics_module
from keel.core.errors import ConfigError
from keel.core.metrics import ProofConfig, compute_backtest_metrics, compute_proof_metrics
from keel.core.model.frame import BAR_COLUMNS
from keel.core.model.messages import Bar, Signal, SubmitOrder
from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import tf_duration
from keel.core.results.result import BacktestResult
from keel.core.risk.manager import RiskManager
from keel.core.strategy.order_calls import OrderCalls
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import ExecutionConfig, RiskConfig, SizingConfig, SystemConfig
from keel.runners.backtest.engine import BacktestEngine
from keel.runners.cli.main import run as keel
from keel.runners.epoch import ExperimentTracker, StrategyEpoch, StrategyEpochTracker, run_epoch
from keel.runners.tools import backtest_list_systems_tool, backtest_run_tool
from keel.runners.tools.registry import all_tools
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange
from keel.strategies.base import BaseStrategy
from keel.strategies.ema_cross import EmaCross
from keel.strategies.momentum import MomentumStrategy
from keel.strategies.registry import load_strategy
from tests.builders import HOUR, START
from tests.seeds.snippet import Change, run_snippet

WINDOW = ("2024-01-25", "2024-02-05")

# --- what is run_epoch? ---

HOW_IT_WORKS = '''
# 1. Define your backtest function
def my_backtest(symbol: str, timeframe: str, start: str, end: str) -> dict:
    """
    Your actual backtest logic goes here.
    Must return a dict with metrics.
    """
    # ... run backtest ...
    return {
        "net_profit": 1250.0,
        "win_rate": 65.0,
        "sharpe": 1.8,
        "max_drawdown_abs": 350.0,
        "max_drawdown_pct": -3.5,
        "total_trades": 45,
    }

# 2. Run with tracking
result = run_epoch(
    epoch=StrategyEpoch.BACKTEST,      # Which stage
    symbol="BTCUSDT",                 # What symbol
    strategy_id="momentum-v1",        # Strategy ID
    runner_fn=my_backtest,            # Your function
    timeframes=["1h"],                # Timeframes used
    promotion_criteria=lambda m: m.get("sharpe", 0) > 1.5,  # Pass criteria
    next_epoch=StrategyEpoch.DEMO,    # Promote to demo if passed
    # These are passed to my_backtest:
    timeframe="1h",
    start="2024-01-01",
    end="2024-06-30",
)

# 3. Get results
print(f"Run ID: {result['run_id']}")      # Unique run ID
print(f"Passed: {result['passed']}")      # True/False
print(f"Metrics: {result['metrics']}")    # Your metrics dict
'''

LOCATION: list[Change] = [("from src.utils.epoch_tracking import", "from keel.runners.epoch import", "import")]


def test_location() -> None:
    names, _ = run_snippet("from src.utils.epoch_tracking import run_epoch, StrategyEpoch", LOCATION)
    assert names["run_epoch"] is run_epoch and names["StrategyEpoch"] is StrategyEpoch


def test_strategy_lifecycle_epochs() -> None:
    wanted = {"IDEA": "idea", "CREATION": "creation", "BACKTEST": "backtest", "DEMO": "demo", "LIVE": "live", "ARCHIVED": "archived"}
    assert {epoch.name: epoch.value for epoch in StrategyEpoch} == wanted


@pytest.fixture
def how_it_works(home: Path) -> tuple[Any, str]:
    """Its result and what it printed; nothing is changed in it (the names that it uses stand in "Location")."""
    names, printed = run_snippet(HOW_IT_WORKS, names={"run_epoch": run_epoch, "StrategyEpoch": StrategyEpoch})
    return names["result"], printed


def test_how_it_works(how_it_works: tuple[Any, str]) -> None:
    result, printed = how_it_works
    assert printed.splitlines() == [f"Run ID: {result['run_id']}", "Passed: True", f"Metrics: {result['metrics']}"]
    assert result["metrics"]["win_rate"] == 65.0 and result["metrics"]["max_drawdown_pct"] == -3.5


def test_behind_the_scenes_and_the_artifacts(how_it_works: tuple[Any, str], home: Path) -> None:
    """backtests/<UTC timestamp>/<run_id>/ and logs/events_*.jsonl; trades.jsonl only where trades are logged."""
    result, _ = how_it_works
    (folder,) = home.glob("backtests/*/run-*")
    assert re.fullmatch(r"\d{8}_\d{6}", folder.parent.name) and re.fullmatch(r"run-[0-9a-f]{12}", folder.name)
    assert folder.name == result["run_id"]
    assert {path.name for path in folder.iterdir()} == {"config.json", "results.json", "summary.json"}
    config = json.loads((folder / "config.json").read_text())
    assert config["arguments"] == {"timeframe": "1h", "start": "2024-01-01", "end": "2024-06-30"} and config["timeframes"] == ["1h"]
    assert json.loads((folder / "results.json").read_text())["metrics"] == result["metrics"]
    (log,) = home.glob("logs/events_*.jsonl")
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events == ["epoch_started", "epoch_completed", "epoch_promoted"]


def test_the_runner_is_called_in_a_log_context_with_the_run(home: Path) -> None:
    def runner_fn(symbol: str, **runner_kwargs: Any) -> dict[str, Any]:
        assert log_context()["run_id"].startswith("run-") and runner_kwargs == {"timeframe": "1h"}
        with log_context_scope(run_id="mine"):
            assert log_context()["run_id"] == "mine"
        return {"sharpe": 1.0}

    result = run_epoch(StrategyEpoch.BACKTEST, "BTCUSDT", "context", runner_fn, timeframe="1h")
    assert result["error"] is None and log_context() == {}


def test_the_return_value(how_it_works: tuple[Any, str]) -> None:
    result, _ = how_it_works
    wanted = {"strategy_id": "momentum-v1", "epoch": "backtest", "symbol": "BTCUSDT", "passed": True, "next_epoch": "demo"}
    assert {name: result[name] for name in wanted} == wanted
    assert set(result) >= {"run_id", "metrics", "promotion_reason"} and "lambda" in result["promotion_reason"]
    failed = run_epoch(
        StrategyEpoch.BACKTEST, "BTCUSDT", "momentum-v1", lambda symbol: {"sharpe": 1.0}, promotion_criteria=["sharpe > 1.5"],
        next_epoch=StrategyEpoch.DEMO,
    )  # fmt: skip
    assert (failed["passed"], failed["next_epoch"]) == (False, None) and failed["promotion_reason"].startswith("sharpe > 1.5: failed")


def test_error_handling_catches_and_marks_the_epoch_failed(home: Path) -> None:
    def broken(symbol: str) -> dict[str, Any]:
        raise RuntimeError("no")

    result = run_epoch(StrategyEpoch.BACKTEST, "BTCUSDT", "broken", broken)
    assert (result["status"], result["passed"], result["error"]) == ("failed", False, "RuntimeError: no")


def test_experiments_group_runs(home: Path) -> None:
    experiment = ExperimentTracker("periods")
    for period in (10, 20):
        experiment.run(StrategyEpoch.BACKTEST, "BTCUSDT", "momentum-v1", lambda symbol, period: {"sharpe": period / 10}, period=period)
    assert len(experiment.results()) == 2 and experiment.best("sharpe")["arguments"] == {"period": 20}


# --- existing infrastructure ---


def test_the_data_layers_key_methods(home: Path) -> None:
    """As they are called there: symbol, timeframe(s), start, end, env; and a TimeRange in place of both."""
    with HistoricalDataStore(read_only=True) as store:
        start, end = datetime(2024, 1, 10, tzinfo=UTC), datetime(2024, 1, 12, tzinfo=UTC)
        bars = store.get_ohlcv("BTCUSDT", "1h", start, end, env="live")
        assert len(bars) == 48 and set(bars.columns) == set(BAR_COLUMNS)
        frames = store.get_multi_timeframe_data("BTCUSDT", ["15m", "4h"], start, end, env="live")
        assert {timeframe: len(frame) for timeframe, frame in frames.items()} == {"15m": 192, "4h": 12}
        assert len(store.get_funding_rates("BTCUSDT", start, end, env="live")) == 6
        assert len(store.get_open_interest("BTCUSDT", start, end, env="live")) > 0
        assert store.get_ohlcv("BTCUSDT", "1h", TimeRange.from_dates(start, end))["close"].tolist() == bars["close"].tolist()
        assert store.find_gaps("BTCUSDT", "5m") == []


TIME_RANGES = """
# Create time ranges
tr = TimeRange.last_24h()
tr = TimeRange.from_window_string("6M")
tr = TimeRange.from_dates(start_dt, end_dt)

# Convert to timestamps
start_ms, end_ms = tr.to_tuple_ms()
"""


def test_time_range_utilities() -> None:
    """Nothing is changed; ``start_dt`` and ``end_dt`` are given."""
    given = {"TimeRange": TimeRange, "start_dt": datetime(2024, 1, 1), "end_dt": datetime(2024, 2, 1, tzinfo=UTC)}
    names, _ = run_snippet(TIME_RANGES, names=given)
    assert names["end_ms"] - names["start_ms"] == 31 * 24 * HOUR


MANUAL_TRACKING = """
# Manual tracking
tracker = StrategyEpochTracker(strategy_id, strategy_name)
run_id = tracker.epoch_start(epoch, symbol, timeframes)
# ... run backtest ...
tracker.epoch_complete(run_id, epoch, symbol, metrics)
"""

LOGGING: list[Change] = [
    ("# ... run backtest ...", "tracker.log_trade(run_id, symbol, side, size_usd, price, pnl)", 'from "Per-trade logging", below it'),
]


def test_manual_tracking_and_per_trade_logging(home: Path) -> None:
    given = {
        "StrategyEpochTracker": StrategyEpochTracker, "strategy_id": "grid", "strategy_name": "Grid", "epoch": StrategyEpoch.BACKTEST,
        "symbol": "BTCUSDT", "timeframes": ["1h"], "metrics": {"sharpe": 1.0}, "side": "LONG", "size_usd": 1000.0,
        "price": 40_000.0, "pnl": 5.0,
    }  # fmt: skip
    names, _ = run_snippet(MANUAL_TRACKING, LOGGING, given)
    (path,) = home.glob(f"backtests/*/{names['run_id']}/trades.jsonl")
    row = json.loads(path.read_text())
    assert row["pnl"] == 5.0 and row["time"].endswith("Z") and abs(row["ts"] - TimeRange.last_24h().end_ms) < 600_000


SIGNAL_FIELDS = {"symbol": str, "direction": str, "size_usd": float, "strategy": str, "confidence": float, "metadata": dict}


def test_the_signal() -> None:
    signal = Signal(symbol="BTCUSDT", direction="LONG", size_usd=1000, strategy="momentum-v1")
    assert set(SIGNAL_FIELDS) <= set(Signal.__struct_fields__)
    assert (signal.confidence, signal.metadata) == (1.0, None)
    for direction in ("LONG", "SHORT", "FLAT"):
        Signal("BTCUSDT", direction)  # type: ignore[arg-type]


def test_a_risk_check() -> None:
    risk_manager = RiskManager(RiskConfig(max_position_usd=500.0))
    result = risk_manager.check_signal(Signal("BTCUSDT", "LONG", 1000.0), {"equity": 10_000.0})
    assert (result.allowed, result.adjusted_size, result.reason) == (True, 500.0, "max_position_usd")


EXCHANGE = """
from src.backtest.sim import SimulatedExchange, ExecutionConfig

exchange = SimulatedExchange(
    symbol="BTCUSDT",
    initial_capital=1000.0,
    execution_config=ExecutionConfig(...),
    risk_profile=RiskProfileConfig(...),
)

# Process bar-by-bar
result = exchange.process_bar(bar, prev_bar)
# Returns StepResult with fills, funding, liquidation, ledger updates
"""

EXCHANGE_CHANGES: list[Change] = [
    ("from src.backtest.sim import SimulatedExchange, ExecutionConfig",
     "from keel.core.system.config import ExecutionConfig\n"
     "from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange", "import"),
    ("ExecutionConfig(...)", "ExecutionConfig(slippage_bps=2.0)", "an ellipsis"),
    ("RiskProfileConfig(...)", "RiskProfileConfig(leverage=2.0, taker_fee_rate=0.001, maker_fee_rate=0.0)", "an ellipsis"),
]  # fmt: skip


def hours(*closes: float) -> list[Bar]:
    return [Bar("BTCUSDT", "1h", START + n * HOUR, START + (n + 1) * HOUR, *(close,) * 4, 1e6) for n, close in enumerate(closes)]


def test_the_simulated_exchanges_interface() -> None:
    """Bars are given (``bar``, ``prev_bar``). Fees and slippage are those of the two configurations."""
    prev_bar, bar = hours(100.0, 100.0)
    names, _ = run_snippet(EXCHANGE, EXCHANGE_CHANGES, {"bar": bar, "prev_bar": prev_bar})
    result, exchange = names["result"], names["exchange"]
    assert (result.fills, result.funding, result.liquidation, result.ledger_updates) == ([], [], None, [])
    exchange.market_buy("BTCUSDT", 1000)
    step = exchange.process_bar(hours(0.0, 0.0, 100.0)[2], bar)
    assert [(fill.price, fill.fee) for fill in step.fills] == [(100.02, round(10 * 100.02 * 0.001 * 1e8))]
    assert sum(update.change for update in step.ledger_updates) == 0 and exchange.should_stop() is None


# --- what has been built ---


def test_the_backtest_engines_interface() -> None:
    parameters = inspect.signature(BacktestEngine).parameters
    assert list(parameters)[:6] == ["symbol", "timeframe", "start", "end", "initial_capital", "data_env"]
    assert (parameters["initial_capital"].default, parameters["data_env"].default) == (10_000.0, "live")
    assert list(inspect.signature(BacktestEngine.run).parameters) == ["self", "strategy", "config"]


def test_the_engine_over_stored_history(home: Path) -> None:
    """Times as datetimes; the metrics of the docstring; the equity curve as a DataFrame; trades."""
    engine = BacktestEngine("BTCUSDT", "1h", datetime(2024, 1, 25), datetime(2024, 2, 5))
    metrics = engine.run(MomentumStrategy(), {"momentum_period": 20})
    named = (
        "net_profit",
        "win_rate",
        "sharpe",
        "max_drawdown_abs",
        "max_drawdown_pct",
        "total_trades",
        "avg_trade_return_pct",
        "profit_factor",
    )
    assert set(named) <= set(metrics) and metrics["total_trades"] == len(engine.get_trades()) > 0
    pandas = pytest.importorskip("pandas")
    table = engine.get_equity_curve().to_pandas()
    assert isinstance(table, pandas.DataFrame) and table["equity"].iloc[-1] == metrics["final_equity"]


class Crossing(BaseStrategy):
    """Long above its own average of five closes, out below it; made of the snapshot alone."""

    defaults: ClassVar[dict[str, Any]] = {"bars": 5}

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        closes = snapshot.history["close"]
        above = snapshot.bar_ltf.close > closes[-params["bars"] :].mean()
        held = snapshot.position.side == "LONG"
        return None if above == held else Signal(snapshot.symbol, "LONG" if above else "FLAT", strategy="crossing")


def test_the_implementation_flow(home: Path) -> None:
    """The sketch of ``run``, its steps one by one with our parts; and what it gives is what the engine gives.

    Sketched there and spelled out here: the snapshot, the order, and that a close is an order, too.
    """
    params = {"bars": 5}
    engine = BacktestEngine(
        "BTCUSDT", "1h", *WINDOW, execution=ExecutionConfig(slippage_bps=0.0, funding="none"), risk=RiskConfig(policy="none"),
        sizing=SizingConfig(model="fixed_qty", qty=0.01),
    )  # fmt: skip
    expected = engine.run(Crossing(), params)

    # 1. Prepare frame with warm-up
    prepared = engine.prepare_backtest_frame()
    with HistoricalDataStore(read_only=True) as store:
        instrument = store.instrument("BTCUSDT", "linear", prepared.simulation_start)
        marks = store.get_ohlcv("BTCUSDT", "1h", engine.window, kind="mark")
    # 2. Initialize exchange
    exchange = SimulatedExchange(
        symbol="BTCUSDT", initial_capital=10_000.0, execution_config=engine.system.execution,
        risk_profile=RiskProfileConfig(initial_equity=10_000.0), instruments={"BTCUSDT": instrument},
    )  # fmt: skip
    manager = RiskManager(engine.system.risk, engine.system.sizing, instruments={"BTCUSDT": instrument})
    strategy, prev_bar, tf_delta = Crossing(), None, tf_duration("1h")
    # 3. Iterate through bars
    for i in range(len(prepared.df)):
        ts_open = int(prepared.df.ts[i])
        ts_close = ts_open + tf_delta // timedelta(milliseconds=1)
        bar = Bar("BTCUSDT", "1h", ts_open, ts_close, *(float(prepared.df[name][i]) for name in BAR_COLUMNS))
        mark = Bar("BTCUSDT", "1h", ts_open, ts_close, *(float(marks[name][i]) for name in BAR_COLUMNS))
        step_result = exchange.process_bar(bar, prev_bar, mark)
        assert all(ts_open <= fill.ts < ts_close for fill in step_result.fills)
        if exchange.should_stop():
            break
        held = exchange.state["positions"][0]["qty"] if exchange.state["positions"] else 0.0
        history = prepared.full_df[: prepared.warmup_bars + i + 1]
        snapshot = RuntimeSnapshot(ts_close=ts_close, symbol="BTCUSDT", bar_ltf=bar, history=history, position=held)
        signal = strategy.generate_signal(snapshot, params)
        if signal is not None:
            decision = manager.policy.check(signal, exchange.state)
            if decision.allowed:
                sizing = manager.size_position(signal, exchange.state)
                if sizing.allowed and sizing.quantity:
                    exchange.submit_order(SubmitOrder(f"o{i}", "BTCUSDT", "BUY", "market", sizing.quantity, ts_close))
                elif sizing.allowed:
                    exchange.close_position("BTCUSDT", client_order_id=f"o{i}")
        prev_bar = bar
    # 4. Calculate metrics
    metrics = compute_backtest_metrics(exchange.trades, exchange.equity_curve)
    proof_metrics = compute_proof_metrics(exchange, engine.system)

    told = [(trade.entry_ts, trade.exit_ts, trade.entry_price, trade.exit_price, trade.net_pnl) for trade in exchange.trades]
    wanted = [(trade.entry_ts, trade.exit_ts, trade.entry_price, trade.exit_price, trade.net_pnl) for trade in expected.trades]
    assert told == wanted and len(told) > 10
    assert metrics["net_profit"] == pytest.approx(expected["net_profit"], abs=1e-6)
    assert proof_metrics.trade_quality.total_trades == metrics["total_trades"] == expected["total_trades"]


def test_the_artifacts_of_an_engines_run(home: Path) -> None:
    """trades.csv, equity.csv, result.json beside the epoch's own, and a structured result."""
    kept: list[BacktestResult] = []

    def go(symbol: str) -> BacktestResult:
        kept.append(BacktestEngine(symbol, "1h", *WINDOW).run(EmaCross()))
        return kept[0]

    result = run_epoch("backtest", "BTCUSDT", "ema_cross", go)
    names = {path.name for path in result["artifacts"].iterdir()}
    assert names == {
        "config.json",
        "results.json",
        "summary.json",
        "result.json",
        "trades.jsonl",
        "trades.csv",
        "equity.csv",
        "equity.parquet",
    }
    assert kept[0].run_id == result["run_id"] and kept[0].artifacts == result["artifacts"]
    assert json.loads((result["artifacts"] / "config.json").read_text())["config"]["system_uid"] == kept[0].system_uid != ""


def test_stop_conditions() -> None:
    """Short all that margin and fees allow, and the price doubles: too little is left for the smallest order, and the exchange says so."""
    exchange = SimulatedExchange("BTCUSDT", 1000.0, ExecutionConfig(slippage_bps=0.0), RiskProfileConfig(leverage=10.0))
    first, *later = hours(100.0, 100.0, 220.0, 220.0)
    exchange.process_bar(first)
    exchange.market_sell("BTCUSDT", 9_885.0)
    for bar in later:
        exchange.process_bar(bar)
    stop = exchange.should_stop()
    assert len(exchange.liquidations) == 1
    assert stop is not None and stop.code == "account_blown"


def test_the_strategy_interface() -> None:
    """``generate_signal(snapshot, params) -> Signal | None``; the base does not decide; strategies are found by id."""
    assert list(inspect.signature(BaseStrategy.generate_signal).parameters) == ["self", "snapshot", "params"]
    with pytest.raises(TypeError, match="must define generate_signal"):
        BaseStrategy().generate_signal(RuntimeSnapshot(bar_ltf=hours(100.0)[0]), {})
    assert load_strategy("ema_cross") is EmaCross and load_strategy("keel.strategies.momentum:MomentumStrategy") is MomentumStrategy


def test_higher_timeframes_are_on_the_snapshot(home: Path) -> None:
    seen: list[float] = []

    class TwoTimeframes(BaseStrategy):
        features: Any = {"trend": {"fn": "EMA", "timeperiod": 5, "timeframe": "4h"}}  # noqa: RUF012

        def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> None:
            assert snapshot.htf["4h"].bar.ts_close <= snapshot.ts_close
            seen.append(snapshot.htf["4h"].features["trend"])

    BacktestEngine("BTCUSDT", "1h", "2024-02-01", "2024-02-02", store=_with_warmup(home), execution=ExecutionConfig(funding="none")).run(
        TwoTimeframes
    )
    assert len(seen) == 24 and np.isfinite(seen).all()


def _with_warmup(home: Path) -> HistoricalDataStore:
    """Forty days hold no 500 bars of 4h: a store with more of them, made of the same hours over and over."""
    store = HistoricalDataStore(":memory:")
    with HistoricalDataStore(read_only=True) as source:
        store.upsert_instrument(source.instrument("BTCUSDT", "linear", START))
        hours_ = source.get_ohlcv("BTCUSDT", "1h").to_dict()
    length = len(hours_["ts"]) * HOUR
    for turn in range(3):
        store.upsert_bars("BTCUSDT", "1h", {**hours_, "ts": hours_["ts"] - turn * length}, source="test")
    return store


STANDARD = {
    "total_pnl", "net_profit", "win_rate", "loss_rate", "sharpe", "max_drawdown_abs", "max_drawdown_pct", "total_trades", "winning_trades",
    "losing_trades", "avg_trade_pnl", "profit_factor", "sortino", "calmar", "avg_holding_time_s", "longest_drawdown_days",
}  # fmt: skip
PARTS = (
    "PerformanceMetrics", "DrawdownMetrics", "TradeQualityMetrics", "RiskAdjustedMetrics", "MarginStressMetrics", "EntryFrictionMetrics",
    "LiquidationProximityMetrics", "ExposureMetrics", "BacktestMetricsV2",
)  # fmt: skip

METRICS_INTERFACE = """
from src.backtest.metrics import compute_backtest_metrics
from src.backtest.proof_metrics import compute_proof_metrics

# Standard metrics
metrics = compute_backtest_metrics(trades, equity_curve, initial_capital)

# Proof-grade metrics (V2)
proof_metrics = compute_proof_metrics(exchange, config)
"""
METRICS_IMPORTS: list[Change] = [
    ("from src.backtest.metrics import", "from keel.core.metrics import", "import"),
    ("from src.backtest.proof_metrics import", "from keel.core.metrics import", "import"),
]


def test_the_metrics_interface() -> None:
    """On an exchange's own trades and equity: two hours at 100 and 110 with 500 USDT in it, fees of 0.055 % twice."""
    exchange = SimulatedExchange("BTCUSDT", 1000.0, ExecutionConfig(slippage_bps=0.0))
    first, *later = hours(100.0, 100.0, 110.0, 110.0)
    exchange.process_bar(first)
    exchange.market_buy("BTCUSDT", 500.0)
    for bar in later[:2]:
        exchange.process_bar(bar)
    exchange.close_position("BTCUSDT")
    exchange.process_bar(later[2])
    given = {
        "trades": exchange.trades, "equity_curve": exchange.equity_curve, "initial_capital": 1000.0, "exchange": exchange,
        "config": ProofConfig(initial_equity=1000.0),
    }  # fmt: skip
    names, _ = run_snippet(METRICS_INTERFACE, METRICS_IMPORTS, given)
    assert set(names["metrics"]) >= STANDARD
    assert names["metrics"]["net_profit"] == pytest.approx(50.0 - 0.275 - 0.3025) and names["metrics"]["win_rate"] == 100.0
    assert names["proof_metrics"].performance.net_profit == names["metrics"]["net_profit"]
    assert [part for part in PARTS if not hasattr(metrics_module, part)] == []


def test_sharpe_is_annualised_with_a_risk_free_rate_of_zero_unless_told() -> None:
    """Forty days of +3 % and -1 % in turn: mean 1 %, sample deviation 2 % x sqrt(40 / 39), 365 days a year."""
    equity = np.concatenate(([10_000.0], 10_000.0 * np.cumprod(np.where(np.arange(40) % 2 == 0, 1.03, 0.99))))
    curve = (START + 24 * HOUR * np.arange(41), equity)
    plain, told = (compute_backtest_metrics([], curve, 10_000.0, risk_free_rate=rate)["sharpe"] for rate in (0.0, 0.365))
    deviation = 0.02 * np.sqrt(40 / 39)
    assert plain == pytest.approx(0.01 / deviation * np.sqrt(365)) and told == pytest.approx(0.009 / deviation * np.sqrt(365))


def test_warm_up_and_the_prepared_frame(home: Path) -> None:
    """``df`` is trimmed to the simulation's start, ``full_df`` has the warm-up and the features."""
    engine = BacktestEngine("BTCUSDT", "1h", *WINDOW)
    engine.run(EmaCross())
    prepared = engine.prepare_backtest_frame()
    assert len(prepared.full_df) - len(prepared.df) == prepared.warmup_bars == 500
    assert prepared.simulation_start == int(prepared.df.ts[0]) == TimeRange.from_dates(*WINDOW).start_ms
    assert {"ema_fast", "ema_slow"} <= set(prepared.full_df.columns) and prepared.first_valid_index < prepared.warmup_bars


# --- integration points ---

EPOCH_INTEGRATION = '''
from src.utils.epoch_tracking import run_epoch, StrategyEpoch

def my_backtest(symbol: str, timeframe: str, start: str, end: str) -> dict:
    """Backtest function that returns metrics."""
    engine = BacktestEngine(symbol, timeframe, start, end)
    strategy = MomentumStrategy()
    config = {"momentum_period": 20}
    metrics = engine.run(strategy, config)
    return metrics

# Run with tracking
result = run_epoch(
    epoch=StrategyEpoch.BACKTEST,
    symbol="BTCUSDT",
    strategy_id="momentum-v1",
    runner_fn=my_backtest,
    timeframe="1h",
    start="2024-01-01",
    end="2024-06-30",
)
'''
INTEGRATION_NAMES: list[Change] = [
    *LOCATION,
    ("StrategyEpoch\n",
     "StrategyEpoch\nfrom keel.runners.backtest.engine import BacktestEngine\nfrom keel.strategies.momentum import MomentumStrategy\n",
     "undefined names"),
]  # fmt: skip


def test_epoch_tracking_integration(home: Path) -> None:
    dates: list[Change] = [("2024-01-01", WINDOW[0], "date"), ("2024-06-30", WINDOW[1], "date")]
    names, _ = run_snippet(EPOCH_INTEGRATION, [*INTEGRATION_NAMES, *dates])
    result = names["result"]
    assert (result["status"], result["error"], result["passed"]) == ("completed", None, None)
    assert result["metrics"]["total_trades"] > 0


@pytest.mark.real_data
def test_epoch_tracking_integration_over_real_history(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the document's own dates: the store of the home has Bybit's hours from 2023-11-29 on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KEEL_HOME", raising=False)
    for kind in ("kline_1h", "mark_1h", "funding"):
        assert keel(["data", "import", str(real_data / "bybit" / "linear" / kind / "BTCUSDT.parquet")]) == 0
    names, _ = run_snippet(EPOCH_INTEGRATION, INTEGRATION_NAMES)
    result = names["result"]
    assert (result["status"], result["error"]) == ("completed", None) and result["metrics"]["total_trades"] > 100
    assert keel(["runs", "report", result["run_id"]]) == 0


RISK_INTEGRATION = """
from src.core.risk_manager import RiskManager, Signal

risk_manager = RiskManager()
signal = Signal(symbol="BTCUSDT", direction="LONG", size_usd=1000, strategy="momentum-v1")
risk_check = risk_manager.check_signal(signal, portfolio_snapshot)

if risk_check.allowed:
    # Execute trade
    size = risk_check.adjusted_size or signal.size_usd
    order_result = simulated_exchange.market_buy(symbol, size)
"""
RISK_IMPORTS: list[Change] = [
    ("from src.core.risk_manager import RiskManager, Signal",
     "from keel.core.model.messages import Signal\nfrom keel.core.risk.manager import RiskManager", "import"),
]  # fmt: skip


@pytest.mark.parametrize(("equity", "size"), [(10_000.0, 1000.0), (5_000.0, 500.0)])
def test_risk_manager_integration(equity: float, size: float) -> None:
    """``portfolio_snapshot``, ``simulated_exchange`` and ``symbol`` are given; the sizer's 10 % of equity caps the wish."""
    exchange = SimulatedExchange("BTCUSDT", equity, ExecutionConfig.frictionless())
    first, second = hours(100.0, 100.0)
    exchange.process_bar(first)
    names, _ = run_snippet(
        RISK_INTEGRATION, RISK_IMPORTS, {"portfolio_snapshot": {"equity": equity}, "simulated_exchange": exchange, "symbol": "BTCUSDT"}
    )
    assert names["order_result"].qty == size / 100.0
    assert [fill.qty for fill in exchange.process_bar(second).fills] == [size / 100.0]


def test_the_exchange_manager_is_every_venue_with_the_same_calls() -> None:
    """What the document calls the main trading interface, simulated and real; batches belong to it ("Order management, batch ops")."""
    calls = (
        "market_buy",
        "market_sell",
        "limit_buy",
        "limit_sell",
        "close_position",
        "cancel_all",
        "submit_orders",
        "amend_orders",
        "cancel_orders",
    )
    for venue in (SimulatedExchange, BybitVenue):
        assert issubclass(venue, OrderCalls) and all(hasattr(venue, name) for name in calls)


SNAPSHOT = """
snapshot = RuntimeSnapshot(
    ts_close=bar.ts_close,  # Step time (bar close)
    symbol="BTCUSDT",
    bar_ltf=bar,  # Canonical Bar with ts_open/ts_close
    # ... other fields built by SnapshotBuilder
)

# Strategy generates a single signal (or None)
signal = strategy.generate_signal(snapshot, params)
"""


def test_strategy_interface_integration() -> None:
    """Nothing is changed; ``bar``, ``strategy`` and ``params`` are given."""
    given = {"RuntimeSnapshot": RuntimeSnapshot, "bar": hours(100.0)[0], "strategy": Crossing(), "params": {"bars": 5}}
    names, _ = run_snippet(SNAPSHOT, names=given)
    assert names["signal"] is None  # a close is not above its own average


# --- architecture: who may do what ---


def test_orders_fill_at_the_next_bars_open() -> None:
    exchange = SimulatedExchange("BTCUSDT", 1000.0, ExecutionConfig.frictionless())
    first, second = hours(100.0, 100.0)[0], Bar("BTCUSDT", "1h", START + HOUR, START + 2 * HOUR, 105.0, 110.0, 104.0, 108.0, 1e6)
    exchange.process_bar(first)
    exchange.market_buy("BTCUSDT", 500.0)
    (fill,) = exchange.process_bar(second).fills
    assert (fill.price, fill.ts) == (105.0, second.ts_open)


def test_limit_orders_fill_when_the_price_trades_through_them() -> None:
    for low, filled in ((95.0, 0), (94.99, 1)):  # touched is not yet through
        exchange = SimulatedExchange("BTCUSDT", 1000.0)
        exchange.process_bar(hours(100.0)[0])
        exchange.limit_buy("BTCUSDT", 500.0, 95.0)
        bar = Bar("BTCUSDT", "1h", START + HOUR, START + 2 * HOUR, 100.0, 101.0, low, 100.0, 1e6)
        assert len(exchange.process_bar(bar).fills) == filled


def test_slippage_and_fee_rates_are_configured() -> None:
    assert ExecutionConfig(slippage_bps=5.0).slippage_bps == 5.0
    profile = RiskProfileConfig(initial_equity=1.0, taker_fee_rate=0.001, maker_fee_rate=-0.0001)
    assert (profile.taker_fee_rate, profile.maker_fee_rate) == (0.001, -0.0001)


def test_the_risk_policy_is_none_or_rules_and_losses_of_a_day_are_a_setting() -> None:
    nothing, rules = (RiskManager(RiskConfig(policy=policy, daily_loss_percent=5.0)) for policy in ("none", "rules"))  # type: ignore[arg-type]
    told = []
    for manager in (nothing, rules):
        for equity in (10_000.0, 9_000.0):
            decision = manager.check_signal(Signal("BTCUSDT", "LONG", 100.0), {"equity": equity, "ts": START})
            told.append(decision.allowed)
    assert told == [True, True, True, False]


def test_gaps_are_found_and_never_filled_forward(home: Path) -> None:
    with HistoricalDataStore("data/keel.duckdb") as store:
        hours_ = store.get_ohlcv("ETHUSDT", "1h").to_dict()
        keep = np.ones(len(hours_["ts"]), dtype=bool)
        keep[100:103] = False
        store.upsert_bars("GAPUSDT", "1h", {name: column[keep] for name, column in hours_.items()}, source="test")
        (gap,) = store.find_gaps("GAPUSDT", "1h")
        assert (gap.start, gap.end) == (int(hours_["ts"][100]), int(hours_["ts"][103]))
        assert len(store.get_ohlcv("GAPUSDT", "1h")) == int(keep.sum())


# --- tools and commands ---


def test_the_backtest_tools(home: Path) -> None:
    listed = backtest_list_systems_tool()
    assert listed["ok"] and "ema_cross" in {entry["name"] for entry in listed["data"]["systems"]}
    answer = backtest_run_tool("ema_cross", "3d", {"params.fast": 5, "params.slow": 12, "execution_timeframe": "5m"})
    assert answer["ok"], answer
    assert answer["data"]["metrics"]["total_trades"] >= 0 and answer["data"]["run_id"].startswith("run-")
    wrong = backtest_run_tool("ema_cross", "no such window")
    assert not wrong["ok"] and wrong["error"]["type"] == "ConfigError"


def test_tools_by_subject_and_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """account, data, market data, order, position, diagnostics and backtest tools; the menu and the smoke test are commands."""
    subjects = {name.partition("_")[0] for name in all_tools()} | {"doctor"}
    assert {"account", "data", "market", "order", "position", "backtest", "smoke", "doctor"} <= subjects
    for command in (["menu", "--help"], ["smoke", "backtest", "--help"], ["smoke", "demo", "--help"]):
        assert keel(command) == 0
    capsys.readouterr()


def test_systems_are_config_driven_and_strict() -> None:
    assert {"system", "strategy", "symbols", "timeframe", "params", "risk", "execution", "windows"} <= set(SystemConfig.__struct_fields__)
    with pytest.raises(ConfigError, match="momentum"):
        load_strategy("momentun")
