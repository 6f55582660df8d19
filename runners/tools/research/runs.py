"""Run tools: the kept runs, one of them with its books, two side by side, and the report."""

from __future__ import annotations

from typing import Any

import msgspec

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import DataError
from keel.core.results.funnel import Funnel
from keel.runners.backtest.system_run import run_again, write_run_report
from keel.runners.lifecycle.kept_result import kept_result
from keel.runners.lifecycle.registry import MoneyLine, RunDifference, RunInfo, compare_runs, find_run, list_runs, reconciliation
from keel.runners.tools.registry import Request, Response, ToolContext, tool


class RunsRequest(Request, frozen=True):
    """epoch, strategy_id: only these. limit: at most so many, newest first; 0 for all."""

    epoch: str | None = None
    strategy_id: str | None = None
    limit: int = 0


class RunEntry(msgspec.Struct, frozen=True):
    """One run in a list; metrics are those of its summary.json."""

    run_id: str
    strategy_id: str
    epoch: str
    symbol: str
    timeframes: list[str]
    started: str
    status: str
    passed: bool | None
    stop_reason: str | None
    error: str | None
    experiment: str | None
    metrics: dict[str, Any]
    artifacts: str
    warnings: list[str]


class RunsResponse(Response, frozen=True, kw_only=True):
    """The runs, newest first; total: how many there are."""

    runs: list[RunEntry]
    total: int


class RunRequest(Request, frozen=True):
    """run: its id, a beginning of it, a folder, or "last"."""

    run: str


class ShowResponse(Response, frozen=True, kw_only=True):
    """One run. reconciliation: exact decimal texts that add up line by line; the last line is what does not. failure: of a run that failed,
    type and message of the error, and as evidence, where it was the user's own code, file, line, source, bar and features."""

    run: RunEntry
    metrics: dict[str, Any]
    metric_notes: dict[str, str]
    reconciliation: list[dict[str, str]]
    trust: dict[str, Any]
    rules: list[dict[str, Any]]
    promotion_reason: str
    config: dict[str, Any]
    result: dict[str, Any]
    files: list[str]
    failure: dict[str, Any]
    funnel: dict[str, Any]
    """Empty for a run without one: of a version before it was counted, or that gave only metrics."""
    benchmark: dict[str, Any] | None


class CompareRequest(Request, frozen=True):
    """Two runs."""

    a: str
    b: str


class DifferenceEntry(msgspec.Struct, frozen=True):
    """Where two runs differ; None where one lacks it."""

    key: str
    a: Any
    b: Any


class CompareResponse(Response, frozen=True, kw_only=True):
    """What differs. same_trades, same_equity: whether the files are equal byte for byte; None where neither run has one."""

    a: str
    b: str
    config: list[DifferenceEntry]
    metrics: list[DifferenceEntry]
    first_trade: DifferenceEntry | None
    same_trades: bool | None
    same_equity: bool | None


class ReportRequest(Request, frozen=True):
    """run: as in runs_show. again: draw it anew even if it is there."""

    run: str
    again: bool = False


class ReportResponse(Response, frozen=True, kw_only=True):
    """The report's file. drawn: whether it was made now; computed: whether the run was computed again for it (its trades and equity are
    the kept ones), and not drawn from its files."""

    run_id: str
    path: str
    drawn: bool
    computed: bool = False


@tool("runs_list", RunsRequest, RunsResponse)
def runs_list_tool(request: RunsRequest, context: ToolContext) -> RunsResponse:
    """The kept runs, newest first: also those that failed and those that are under way."""
    found = list_runs(context.home, epoch=request.epoch, strategy_id=request.strategy_id)
    shown = found[: request.limit] if request.limit > 0 else found
    return RunsResponse(runs=[_entry(run) for run in shown], total=len(found))


@tool("runs_show", RunRequest, ShowResponse)
def runs_show_tool(request: RunRequest, context: ToolContext) -> ShowResponse:
    """One run: status, figures, where the money went, what the numbers rest on."""
    run = find_run(request.run, context.home)
    files = run.read()
    results, result = files.results or {}, files.result or {}
    funnel = results.get("funnel") or {}
    try:
        Funnel.from_plain(funnel)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{run.folder / 'results.json'}: what stands under funnel is none ({error}); run the system anew") from error
    return ShowResponse(
        run=_entry(run),
        metrics=results.get("metrics", {}),
        metric_notes=results.get("notes", {}),
        reconciliation=[_money(line) for line in reconciliation(run)],
        trust=result.get("trust", {}),
        rules=results.get("rules", []),
        promotion_reason=results.get("promotion_reason", ""),
        config=files.config or {},
        result=result,
        failure={name: value for name, value in (results.get("error") or {}).items() if name != "traceback"},
        funnel=funnel,
        benchmark=results.get("benchmark"),
        files=sorted(path.name for path in run.folder.iterdir() if not path.name.startswith(".")),
    )


@tool("runs_compare", CompareRequest, CompareResponse)
def runs_compare_tool(request: CompareRequest, context: ToolContext) -> CompareResponse:
    """Two runs side by side: configuration, metrics, the first trade that differs, files byte for byte."""
    found = compare_runs(find_run(request.a, context.home), find_run(request.b, context.home))
    return CompareResponse(
        a=found.a.run_id,
        b=found.b.run_id,
        config=[_difference(entry) for entry in found.config],
        metrics=[_difference(entry) for entry in found.metrics],
        first_trade=None if found.first_trade is None else _difference(found.first_trade),
        same_trades=found.same_trades,
        same_equity=found.same_equity,
    )


@tool("runs_report", ReportRequest, ReportResponse)
def runs_report_tool(request: ReportRequest, context: ToolContext) -> ReportResponse:
    """The HTML report of a run; where there is none, the run is computed again, held against its artifacts, and drawn.

    The run of a script's own strategy (BacktestEngine) is drawn from its artifacts alone: its code may be no more.
    """
    run = find_run(request.run, context.home)
    path = run.folder / "report.html"
    if path.exists() and not request.again:
        return ReportResponse(run_id=run.run_id, path=str(path), drawn=False)
    if not (run.folder / "result.json").exists():
        raise DataError(f"{run.run_id} ({run.status}) has no result to draw: only finished backtests have a report")
    of_a_script = _is_of_a_script(run)
    if of_a_script:
        result = kept_result(run, context.home.store)
    else:
        with HistoricalDataStore(context.home.store, read_only=True) as store:
            result = run_again(run, store, context.home)
    return ReportResponse(run_id=run.run_id, path=str(write_run_report(result, run.folder)), drawn=True, computed=not of_a_script)


def _is_of_a_script(run: RunInfo) -> bool:
    config = (run.read().config or {}).get("config") or {}
    return config.get("system_file") == ""


def _entry(run: RunInfo) -> RunEntry:
    return RunEntry(
        run.run_id,
        run.strategy_id,
        run.epoch,
        run.symbol,
        run.timeframes,
        run.started,
        run.status,
        run.passed,
        run.stop_reason,
        run.error,
        run.experiment,
        run.metrics,
        str(run.folder),
        run.warnings,
    )


def _money(line: MoneyLine) -> dict[str, str]:
    return {"label": line.label, "amount": line.amount, "kind": line.kind}


def _difference(entry: RunDifference) -> DifferenceEntry:
    return DifferenceEntry(entry.key, entry.a, entry.b)
