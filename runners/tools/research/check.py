"""Check tools: whether a system looks ahead, and how much of it depends on where history starts."""

from __future__ import annotations

from dataclasses import dataclass

from keel.adapters.store import HistoricalDataStore
from keel.core.model.time_range import to_iso
from keel.runners.backtest.windows import NamedWindow, choose_window
from keel.runners.research.check.lookahead import Looked, check_lookahead
from keel.runners.research.check.warmup import Changed, Settled, check_warmup
from keel.runners.systems import LoadedSystem, load_system, override_texts, symbol_overrides
from keel.runners.tools.registry import Response, ToolContext, WindowRequest, tool


class CheckRequest(WindowRequest, frozen=True):
    """A system by name or file, and a window as for a backtest. overrides: keys of the system file; symbols: in place of the system's."""


class LookaheadResponse(Response, frozen=True, kw_only=True):
    """ok: nothing looks ahead. found: what does, the earliest first; looked: everything that was compared at each of so many bars."""

    ok: bool
    system: str
    window: dict[str, str]
    window_note: str
    bars: int
    found: list[Looked]
    looked: list[Looked]


class WarmupResponse(Response, frozen=True, kw_only=True):
    """ok: with the system's warm-up every value has settled, and no decision depends on where history starts.

    advice: the warmup_bars from which everything that settles is within 1e-6; advice_for_bits: the same to the last bit.
    """

    ok: bool
    system: str
    window: dict[str, str]
    window_note: str
    warmup: dict[str, int]
    longest: dict[str, int]
    features: list[Settled]
    decisions: list[Changed] | None
    advice: int | None
    advice_for_bits: int | None


@tool("check_lookahead", CheckRequest, LookaheadResponse)
def check_lookahead_tool(request: CheckRequest, context: ToolContext) -> LookaheadResponse:
    """Compare a system with itself over history that ends at each bar of a window: features, higher timeframes, decisions."""
    asked = _Asked(request, context)
    loaded = asked.load()
    with HistoricalDataStore(context.home.store, read_only=True) as store:
        window = asked.window(store, loaded)
        found = check_lookahead(store, window, asked.load, context.step(f"{loaded.config.system}, bar by bar"))
    return LookaheadResponse(
        ok=not found.found,
        system=loaded.config.system,
        window=_span(window),
        window_note=window.note,
        bars=found.bars,
        found=found.found,
        looked=found.looked,
    )


@tool("check_warmup", CheckRequest, WarmupResponse)
def check_warmup_tool(request: CheckRequest, context: ToolContext) -> WarmupResponse:
    """How much each feature and decision of a system still depends on where history starts, and the warm-up that it needs."""
    asked = _Asked(request, context)
    loaded = asked.load()
    with HistoricalDataStore(context.home.store, read_only=True) as store:
        window = asked.window(store, loaded)
        found = check_warmup(store, window, loaded)
    return WarmupResponse(
        ok=found.ok,
        system=loaded.config.system,
        window=_span(window),
        window_note=window.note,
        warmup=found.warmup,
        longest=found.longest,
        features=found.features,
        decisions=found.decisions,
        advice=found.advice,
        advice_for_bits=found.advice_for_bits,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for: the system, as often as it is needed anew, and the window."""

    request: CheckRequest
    context: ToolContext

    def load(self) -> LoadedSystem:
        overrides = [*symbol_overrides(self.request.symbols), *override_texts(self.request.overrides)]
        return load_system(self.request.system_id, self.context.home, overrides)

    def window(self, store: HistoricalDataStore, loaded: LoadedSystem) -> NamedWindow:
        return choose_window(store, loaded.config, self.request.window_name, self.request.start, self.request.end)


def _span(window: NamedWindow) -> dict[str, str]:
    return {"name": window.name, "start": to_iso(window.span.start_ms), "end": to_iso(window.span.end_ms)}
