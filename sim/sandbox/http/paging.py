"""Lists: newest first, windows of time, and opaque cursors that come percent-encoded and go back verbatim."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import dropwhile, islice
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from keel.core.model.timeframe import WEEK_MS
from keel.sim.sandbox.http.errors import is_count, params_error
from keel.sim.sandbox.http.parameters import Params, moment, text, whole

T = TypeVar("T")


def page(rows: Iterable[T], params: Params, *, limit: int, highest: int, key: Callable[[T], int]) -> tuple[list[T], str]:
    """One page of rows that come newest first: what follows the cursor, and the next cursor ("" on the last page). No more of the rows is
    taken than that needs.

    ``key`` is unique and falls along the rows: a cursor names the last row that was given.
    """
    size = whole(params, "limit", limit, low=1, high=highest)
    after = after_cursor(params)
    following = rows if after is None else dropwhile(lambda row: key(row) >= after, rows)
    kept = list(islice(following, size + 1))
    if len(kept) <= size:
        return kept, ""
    return kept[:size], quote(f"{key(kept[size - 1])}:{size},{key(kept[0])}:1", safe="")


def from_place(params: Params, limit: int, count: int) -> tuple[int, str]:
    """Of a list that does not change: the place where this page begins, and the next cursor ("" on the last page)."""
    begin = whole({"cursor": unquote(text(params, "cursor")).removeprefix("first=")}, "cursor", 0, low=0)
    return begin, quote(f"first={begin + limit}", safe="") if begin + limit < count else ""


def after_cursor(params: Params) -> int | None:
    """The key of the row that a request's cursor names; None without one. Raises 10001 for what is no cursor."""
    cursor = text(params, "cursor")
    if not cursor:
        return None
    first = unquote(cursor).partition(":")[0]
    if not is_count(first):
        raise params_error("cursor invalid")
    return int(first)


def window(params: Params, now_ms: int, *, default_ms: int = WEEK_MS) -> tuple[int, int]:
    """[start, end] in ms of a list with a window of at most seven days; either end alone gives the other."""
    start, end = moment(params, "startTime"), moment(params, "endTime")
    if start is None and end is None:
        return now_ms - default_ms, now_ms + 1
    if start is None:
        return (end or 0) - default_ms, end or 0
    if end is None:
        return start, start + default_ms
    if end < start:
        raise params_error("startTime should be less than endTime")  # ASSUMED words
    if end - start > WEEK_MS:
        raise params_error("the time range between startTime and endTime must not exceed 7 days")  # ASSUMED words
    return start, end


def listing(category: str, rows: list[dict[str, Any]], cursor: str) -> dict[str, Any]:
    """The usual shape of a list."""
    return {"category": category, "list": rows, "nextPageCursor": cursor}
