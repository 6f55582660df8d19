"""What a strategy remembers, for snapshots. The rule, for whoever writes one:

A strategy that has ``state()`` and ``restore(state)`` says itself what it keeps. Without them, or with those that it inherits from
VectorStrategy, what it keeps in its own attributes must be plain data that is the same as after ``on_start``: parameters, not memory.
A strategy that keeps more than that gets no snapshots: each restart lets it hear the whole journal, which is right, and takes longer.
"""

from __future__ import annotations

from typing import Any

import msgspec

from keel.core.engine.ports import Strategy
from keel.core.errors import KeelError, StrategyError
from keel.strategies.base import VectorStrategy


class StrategyMemory:
    """Looks at a strategy that has just been started."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._at_start = self._attributes()

    def problem(self) -> str:
        """Why its memory cannot be kept; empty when it can."""
        name = type(self._strategy).__name__
        if self._says_itself:
            return ""
        now = self._attributes()
        if now is None or now != self._at_start:
            return f"{name} keeps something in its attributes: give it state() and restore(state)"
        return ""

    def state(self) -> bytes:
        """What it keeps (plain JSON data, as msgpack). Raises StrategyError for what it raises, and for what is no plain data."""
        strategy: Any = self._strategy
        ask = getattr(strategy, "state", None)
        try:
            return msgspec.msgpack.encode(ask() if ask is not None else {})
        except KeelError:
            raise
        except Exception as error:
            raise StrategyError(f"{type(strategy).__name__}.state: {type(error).__name__}: {error}; plain JSON data is needed") from error

    def restore(self, state: bytes) -> None:
        """Go on from a ``state()``, after ``on_start``. Raises StrategyError for what the strategy raises."""
        strategy: Any = self._strategy
        restore = getattr(strategy, "restore", None)
        if restore is None:
            return
        try:
            restore(msgspec.msgpack.decode(state))
        except KeelError:
            raise
        except Exception as error:
            raise StrategyError(f"{type(strategy).__name__}.restore: {type(error).__name__}: {error}") from error

    @property
    def _says_itself(self) -> bool:
        """Whether it has methods of its own for this."""
        kind: Any = type(self._strategy)
        own, given = getattr(kind, "state", None), getattr(kind, "restore", None)
        return own is not None and given is not None and own is not VectorStrategy.state

    def _attributes(self) -> bytes | None:
        """Its attributes as bytes, without what VectorStrategy keeps by itself; None for what is no plain data."""
        found = dict(getattr(self._strategy, "__dict__", {}))
        if isinstance(self._strategy, VectorStrategy):
            found.pop("_acted", None)
        try:
            return msgspec.msgpack.encode(found, order="deterministic")
        except (TypeError, ValueError, OverflowError, RecursionError):
            return None
