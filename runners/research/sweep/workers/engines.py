"""Which engine runs a point, and where: processes of this machine, or Ray."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from keel.core.errors import ConfigError
from keel.core.model.words import check_word
from keel.runners.research.sweep.data import HistoryCache
from keel.runners.research.sweep.workers.columns import MemoryShelf
from keel.runners.research.sweep.workers.compiling import Compiling, is_ready
from keel.runners.research.sweep.workers.evaluate import Bench
from keel.runners.research.sweep.workers.kernel import KERNEL_METRICS
from keel.runners.research.sweep.workers.local import LocalPool
from keel.runners.research.sweep.workers.packing import save
from keel.runners.research.sweep.workers.task import Code, Engine, Outcome, Task
from keel.sim.kernel import load, unsupported

_TOGETHER_S = 0.2
"""The kernel finishes thousands of points a second: those of so long are kept together."""


class Pool(Protocol):
    """Runs tasks."""

    def evaluate(self, tasks: Iterable[Task]) -> Iterator[Outcome]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where to run. workers: how many at a time; None: as many as there are processors."""

    on: Literal["local", "ray"] = "local"
    address: str | None = None
    workers: int | None = None

    @property
    def count(self) -> int:
        """Workers."""
        return self.workers or os.cpu_count() or 1

    def check(self) -> None:
        """Raise ConfigError for what does not go together or is not installed, VenueError for a cluster that does not answer."""
        check_word(self.on, ("local", "ray"), "on")
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"--workers {self.workers}: at least 1 is needed")
        if self.address is not None and self.on != "ray":
            raise ConfigError("--address belongs to --on ray")
        if self.on == "ray":
            from keel.runners.research.sweep.workers.on_ray import check_ray

            check_ray(self.address)


class KernelThreads:
    """The kernel in threads of this process, over arrays that all of them read. What it does not model is put aside."""

    def __init__(self, book: HistoryCache, code: Code, workers: int) -> None:
        self._kernel_cache = code.kernel_cache
        self._folder = tempfile.TemporaryDirectory(prefix="keel-sweep-")
        self._bench = Bench(code, book.histories, MemoryShelf(), Path(self._folder.name))
        self._threads = ThreadPoolExecutor(workers)
        self._ahead = 4 * workers
        self.refused: list[tuple[Task, str]] = []

    def evaluate(self, tasks: Iterable[Task]) -> Iterator[list[Outcome]]:
        """Outcomes, those of one moment together."""
        flying: dict[Future[Outcome | str], Task] = {}
        source = iter(tasks)
        first = next(source, None)
        if first is None:
            return
        load(self._kernel_cache)  # before threads ask for it together
        source = chain([first], source)
        finished: list[Outcome] = []
        told = time.monotonic()
        while True:
            for task in islice(source, self._ahead - len(flying)):
                flying[self._threads.submit(self._bench.by_kernel, task)] = task
            if not flying:
                break
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                task, outcome = flying.pop(future), future.result()
                if isinstance(outcome, str):
                    self.refused.append((task, outcome))
                else:
                    finished.append(outcome)
            if finished and time.monotonic() - told > _TOGETHER_S:
                yield finished
                finished, told = [], time.monotonic()
        if finished:
            yield finished

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._folder.cleanup()


