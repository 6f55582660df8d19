"""Every decision of a system as a record: written while it trades, and compared when its journal is replayed.

What the system decided is what left the strategy (signals, targets), what risk denied, and what the executor commanded. A control's no
comes later, and is a message of its own in the journal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np

from keel.core.engine.bus import Bus
from keel.core.engine.clock import Clock
from keel.core.model.messages import Message, OrderDenied, Signal, SignalDenied
from keel.core.strategy.portfolio_order import PortfolioOrders, TargetPosition
from keel.runners.live.memory.history import COMMANDS
from keel.runners.live.memory.records import Decided

SAID: Final = (Signal, PortfolioOrders, TargetPosition, SignalDenied, OrderDenied)
"""Decisions that pass on the bus; commands are noted where they leave it (order_gateway.py)."""


class Decisions:
    """Takes decisions as they are made. write: takes their records."""

    def __init__(self, clock: Clock, write: Callable[[Decided], None]) -> None:
        self._clock, self._write = clock, write

    def listen(self, bus: Bus) -> None:
        """Take what is said on a bus."""
        for kind in SAID:
            bus.subscribe(kind, self.note)

    def note(self, message: Message) -> None:
        """One decision."""
        self._write(Decided(self._clock.now_ms, decision_text(message)))


def decision_text(message: Message) -> str:
    """A decision as JSON: the same message gives the same text in any process and any Python. What a strategy noted beside a signal and is
    no plain data stands there as the name of its type."""
    try:
        return _JSON.encode(message).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        if not isinstance(message, Signal):
            raise
        metadata = {str(name): _plain_or_type(value) for name, value in (message.metadata or {}).items()}
        return _JSON.encode(msgspec.structs.replace(message, metadata=metadata)).decode()


def decision_kind(text: str) -> str:
    """Which message a decision's text is: the name of its class."""
    return _TAGGED.decode(text).type


def decided_command(text: str) -> Message | None:
    """The command that a decision's text is; None where the decision is no command."""
    decoder = _COMMANDS.get(decision_kind(text))
    return None if decoder is None else decoder.decode(text)


class _Tagged(msgspec.Struct):
    type: str


_TAGGED: Final = msgspec.json.Decoder(_Tagged)
_COMMANDS: Final[dict[str, msgspec.json.Decoder[Message]]] = {kind.__name__: msgspec.json.Decoder(kind) for kind in COMMANDS}


def _plain_or_type(value: Any) -> Any:
    try:
        return msgspec.json.decode(_JSON.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return f"not plain data: {type(value).__name__}"


def _plain_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not plain data")


_JSON: Final = msgspec.json.Encoder(enc_hook=_plain_number)
