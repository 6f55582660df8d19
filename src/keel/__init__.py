"""keel: the same actors trade in a backtest, on a demo account and live.

The names that a strategy, a script or a notebook is written with. Each is looked up when it is asked for, so that ``import keel`` costs
nothing; all else is in keel.core, keel.sim, keel.strategies, keel.adapters and keel.runners.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keel.adapters.store import HistoricalDataStore
    from keel.core.errors import KeelError
    from keel.core.model.frame import Frame
    from keel.core.model.messages import Bar, Signal
    from keel.core.model.time_range import TimeRange
    from keel.core.results.result import BacktestResult
    from keel.core.risk.manager import RiskManager
    from keel.core.risk.position_manager import PositionManager
    from keel.core.strategy.snapshot import RuntimeSnapshot
    from keel.runners.backtest.engine import BacktestEngine
    from keel.runners.epoch import StrategyEpoch, StrategyEpochTracker, run_epoch
    from keel.runners.home import Home
    from keel.runners.portfolio.backtester import Backtester
    from keel.runners.tools import backtest_run_tool, sweep_run_tool
    from keel.sim.exchange.exchange import SimulatedExchange
    from keel.strategies.base import HOLD, BaseStrategy, PortfolioStrategy, VectorStrategy

if not os.path.isdir(os.path.join(os.path.dirname(__file__), "core")):  # noqa: PTH112, PTH118, PTH120  # pathlib would cost as much as all
    raise ImportError(
        f"{os.path.dirname(__file__)} has no links to the folders core, sim, strategies, adapters and runners of its checkout: "  # noqa: PTH120
        "git config core.symlinks true && git checkout -- src (on Windows in developer mode), or install the wheel: make wheel"
    )

_PLACES = {
    "HistoricalDataStore": "keel.adapters.store",
    "KeelError": "keel.core.errors",
    "Frame": "keel.core.model.frame",
    "Bar": "keel.core.model.messages",
    "Signal": "keel.core.model.messages",
    "BacktestResult": "keel.core.results.result",
    "RiskManager": "keel.core.risk.manager",
    "PositionManager": "keel.core.risk.position_manager",
    "RuntimeSnapshot": "keel.core.strategy.snapshot",
    "TimeRange": "keel.core.model.time_range",
    "BacktestEngine": "keel.runners.backtest.engine",
    "Backtester": "keel.runners.portfolio.backtester",
    "StrategyEpoch": "keel.runners.epoch",
    "StrategyEpochTracker": "keel.runners.epoch",
    "run_epoch": "keel.runners.epoch",
    "Home": "keel.runners.home",
    "backtest_run_tool": "keel.runners.tools",
    "sweep_run_tool": "keel.runners.tools",
    "SimulatedExchange": "keel.sim.exchange.exchange",
    "HOLD": "keel.strategies.base",
    "BaseStrategy": "keel.strategies.base",
    "PortfolioStrategy": "keel.strategies.base",
    "VectorStrategy": "keel.strategies.base",
}

__all__ = [
    "HOLD",
    "BacktestEngine",
    "BacktestResult",
    "Backtester",
    "Bar",
    "BaseStrategy",
    "Frame",
    "HistoricalDataStore",
    "Home",
    "KeelError",
    "PortfolioStrategy",
    "PositionManager",
    "RiskManager",
    "RuntimeSnapshot",
    "Signal",
    "SimulatedExchange",
    "StrategyEpoch",
    "StrategyEpochTracker",
    "TimeRange",
    "VectorStrategy",
    "backtest_run_tool",
    "run_epoch",
    "sweep_run_tool",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
