"""What runs beside a session until it ends: its errors fail the session, and end a wait for it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

from keel.core.engine.engine import Engine
from keel.core.errors import VenueError
from keel.runners.live.memory.recorder import Recorder
from keel.runners.live.session.inbox import Inbox


async def up(running: asyncio.Task[None], ready: Coroutine[Any, Any, None]) -> None:
    """Wait until the task is ready. Raises at once what the task raises meanwhile."""
    waiting = asyncio.create_task(ready)
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if running.done() and not waiting.done():
        waiting.cancel()
        error = running.exception()
        raise _innermost(error) if error is not None else VenueError("the exchange's stream ended by itself")
    await waiting


def _innermost(error: BaseException) -> BaseException:
    """The first error of a group of them."""
    return _innermost(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def hearing(engine: Engine, inbox: Inbox, recorder: Recorder, stack: AsyncExitStack, fail: Callable[[BaseException], None]) -> None:
    """Let the engine hear what comes, until the session ends; what is in the inbox then is heard first."""
    task = asyncio.create_task(engine.run(inbox, recorder))

    def ended(done: asyncio.Task[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            fail(error)

    async def stop() -> None:
        inbox.close()
        await asyncio.wait({task})

    task.add_done_callback(ended)
    stack.push_async_callback(stop)


def background(work: Coroutine[Any, Any, None], stack: AsyncExitStack, fail: Callable[[BaseException], None]) -> asyncio.Task[None]:
    """Run something until the session ends; what it raises fails the session."""
    task = asyncio.create_task(work)

    def ended(done: asyncio.Task[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            fail(_innermost(error))

    async def stop() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task

    task.add_done_callback(ended)
    stack.push_async_callback(stop)
    return task
