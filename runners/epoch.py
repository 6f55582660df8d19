"""The life of a strategy, from idea to archive: the public names.

    from keel.runners.epoch import StrategyEpoch, run_epoch

    result = run_epoch(StrategyEpoch.BACKTEST, "BTCUSDT", "momentum-v1", my_backtest, promotion_criteria=["sharpe > 1.5"],
                       next_epoch=StrategyEpoch.DEMO, timeframe="1h")

The rules of the steps are in ``runners/lifecycle.py``, the run in ``runners/epoch_run.py``, single steps in ``runners/tracker.py``.
"""

from keel.runners.epoch_run import run_epoch
from keel.runners.experiment import ExperimentTracker
from keel.runners.lifecycle import LifeCycle, StrategyEpoch
from keel.runners.tracker import EpochResult, StrategyEpochTracker

__all__ = ["EpochResult", "ExperimentTracker", "LifeCycle", "StrategyEpoch", "StrategyEpochTracker", "run_epoch"]
