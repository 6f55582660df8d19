"""The portfolio backtester: hold BTC and ETH by inverse volatility, futures and spot, and ask whether the order of the bars mattered.

    python examples/hold_backtest.py [FOLDER] [--permutations N] [--days N]

FOLDER holds Parquet files of candles, marks and funding rates of BTCUSDT and ETHUSDT; without it the history is ./data/keel.duckdb
(``keel run`` or ``keel data synth`` makes a sample).
"""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from keel.adapters.store import HistoricalDataStore
from keel.core.model.time_range import to_datetime
from keel.core.risk.position_manager import PositionManager
from keel.runners.portfolio.backtester import Backtester
from keel.strategies.hold import HoldStrategy

NAMES = ["BTC-USDT", "ETH-USDT"]
SYMBOLS = [name.replace("-", "") for name in NAMES]
SERIES = ("kline", "mark", "index", "funding")


def read_folder(folder: Path) -> HistoricalDataStore:
    """The series of our symbols in a folder and its folders, as a store in memory. A folder of the usual layout
    (<symbol>/<kind>_<timeframe>.parquet) needs none of this: Backtester(historical_data_dir=folder) reads it."""
    store = HistoricalDataStore(":memory:")
    root = folder / "bybit" if (folder / "bybit").is_dir() else folder
    for path in sorted(root.rglob("*.parquet")):
        place = "/".join(path.relative_to(root).parts)
        if any(symbol in place for symbol in SYMBOLS) and any(name in place for name in SERIES):
            store.import_file(path)
    return store


def last_month(store: HistoricalDataStore, category: str, days: int) -> tuple[datetime, datetime] | None:
    """The latest days that both symbols have; None where there is nothing of this category."""
    ends = []
    for symbol in SYMBOLS:
        spans = [store.span(symbol, timeframe, category=category) for timeframe in store.timeframes(symbol, category=category)]
        if not spans:
            return None
        ends.append(max(span[1] for span in spans if span is not None))
    end = to_datetime(min(ends)).replace(hour=0, minute=0, second=0, microsecond=0)
    return end - timedelta(days=days), end


def show(market_type: str, results: dict[str, Any], backtester: Backtester) -> None:
    print(f"{market_type}: total return {100 * results['total_return']:.2f} %, largest drawdown {100 * results['max_drawdown']:.2f} %,"
          f" {len(results['returns']) + 1} steps")  # fmt: skip
    for entry in results["trade_history"]:
        what = f"{entry['action']} {entry['side']} {entry['quantity']:g} {entry['symbol']} at {entry['price']:g}"
        print(f"  {entry['timestamp']:%Y-%m-%d %H:%M} {what}")
    if backtester.oms_client is not None and backtester.result is not None:
        print(backtester.oms_client.positions_table())
        print(f"  does not add up: {backtester.result.reconciliation.difference}")
    for note in results["notes"]:
        print(f"  note: {note}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--permutations", type=int, default=100)
    parser.add_argument("--days", type=int, default=30)
    options = parser.parse_args()
    store = HistoricalDataStore(read_only=True) if options.folder is None else read_folder(options.folder)

    strategy = HoldStrategy(symbols=NAMES, lookback_days=0)
    manager = PositionManager()
    backtester = Backtester(store=store)
    markets: tuple[tuple[Literal["futures", "spot"], str], ...] = (("futures", "linear"), ("spot", "spot"))
    for market_type, category in markets:
        window = last_month(store, category, options.days)
        if window is None:
            print(f"{market_type}: there is no history of both symbols")
            continue
        start, end = window
        results = backtester.run_backtest(
            strategy=strategy,
            position_manager=manager,
            start_date=start,
            end_date=end,
            time_step=timedelta(hours=1),
            market_type=market_type,
        )
        show(market_type, results, backtester)
        tested = backtester.run_permutation_backtest(
            strategy=strategy,
            position_manager=manager,
            start_date=start,
            end_date=end,
            time_step=timedelta(days=1),
            market_type=market_type,
            permutations=options.permutations,
        )
        print(f"  daily steps: total return {100 * tested['observed']:.2f} %, p_value: {tested['p_value']:.3f}\n")
    store.close()


if __name__ == "__main__":
    main()
