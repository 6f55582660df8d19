"""Runs a coroutine to its end from ordinary code, wherever that stands.

In a notebook, or inside any other ``async`` program, the caller's thread has a loop that is running, and ``asyncio.run`` refuses a second
one there. The coroutine then gets a thread with a loop of its own, and the caller waits for it as for any other call.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns; what it raises is raised here. An interrupt of the caller cancels it first."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    return _Elsewhere(work).result()


class _Elsewhere(Generic[T]):
    """The coroutine in a thread of its own."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self._returned: list[T] = []
        self._raised: BaseException | None = None
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=lambda: context.run(self._run), name="keel", daemon=True)
        self._thread.start()

    def result(self) -> T:
        try:
            self._thread.join()
        except BaseException:
            if self._loop is not None and self._task is not None and self._thread.is_alive():
                self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join()
            raise
        if self._raised is not None:
            raise self._raised
        return self._returned[0]

    def _run(self) -> None:
        try:
            self._returned.append(asyncio.run(self._kept()))
        except BaseException as error:  # noqa: BLE001  # it is the caller's: raised in ``result``
            self._raised = error

    async def _kept(self) -> T:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        return await self._work
