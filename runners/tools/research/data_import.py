"""Data tools: history into the store, out of files and folders, and what the exchange says of its instruments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from keel.adapters.store import HistoricalDataStore
from keel.adapters.store.columns.zones import read_zone
from keel.adapters.store.files.formats import TAKEN, is_data_name
from keel.adapters.store.records import ImportReport
from keel.core.errors import KeelError
from keel.core.model.instrument import Category
from keel.runners.tools.registry import Request, Response, ToolContext, tool
from keel.runners.user_path import user_path


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


@tool("data_import_instruments", InstrumentsRequest, InstrumentsResponse)
def data_import_instruments_tool(request: InstrumentsRequest, context: ToolContext) -> InstrumentsResponse:
    """Import ticks, limits, fees and risk tiers from the exchange's own JSON answers."""
    with HistoricalDataStore(context.home.store) as store:
        symbols = {path: store.import_instruments(user_path(path), category=request.category) for path in request.files}
    return InstrumentsResponse(store=str(context.home.store), symbols=symbols)


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
