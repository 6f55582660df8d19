"""Backtest tools: the systems that there are, and running one over a window."""

from __future__ import annotations

from typing import Any

import msgspec

from keel.adapters.artifacts import EXACT_METRICS, benchmark_of, money_of
from keel.adapters.plain_data import plain
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import KeelError
from keel.core.model.money import to_text, to_units
from keel.core.model.time_range import to_iso
from keel.core.results.result import BacktestResult
from keel.core.system.config import Window
from keel.core.system.file import decode_system
from keel.runners.backtest.system_run import ReadySystem, SystemRun, make_ready, run_backtest
from keel.runners.backtest.windows import choose_window, covered_windows
from keel.runners.systems import SystemSource, list_sources, load_system, override_texts, symbol_overrides
from keel.runners.tools.registry import Request, Response, ToolContext, tool

MONEY_METRICS = (
    "initial_equity",
    "final_equity",
    "total_pnl",
    "net_profit",
    "unrealized_pnl",
    "fees",
    "funding",
    "slippage",
    "max_drawdown_abs",
    "avg_trade_pnl",
    "avg_win",
    "avg_loss",
    "expectancy",
)
"""Metrics in quote coins: answers give them as decimal strings."""

PATHS = ("ohlc", "pessimistic")
"""The ways through a bar; a result under both bounds what the order of high and low can change."""


class SystemsRequest(Request, frozen=True):
    """Nothing is asked."""


class SystemEntry(msgspec.Struct, frozen=True):
    """One system file; ``error`` says what is wrong with one that cannot be read."""

    name: str
    origin: str
    file: str
    description: str = ""
    strategy: str = ""
    symbols: list[str] = []
    category: str = ""
    timeframe: str = ""
    execution_timeframe: str = ""
    windows: dict[str, Window] = {}
    params: dict[str, Any] = {}
    error: str = ""


class SystemsResponse(Response, frozen=True, kw_only=True):
    """The user's own systems, then the built-in ones."""

    systems: list[SystemEntry]


class WindowsRequest(Request, frozen=True):
    """A system by name or file."""

    system_id: str


class WindowEntry(msgspec.Struct, frozen=True):
    """One window. covered: whether the store has bars from its beginning to its end (holes and warm-up are looked at by a run)."""

    name: str
    start: str
    end: str
    covered: bool


class WindowsResponse(Response, frozen=True, kw_only=True):
    """The windows in the file's order; first: the one that a run takes when none is named, empty where none is covered."""

    windows: list[WindowEntry]
    first: str


class BacktestRequest(Request, frozen=True):
    """What to run. window_name: a window of the system or a span back from the last bar ("6M"); None: the first that the store covers.

    overrides: keys of the system file, as {"params.fast": 10} or ["params.fast=10"]. seed: for strategies with a parameter of that name.
    bounds: run it under the other path through the bars, too. report: write report.html.
    """

    system_id: str
    window_name: str | None = None
    overrides: dict[str, Any] | list[str] | None = None
    symbols: tuple[str, ...] = ()
    timeframe: str | None = None
    execution_timeframe: str | None = None
    start: str | None = None
    end: str | None = None
    seed: int | None = None
    bounds: bool = False
    report: bool = False


class Outcome(Response, frozen=True, kw_only=True):
    """One run's figures. Money is decimal text, ratios are numbers, percentages are in percent."""

    run_id: str
    artifacts: str
    system_uid: str
    path: str
    metrics: dict[str, Any]
    reconciliation: dict[str, str]
    trust: dict[str, Any]
    timing: dict[str, Any]
    warnings: list[str]
    funnel: dict[str, Any]
    benchmark: dict[str, Any] | None
    """Buy and hold: its symbol and total_return (a fraction); null where the system has no benchmark."""


