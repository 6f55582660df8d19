"""Data tools: history into the store, what it has, what is wrong with it, and out again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from adapters.store import HistoricalDataStore
from adapters.store.records import Coverage, FillReport, Finding, Gap, ImportReport
from core.errors import ConfigError, KeelError
from core.instrument import Category
from core.timeframe import tf_ms
from runners.sample import Sampled, write_sample
from runners.tools.registry import Request, Response, ToolContext, tool
from runners.user_path import user_path


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


class ImportRequest(Request, frozen=True):
    """Files to import; what their columns or path say need not be said. overwrite: put other values in place of stored ones;
    keep_unfinished: take bars that have not closed yet, and rows of the future, as they stand."""

    files: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    symbol: str | None = None
    timeframe: str | None = None
    kind: str | None = None
    category: str | None = None
    overwrite: bool = False
    keep_unfinished: bool = False


class FailedFile(msgspec.Struct, frozen=True):
    """A file that was refused; the store is as it was before it."""

    path: str
    error: str


class ImportResponse(Response, frozen=True, kw_only=True):
    """What each file was, and which were refused."""

    store: str
    imported: list[ImportReport]
    failed: list[FailedFile]


class InstrumentsRequest(Request, frozen=True):
    """The exchange's instruments-info or risk-limit answers (JSON). category: of answers that do not say theirs."""

    files: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    category: Category | None = None


class InstrumentsResponse(Response, frozen=True, kw_only=True):
    """Symbols per file."""

    store: str
    symbols: dict[str, int]


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


@tool("data_import", ImportRequest, ImportResponse)
def data_import_tool(request: ImportRequest, context: ToolContext) -> ImportResponse:
    """Import CSV or Parquet files, each whole or not at all; a refused file does not stop the others."""
    imported: list[ImportReport] = []
    failed: list[FailedFile] = []
    with HistoricalDataStore(context.home.store) as store:
        for done, path in enumerate(request.files):
            if context.progress is not None:
                context.progress(f"import {Path(path).name}", done, len(request.files))
            try:
                imported.append(_import_one(store, path, request, context.now_ms()))
            except KeelError as error:
                failed.append(FailedFile(path, str(error)))
    return ImportResponse(store=str(context.home.store), imported=imported, failed=failed)


@tool("data_import_instruments", InstrumentsRequest, InstrumentsResponse)
def data_import_instruments_tool(request: InstrumentsRequest, context: ToolContext) -> InstrumentsResponse:
    """Import ticks, limits, fees and risk tiers from the exchange's own JSON answers."""
    with HistoricalDataStore(context.home.store) as store:
        symbols = {path: store.import_instruments(user_path(path), category=request.category) for path in request.files}
    return InstrumentsResponse(store=str(context.home.store), symbols=symbols)


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
            for entry in _selected(store, request)
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
            for entry in _selected(store, request)
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


def _import_one(store: HistoricalDataStore, path: str, request: ImportRequest, now_ms: int) -> ImportReport:
    return store.import_file(
        user_path(path),
        symbol=request.symbol,
        timeframe=request.timeframe,
        kind=request.kind,
        category=request.category,
        allow_overwrite=request.overwrite,
        keep_unfinished=request.keep_unfinished,
        now_ms=now_ms,
    )


def _selected(store: HistoricalDataStore, request: SeriesRequest) -> list[Coverage]:
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
