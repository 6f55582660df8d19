"""Data tools: what the store has, what is wrong with it, and out again; and an invented history into it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from keel.adapters.store import HistoricalDataStore
from keel.adapters.store.records import Coverage, FillReport, Finding, Gap
from keel.core.errors import ConfigError
from keel.core.model.timeframe import tf_ms
from keel.runners.sample import Sampled, write_sample
from keel.runners.tools.registry import Request, Response, ToolContext, tool
from keel.runners.user_path import user_path


class SynthRequest(Request, frozen=True):
    """symbols: perpetuals such as BTCUSDT; start, end: dates or times, UTC; seed: the same gives the same."""

    symbols: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("BTCUSDT", "ETHUSDT")
    start: str = "2024-01-01"
    end: str = "2025-01-01"
    seed: Annotated[int, msgspec.Meta(ge=0)] = 7


class SynthResponse(Response, frozen=True, kw_only=True):
    """What was invented; label: the source under which it lies in the store."""

    store: str
    label: str
    seed: int
    start: int
    end: int
    series: list[Sampled]


class ListRequest(Request, frozen=True):
    """symbol: only its series."""

    symbol: str | None = None


class ListResponse(Response, frozen=True, kw_only=True):
    """The series that were asked for, and every symbol of the store; times in ms UTC."""

    store: str
    series: list[Coverage]
    symbols: list[str]


class SeriesRequest(Request, frozen=True):
    """Which series. None: all, each that is stored."""

    symbol: str | None = None
    timeframe: str | None = None
    kind: str | None = None
    category: str | None = None


class SeriesGaps(msgspec.Struct, frozen=True):
    """The gaps of one series."""

    symbol: str
    category: str
    kind: str
    timeframe: str
    gaps: list[Gap]


class GapsResponse(Response, frozen=True, kw_only=True):
    """The series that were looked at, with their gaps."""

    series: list[SeriesGaps]
    missing: int


class SeriesFill(msgspec.Struct, frozen=True):
    """What was built into one series."""

    symbol: str
    category: str
    kind: str
    timeframe: str
    report: FillReport


class FillResponse(Response, frozen=True, kw_only=True):
    """What was built out of finer bars, and what is left."""

    series: list[SeriesFill]
    filled: int
    remaining: int


class VerifyRequest(Request, frozen=True):
    """symbol: only its series."""

    symbol: str | None = None


class VerifyResponse(Response, frozen=True, kw_only=True):
    """Findings, and how many of them are errors: what a store must never hold."""

    findings: list[Finding]
    errors: int
    warnings: int


class ExportRequest(Request, frozen=True):
    """One series to a file. format: parquet or csv; None: as the file's name says."""

    symbol: str
    out: str
    timeframe: str = ""
    kind: str = "last"
    category: str = "linear"
    format: str | None = None
    start: str | None = None
    end: str | None = None


class ExportResponse(Response, frozen=True, kw_only=True):
    """The file and its rows."""

    path: str
    rows: int


@tool("data_synth", SynthRequest, SynthResponse)
def data_synth_tool(request: SynthRequest, context: ToolContext) -> SynthResponse:
    """Invent a deterministic sample history (labelled synthetic) and put it into the store."""
    made = write_sample(context.home, request.symbols, request.start, request.end, request.seed, context.progress)
    return SynthResponse(
        store=str(context.home.store),
        label=made.label,
        seed=request.seed,
        start=made.span.start_ms,
        end=made.span.end_ms,
        series=made.series,
    )


@tool("data_list", ListRequest, ListResponse)
def data_list_tool(request: ListRequest, context: ToolContext) -> ListResponse:
    """What the store has: rows, span, gaps and sources of every series."""
    with HistoricalDataStore(context.home.store, read_only=True) as store:
        every = store.coverage()
    series = [entry for entry in every if request.symbol in (None, entry.symbol)]
    return ListResponse(store=str(context.home.store), series=series, symbols=sorted({entry.symbol for entry in every}))


