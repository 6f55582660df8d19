"""Tasks in this process: by the actors, the whole system as ``keel backtest`` runs it; or by the kernel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from keel.adapters.plain_data import plain
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import KeelError
from keel.core.features import VectorEngine
from keel.core.model.time_range import TimeRange, to_iso
from keel.runners.backtest.engine import run_prepared
from keel.runners.backtest.preparation import Prepared, SymbolInputs, assemble, guarded, make_plan, shortened
from keel.runners.portfolio.system import system_setup
from keel.runners.research.sweep.workers.columns import SharedColumns, Shelf
from keel.runners.research.sweep.workers.task import Code, Outcome, Task, no_trades_of, unfold
from keel.strategies.base import PortfolioStrategy

if TYPE_CHECKING:
    from keel.runners.research.sweep.workers.kernel import KernelBench

OpenData = Callable[[str], list[SymbolInputs]]
"""The histories of a name."""


class Bench:
    """Runs tasks; the kernel's in any number of threads, the actors' one after another.

    folder: where the user's sources are written for this process.
    """

    def __init__(self, code: Code, open_data: OpenData, shelf: Shelf, folder: Path) -> None:
        self._kernel_cache = code.kernel_cache
        self._strategy, load_function = unfold(code, folder)
        self._open = open_data
        self._columns = SharedColumns(shelf, guarded(VectorEngine(load_function)))
        self._data: dict[str, list[SymbolInputs]] = {}
        self._kernel: KernelBench | None = None

    def run(self, task: Task) -> Outcome:
        """What became of it."""
        if task.engine == "kernel":
            outcome = self.by_kernel(task)
            if isinstance(outcome, Outcome):
                return outcome
        return self.by_actors(task)

    def by_kernel(self, task: Task) -> Outcome | str:
        """What the kernel made of it; or what of it the kernel does not model, in words."""
        began = time.perf_counter()
        if self._kernel is None:
            from keel.runners.research.sweep.workers.kernel import KernelBench
            from keel.sim.kernel import load

            load(self._kernel_cache)
            self._kernel = KernelBench()
        try:
            return self._kernel.run(task, self.prepared(task), began)
        except KeelError as error:
            return failed(task, "kernel", error, time.perf_counter() - began)

    def by_actors(self, task: Task) -> Outcome:
        """What the actors made of it. A strategy that raises, or data that lack something, fail the task; mistakes of ours are raised."""
        began = time.perf_counter()
        try:
            with _portfolio_store(task) as store:
                result = run_prepared(self.prepared(task, store), uid=task.id)
        except KeelError as error:
            return failed(task, "actors", error, time.perf_counter() - began)
        stop = result.stop_reason
        reason = "" if stop is None else f"{stop.code} at {to_iso(stop.ts)}"
        metrics = plain(result.metrics, "metrics")
        seconds = round(time.perf_counter() - began, 6)
        return Outcome(task.id, "done", "actors", seconds, metrics, reason, no_trades_of(result.funnel))

    def prepared(self, task: Task, store: HistoricalDataStore | None = None) -> Prepared:
        """A task, loaded and computed. Whether the strategy's array looks ahead has been looked at before the sweep."""
        config, strategy = task.config, self._strategy()
        plan = make_plan(config, TimeRange(*task.window), strategy, config.params)
        inputs = [shortened(entry, task.dropped) for entry in self._histories(task.data)]
        columns = self._columns.of(task.data)
        prepared = assemble(plan, config, strategy, config.params, inputs, columns, refuse_peeks=False)
        if isinstance(strategy, PortfolioStrategy) and store is not None:
            warmup = plan.replay.warmup[config.timeframe]
            prepared.portfolio = system_setup(store, config, plan.replay.window, strategy, warmup, plan.replay.env)
        return prepared

    def _histories(self, name: str) -> list[SymbolInputs]:
        if name not in self._data:
            self._data[name] = self._open(name)
        return self._data[name]


@contextmanager
def _portfolio_store(task: Task) -> Iterator[HistoricalDataStore | None]:
    """The store that a portfolio strategy reads; None for other strategies."""
    if not task.store:
        yield None
        return
    with HistoricalDataStore(Path(task.store), read_only=True) as store:
        yield store


def failed(task: Task, engine: str, error: KeelError, seconds: float) -> Outcome:
    """A task that failed for a reason that a person can mend."""
    return Outcome(task.id, "failed", engine, round(seconds, 6), {}, " ".join(str(error).split()))
