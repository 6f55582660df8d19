"""A month of the market in virtual time: what a session holds in memory grows by what it is asked to keep (fills, and a number for each
instant), and by nothing else."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keel.core.model.timeframe import MINUTE_MS
from keel.runners.live.session.live import Live
from keel.runners.live.session.session import Session
from keel.sim.sandbox.market.bar_source import SymbolSeries
from keel.sim.sandbox.market.feeds import BarFeed
from keel.sim.sandbox.settings import SandboxSettings
from tests.faults.checker import check
from tests.faults.conftest import Turns, _with, system_of
from tests.runners.live.conftest import plan_of
from tests.sim.sandbox.conftest import Bars, made_bars
from tests.virtual.loop import World
from tests.virtual.sandbox import running_in

HOURS_A_DAY = 24
DAYS, WARM = 30, 10
PER_FILL = 6_000
PER_INSTANT = 200
"""Bytes that may stay: a fill, its place in the curve, its order and two exits (of which the youngest ten thousand are kept for late news);
the equity at an instant, and its time."""
OURS = tuple(str(Path(__file__).resolve().parents[2] / room) for room in ("adapters", "core", "runners", "strategies"))


def month() -> BarFeed:
    """Made bars of an hour."""
    made = made_bars(DAYS * HOURS_A_DAY + 10, first=5, deviation=0.001, funding=None)
    ts = made.ts[0] + 60 * MINUTE_MS * np.arange(len(made.ts), dtype=np.int64)
    bars = Bars(SymbolSeries(made.instrument, ts, made.last, made.volume, made.first, made.mark, made.index))
    bars.duration_ms = 60 * MINUTE_MS
    return BarFeed(bars)


def held() -> dict[str, int]:
    """Bytes that the trader's own lines hold, by file."""
    gc.collect()
    found: dict[str, int] = {}
    for trace in tracemalloc.take_snapshot().statistics("filename"):
        name = trace.traceback[0].filename
        if name.startswith(OURS):
            found[name] = trace.size
    return found


@pytest.mark.long
def test_a_month_holds_what_is_kept_and_no_more(tmp_path: Path) -> None:
    seen: list[tuple[int, int, dict[str, int]]] = []

    async def before(number: int, live: Live) -> None:
        if number in (WARM * HOURS_A_DAY, DAYS * HOURS_A_DAY - 1):
            seen.append((number, len(live.tape.fills), held()))

    notices: list[Any] = []
    with World("month") as world, running_in(world, SandboxSettings(pace="lockstep", limit_factor=1_000.0), month()) as sandbox:
        plan = plan_of(system_of(timeframe="1h"), Turns, None, sandbox.url, tmp_path)
        session = Session(plan, notices.append, max_bars=DAYS * HOURS_A_DAY)
        tracemalloc.start()
        try:
            live, ending = world.run(session.run(_with(before)))
        finally:
            tracemalloc.stop()
        assert ending.failure is None and ending.differences == []
        assert check(sandbox.truth(), live.journal.folder, settled=False) == []
    (first, fills_then, then), (last, fills_now, now) = seen
    grown = {name: now[name] - then.get(name, 0) for name in now}
    allowed = (fills_now - fills_then) * PER_FILL + (last - first) * PER_INSTANT
    largest = sorted(grown.items(), key=lambda each: -each[1])[:8]
    assert fills_now - fills_then > 150
    assert sum(grown.values()) < allowed, f"{sum(grown.values()):,} bytes in {last - first} instants, allowed {allowed:,}: {largest}"