class Evaluators:
    """Hands tasks to an engine: ``kernel`` or ``actors``. ``used``: which have run anything; ``note``: what the kernel did not do."""

    def __init__(self, place: Place, cache: Path, book: HistoryCache, code: Code, engine: Engine, *, strictly: bool) -> None:
        self._place, self._cache, self._book, self._code = place, cache, book, code
        self._engine, self._strictly = engine, strictly
        self._pool: Pool | None = None
        self._threads: KernelThreads | None = None
        self._compiling: Compiling | None = None
        self._early = 0
        self._used: set[str] = set()
        self._refused: dict[str, int] = {}

    @property
    def used(self) -> str:
        """The engines by name."""
        return ", ".join(sorted(self._used))

    @property
    def note(self) -> str:
        """How many points the actors had to run, and why."""
        notes = [f"{count:,} runs by the actors: the kernel does not model {why}" for why, count in self._refused.items()]
        if self._compiling is not None and self._compiling.failure:
            notes.append(f"the actors ran, not the kernel, which could not be compiled: {self._compiling.failure}")
        elif self._compiling is not None and self._compiling.is_unfinished:
            notes.append(
                f"{self._early:,} runs by the actors: the kernel was still being compiled, for later sweeps (--engine kernel waits)"
            )
        elif self._early:
            notes.append(f"{self._early:,} runs by the actors, while the kernel was being compiled")
        return "; ".join(notes)

    @property
    def how_compiled(self) -> str:
        """What happens while a kernel that is not there yet is compiled, in words."""
        waits = self._strictly or self._place.on == "ray"
        return "the kernel is compiled, once" if waits else "the kernel is being compiled; the first sets run on the actors"

    @property
    def compiles(self) -> bool:
        """Whether the kernel is being compiled, and the actors run meanwhile."""
        return self._compiling is not None and self._compiling.is_running

    def evaluate(self, tasks: Iterable[Task]) -> Iterator[list[Outcome]]:
        """Outcomes as they come, those of one moment together."""
        for outcomes in self._by_engine(tasks):
            self._used.update(outcome.engine for outcome in outcomes)
            yield outcomes

    def close(self) -> None:
        """End what was started."""
        for started in (self._pool, self._threads, self._compiling):
            if started is not None:
                started.close()

    def _by_engine(self, tasks: Iterable[Task]) -> Iterator[list[Outcome]]:
        if self._engine == "actors" or self._place.on == "ray":
            given = (msgspec.structs.replace(task, engine=self._engine) for task in tasks)
            yield from ([outcome] for outcome in self._actors().evaluate(given))
            return
        waiting = iter(tasks)
        if self._threads is None and not self._strictly:
            waiting = yield from self._until_compiled(waiting)
        first = next(waiting, None)
        if first is None:
            return
        if self._threads is None:
            self._threads = KernelThreads(self._book, self._code, self._place.count)
        yield from self._threads.evaluate(chain([first], waiting))
        refused, self._threads.refused = self._threads.refused, []
        if self._strictly:
            yield [Outcome(task.id, "failed", "kernel", 0.0, {}, f"the kernel does not model {why}") for task, why in refused]
            return
        for _, why in refused:
            self._refused[why] = self._refused.get(why, 0) + 1
        if refused:
            yield from ([outcome] for outcome in self._actors().evaluate(task for task, _ in refused))

    def _until_compiled(self, waiting: Iterator[Task]) -> Generator[list[Outcome], None, Iterator[Task]]:
        """Where the kernel has to be compiled first: points by the actors until it is, with one worker less; all of them, where it cannot
        be. What was begun is finished; returns the tasks that are left."""
        if self._compiling is None:
            first = next(waiting, None)
            if first is None:
                return waiting
            waiting = chain([first], waiting)
            if is_ready(self._code.kernel_cache):
                return waiting
            self._compiling = Compiling(self._code.kernel_cache)
        compiling = self._compiling
        if not compiling.failure:
            yield from self._in_its_place(iter(lambda: next(waiting, None) if compiling.is_running else None, None), workers=-1)
            if not compiling.is_unfinished and self._pool is not None:
                self._pool.close()  # the kernel goes on; or, where it cannot, all workers
                self._pool = None
        if compiling.failure:
            yield from self._in_its_place(waiting)
        return waiting

    def _in_its_place(self, tasks: Iterable[Task], *, workers: int = 0) -> Iterator[list[Outcome]]:
        """Points by the actors, with the figures that the kernel would give, and no more: so a sweep's results do not tell when it was
        compiled. workers: how many more than were asked for."""
        refused: set[str] = set()

        def counted() -> Iterator[Task]:
            for task in tasks:
                why = unsupported(task.config, self._book.histories(task.data)[0].history.instrument)
                if why is None:
                    self._early += 1
                else:
                    self._refused[why] = self._refused.get(why, 0) + 1
                    refused.add(task.id)
                yield task

        for outcome in self._actors(workers).evaluate(counted()):
            if outcome.id not in refused:
                figures = {name: outcome.metrics[name] for name in KERNEL_METRICS if name in outcome.metrics}
                outcome = msgspec.structs.replace(outcome, metrics=figures)
            yield [outcome]

    def _actors(self, more: int = 0) -> Pool:
        if self._pool is None:
            if self._place.on == "ray":
                from keel.runners.research.sweep.workers.on_ray import RayPool

                self._pool = RayPool(self._place, self._book, self._code)
            else:
                self._pool = LocalPool(self._cache, self._code, max(1, self._place.count + more))
                self._book.add_listener(lambda name, loaded: save(self._cache / name, loaded))
        return self._pool