class BacktestResponse(Outcome, frozen=True, kw_only=True):
    """The run, its window and verdict, and with bounds the figures by path."""

    system: str
    symbols: list[str]
    quote: str
    window: dict[str, str]
    window_note: str
    status: str
    stop_reason: str
    passed: bool | None
    promotion_reason: str
    metric_notes: dict[str, str]
    seed: int | None
    seed_note: str
    message_hash: str
    report: str | None
    bounds: dict[str, Outcome]


class SampleRunRequest(Request, frozen=True):
    """seed: of the sample that is made where there is no history. report: write report.html."""

    system_id: str = "ema_cross"
    seed: int = 7
    report: bool = True


class SampleRunResponse(Response, frozen=True, kw_only=True):
    """made_sample: whether the history had to be invented first."""

    made_sample: bool
    store: str
    backtest: BacktestResponse


@tool("backtest_list_systems", SystemsRequest, SystemsResponse)
def backtest_list_systems_tool(request: SystemsRequest, context: ToolContext) -> SystemsResponse:
    """The systems that can be run: the user's own and the built-in ones, with their windows."""
    return SystemsResponse(systems=[_entry(source) for source in list_sources(context.home)])


@tool("backtest_list_windows", WindowsRequest, WindowsResponse)
def backtest_list_windows_tool(request: WindowsRequest, context: ToolContext) -> WindowsResponse:
    """The windows that a system declares, and which of them the store covers."""
    config = load_system(request.system_id, context.home).config
    covered = dict.fromkeys(config.windows, False)
    if context.home.store.exists():
        with HistoricalDataStore(context.home.store, read_only=True) as store:
            covered = covered_windows(store, config)
    windows = [WindowEntry(name, window.start, window.end, covered[name]) for name, window in config.windows.items()]
    return WindowsResponse(windows=windows, first=next((entry.name for entry in windows if entry.covered), ""))


@tool("backtest_run", BacktestRequest, BacktestResponse)
def backtest_run_tool(request: BacktestRequest, context: ToolContext) -> BacktestResponse:
    """Run a system over a window of the stored history, and keep the run with its artifacts."""
    loaded = load_system(request.system_id, context.home, _overrides(request), seed=request.seed)
    with HistoricalDataStore(context.home.store, read_only=True) as store:
        window = choose_window(store, loaded.config, request.window_name, request.start, request.end)
        ready = make_ready(loaded, window, store)
        if not ready.reads_store:
            store.close()  # for other processes, while this one computes
        run = run_backtest(ready, context.home, seed=request.seed, report=request.report, progress=context.step(f"{loaded.config.system}"))
        bounds = _bounds(ready, run, request, context) if request.bounds else {}
    return _response(run, ready, request, bounds)


@tool("backtest_sample", SampleRunRequest, SampleRunResponse)
def backtest_sample_tool(request: SampleRunRequest, context: ToolContext) -> SampleRunResponse:
    """The main job: make a sample history where there is none, run a system over its sample window, write the report."""
    from keel.runners.sample import has_history, write_sample

    made = not has_history(context.home)
    if made:
        write_sample(context.home, seed=request.seed, progress=context.progress)
    window = _sample_window(request.system_id, context)
    answer = backtest_run_tool.run(BacktestRequest(request.system_id, window, report=request.report), context)
    return SampleRunResponse(made_sample=made, store=str(context.home.store), backtest=answer)


def run_metrics(result: BacktestResult) -> dict[str, Any]:
    """A result's metrics as answers give them: money as decimal text (exact where the books have it), the rest as numbers."""
    exact = money_of(result.reconciliation)
    metrics: dict[str, Any] = {}
    for name, value in result.metrics.items():
        if name in MONEY_METRICS and value is not None:
            metrics[name] = exact[EXACT_METRICS[name]] if name in EXACT_METRICS else to_text(to_units(value))
        else:
            metrics[name] = plain(value, name)
    return metrics


# --- parts -----------------------------------------------------------------------------------------------------------


