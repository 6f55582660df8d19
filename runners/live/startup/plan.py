"""What is to be run, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from keel.adapters.bybit.transport.endpoints import Environment
from keel.adapters.store import HistoricalDataStore
from keel.core.system.config import SystemConfig
from keel.runners.live.market.bar_synchronizer import GRACE_MS
from keel.runners.systems import LoadedSystem

if TYPE_CHECKING:
    from keel.runners.live.arming.arming import Arming
    from keel.runners.live.startup.dry_run import DryRun


@dataclass(frozen=True, slots=True)
class Plan:
    """``uid``: hash of code and configuration; ``journals``: the folder of this home's journals."""

    loaded: LoadedSystem
    system: SystemConfig
    """The system as the epoch runs it."""
    uid: str
    environment: Environment
    journals: Path
    store: HistoricalDataStore | None = None
    sandbox_url: str | None = None
    key_file: Path | None = None
    grace_ms: int = GRACE_MS
    fresh: bool = False
    """Begin a new journal though there is one."""
    about: dict[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    """Symbols of the system that are left out: what the account has in them is said, and not touched."""
    why_without: Mapping[str, str] = field(default_factory=dict)
    """Why, by symbol, where nobody asked for it."""
    untested: str = ""
    """Why the system may trade here though nobody looked at its rules; "" where they passed, or there are none."""
    arming: Arming | None = None
    """The rules of a live session; None: those of demo and rehearsals. Its ``is_dry``: nothing is sent at all."""
    dry: DryRun | None = None
    """Takes what would be sent, in place of the exchange."""
