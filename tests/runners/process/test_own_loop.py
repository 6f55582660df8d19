"""A coroutine is run to its end from ordinary code, with and without a running loop around it."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from keel.runners.process.own_loop import run_to_end

name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


async def greeting() -> str:
    await asyncio.sleep(0)
    return f"hello {name.get()}"


async def trouble() -> None:
    raise LookupError("of the coroutine's own")


def test_without_a_loop() -> None:
    assert run_to_end(greeting()) == "hello nobody"


async def test_inside_a_running_loop_it_has_a_loop_of_its_own_and_the_callers_context() -> None:
    name.set("you")
    assert run_to_end(greeting()) == "hello you"
    with pytest.raises(LookupError, match="own"):
        run_to_end(trouble())


async def test_an_interrupt_of_the_caller_cancels_it(monkeypatch: pytest.MonkeyPatch) -> None:
    began, cancelled = threading.Event(), threading.Event()

    async def long() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    join, calls = threading.Thread.join, []

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        calls.append(timeout)
        if len(calls) == 1:
            began.wait()
            raise KeyboardInterrupt
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_to_end(long())
    assert cancelled.is_set()