def _entry(source: SystemSource) -> SystemEntry:
    try:
        config = decode_system(source.text, source.filename)
    except KeelError as error:
        return SystemEntry(source.name, source.origin, source.filename, error=str(error))
    return SystemEntry(
        source.name,
        source.origin,
        source.filename,
        config.description,
        config.strategy,
        list(config.symbols),
        config.category,
        config.timeframe,
        config.execution_timeframe or config.timeframe,
        dict(config.windows),
        dict(config.params),
    )


def _overrides(request: BacktestRequest) -> list[str]:
    """All overrides as texts, in the order in which they are applied: the options of their own first."""
    own = {"timeframe": request.timeframe, "execution_timeframe": request.execution_timeframe}
    texts = [f"{key}={value}" for key, value in own.items() if value is not None]
    return [*texts, *symbol_overrides(request.symbols), *override_texts(request.overrides)]


def _sample_window(system_id: str, context: ToolContext) -> str | None:
    """The window "sample", where the system has it and the store covers it; else None, for the first that is covered."""
    config = load_system(system_id, context.home).config
    with HistoricalDataStore(context.home.store, read_only=True) as store:
        covered = choose_window(store, config, None)
    return "sample" if covered.name == "sample" else None


def _bounds(ready: ReadySystem, run: SystemRun, request: BacktestRequest, context: ToolContext) -> dict[str, Outcome]:
    """The figures under both paths; the other path is a kept run of its own, and promotes nothing."""
    own = ready.loaded.config.execution.path
    other = next(path for path in PATHS if path != own)
    loaded = ready.loaded.with_overrides([f"execution.path={other}"])
    step = context.step(f"{loaded.config.system}, {other} path")
    bound = run_backtest(ready.under(loaded), context.home, seed=request.seed, report=False, promote=False, progress=step)
    found = {own: _outcome(run), other: _outcome(bound)}
    return {path: Outcome(**fields) for path, fields in sorted(found.items())}


def _outcome(run: SystemRun) -> dict[str, Any]:
    result = run.result
    return {
        "run_id": run.epoch.run_id,
        "artifacts": str(run.epoch.artifacts),
        "system_uid": result.system_uid,
        "path": result.system.execution.path,
        "metrics": run_metrics(result),
        "reconciliation": money_of(result.reconciliation),
        "trust": plain(result.trust, "trust"),
        "timing": plain(result.timing, "timing"),
        "warnings": list(result.warnings),
        "funnel": plain(result.funnel.to_plain(), "funnel"),
        "benchmark": benchmark_of(result),
    }


def _response(run: SystemRun, ready: ReadySystem, request: BacktestRequest, bounds: dict[str, Outcome]) -> BacktestResponse:
    result, window, stop = run.result, run.window, run.result.stop_reason
    return BacktestResponse(
        **_outcome(run),
        system=result.system.system,
        symbols=list(result.system.symbols),
        quote=_quote(ready),
        window={"name": window.name, "start": to_iso(window.span.start_ms), "end": to_iso(window.span.end_ms)},
        window_note=window.note,
        status=result.status,
        stop_reason="" if stop is None else f"{stop.code} at {to_iso(stop.ts)}: {stop.detail}",
        passed=run.epoch.passed,
        promotion_reason=run.epoch.promotion_reason,
        metric_notes=dict(result.metric_notes),
        seed=request.seed,
        seed_note=_seed_note(ready, request.seed),
        message_hash=result.message_hash,
        report=None if run.report is None else str(run.report),
        bounds=bounds,
    )


def _quote(ready: ReadySystem) -> str:
    histories = ready.prepared.histories if ready.prepared else []
    return histories[0].instrument.quote if histories else ""


def _seed_note(ready: ReadySystem, seed: int | None) -> str:
    if seed is None or "seed" in ready.loaded.strategy.defaults:
        return ""
    return f"nothing in {ready.loaded.config.system} draws random numbers: the seed {seed} is recorded and changes nothing"
