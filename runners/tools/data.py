"""Data tools: history into the store, what it has, what is wrong with it, and out again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from adapters.store import HistoricalDataStore
from adapters.store.files.formats import TAKEN, is_data_name
from adapters.store.records import Coverage, FillReport, Finding, Gap, ImportReport
from adapters.store.schema import SeriesKey
from adapters.store.symbols import read_symbol
from adapters.store.zones import read_zone
from core.errors import ConfigError, KeelError
from core.instrument import Category
from core.timeframe import tf_ms
from runners.sample import Sampled, write_sample
from runners.tools.registry import Request, Response, ToolContext, tool
from runners.user_path import user_path

_LISTED: Final = 20


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
    """Files and folders to import; what their columns or path say need not be said. overwrite: put other values in place of stored ones;
    keep_unfinished: take bars that have not closed yet, and rows of the future, as they stand. time_format: strptime, of times as text;
    timezone: of times that say none (UTC, +03:00, Europe/Berlin); decimal: the mark in numbers; skip_lines: lines before the table;
    drop_empty: leave out rows with empty cells, and count them."""

    files: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    symbol: str | None = None
    timeframe: str | None = None
    kind: str | None = None
    category: str | None = None
    overwrite: bool = False
    keep_unfinished: bool = False
    time_format: str | None = None
    timezone: str | None = None
    decimal: Literal[".", ","] = "."
    skip_lines: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    drop_empty: bool = False


class FailedFile(msgspec.Struct, frozen=True):
    """A file that was refused; the store is as it was before it."""

    path: str
    error: str


class ImportedFolder(msgspec.Struct, frozen=True):
    """A folder: the files in it and its folders that were tried, and those of other kinds that were left aside."""

    path: str
    files: int
    others: int


class ImportResponse(Response, frozen=True, kw_only=True):
    """What each file was, and which were refused."""

    store: str
    imported: list[ImportReport]
    failed: list[FailedFile]
    folders: list[ImportedFolder] = msgspec.field(default_factory=list)


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


class DeleteRequest(Request, frozen=True):
    """Which series of a symbol; None: each. confirm: without it nothing is deleted, and the error says what would be."""

    symbol: str
    timeframe: str | None = None
    kind: str | None = None
    category: str | None = None
    confirm: bool = False


class ChangedSeries(msgspec.Struct, frozen=True):
    """A series that was deleted or renamed, by the name that it had."""

    symbol: str
    category: str
    kind: str
    timeframe: str
    rows: int


class DeleteResponse(Response, frozen=True, kw_only=True):
    """What was deleted."""

    store: str
    series: list[ChangedSeries]


class RenameRequest(Request, frozen=True):
    """The series of a symbol (None: each) and their new symbol; to_category: their new category, None: the one they have."""

    symbol: str
    to: str
    timeframe: str | None = None
    kind: str | None = None
    category: str | None = None
    to_category: Category | None = None


class RenameResponse(Response, frozen=True, kw_only=True):
    """What was renamed, and the symbol that it has now."""

    store: str
    to: str
    series: list[ChangedSeries]


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
    """Import files of history, each whole or not at all, and folders of them; a refused file does not stop the others."""
    imported: list[ImportReport] = []
    failed: list[FailedFile] = []
    if request.timezone is not None:
        read_zone(request.timezone)
    paths, folders = _files_of(request.files)
    with HistoricalDataStore(context.home.store) as store:
        for done, path in enumerate(paths):
            if context.progress is not None:
                context.progress(f"import {Path(path).name}", done, len(paths))
            try:
                imported.append(_import_one(store, path, request, context.now_ms()))
            except KeelError as error:
                failed.append(FailedFile(path, str(error)))
    failed += [FailedFile(folder.path, f"{folder.path}: the folder holds no {TAKEN}") for folder in folders if not folder.files]
    return ImportResponse(store=str(context.home.store), imported=imported, failed=failed, folders=folders)


@tool("data_delete", DeleteRequest, DeleteResponse)
def data_delete_tool(request: DeleteRequest, context: ToolContext) -> DeleteResponse:
    """Delete series of a symbol with all their rows; instruments that the exchange told stay."""
    with HistoricalDataStore(context.home.store, read_only=not request.confirm) as store:
        found = _selected(store, SeriesRequest(_stored_symbol(store, request.symbol), request.timeframe, request.kind, request.category))
        if not request.confirm:
            raise ConfigError(f"this would delete {_in_words(found)}; nothing was deleted: --yes deletes it")
        store.delete([_key(entry) for entry in found])
    return DeleteResponse(store=str(context.home.store), series=_changed(found))


@tool("data_rename", RenameRequest, RenameResponse)
def data_rename_tool(request: RenameRequest, context: ToolContext) -> RenameResponse:
    """Give the series of a symbol another symbol or category; all or none."""
    to = read_symbol(request.to).name
    with HistoricalDataStore(context.home.store) as store:
        symbol = _stored_symbol(store, request.symbol)
        found = _selected(store, SeriesRequest(symbol, request.timeframe, request.kind, request.category))
        moves = {_key(one): SeriesKey(one.env, request.to_category or one.category, to, one.kind, one.timeframe) for one in found}
        moves = {old: new for old, new in moves.items() if old != new}
        if not moves:
            raise ConfigError(f"{_in_words(found)} is called so already: nothing was changed")
        if len(set(moves.values())) < len(moves):
            raise ConfigError(f"{_in_words(found)} would fall upon each other: choose one with --category")
        store.rename(moves)
    return RenameResponse(store=str(context.home.store), to=to, series=_changed([one for one in found if _key(one) in moves]))


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
        time_format=request.time_format,
        timezone=request.timezone,
        decimal=request.decimal,
        skip_lines=request.skip_lines,
        drop_empty=request.drop_empty,
        allow_overwrite=request.overwrite,
        keep_unfinished=request.keep_unfinished,
        now_ms=now_ms,
    )


def _files_of(given: tuple[str, ...]) -> tuple[list[str], list[ImportedFolder]]:
    """The files that are meant: those that are named, and of folders what is in them and below, in the order of their names."""
    files: list[str] = []
    folders: list[ImportedFolder] = []
    for text in given:
        try:
            path = user_path(text)
            is_folder = path.is_dir()
        except KeelError:  # importing it says what is wrong with the name
            is_folder = False
        if not is_folder:
            files.append(text)
            continue
        inside = sorted(one for one in path.rglob("*") if one.is_file() and not _is_hidden(one.relative_to(path)))
        data = [str(one) for one in inside if is_data_name(one.name)]
        files += data
        folders.append(ImportedFolder(text, len(data), len(inside) - len(data)))
    return files, folders


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _stored_symbol(store: HistoricalDataStore, given: str) -> str:
    """A symbol as the store has it: as it was given, or in the store's spelling."""
    return given if any(entry.symbol == given for entry in store.coverage()) else read_symbol(given).name


def _key(entry: Coverage) -> SeriesKey:
    return SeriesKey(entry.env, entry.category, entry.symbol, entry.kind, entry.timeframe)


def _changed(found: list[Coverage]) -> list[ChangedSeries]:
    return [ChangedSeries(one.symbol, one.category, one.kind, one.timeframe, one.rows) for one in found]


def _in_words(found: list[Coverage]) -> str:
    listed = [f"{f'{one.symbol} {one.category} {one.kind} {one.timeframe}'.strip()} ({one.rows:,} rows)" for one in found]
    return ", ".join(listed[:_LISTED]) + (f" and {len(listed) - _LISTED} more series" if len(listed) > _LISTED else "")


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
