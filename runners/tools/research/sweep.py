"""Sweep tools: one system under many parameter sets, and going on with a sweep that was interrupted."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

import msgspec

from keel.adapters.report.page import write_page
from keel.adapters.whole_file import json_text, whole_file, write_bytes
from keel.core.errors import ConfigError
from keel.runners.lifecycle.registry import find_sweep
from keel.runners.research.sweep.ask import SweepAsk, load_begun
from keel.runners.research.sweep.defaults import LIMIT, MIN_TRADES
from keel.runners.research.sweep.page import region_lines, render_sweep
from keel.runners.research.sweep.run import Finished, Interrupted, resume_sweep, start_sweep
from keel.runners.research.sweep.search import SearchName
from keel.runners.research.sweep.summary import Entry, HeatMap, RegionEntry, summarize
from keel.runners.research.sweep.workers.engines import Place
from keel.runners.tools.registry import Request, Response, ToolContext, tool

__all__ = ["Interrupted", "SweepRequest", "SweepResponse", "sweep_run_tool"]


class SweepRequest(Request, frozen=True):
    """What to sweep. params: KEY=VALUES, such as "fast=5:50:5"; resume: the id of a begun sweep, or "last": nothing else is said then
    but where to run. windows: the search looks at the first, the others stand beside it; or one from start to end. workers: None: one per
    processor. overrides: keys of the system file for all points, KEY=VALUE. min_trades: closed trades that a score needs.
    """

    system_id: str | None = None
    params: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    timeframes: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()
    search: SearchName = "grid"
    trials: int | None = None
    metric: str = "sharpe"
    on: Literal["local", "ray"] = "local"
    address: str | None = None
    workers: int | None = None
    engine: Literal["auto", "kernel", "actors"] = "auto"
    resume: str | None = None
    seed: int = 0
    limit: int = LIMIT
    start: str | None = None
    end: str | None = None
    overrides: tuple[str, ...] = ()
    min_trades: int = MIN_TRADES


class SweepResponse(Response, frozen=True, kw_only=True):
    """What a sweep came to. entries: every setting, the best robust score first; computed: points that this call ran.

    region: None where no neighbourhood is a robust region: no_region says why, best_neighbourhood what came nearest. luck: None where
    there is no such line: no_luck says why. unscored, refused: settings without a score, and those that could not be run, by the reason.
    """

    sweep_id: str
    folder: str
    report: str
    results: str
    system: str
    metric: str
    lower_is_better: bool
    windows: dict[str, dict[str, int]]
    search: str
    points: int
    computed: int
    tried: int
    done: int
    failed: int
    invalid: int
    engine: str
    notes: list[str]
    peak: Entry | None
    region: RegionEntry | None
    region_text: list[str]
    luck: float | None
    heat: HeatMap | None
    entries: list[Entry]
    seconds: float
    min_trades: int
    unscored: dict[str, int]
    refused: dict[str, int]
    no_region: str
    best_neighbourhood: RegionEntry | None
    no_luck: str


@tool("sweep_run", SweepRequest, SweepResponse)
def sweep_run_tool(request: SweepRequest, context: ToolContext) -> SweepResponse:
    """Run a system under many parameter sets, over symbols, timeframes and windows; or go on with such a sweep."""
    place = Place(request.on, request.address, request.workers)
    if request.resume is None:
        if request.system_id is None:
            raise ConfigError("name the system to sweep, such as keel sweep ema_cross --param fast=5:50:5, or a sweep to --resume")
        names = SweepAsk.__struct_fields__
        ask = SweepAsk(**{name: getattr(request, name) for name in names})
        finished = start_sweep(ask, context.home, place, context.progress)
    else:
        _refuse_beside_resume(request)
        finished = resume_sweep(find_sweep(request.resume, context.home).folder, context.home, place, context.progress)
    return _kept(finished, context)


def _refuse_beside_resume(request: SweepRequest) -> None:
    """A sweep goes on as it was begun. Raises ConfigError for anything else that was said."""
    free = {"on", "address", "workers", "resume"}
    plain = SweepRequest()
    said = [name for name in request.__struct_fields__ if name not in free and getattr(request, name) != getattr(plain, name)]
    if said:
        raise ConfigError(f"a sweep goes on as it was begun: leave {', '.join(said)} out beside --resume {request.resume}")


def _kept(finished: Finished, context: ToolContext) -> SweepResponse:
    """Write summary, page and table into the sweep's folder."""
    record, folder = finished.record, finished.folder
    loaded = load_begun(record, context.home)
    summary = summarize(finished, loaded)
    notes = [*record.notes, *([finished.engine_note] if finished.engine_note else [])]
    if summary.entries and not summary.done:
        reasons = {entry.reason: None for entry in summary.entries if entry.reason}
        raise ConfigError(f"{record.sweep_id}: no point could be run: {next(iter(reasons), 'for no reason that was recorded')}")
    report = write_page(render_sweep(record, summary, finished.engine, notes), folder / "report.html")
    results = _write_csv(finished, folder / "results.csv")
    shown = msgspec.to_builtins(msgspec.structs.replace(summary, entries=summary.entries[:1], heat=None))
    write_bytes(folder / "summary.json", json_text({"status": "completed", **shown}))
    return SweepResponse(
        sweep_id=record.sweep_id,
        folder=str(folder),
        report=str(report),
        results=str(results),
        system=record.system["system"],
        metric=summary.metric,
        lower_is_better=summary.lower_is_better,
        windows={span.name or "window": {"start_ms": span.start_ms, "end_ms": span.end_ms} for span in record.windows},
        search=record.ask.search,
        points=sum(len(trial.rows) for trial in finished.trials),
        computed=finished.fresh,
        tried=summary.tried,
        done=summary.done,
        failed=summary.failed,
        invalid=summary.invalid,
        engine=finished.engine,
        notes=notes,
        peak=next((entry for entry in summary.entries if entry.number == summary.peak), None),
        region=summary.region,
        region_text=region_lines(summary),
        luck=summary.luck,
        heat=summary.heat,
        entries=summary.entries,
        seconds=round(finished.seconds, 3),
        min_trades=summary.min_trades,
        unscored=summary.unscored,
        refused=summary.refused,
        no_region=summary.no_region,
        best_neighbourhood=summary.best_neighbourhood,
        no_luck=summary.no_luck,
    )


def _write_csv(finished: Finished, path: Path) -> Path:
    """Every point with its metrics, a line each, in the order in which they were tried: the same bytes wherever they were run."""
    rows = [row for trial in finished.trials for row in trial.rows]
    keys = list(finished.trials[0].setting) if finished.trials else []
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", *keys, "symbols", "window", "status", "reason", "no_trades", *metrics])
        for trial in finished.trials:
            for row in trial.rows:
                setting = [trial.setting[key] for key in keys]
                about = [row.symbols, row.window, row.status, row.reason, row.no_trades]
                writer.writerow([row.id, *setting, *about, *(row.metrics.get(name) for name in metrics)])
    return path
