"""The strategy and the bars that keel and its peer are measured on: an EMA 20/50 crossover, flip long and short, quantity 1, over a
seeded random walk of 1m bars on BTCUSDT's grid."""

from __future__ import annotations

import numpy as np

from keel.core.system.config import ExecutionConfig, RiskConfig, SizingConfig, SystemConfig

START_MS = 1_577_836_800_000  # 2020-01-01
MINUTE_MS = 60_000
CASH = 1e9
FEE = 0.00055
FAST, SLOW = 20, 50


def random_walk(rows: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Columns ts, open, high, low, close, volume: a random walk of 5 bps a minute; an open repeats the close before it, as on Bybit."""
    generator = np.random.default_rng(seed)
    path = np.concatenate([[0.0], np.cumsum(generator.standard_normal(rows) * 5e-4)])
    ticks = np.round(500_000 * np.exp(path - path.mean())).astype(np.int64)
    opens, closes = ticks[:-1], ticks[1:]
    wick = np.abs(generator.standard_normal((2, rows)) * 60).astype(np.int64)
    highs, lows = np.maximum(opens, closes) + wick[0], np.minimum(opens, closes) - wick[1]
    prices = {"open": opens / 10, "high": highs / 10, "low": lows / 10, "close": closes / 10}
    volume = np.round(generator.exponential(30, rows), 3) + 0.001
    return {"ts": START_MS + MINUTE_MS * np.arange(rows, dtype=np.int64), **prices, "volume": volume}


def crossover_system(timeframe: str = "1m") -> SystemConfig:
    """keel's side: all five actors; rules with a daily and a drawdown limit that are far away, so that they are computed and never bite."""
    return SystemConfig(
        system="crossover",
        strategy="ema_cross",
        symbols=["BTCUSDT"],
        timeframe=timeframe,
        params={"fast": FAST, "slow": SLOW},
        warmup_bars=0,
        initial_equity=CASH,
        sizing=SizingConfig(model="fixed_qty", qty=1.0),
        risk=RiskConfig(leverage=1.0, daily_loss_percent=50.0, max_drawdown_percent=50.0),
        execution=ExecutionConfig(slippage_bps=0.0, funding="none", taker_fee=FEE, maker_fee=FEE),
    )


def run_peer(columns: dict[str, np.ndarray], fast: np.ndarray, slow: np.ndarray):  # type: ignore[no-untyped-def]  # the peer has no types
    """backtesting.py's side over the same bars and the same EMA arrays: its statistics, with the trades it has open left open."""
    import warnings

    import pandas
    from backtesting import Backtest, Strategy

    class Crossover(Strategy):  # type: ignore[misc]  # the peer has no types
        def init(self) -> None:
            self.fast = self.I(lambda: fast, name="fast")
            self.slow = self.I(lambda: slow, name="slow")

        def next(self) -> None:
            if self.fast[-1] > self.slow[-1]:
                if not self.position.is_long:
                    self.buy(size=2 if self.position.is_short else 1)
            elif self.fast[-1] < self.slow[-1] and not self.position.is_short:
                self.sell(size=2 if self.position.is_long else 1)

    index = pandas.to_datetime(columns["ts"], unit="ms")
    frame = pandas.DataFrame({name.capitalize(): columns[name] for name in ("open", "high", "low", "close", "volume")}, index=index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Backtest(frame, Crossover, cash=CASH, commission=FEE, margin=1.0).run()