@tool("data_gaps", SeriesRequest, GapsResponse)
def data_gaps_tool(request: SeriesRequest, context: ToolContext) -> GapsResponse:
    """Bars and settlements that are missing inside the stored series."""
    with HistoricalDataStore(context.home.store, read_only=True) as store:
        found = [
            SeriesGaps(
                entry.symbol,
                entry.category,
                entry.kind,
                entry.timeframe,
                store.find_gaps(entry.symbol, entry.timeframe, kind=entry.kind, category=entry.category),
            )
            for entry in selected(store, request)
        ]
    return GapsResponse(series=found, missing=sum(gap.missing for series in found for gap in series.gaps))


@tool("data_fill", SeriesRequest, FillResponse)
def data_fill_tool(request: SeriesRequest, context: ToolContext) -> FillResponse:
    """Build missing bars out of finer bars where these are complete; nothing is invented."""
    with HistoricalDataStore(context.home.store) as store:
        filled = [
            SeriesFill(
                entry.symbol,
                entry.category,
                entry.kind,
                entry.timeframe,
                store.fill_gaps(entry.symbol, entry.timeframe, kind=entry.kind, category=entry.category),
            )
            for entry in selected(store, request)
            if entry.timeframe
        ]
    remaining = sum(gap.missing for series in filled for gap in series.report.remaining)
    return FillResponse(series=filled, filled=sum(series.report.filled for series in filled), remaining=remaining)


@tool("data_verify", VerifyRequest, VerifyResponse)
def data_verify_tool(request: VerifyRequest, context: ToolContext) -> VerifyResponse:
    """Check the stored series: duplicates, disorder, impossible bars, bars that contradict finer ones, silence, leaps, gaps, odd prices."""
    with HistoricalDataStore(context.home.store, read_only=True) as store:
        if request.symbol is not None and all(entry.symbol != request.symbol for entry in store.coverage()):
            raise ConfigError(f"the store has nothing of {request.symbol}: keel data list shows what there is, keel data import FILE adds")
        findings = store.verify(request.symbol, now_ms=context.now_ms())
    severities = [finding.severity for finding in findings]
    return VerifyResponse(findings=findings, errors=severities.count("error"), warnings=severities.count("warning"))


@tool("data_export", ExportRequest, ExportResponse)
def data_export_tool(request: ExportRequest, context: ToolContext) -> ExportResponse:
    """Write one series to a Parquet or CSV file, whole or not at all."""
    path = user_path(request.out)
    if path.name in ("", "..") or path.is_dir():
        raise ConfigError(f"{request.out!r} is a folder: name the file in it that is to be written, such as {path / 'btc_1h.parquet'}")
    if request.format is not None and request.format not in ("parquet", "csv"):
        raise ConfigError(f"format {request.format!r}: use parquet or csv")
    if request.format is not None and path.suffix.lower() != f".{request.format}":
        if path.suffix.lower() in (".parquet", ".csv"):
            raise ConfigError(f"{path} does not end in .{request.format}: change the name, or leave the format out")
        path = path.with_name(f"{path.name}.{request.format}")
    if request.kind in ("last", "mark", "index"):
        if not request.timeframe:
            raise ConfigError(f"bars of the {request.kind} price need a timeframe: --timeframe 1h")
        tf_ms(request.timeframe)
    with HistoricalDataStore(context.home.store, read_only=True) as store:
        rows = store.export(path, request.symbol, request.timeframe, request.kind, request.start, request.end, category=request.category)
    return ExportResponse(path=str(path), rows=rows)


def selected(store: HistoricalDataStore, request: SeriesRequest) -> list[Coverage]:
    """The stored series that a request means. Raises ConfigError when there are none."""
    found = [
        entry
        for entry in store.coverage()
        if request.kind in (None, entry.kind)
        and request.category in (None, entry.category)
        and request.symbol in (None, entry.symbol)
        and request.timeframe in (None, entry.timeframe)
    ]
    if not found:
        wanted = " ".join(part for part in ("", request.symbol, request.category, request.kind, request.timeframe) if part is not None)
        raise ConfigError(f"the store has no series{wanted}: keel data list shows what there is, keel data import FILE adds to it")
    return found
