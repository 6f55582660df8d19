"""How a session keeps pace with its market. Everything in which lock-step and real time differ stands here, but for the loop that drives
each (``keel.runners.live.session.driving``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from keel.adapters.bybit.market.market_stream import FRESHNESS_MS


@dataclass(frozen=True, slots=True)
class Pace:
    """is_lockstep: the market moves when we ask for it, and only then."""

    is_lockstep: bool
    stale_ms: float
    """How old the latest price of a symbol may be when an order leaves."""
    freshness_ms: Mapping[str, int]
    """For how long a topic of the market stream may be silent, by its kind."""
    quiet_s: float | None
    """How long a start waits for the fate of orders that the session before left in flight (None: until it is known); proof of absence
    takes eleven seconds and more."""
    gives_at_once: bool
    """Whether an instant that is whole is heard at once; else when everything that the market has sent is here."""
    replaces_wait: bool
    """Whether an order waits until those that it replaces have ended. Where the market waits for us a cancel comes about with its next
    step, which would wait for the order."""
    inputs_wait: bool
    """Whether what features read beside bars may come so late that a bar waits for it."""
    judges_loop: bool
    """Whether an event loop that does not come round stops orders, and whether people are alarmed, a panic stands by, and prices age."""
    ends_are_told: bool
    """Whether a cancel that was answered is soon heard of; else it acts with the next bar, which does not come at the end."""


LOCK_STEP: Final = Pace(True, float("inf"), MappingProxyType({}), None, False, False, False, False, False)
REAL_TIME: Final = Pace(False, 15_000.0, MappingProxyType(FRESHNESS_MS), 5.0, True, True, True, True, True)
