"""What a running session says of itself when it is asked from outside."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from keel.core.model.time_range import to_iso
from keel.runners.live.reporting.holdings import held_quantities
from keel.runners.live.reporting.restrictions import Restriction, restrictions
from keel.runners.live.reporting.tallies import tallies

if TYPE_CHECKING:
    from keel.runners.live.session.live import Live


class SessionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """state: ACTIVE, REDUCING or HALTED, why: what makes it so ("" while ACTIVE); positions: signed base units; unknown: client ids of
    orders whose fate is being found out."""

    system: str
    environment: str
    account: str
    process: int
    session: int
    state: str
    why: str
    restrictions: list[Restriction]
    symbols: list[str]
    market_time: str
    equity: float
    positions: dict[str, float]
    unknown: list[str]
    journal: str
    counted: dict[str, int] = {}
    """What did not go the usual way -> how often (see ``tallies``)."""
    armed_until: str = ""
    """ISO time at which the arming of a live session ends; "" for others."""


def status_of(live: Live) -> SessionStatus:
    """The session as it is now."""
    live.gate.look()
    system = live.plan.system
    return SessionStatus(
        system=system.system,
        environment=live.plan.environment.value,
        account=live.account,
        process=os.getpid(),
        session=live.journal.session,
        state=live.gate.state.name,
        why=live.gate.why,
        restrictions=restrictions(live.gate, system.system),
        symbols=list(live.instruments),
        market_time=to_iso(live.books.clock.now_ms),
        equity=live.books.portfolio.equity,
        positions=held_quantities(live.books.portfolio),
        unknown=list(live.venue.unknown),
        journal=str(live.journal.folder),
        counted=tallies(live),
        armed_until="" if live.plan.arming is None or live.plan.arming.token is None else live.plan.arming.token.until,
    )
