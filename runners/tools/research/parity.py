"""The parity tool: one system by the kernel and by the actors, compared to the last unit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError, StrategyError
from keel.core.model.time_range import to_iso
from keel.runners.backtest.kernel_run import kernel_folder, kernel_refuses, load_kernel, run_kernel
from keel.runners.backtest.system_run import make_ready
from keel.runners.backtest.windows import choose_window
from keel.runners.research.parity import ParityDifference, actors_record, compare_records, kernel_record
from keel.runners.systems import load_system, override_texts, symbol_overrides
from keel.runners.tools.registry import Response, ToolContext, WindowRequest, tool
from keel.sim.kernel import KernelRefused


class ParityRequest(WindowRequest, frozen=True):
    """What to compare over. window_name, start, end, symbols, overrides: as for a backtest."""


class DifferenceEntry(msgspec.Struct, frozen=True):
    """The first thing that differs: its kind, which one of them (from 1), its bar (UTC; empty at the end of the run), and both sides.

    Times in ms; steps, ticks and money are the integers that both sides count in. None: that side has no such row.
    """

    kind: str
    number: int
    bar: str
    kernel: dict[str, Any] | None
    actors: dict[str, Any] | None


class ParityResponse(Response, frozen=True, kw_only=True):
    """identical: nothing differs. compared: how many of each kind. Seconds without loading and compiling."""

    system: str
    symbol: str
    window: dict[str, str]
    window_note: str
    bars: int
    compared: dict[str, int]
    identical: bool
    difference: DifferenceEntry | None
    kernel_s: float
    actors_s: float


@tool("parity_check", ParityRequest, ParityResponse)
def parity_check_tool(request: ParityRequest, context: ToolContext) -> ParityResponse:
    """Run a system by the kernel and by the actors over one window, and compare every order, fill, funding payment, liquidation, trade,
    equity point and account. Raises ConfigError for what the kernel does not model."""
    overrides = [*symbol_overrides(request.symbols), *override_texts(request.overrides)]
    loaded = load_system(request.system_id, context.home, overrides)
    with HistoricalDataStore(context.home.store, read_only=True) as store:
        window = choose_window(store, loaded.config, request.window_name, request.start, request.end)
        ready = make_ready(loaded, window, store)
    if ready.prepared is None:
        raise ready.failure or StrategyError(f"{loaded.config.system}: the strategy failed")
    prepared = ready.prepared
    refusal = kernel_refuses(prepared)
    if refusal is not None:
        raise ConfigError(_refused(loaded.config.system, refusal, wire=not loaded.config.execution.costs.named))
    _load_kernel(context)
    began = time.perf_counter()
    try:
        kernel = kernel_record(prepared, run_kernel(prepared))
    except KernelRefused as error:
        raise ConfigError(_refused(loaded.config.system, str(error))) from error
    between = time.perf_counter()
    actors = actors_record(prepared)
    ended = time.perf_counter()
    found = compare_records(prepared, kernel, actors)
    return ParityResponse(
        system=loaded.config.system,
        symbol=prepared.histories[0].symbol,
        window={"name": window.name, "start": to_iso(window.span.start_ms), "end": to_iso(window.span.end_ms)},
        window_note=window.note,
        bars=found.bars,
        compared=found.counts,
        identical=found.difference is None,
        difference=None if found.difference is None else entry_of(found.difference),
        kernel_s=round(between - began, 4),
        actors_s=round(ended - between, 4),
    )


def _load_kernel(context: ToolContext) -> None:
    """Compiling takes some seconds, once for a home: said to whoever waits."""
    if context.progress is not None and not Path(kernel_folder(context.home)).exists():
        context.progress("compiling the kernel (once)", 0, 1)
    load_kernel(context.home)


def _refused(system: str, what: str, *, wire: bool = True) -> str:
    """wire: whether a sandbox would take the system; one has the built-in cost models only."""
    told = f"{system}: the kernel does not model {what}: there is nothing to compare, the actors always run this system"
    return f"{told} (with --wire it is compared with a session over a sandbox)" if wire else told


def entry_of(difference: ParityDifference) -> DifferenceEntry:
    """A difference as plain data, for people: numbers from 1, times as text."""
    bar = "" if difference.bar_ts is None else to_iso(difference.bar_ts)
    sides = (
        None if side is None else {name: _plain(value) for name, value in side.items()} for side in (difference.kernel, difference.actors)
    )
    kernel, actors = sides
    return DifferenceEntry(difference.kind, difference.number + 1, bar, kernel, actors)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) or value is None else str(value)
