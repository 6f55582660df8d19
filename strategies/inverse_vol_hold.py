"""Hold several symbols, each with a weight in proportion to 1 / volatility: the position manager at its plainest."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from keel.core.risk.position_manager import PositionManager
from keel.strategies.hold import HoldStrategy


class InverseVolHold(HoldStrategy):
    """Long in each symbol from the first step on. ``budget_percent`` of the cash is shared by inverse volatility; a symbol whose
    volatility is above ``max_daily_volatility`` (a fraction per day) at that step is left out."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"budget_percent": 10.0, "max_daily_volatility": 0.1})

    @classmethod
    def params_problem(cls, params: Mapping[str, Any]) -> str:
        """Both are positive; the budget is at most all of the cash."""
        if not 0.0 < params["budget_percent"] <= 100.0:
            return f"budget_percent must be above 0 and at most 100, not {params['budget_percent']}"
        if not params["max_daily_volatility"] > 0.0:
            return f"max_daily_volatility must be above 0, not {params['max_daily_volatility']}"
        return ""

    def on_start(self, params: Mapping[str, Any]) -> None:
        """Begin anew, with a position manager of these parameters."""
        super().on_start(params)
        self.position_manager = PositionManager(params["budget_percent"], params["max_daily_volatility"])

    def state(self) -> dict[str, Any]:
        """What a restart needs, the position manager's notes included."""
        manager = self.position_manager
        return {**super().state(), "manager": manager.state() if manager is not None else {}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a ``state()``."""
        super().restore(state)
        if self.position_manager is not None:
            self.position_manager.restore(state["manager"])
