"""BacktestEngine: one symbol, one strategy of your own, and what can be read off its result.

Needs history in ./data/keel.duckdb: ``keel run`` or ``keel data synth`` makes a sample.

    python examples/engine.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keel.core.model.messages import Direction, Signal
from keel.core.model.money import to_text
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import ExecutionConfig, RiskConfig, SizingConfig
from keel.runners.backtest.engine import BacktestEngine


def weekend_out(snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
    """Long from Monday to Friday, UTC. A plain function serves as a strategy."""
    weekday = (snapshot.ts_close // 86_400_000 + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    wanted: Direction = "LONG" if weekday < 5 else "FLAT"
    return None if snapshot.position.side == wanted else Signal(snapshot.symbol, wanted)


def main() -> None:
    engine = BacktestEngine(
        "BTCUSDT",
        "1h",
        "2024-03-01",
        "2024-04-15",
        initial_capital=10_000.0,
        execution_timeframe="5m",
        execution=ExecutionConfig(slippage_bps=1, half_spread_bps=0.5, latency_ms=250),
        risk=RiskConfig(leverage=2),
        sizing=SizingConfig(model="percent_equity", percent=50),
    )
    result = engine.run(weekend_out)

    print(f"{len(engine.get_trades())} closed trades, net {result['net_profit']:.2f} USDT, sharpe {result['sharpe']:.2f}")
    for trade in engine.get_trades()[:3]:
        prices = f"{trade.entry_price:.1f} to {trade.exit_price:.1f}"
        print(f"  {trade.number}: {trade.side} {trade.qty}, {prices}, net {to_text(trade.net_pnl)}")

    curve = engine.get_equity_curve()
    print(f"equity at {len(curve)} times, from {curve.equity[0]:.2f} to {curve.equity[-1]:.2f}")
    print(f"lowest equity inside a bar: {curve.equity_worst.min():.2f}")

    books = result.reconciliation
    print(f"gross {to_text(books.gross)}, slippage {to_text(books.slippage)}, fees {to_text(books.fees)}, funding {to_text(books.funding)}")
    print(f"does not add up: {to_text(books.difference)}")
    print(f"synthetic: {result.trust['synthetic']}, ambiguous bars: {result.trust['ambiguous_bars']}")


if __name__ == "__main__":
    main()
