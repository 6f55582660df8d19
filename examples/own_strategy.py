"""A strategy of your own in a file, with a system around it: how ``keel backtest`` finds and runs it, and the same from Python.

Needs history in ./data/keel.duckdb: ``keel run`` or ``keel data synth`` makes a sample.

    python examples/own_strategy.py
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from keel import BaseStrategy, RuntimeSnapshot, Signal, backtest_run_tool
from keel.strategies.base import Features


class BandReversion(BaseStrategy):
    """Long below the lower Bollinger band while the 4h trend rises, out at the middle; a stop-loss rests at the exchange."""

    features: ClassVar[Features] = {
        "lower": {"fn": "BBANDS", "timeperiod": "$period", "output": "lowerband"},
        "middle": {"fn": "BBANDS", "timeperiod": "$period", "output": "middleband"},
        "trend": {"fn": "EMA", "timeperiod": "$trend_period", "timeframe": "4h"},
        "trend_before": {"fn": "EMA", "timeperiod": "$trend_period", "timeframe": "4h", "input": "open"},
    }
    defaults: ClassVar[Mapping[str, Any]] = {"period": 20, "trend_period": 30, "stop_pct": 2.5}

    @classmethod
    def params_problem(cls, params: Mapping[str, Any]) -> str:
        return "" if 0 < params["stop_pct"] < 50 else "stop_pct must be between 0 and 50"

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        features, close = snapshot.features, snapshot.bar_ltf.close
        if snapshot.position.side == "LONG":
            return Signal(snapshot.symbol, "FLAT") if close >= features["middle"] else None
        if close < features["lower"] and features["trend"] > features["trend_before"]:
            return Signal(snapshot.symbol, "LONG", stop_loss=close * (1 - params["stop_pct"] / 100))
        return None


SYSTEM = f"""
system: band_reversion
description: Bollinger band reversion on 1h bars in the direction of a 4h trend
strategy: {Path(__file__).resolve()}:BandReversion
symbols: [BTCUSDT]
timeframe: 1h
execution_timeframe: 5m
warmup_bars: 150
sizing: {{model: risk_per_trade, percent: 1}}
risk: {{leverage: 3, max_position_usd: 20000, cooldown_bars: 2}}
windows:
  sample: {{start: 2024-03-01, end: 2024-04-15}}
"""


def main() -> None:
    system = Path("systems") / "band_reversion.yaml"
    system.parent.mkdir(exist_ok=True)
    system.write_text(SYSTEM, encoding="utf-8")
    print(f"wrote {system}: keel backtest band_reversion --window sample")

    for stop_pct in (1.5, 2.5, 4.0):
        answer = backtest_run_tool("band_reversion", "sample", {"params.stop_pct": stop_pct})
        if not answer["ok"]:
            raise SystemExit(answer["error"]["message"])
        run, metrics = answer["data"], answer["data"]["metrics"]
        print(f"stop {stop_pct} %: {metrics['total_trades']} trades, net {metrics['net_profit']} {run['quote']}, {run['artifacts']}")


if __name__ == "__main__":
    main()
