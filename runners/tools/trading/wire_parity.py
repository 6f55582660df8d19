"""The tool for parity over the wire: one system as a backtest and as a session over a sandbox, compared to the last unit."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Final

import msgspec

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import StrategyError
from keel.core.model.time_range import TimeRange, to_iso
from keel.core.model.timeframe import DAY_MS, floor_ts
from keel.runners.backtest.preparation import Prepared
from keel.runners.backtest.system_run import make_ready
from keel.runners.backtest.windows import NamedWindow, choose_window
from keel.runners.research.wire_parity.compare import WireDifference, first_difference
from keel.runners.research.wire_parity.sides import as_on_the_wire, backtest_side, sandbox_bars, session_side
from keel.runners.systems import LoadedSystem, load_system, override_texts, symbol_overrides
from keel.runners.tools.registry import Response, ToolContext, WindowRequest, tool

DAYS: Final = 30
"""Where nobody asks for a span: so many days at the end of the system's window. A bar takes about two milliseconds."""


class WireParityRequest(WindowRequest, frozen=True):
    """What to compare over. window_name, start, end, symbols, overrides: as for a backtest; none: the last 30 days of its window."""


class WireDifferenceEntry(msgspec.Struct, frozen=True):
    """The first thing that differs: its kind, which one of them (from 1), its symbol ("" where it has none), its execution bar (UTC; empty
    at the end of the run), in what it begins (bar, mark, order, fill, fee, funding, liquidation, equity, account), what it may come of, and
    both sides. Times in ms, money in 1e-8. None: that side has no such row."""

    kind: str
    number: int
    symbol: str
    bar: str
    begins_in: str
    cause: str
    backtest: dict[str, Any] | None
    session: dict[str, Any] | None


class WireParityResponse(Response, frozen=True, kw_only=True):
    """identical: nothing differs, and the session ended whole. compared: how many of each kind, as the backtest has them. problem: why the
    session is not whole, "" where it is. rounded_marks: mark prices that have more digits than the wire and were rounded for both sides."""

    system: str
    symbols: list[str]
    window: dict[str, str]
    window_note: str
    compared: dict[str, int]
    identical: bool
    difference: WireDifferenceEntry | None
    problem: str
    rounded_marks: int
    backtest_s: float
    session_s: float


@tool("wire_parity_check", WireParityRequest, WireParityResponse)
def wire_parity_check_tool(request: WireParityRequest, context: ToolContext) -> WireParityResponse:
    """Run a system as a backtest, and as a session over a sandbox of its own (HTTP and WebSocket on the loopback, in lock-step) with the
    same bars; compare every bar, mark price, order, fill, fee, funding payment, liquidation, equity point and the final account."""
    overrides = [*symbol_overrides(request.symbols), *override_texts(request.overrides)]
    loaded = load_system(request.system_id, context.home, overrides)
    with HistoricalDataStore(context.home.store, read_only=True) as store:
        window = _window(choose_window(store, loaded.config, request.window_name, request.start, request.end), request, loaded)
        prepared = _prepared(loaded, window, store)
        prepared, rounded = as_on_the_wire(prepared, bars := sandbox_bars(store, prepared))
        began = time.perf_counter()
        backtest = backtest_side(prepared)
        between = time.perf_counter()
        session = session_side(loaded, store, bars, progress=context.step("session over the wire"))
        ended = time.perf_counter()
    found = first_difference(backtest, session.side, prepared.histories[0].execution)
    return WireParityResponse(
        system=loaded.config.system,
        symbols=list(loaded.config.symbols),
        window={"name": window.name, "start": to_iso(prepared.window.start_ms), "end": to_iso(prepared.window.end_ms)},
        window_note=window.note,
        compared=backtest.counts(),
        identical=found is None and not session.problem,
        difference=None if found is None else _entry(found),
        problem=session.problem,
        rounded_marks=rounded,
        backtest_s=round(between - began, 3),
        session_s=round(ended - between, 3),
    )


def _window(window: NamedWindow, request: WireParityRequest, loaded: LoadedSystem) -> NamedWindow:
    """The end of the system's window, where nobody asked for one."""
    start = floor_ts(window.span.end_ms - DAYS * DAY_MS, loaded.config.timeframe)
    if request.window_name is not None or request.start is not None or start <= window.span.start_ms:
        return window
    note = f"the last {DAYS} days of the window {window.name}: --start and --end, or --window, compare another span"
    return replace(window, span=TimeRange(start, window.span.end_ms), note="; ".join(filter(None, (window.note, note))))


def _prepared(loaded: LoadedSystem, window: NamedWindow, store: HistoricalDataStore) -> Prepared:
    ready = make_ready(loaded, window, store)
    if ready.prepared is None:
        raise ready.failure or StrategyError(f"{loaded.config.system}: the strategy failed")
    return ready.prepared


def _entry(found: WireDifference) -> WireDifferenceEntry:
    bar = "" if found.bar_ts is None else to_iso(found.bar_ts)
    return WireDifferenceEntry(
        found.kind, found.number + 1, found.symbol, bar, found.begins_in, found.cause, _plain(found.backtest), _plain(found.session)
    )


def _plain(row: dict[str, Any] | None) -> dict[str, Any] | None:
    return (
        None if row is None else {name: value if isinstance(value, (int, float, str, dict)) else str(value) for name, value in row.items()}
    )
