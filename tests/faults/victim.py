"""A session in a process of its own that kills itself, with SIGKILL, at a named point: nothing is flushed, nobody is told.

It lives in the fast world of these tests.

Its processes are forked from one that has everything imported already (multiprocessing's forkserver).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from keel.adapters.bybit.execution.polling.account_reader import AccountReader
from keel.adapters.bybit.transport.rest import RestClient
from keel.adapters.journal import Journal
from keel.core.engine.engine import Engine
from keel.core.model.messages import Fill, SubmitOrder
from keel.core.system.config import SystemConfig
from keel.runners.live.memory import snapshots
from keel.runners.live.session.ending import Stop
from keel.runners.live.session.live import Live
from keel.runners.live.session.session import Session
from keel.runners.live.startup.connection import Connection
from keel.strategies.base import BaseStrategy
from tests.builders import builtin
from tests.faults.conftest import Turns, run_fast, system_of
from tests.runners.live.conftest import plan_of


def system_named(name: str, overrides: Sequence[str]) -> tuple[SystemConfig, type[BaseStrategy]]:
    """A built-in system, or the one of these tests that has resting entries, too."""
    return (system_of(timeframe="5m"), Turns) if name == "turns" else builtin(name, *overrides)


def die() -> None:
    """At once."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str, count: int) -> None:
    """Put the point into the program; it strikes at its n-th passing."""
    passed = 0

    def strikes(relevant: bool = True) -> bool:
        nonlocal passed
        passed += relevant
        return relevant and passed == count

    def around(owner: Any, name: str, relevant: Callable[..., bool], *, before: bool) -> None:
        original = getattr(owner, name)

        if asyncio.iscoroutinefunction(original):

            async def waited(*values: Any, **named: Any) -> Any:
                now = strikes(relevant(*values))
                if now and before:
                    die()
                result = await original(*values, **named)
                if now:
                    die()
                return result

            setattr(owner, name, waited)
            return

        def called(*values: Any, **named: Any) -> Any:
            now = strikes(relevant(*values))
            if now and before:
                die()
            result = original(*values, **named)
            if now:
                die()
            return result

        setattr(owner, name, called)

    def is_create(_: Any, path: str, *__: Any) -> bool:
        return path.startswith("/v5/order/create")

    def is_exit(_: Any, path: str, body: Any, *__: Any) -> bool:
        return path.startswith("/v5/order/create") and body.get("reduceOnly") is True

    def is_cancel(_: Any, path: str, *__: Any) -> bool:
        return path.startswith("/v5/order/cancel")

    def of(kind: type) -> Callable[..., bool]:
        return lambda _, message, *__: isinstance(message, kind)

    points: dict[str, Callable[[], None]] = {
        "snapshot, not renamed": lambda: around(Path, "replace", lambda path, _: path.name.endswith("snapshot.part"), before=True),
        "snapshot, new segment missing": lambda: around(Journal, "_roll", lambda _: True, before=True),
        "order made, not written": lambda: around(Journal, "append", of(SubmitOrder), before=True),
        "order written, not durable": lambda: around(Journal, "append", of(SubmitOrder), before=False),
        "durable, not sent": lambda: around(RestClient, "command", is_create, before=True),
        "sent, not acknowledged": lambda: around(RestClient, "command", is_create, before=False),
        "exit durable, not sent": lambda: around(RestClient, "command", is_exit, before=True),
        "exit sent, not acknowledged": lambda: around(RestClient, "command", is_exit, before=False),
        "cancel durable, not sent": lambda: around(RestClient, "command", is_cancel, before=True),
        "cancel sent, not acknowledged": lambda: around(RestClient, "command", is_cancel, before=False),
        "fill heard, not written": lambda: around(Journal, "append", of(Fill), before=True),
        "fill written, not booked": lambda: around(Journal, "append", of(Fill), before=False),
        "market moved, nobody heard": lambda: around(Connection, "step", lambda *_: True, before=False),
        "instant closing": lambda: around(Engine, "_close", lambda *_: True, before=True),
        "recovery, executions read": lambda: around(AccountReader, "executions", lambda *_: True, before=False),
        "recovery, positions read": lambda: around(AccountReader, "positions", lambda *_: True, before=True),
        "never": lambda: None,
    }
    points[point]()


def live_on(said: str, url: str, journals: str, bars: int | None) -> None:
    """A session that says when it is READY, and how many seconds after the process began; somebody else kills it. bars None: for ever."""
    began = time.monotonic()
    with Path(said).open("w", encoding="utf-8") as out:

        def say(thing: object) -> None:
            print(thing, file=out, flush=True)

        async def beside(live: Live, stop: Stop) -> AsyncIterator[None]:
            say(f"READY {time.monotonic() - began:.3f}")
            yield

        try:
            snapshots.EVERY_RECORDS = 25  # type: ignore[misc]  # as below
            plan = plan_of(system_of(), Turns, None, url, Path(journals), grace_ms=400)
            session = Session(plan, say, max_bars=bars)
            _, ending = run_fast(session.run(beside))
            say(f"END {ending}")
        except BaseException:
            traceback.print_exc(file=out)
            raise
    sys.exit(1 if ending.failure is not None else 0)


def main(said: str, url: str, journals: str, point: str, count: int, system: str, overrides: Sequence[str]) -> None:
    """Run a session; what it has to say goes into the file ``said``. Ends with 1 after a failure."""
    with Path(said).open("w", encoding="utf-8") as out:

        def say(thing: object) -> None:
            print(thing, file=out, flush=True)

        try:
            arm(point, count)
            snapshots.EVERY_RECORDS = 25  # type: ignore[misc]  # for this process alone: so that there are some in a short run
            config, strategy = system_named(system, overrides)
            session = Session(plan_of(config, strategy, None, url, Path(journals)), say)
            _, ending = run_fast(session.run())
            say(f"END {ending}")
        except BaseException:
            traceback.print_exc(file=out)
            raise
    sys.exit(1 if ending.failure is not None else 0)
