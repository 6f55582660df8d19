"""A session in a process of its own that kills itself, with SIGKILL, at a named point: nothing is flushed, nobody is told.

python victim.py URL JOURNALS POINT COUNT SYSTEM OVERRIDE...
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapters.bybit.account import AccountReader
from adapters.bybit.rest import RestClient
from adapters.journal import Journal
from core.messages import Fill, SubmitOrder
from runners.live.connection import Connection
from runners.live.cycle import Cycle
from runners.live.session import Session
from tests.builders import builtin
from tests.runners.live.conftest import plan_of


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

    def of(kind: type) -> Callable[..., bool]:
        return lambda _, message, *__: isinstance(message, kind)

    points: dict[str, Callable[[], None]] = {
        "order made, not written": lambda: around(Journal, "append", of(SubmitOrder), before=True),
        "order written, not durable": lambda: around(Journal, "append", of(SubmitOrder), before=False),
        "durable, not sent": lambda: around(RestClient, "command", is_create, before=True),
        "sent, not acknowledged": lambda: around(RestClient, "command", is_create, before=False),
        "fill heard, not written": lambda: around(Journal, "append", of(Fill), before=True),
        "fill written, not booked": lambda: around(Journal, "append", of(Fill), before=False),
        "market moved, nobody heard": lambda: around(Connection, "step", lambda *_: True, before=False),
        "instant closing": lambda: around(Cycle, "_close", lambda *_: True, before=True),
        "recovery, executions read": lambda: around(AccountReader, "executions", lambda *_: True, before=False),
        "recovery, positions read": lambda: around(AccountReader, "positions", lambda *_: True, before=True),
        "never": lambda: None,
    }
    points[point]()


def main() -> None:
    url, journals, point, count, name, *overrides = sys.argv[1:]
    arm(point, int(count))
    system, strategy = builtin(name, *overrides)
    session = Session(plan_of(system, strategy, None, url, Path(journals)), lambda notice: print(notice, flush=True))
    _, ending = asyncio.run(session.run())
    print(f"END {ending}", flush=True)
    sys.exit(1 if ending.failure is not None else 0)


if __name__ == "__main__":
    main()
