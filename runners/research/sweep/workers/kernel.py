"""One task by the kernel: the same history and array, without bus and actors."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Any, Final

from keel.adapters.plain_data import plain
from keel.core.errors import ConfigError
from keel.core.metrics.performance import METRICS
from keel.core.system.suggestions import did_you_mean
from keel.runners.backtest.kernel_run import (
    history_refusal,
    kernel_columns,
    kernel_features,
    kernel_setup,
    kernel_signals,
    strategy_refusal,
    system_refusal,
)
from keel.runners.backtest.preparation import Prepared
from keel.runners.research.sweep.workers.task import Engine, Outcome, Task, no_trades_of
from keel.runners.systems import LoadedSystem
from keel.sim.kernel import KernelColumns, KernelSummary, is_installed, summarize
from keel.sim.kernel.result import KernelRefused

KERNEL_METRICS: Final = tuple(name for name in [*(field.name for field in fields(KernelSummary)), "win_rate"] if name in METRICS)
"""The standard metrics that the kernel's summary has."""


def choose_engine(asked: str, metric: str, loaded: LoadedSystem) -> tuple[Engine, str]:
    """(kernel or actors, why not the kernel). Raises ConfigError where the kernel was asked for and does not serve."""
    if asked == "actors":
        return "actors", ""
    why = None
    if metric not in KERNEL_METRICS:
        why = f"its figures have no {metric} ({did_you_mean(metric, KERNEL_METRICS)})"
    elif not is_installed():
        why = f"numba is not installed (pip install 'keel-trader[fast]'), which makes this sweep about {ACTORS_SLOWER} times slower"
    else:
        refusal = strategy_refusal(loaded.strategy())
        why = None if refusal is None else f"it does not model {refusal}"
    if why is None:
        return "kernel", ""
    if asked == "kernel":
        raise ConfigError(f"--engine kernel: {why}; leave --engine out, and the actors run")
    return "actors", f"the actors ran, not the kernel: {why}"


ACTORS_SLOWER: Final = 25
"""How much longer the actors take for a point than the kernel, in round numbers: measured over a year of hours, one worker."""


class KernelBench:
    """Runs prepared tasks by the kernel; what it asks of a history, and its columns, are made once for each, and shared by all threads."""

    def __init__(self) -> None:
        self._columns: dict[str, KernelColumns | str] = {}
        """By history; or why it is refused, in words."""

    def run(self, task: Task, prepared: Prepared, began: float) -> Outcome | str:
        """The outcome; or what of it the kernel does not model, in words."""
        refusal = system_refusal(prepared)
        if refusal is not None:
            return refusal
        shared, columns = self._shared(task.data, prepared), prepared.columns[0]
        if isinstance(shared, str):
            return shared
        setup = kernel_setup(prepared.system, prepared)
        features = kernel_features(setup, columns.decision, columns.first)
        try:
            summary = summarize(shared, kernel_signals(columns), setup, features)
        except KernelRefused as error:
            return str(error)
        metrics: dict[str, Any] = {name: getattr(summary, name) for name in KERNEL_METRICS}
        seconds = round(time.perf_counter() - began, 6)
        return Outcome(task.id, "done", "kernel", seconds, plain(metrics, "metrics"), summary.stop_code, no_trades_of(summary.funnel))

    def _shared(self, data: str, prepared: Prepared) -> KernelColumns | str:
        history, columns = prepared.histories[0], prepared.columns[0]
        found = self._columns.get(data)
        if found is None:
            found = history_refusal(history, columns) or kernel_columns(history, columns, prepared.window.start_ms)
            self._columns[data] = found
        return found
