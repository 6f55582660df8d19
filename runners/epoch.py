"""The life of a strategy, from idea to archive: the public names.

    from keel.runners.epoch import StrategyEpoch, run_epoch

    result = run_epoch(StrategyEpoch.BACKTEST, "BTCUSDT", "momentum-v1", my_backtest, promotion_criteria=["sharpe > 1.5"],
                       next_epoch=StrategyEpoch.DEMO, timeframe="1h")

The rules of the steps are in ``runners/lifecycle/stages.py``, the run in ``runners/lifecycle/epoch_run.py``, single steps in
``runners/lifecycle/tracker.py``.
"""

from keel.runners.lifecycle.epoch_run import EpochRun, run_epoch
from keel.runners.lifecycle.stages import LifeCycle, StrategyEpoch
from keel.runners.lifecycle.tracker import EpochResult, StrategyEpochTracker
from keel.runners.research.experiment import ExperimentTracker

__all__ = ["EpochResult", "EpochRun", "ExperimentTracker", "LifeCycle", "StrategyEpoch", "StrategyEpochTracker", "run_epoch"]
