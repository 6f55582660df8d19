"""Series with a point at each step of a period that the request chooses: open interest, account ratio."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from keel.core.model.timeframe import DAY_MS, HOUR_MS, MINUTE_MS
from keel.sim.sandbox.http.call import Call
from keel.sim.sandbox.http.errors import params_error
from keel.sim.sandbox.http.paging import after_cursor, page
from keel.sim.sandbox.http.parameters import moment, text
from keel.sim.sandbox.market.symbol_market import SymbolMarket

T = TypeVar("T")

PERIODS: Final = {
    "5min": 5 * MINUTE_MS, "15min": 15 * MINUTE_MS, "30min": 30 * MINUTE_MS, "1h": HOUR_MS, "4h": 4 * HOUR_MS, "1d": DAY_MS,
}  # fmt: skip


def points(
    call: Call, one: SymbolMarket, name: str, highest: int, rows: Callable[[int, int, int], Iterable[tuple[int, T]]]
) -> tuple[list[tuple[int, T]], str]:
    """One page of (stamp, value), newest first, and the next cursor. ``name``: the parameter that holds the period; ``rows``: points by
    (step, oldest, newest), newest first, of which no more is taken than the page needs. Raises 10001 for a period that is none, and for
    spot."""
    step = PERIODS.get(text(call.params, name))
    if step is None or not one.is_linear:
        raise params_error(f"{name} invalid")
    start, end, after = moment(call.params, "startTime"), moment(call.params, "endTime"), after_cursor(call.params)
    newest = min(bound for bound in (call.engine.now_ms, end, None if after is None else after - 1) if bound is not None)
    return page(rows(step, start or 0, newest), call.params, limit=50, highest=highest, key=lambda row: row[0])


def on_grid(one: SymbolMarket, step: int, oldest: int, newest: int) -> range:
    """Stamps of a period, newest first, back to the symbol's first candle."""
    return range(newest - newest % step, max(oldest, one.candles.first_ts) - 1, -step)
