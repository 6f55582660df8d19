"""Tasks in processes of this machine. Each worker has its own pipes, so that it is known which task a worker died with.

A task whose worker died is tried again, up to three times in all; then it is marked failed, and the rest go on.
"""

from __future__ import annotations

import os
import selectors
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from keel.adapters.whole_file import write_bytes
from keel.core.errors import InvariantError
from keel.runners.research.sweep.workers.child import last_words, start_child
from keel.runners.research.sweep.workers.task import Code, Outcome, Task
from keel.runners.research.sweep.workers.worker import CODE_FILE

ATTEMPTS = 3
_CHUNK = 1 << 16


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    task: Task | None = None
    pending: bytearray = field(default_factory=bytearray)

    @property
    def out(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def give(self, task: Task) -> None:
        """Hand a task over; a worker that has died meanwhile is noticed when its end of the pipe closes."""
        self.task = task
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(msgspec.json.encode(task) + b"\n")
            self.process.stdin.flush()

    def stop(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


class LocalPool:
    """So many worker processes over a cache folder."""

    def __init__(self, cache: Path, code: Code, workers: int) -> None:
        self._cache, self._count = cache, workers
        cache.mkdir(parents=True, exist_ok=True)
        write_bytes(cache / CODE_FILE, msgspec.json.encode(code))
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    def evaluate(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Outcomes as they come, in no particular order. Raises InvariantError for a mistake of ours in a worker."""
        waiting, again = iter(tasks), deque[Task]()
        attempts: dict[str, int] = {}
        while True:
            self._fill(again, waiting)
            if all(worker.task is None for worker in self._workers):
                return
            for key, _ in self._selector.select():
                worker: _Worker = key.data
                task = worker.task
                outcome = self._receive(worker)
                if outcome is not None:
                    yield outcome
                elif worker.process.poll() is not None:
                    words = self._bury(worker)
                    if "InvariantError:" in words:
                        raise InvariantError(f"in a worker: {words}")
                    if task is None:
                        continue
                    attempts[task.id] = attempts.get(task.id, 0) + 1
                    if attempts[task.id] < ATTEMPTS:
                        again.append(task)
                    else:
                        yield Outcome(task.id, "failed", "actors", 0.0, {}, f"its worker died {ATTEMPTS} times: {words}")

    def _fill(self, again: deque[Task], waiting: Iterator[Task]) -> None:
        """Give each idle worker a task, and start those that are missing, while there are tasks."""
        for place in range(self._count):
            worker = self._workers[place] if place < len(self._workers) else None
            if worker is not None and worker.task is not None:
                continue
            task = again.popleft() if again else next(waiting, None)
            if task is None:
                return
            (worker or self._start()).give(task)

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.stop()
        self._workers = []
        self._selector.close()

    def _start(self) -> _Worker:
        errors = (self._cache / f"worker-{len(list(self._cache.glob('worker-*')))}.log").open("w+b")
        module = "keel.runners.research.sweep.workers.worker"
        process = start_child(module, str(self._cache), errors=errors, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        worker = _Worker(process, errors)
        self._workers.append(worker)
        self._selector.register(worker.out, selectors.EVENT_READ, worker)
        return worker

    def _receive(self, worker: _Worker) -> Outcome | None:
        """An outcome, once its line is whole; None while it is not, and when the worker has ended."""
        part = os.read(worker.out, _CHUNK)
        if not part:
            worker.process.wait()
            return None
        worker.pending += part
        line, end, rest = worker.pending.partition(b"\n")
        if not end:
            return None
        worker.pending = bytearray(rest)
        worker.task = None
        return msgspec.json.decode(bytes(line), type=Outcome)

    def _bury(self, worker: _Worker) -> str:
        """Take a dead worker out; what it died of."""
        self._selector.unregister(worker.out)
        self._workers.remove(worker)
        words = last_words(worker.process, worker.errors)
        worker.stop()
        return words
