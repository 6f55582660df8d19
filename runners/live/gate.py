"""The trading state: whether orders may leave, and which. It says why it is as it is, and closes before it opens.

HALTED    nothing but cancels
REDUCING  nothing that adds exposure
ACTIVE    everything that the controls allow

A session begins HALTED and becomes ACTIVE when it is READY: reconciled, private stream acknowledged and fresh, clock right, instruments
loaded. Each cause is taken back by who gave it; the state is the strictest of all causes.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum


class TradingState(IntEnum):
    """The higher, the stricter."""

    ACTIVE = 0
    REDUCING = 1
    HALTED = 2


STARTING = "starting"


class Gate:
    """Causes and the state that follows from them. ``on_change(state, why)`` hears every change of the state."""

    def __init__(self, on_change: Callable[[TradingState, str], None] = lambda state, why: None) -> None:
        self._causes: dict[str, tuple[TradingState, str]] = {STARTING: (TradingState.HALTED, "the account is being read")}
        self._on_change = on_change

    @property
    def state(self) -> TradingState:
        """The strictest that any cause asks for."""
        return max((state for state, _ in self._causes.values()), default=TradingState.ACTIVE)

    @property
    def why(self) -> str:
        """The words of the strictest causes."""
        state = self.state
        return "; ".join(text for asked, text in self._causes.values() if asked is state and state)

    def close(self, cause: str, text: str, state: TradingState = TradingState.HALTED) -> None:
        """Ask for a stricter state until ``open`` is called with the same cause."""
        before = self.state
        self._causes[cause] = (state, text)
        self._tell(before)

    def open(self, cause: str) -> None:
        """Take a cause back. Unknown causes are none."""
        before = self.state
        self._causes.pop(cause, None)
        self._tell(before)

    def has(self, cause: str) -> bool:
        """Whether this cause stands."""
        return cause in self._causes

    def _tell(self, before: TradingState) -> None:
        if self.state is not before:
            self._on_change(self.state, self.why)


def hold(gate: Gate, cause: str, is_well: bool, text: str) -> None:
    """Close the gate for a cause while it is not well, and take that back when it is."""
    if is_well:
        gate.open(cause)
    elif not gate.has(cause):
        gate.close(cause, text)
