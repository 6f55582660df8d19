"""What a harness saw of a run beside the exchange's truth and the journal. What it does not give is not judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class Limits:
    """What a system may hold, in quote coins; None: as much as it likes. ``room``: by how much a price may move until an order is in."""

    max_position_usd: float | None = None
    max_gross_usd: float | None = None
    leverage: float = 1.0
    max_open_orders: int = 50
    room: Decimal = Decimal("1.1")


@dataclass(frozen=True)
class Seen:
    """Times are of the exchange's wall clock, ms.

    wire: what ``/admin/wire`` shows.  account: the key whose requests are the trader's.  rate_factor: by how much budgets are larger than
    the exchange's.  grids: symbol -> (tick, step) as decimal text.
    limits: of the system.
    latched_ms, rearmed_ms: when a panic's latch was set, and when a person took it away (None: it stands).
    faults_over_ms: when the last fault had ended.  ended_ms: when the session was asked to end.  bar_ms: wall time between two bars.
    candles: (symbol, timeframe, open time) -> (open, high, low, close) of the exchange's own closed candles.
    memories: where a state came from -> its hash.
    words: key and secret.  texts: where from -> what was said.
    before, after: names of what is held -> how many, before and after the run.
    """

    wire: Mapping[str, Any] | None = None
    account: str = "sandbox-key"
    rate_factor: float = 1.0
    grids: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    limits: Limits | None = None
    latched_ms: int | None = None
    rearmed_ms: int | None = None
    faults_over_ms: int | None = None
    ended_ms: int | None = None
    bar_ms: int = 0
    candles: Mapping[tuple[str, str, int], tuple[float, float, float, float]] | None = None
    memories: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, int] = field(default_factory=dict)
    after: Mapping[str, int] = field(default_factory=dict)


NOTHING = Seen()
