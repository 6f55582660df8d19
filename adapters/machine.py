"""What the machine gives and nobody can decide: the time, and chance. Everything that runs beside an exchange asks here.

``MACHINE`` is the computer itself. ``use`` puts something else in its place for what is called within: a simulation's clock that a test can
turn, and a seeded generator, so that a whole session is the same each time. Timers are the event loop's (``asyncio.sleep``,
``asyncio.timeout``); whoever replaces the machine gives the loop the same clock.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Machine(Protocol):
    """A clock for labels, a clock for durations, and chance."""

    def wall_ms(self) -> int:
        """The clock on the wall, in ms since the Unix epoch, UTC. It may be set, and jump."""
        ...

    def monotonic_s(self) -> float:
        """A clock that never jumps, in seconds since some time: the one that the event loop's timers go by."""
        ...

    def rng(self) -> random.Random:
        """A new generator of random numbers."""
        ...


class _Computer:
    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def rng(self) -> random.Random:
        return random.Random()


MACHINE: Machine = _Computer()
_present: ContextVar[Machine] = ContextVar("machine", default=MACHINE)


def present() -> Machine:
    """The machine on which this runs."""
    return _present.get()


def wall_ms() -> int:
    """The clock on the wall, in ms since the Unix epoch, UTC."""
    return _present.get().wall_ms()


def monotonic_s() -> float:
    """A clock that never jumps, in seconds since some time."""
    return _present.get().monotonic_s()


def monotonic_ms() -> int:
    """A clock that never jumps, in ms since some time."""
    return int(_present.get().monotonic_s() * 1000)


def rng() -> random.Random:
    """A new generator of random numbers."""
    return _present.get().rng()


@contextmanager
def use(machine: Machine) -> Iterator[None]:
    """Ask this one within the block, and in the tasks that begin there."""
    token = _present.set(machine)
    try:
        yield
    finally:
        _present.reset(token)
