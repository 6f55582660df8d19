"""Tasks on Ray: histories are put into its object store once, and a task whose worker dies is tried again.

Without an address a small cluster is started on this machine, and ended with the sweep. Workers need keel installed, and nothing else:
the strategy's source and the histories come with the tasks.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import msgspec

import keel
from keel.core.errors import ConfigError, InvariantError, VenueError
from keel.runners.research.sweep.data import HistoryCache
from keel.runners.research.sweep.workers.columns import MemoryShelf
from keel.runners.research.sweep.workers.evaluate import Bench
from keel.runners.research.sweep.workers.packing import pack, unpack
from keel.runners.research.sweep.workers.task import Code, Outcome, Task

if TYPE_CHECKING:
    from keel.runners.backtest.preparation import SymbolInputs
    from keel.runners.research.sweep.workers.engines import Place

PATIENCE_S = 5.0
"""How long a cluster's address may take to answer."""
JOIN_S = 60.0
"""How long joining it may take."""
RETRIES = 3
"""How often a task is tried again after its worker died."""
_AHEAD = 2
"""Tasks in flight per worker: one that runs, one that waits."""
_PORT = 6379


def check_ray(address: str | None) -> None:
    """Raise ConfigError where Ray is not installed, VenueError where nothing answers at the address."""
    _ray()
    if address is None or address == "auto":
        return
    host, _, port = address.removeprefix("ray://").partition(":")
    try:
        with socket.create_connection((host, int(port or _PORT)), timeout=PATIENCE_S):
            pass
    except ValueError:
        raise ConfigError(f"--address {address!r}: write HOST:PORT, such as 10.0.0.5:{_PORT}") from None
    except OSError as error:
        raise VenueError(f"no Ray cluster answers at {address}: {error.strerror or error}; start one there (ray start --head)") from None


def run_task(code: bytes, data: Mapping[str, Any], task: bytes) -> bytes:
    """What a Ray worker runs: one task over histories that lie in the object store, with what the process has kept of earlier ones."""
    return msgspec.json.encode(_bench(code, data).run(msgspec.json.decode(task, type=Task)))


class RayPool:
    """A Ray session of one sweep. It is the caller's to have looked whether the cluster answers."""

    def __init__(self, place: Place, book: HistoryCache, code: Code) -> None:
        self._ray = _ray()
        self._quiet = ExitStack()
        # Ray prints to stdout what becomes of its workers, whatever it is told; there only the answer belongs.
        nowhere = self._quiet.enter_context(Path(os.devnull).open("w"))  # noqa: SIM115 (the stack closes it)
        self._quiet.enter_context(redirect_stdout(nowhere))
        self._count = place.count
        self._own = not self._ray.is_initialized()
        if self._own:
            _join(self._ray, place)
        self._code = self._ray.put(msgspec.json.encode(code))
        self._data: dict[str, Any] = {}
        book.add_listener(self._put)
        self._run = self._ray.remote(max_retries=RETRIES, retry_exceptions=False)(run_task)

    def evaluate(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Outcomes as they come, in no particular order. Raises InvariantError for a mistake of ours in a worker."""
        waiting = deque[Task]()
        flying: dict[Any, Task] = {}
        source = iter(tasks)
        while True:
            while len(flying) < _AHEAD * self._count:
                task = waiting.popleft() if waiting else next(source, None)
                if task is None:
                    break
                flying[self._run.remote(self._code, self._data[task.data], msgspec.json.encode(task))] = task
            if not flying:
                return
            done, _ = self._ray.wait(list(flying), num_returns=1)
            for reference in done:
                yield self._outcome(reference, flying.pop(reference))

    def close(self) -> None:
        """Leave the cluster; end the one that was started here."""
        if self._own:
            self._ray.shutdown()
        self._quiet.close()

    def _put(self, name: str, loaded: list[SymbolInputs]) -> None:
        meta, arrays = pack(loaded)
        self._data[name] = self._ray.put({"name": name, "meta": meta, **arrays})

    def _outcome(self, reference: Any, task: Task) -> Outcome:
        errors = self._ray.exceptions
        try:
            return msgspec.json.decode(self._ray.get(reference), type=Outcome)
        except errors.RayTaskError as error:
            raise InvariantError(f"in a worker of Ray: {error.cause}") from error
        except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError, errors.ObjectLostError) as error:
            words = str(error).strip().splitlines()[0]
            return Outcome(task.id, "failed", "actors", 0.0, {}, f"its worker died {1 + RETRIES} times: {words}")


_kept: dict[str, Any] = {}
"""What a worker process of Ray keeps from task to task: it has no other place, for its tasks are plain functions."""


def _bench(code: bytes, data: Mapping[str, Any]) -> Bench:
    """The process's bench for this code, which knows this data."""
    if _kept.get("code") != code:
        folder = tempfile.TemporaryDirectory(prefix="keel-worker-")
        known: dict[str, Mapping[str, Any]] = {}
        bench = Bench(
            msgspec.json.decode(code, type=Code),
            lambda name: unpack(known[name]["meta"], known[name]),
            MemoryShelf(),
            Path(folder.name),
        )
        _kept.update(code=code, folder=folder, data=known, bench=bench)
    _kept["data"].setdefault(data["name"], data)
    found: Bench = _kept["bench"]
    return found


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise ConfigError("--on ray needs Ray: pip install 'keel-trader[cluster]', or leave --on out") from None
    return ray


def _join(ray: Any, place: Place) -> None:
    """Start a cluster with so many workers, or join one."""
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if place.address is None:
        # In this thread: Ray's own processes end with the thread that started them.
        paths = os.pathsep.join([str(Path(keel.__path__[0]).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {"env_vars": {"PYTHONPATH": paths}}
        try:
            ray.init(num_cpus=place.count, include_dashboard=False, runtime_env=environment, **settings)
        except (RuntimeError, OSError, ValueError) as error:
            raise VenueError(f"Ray could not be started on this machine: {_one_line(error)}") from error
        return
    _join_by_address(ray, place.address, settings)


def _join_by_address(ray: Any, address: str, settings: dict[str, Any]) -> None:
    """In a thread of its own: Ray would wait for minutes."""
    failure: list[BaseException] = []

    def join() -> None:
        try:
            ray.init(address=address, **settings)
        except BaseException as error:  # noqa: BLE001 (it is raised again, in the thread that waits)
            failure.append(error)

    thread = Thread(target=join, daemon=True)
    thread.start()
    thread.join(JOIN_S)
    if thread.is_alive():
        raise VenueError(f"no Ray cluster at {address} within {JOIN_S:.0f} s: is it Ray that answers there, and of the same version?")
    if failure:
        raise VenueError(f"Ray at {address} refused: {_one_line(failure[0])}") from failure[0]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
