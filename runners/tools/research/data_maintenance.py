"""Data tools: series that go, or get another name."""

from __future__ import annotations

from typing import Final

import msgspec

from keel.adapters.store import HistoricalDataStore
from keel.adapters.store.records import Coverage
from keel.adapters.store.schema import SeriesKey
from keel.adapters.store.symbols import read_symbol
from keel.core.errors import ConfigError
from keel.core.model.instrument import Category
from keel.runners.tools.registry import Request, Response, ToolContext, tool
from keel.runners.tools.research.data import SeriesRequest, selected

_LISTED: Final = 20


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


@tool("data_delete", DeleteRequest, DeleteResponse)
def data_delete_tool(request: DeleteRequest, context: ToolContext) -> DeleteResponse:
    """Delete series of a symbol with all their rows; instruments that the exchange told stay."""
    with HistoricalDataStore(context.home.store, read_only=not request.confirm) as store:
        found = selected(store, SeriesRequest(_stored_symbol(store, request.symbol), request.timeframe, request.kind, request.category))
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
        found = selected(store, SeriesRequest(symbol, request.timeframe, request.kind, request.category))
        moves = {_key(one): SeriesKey(one.env, request.to_category or one.category, to, one.kind, one.timeframe) for one in found}
        moves = {old: new for old, new in moves.items() if old != new}
        if not moves:
            raise ConfigError(f"{_in_words(found)} is called so already: nothing was changed")
        if len(set(moves.values())) < len(moves):
            raise ConfigError(f"{_in_words(found)} would fall upon each other: choose one with --category")
        store.rename(moves)
    return RenameResponse(store=str(context.home.store), to=to, series=_changed([one for one in found if _key(one) in moves]))


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
