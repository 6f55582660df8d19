"""Whole sessions in virtual time: sandbox and session in one event loop that never waits, over a network in memory.

``run_virtual(work, seed=...)`` runs any coroutine so. ``playing(folder, world_seed=...)`` gives a ``Stage`` on which sessions are played,
with faults that come and go at a bar; several may be played one after another, as restarts. The same seeds give the same journal, byte for
byte. tests/virtual says how.
"""

from __future__ import annotations

from tests.faults.conftest import Played, Stage, Turns, fills_of, http, playing, system_of, ws
from tests.virtual.loop import Busy, Stuck, VirtualLoop, World, run_virtual
from tests.virtual.sandbox import VirtualSandbox, running_in

__all__ = [
    "Busy", "Played", "Stage", "Stuck", "Turns", "VirtualLoop", "VirtualSandbox", "World", "fills_of", "http", "playing", "run_virtual",
    "running_in", "system_of", "ws",
]  # fmt: skip
