"""One request that was let in."""

from __future__ import annotations

from typing import Any

import msgspec

from keel.sim.sandbox.account.simulated_account import SimulatedAccount
from keel.sim.sandbox.engine import Engine
from keel.sim.sandbox.http.errors import ApiError
from keel.sim.sandbox.http.parameters import Params
from keel.sim.sandbox.market.symbol_market import SymbolMarket


class Call(msgspec.Struct):
    """A request: what is asked for, by whom, and what it may cost. ``extension`` becomes the envelope's retExtInfo."""

    engine: Engine
    params: Params
    wall_ms: int
    lag_ms: int = 0
    """How far lists are behind."""
    budget_left: int = 0
    """Orders that a batch may hold."""
    owner: SimulatedAccount | None = None
    extension: dict[str, Any] | None = None
    updates: dict[str, int] | None = None

    @property
    def account(self) -> SimulatedAccount:
        """The account that asks; routes with a key have one."""
        if self.owner is None:
            raise ApiError(10003, "API key is invalid.")
        return self.owner

    @property
    def is_demo(self) -> bool:
        """Whether this is the demo profile."""
        return self.engine.settings.profile == "demo"

    def book_update(self, market: SymbolMarket) -> int:
        """The ``u`` of the stream of 1000 levels."""
        return (self.updates or {}).get(market.name, market.moves)
