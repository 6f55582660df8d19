"""One experiment over several strategies, symbols, timeframes or parameter sets: its runs, their table, the best of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keel.adapters.machine import wall_ms
from keel.core.errors import ConfigError
from keel.runners.home import Home
from keel.runners.lifecycle.epoch_run import run_epoch
from keel.runners.lifecycle.registry import list_runs
from keel.runners.lifecycle.stages import StrategyEpoch
from keel.runners.lifecycle.tracker import EpochResult


class ExperimentTracker:
    """Runs that belong together by the name of their experiment, which stands in each one's config.json.

    The artifacts are the state: a tracker of the same name in another process, or on another day, goes on with the same experiment.
    """

    def __init__(self, name: str, *, home: Home | Path | None = None, now: Callable[[], int] = wall_ms) -> None:
        if not name:
            raise ConfigError("the experiment's name is empty: its runs are found by it, give a name such as ema-periods")
        self.name = name
        self._home, self._now = Home.find(home), now

    def run(
        self,
        epoch: StrategyEpoch | str,
        symbol: str,
        strategy_id: str,
        runner_fn: Callable[..., Mapping[str, Any]],
        *more: Any,
        **settings: Any,
    ) -> EpochResult:
        """``run_epoch`` with the same arguments, as one run of this experiment. A runner that has a parameter ``experiment``, ``home`` or
        ``now`` gets the experiment's. Raises ConfigError for a value of one of these that is given here."""
        own = [name for name in ("experiment", "home", "now") if name in settings]
        if own:
            advice = "give it to ExperimentTracker, or bind a value of the runner's own with functools.partial"
            raise ConfigError(f"{own[0]} is the experiment's own, the same for all of its runs: {advice}")
        return run_epoch(epoch, symbol, strategy_id, runner_fn, *more, experiment=self.name, home=self._home, now=self._now, **settings)

    def results(self) -> list[dict[str, Any]]:
        """One row per run, oldest first; a run that failed has no metrics, one that is under way has status running.

        Keys: run_id, strategy_id, epoch, symbol, timeframes, arguments, status, passed, metrics, error, artifacts.
        """
        rows = []
        for run in reversed(list_runs(self._home)):
            if run.experiment == self.name:
                results = run.read().results or {}
                head = {"run_id": run.run_id, "strategy_id": run.strategy_id, "epoch": run.epoch, "symbol": run.symbol}
                asked = {"timeframes": run.timeframes, "arguments": run.arguments, "status": run.status, "passed": run.passed}
                rows.append({**head, **asked, "metrics": results.get("metrics", {}), "error": run.error, "artifacts": run.folder})
        return rows

    def best(self, metric: str, mode: str = "max") -> dict[str, Any]:
        """The row with the highest (mode min: lowest) value of a metric; of equals the earliest.

        Raises ConfigError when no completed run has a number for it, or for another mode.
        """
        if mode not in ("max", "min"):
            raise ConfigError(f"mode {mode!r}: use max or min")
        rows = [row for row in self.results() if row["status"] == "completed" and _is_number(row["metrics"].get(metric))]
        if not rows:
            raise ConfigError(f"no completed run of the experiment {self.name!r} has a number for {metric!r}")
        return (max if mode == "max" else min)(rows, key=lambda row: row["metrics"][metric])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
