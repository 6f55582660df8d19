"""run_epoch and ExperimentTracker: two strategies with several parameter sets over invented history, compared, the best one promoted.

Brings its own small history, in memory. Artifacts and events go to the home folder (KEEL_HOME, else the current folder).

    python examples/epoch_experiment.py
"""

from __future__ import annotations

from typing import Any

from keel.adapters.store import HistoricalDataStore
from keel.adapters.synthetic import SOURCE, generate_sample
from keel.core.results.result import BacktestResult
from keel.runners.backtest.engine import BacktestEngine
from keel.runners.epoch import ExperimentTracker, StrategyEpoch, run_epoch
from keel.strategies.base import BaseStrategy
from keel.strategies.ema_cross import EmaCross
from keel.strategies.momentum import MomentumStrategy

CANDIDATES: list[tuple[str, type[BaseStrategy], dict[str, Any]]] = [
    ("ema_cross", EmaCross, {"fast": 10, "slow": 40}),
    ("ema_cross", EmaCross, {"fast": 20, "slow": 80}),
    ("momentum", MomentumStrategy, {"momentum_period": 24, "threshold": 1.0}),
    ("momentum", MomentumStrategy, {"momentum_period": 48, "threshold": 3.0}),
]
WINDOW = ("2024-02-01", "2024-03-10")


def invented_store() -> HistoricalDataStore:
    """Ten weeks of one symbol, labelled synthetic."""
    series = generate_sample(seed=7, start="2024-01-01", end=WINDOW[1], symbols=["BTCUSDT"]).series["BTCUSDT"]
    store = HistoricalDataStore(":memory:")
    store.upsert_instrument(series.instrument)
    store.upsert_bars("BTCUSDT", series.timeframe, series.last, source=SOURCE)
    store.upsert_bars("BTCUSDT", series.timeframe, series.mark, source=SOURCE, kind="mark")
    store.upsert_funding("BTCUSDT", series.funding, source=SOURCE)
    return store


def main() -> None:
    with invented_store() as store:

        def backtest(symbol: str, strategy: type[BaseStrategy], params: dict[str, Any]) -> BacktestResult:
            engine = BacktestEngine(symbol, "1h", *WINDOW, store=store, execution_timeframe="15m")
            return engine.run(strategy(), params)

        experiment = ExperimentTracker("trend-or-momentum")
        for strategy_id, strategy, params in CANDIDATES:
            experiment.run(StrategyEpoch.BACKTEST, "BTCUSDT", strategy_id, backtest, timeframes=["1h"], strategy=strategy, params=params)

        for row in experiment.results():
            metrics = row["metrics"]
            figures = f"net {metrics['net_profit']:9.2f}  sharpe {metrics['sharpe']:6.2f}  trades {metrics['total_trades']:3d}"
            print(f"{row['strategy_id']:<10} {row['arguments']['params']!s:<46} {figures}")

        best = experiment.best("net_profit")
        chosen = next(strategy for name, strategy, _ in CANDIDATES if name == best["strategy_id"])
        print(f"best: {best['strategy_id']} {best['arguments']['params']}")

        # The same run once more, now with criteria: it is promoted to demo where they hold.
        result = run_epoch(
            StrategyEpoch.BACKTEST,
            "BTCUSDT",
            best["strategy_id"],
            backtest,
            timeframes=["1h"],
            promotion_criteria=["total_trades >= 3", "max_drawdown_pct > -30"],
            next_epoch=StrategyEpoch.DEMO,
            strategy=chosen,
            params=best["arguments"]["params"],
        )
        print(f"{result['run_id']}: passed {result['passed']}, next epoch {result['next_epoch']}")
        print(f"because: {result['promotion_reason']}")
        print(f"artifacts: {', '.join(sorted(path.name for path in result['artifacts'].iterdir()))}")


if __name__ == "__main__":
    main()
