"""Charts lift their pen where no bars were, and only there."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from keel.adapters.report.charts import exposure_figure, price_figure, span
from keel.adapters.report.evidence import EXPLAINED
from keel.adapters.report.holes import MOST, hole_rows, lifted
from keel.adapters.report.page import render
from keel.adapters.report.resample import extreme_rows
from keel.core.metrics.curve import read_curve
from keel.core.model.frame import Frame
from keel.core.model.money import to_float
from keel.core.results.result import BacktestResult

MINUTE = 60_000
Build = Callable[..., BacktestResult]


def with_hole(result: BacktestResult, first: int, last: int) -> BacktestResult:
    """The same run without the bars [first, last)."""

    def without(frame: Frame, shift: int) -> Frame:
        keep = np.ones(len(frame), dtype=bool)
        keep[first + shift : last + shift] = False
        columns = {name: frame[name][keep] for name in frame.columns if name != "ts"}
        return Frame(frame.ts[keep], columns, symbol=frame.symbol, timeframe=frame.timeframe, kind=frame.kind)

    result.bars = {symbol: without(frame, 0) for symbol, frame in result.bars.items()}
    result.equity_curve = without(result.equity_curve, 1)
    result.benchmark = None if result.benchmark is None else without(result.benchmark, 1)
    return result


def values(packed: dict[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed.get("bdata") or packed["ms"]), dtype="<f8")


def figures_of(page: str) -> dict[str, list[dict[str, Any]]]:
    found = re.search(r'<script type="application/json" id="figures-data">(.*?)</script>', page, re.DOTALL)
    assert found
    figures: dict[str, list[dict[str, Any]]] = json.loads(found[1])
    return figures


def trace(figure: dict[str, Any], name: str) -> dict[str, Any]:
    return next(part for part in figure["data"] if part.get("name") == name)


@pytest.fixture(scope="module")
def holed(build: Build) -> tuple[BacktestResult, int, int]:
    """Forty days, of which days 10 to 25 are not there; and the closes at the hole's edges."""
    result = with_hole(build(trade_count=20), 10 * 1440, 25 * 1440)
    begin = result.window.start_ms
    return result, begin + 10 * 1440 * MINUTE, begin + (25 * 1440 + 1) * MINUTE


@pytest.mark.parametrize("name", ["Equity", "Buy and hold", "Drawdown"])
def test_no_line_goes_through_a_hole(holed: tuple[BacktestResult, int, int], name: str) -> None:
    result, before, after = holed
    part = trace(figures_of(render(result))["equity"][0], name)
    times, heights = values(part["x"]), values(part["y"])
    (gap,) = np.flatnonzero(np.isnan(heights))
    assert (times[gap - 1], times[gap + 1]) == (before, after) and (np.diff(times) > 0).all()
    assert "fill" not in part, "a fill goes on across a nan"


def test_areas_are_nothing_in_a_hole(holed: tuple[BacktestResult, int, int]) -> None:
    result, before, after = holed
    area = trace(figures_of(render(result))["equity"][0], "Drawdown area")
    times, heights = values(area["x"]), values(area["y"])
    inside = np.flatnonzero((times >= before) & (times <= after))[1:-1]
    assert len(inside) == 2 and (heights[inside] == 0).all()
    axis = span(result.window.start_ms, result.window.end_ms)
    curve = read_curve(result.equity_curve, to_float(result.reconciliation.initial_equity))
    assert curve.gross is not None
    for part in exposure_figure(curve, np.full(len(curve.ts), 5000.0), axis)["data"]:
        times, heights = values(part["x"]), values(part["y"])
        row = int(np.searchsorted(times, before, side="right"))
        assert heights[row] == 0 and times[row] == before + 1 and times[row + 1] == after and heights[row + 1] > 0
    figure = price_figure(result.bars["BTCUSDT"], [], "USDT", axis)
    low, high = trace(figure, "Low"), trace(figure, "High")
    times, width = values(low["x"]), values(high["y"]) - values(low["y"])
    edges = (times >= before) & (times <= after)
    assert edges.sum() == 2 and (width[edges] == 0).all() and (width[~edges] > 0).all()


def test_without_holes_nothing_is_broken(build: Build) -> None:
    figures = figures_of(render(build(trade_count=20, days=3)))
    for name in ("Equity", "Drawdown"):
        assert not np.isnan(values(trace(figures["equity"][0], name)["y"])).any()
    assert trace(figures["equity"][0], "Drawdown")["fill"] == "tozeroy"
    assert not any(part["name"] == "Drawdown area" for part in figures["equity"][0]["data"])


def test_holes_that_nobody_could_see_and_more_than_can_be_drawn_are_left() -> None:
    ts = MINUTE * np.arange(100_000, dtype=np.int64)
    assert hole_rows(np.delete(ts, [500, 501])).tolist() == []
    many = np.concatenate([np.arange(1000 * row, 1000 * row + 500 - row) for row in range(100)]) * MINUTE
    rows = hole_rows(many)
    assert len(rows) == MOST and (np.diff(rows) > 0).all()
    steps = np.diff(many)
    assert steps[rows].min() >= np.sort(steps)[-MOST], "the longest stay"
    for few in (ts[:0], ts[:1]):
        assert hole_rows(few).tolist() == []


def test_both_edges_of_a_hole_are_drawn_even_where_a_screen_would_not_show_them() -> None:
    ts = MINUTE * np.concatenate((np.arange(30_000), np.arange(40_000, 70_000)))
    heights = np.sin(np.arange(60_000) / 500.0)
    shown_ts, shown = lifted(ts, heights, extreme_rows(heights, 3), hole_rows(ts))
    (gap,) = np.flatnonzero(np.isnan(shown))
    assert (shown_ts[gap - 1], shown_ts[gap + 1]) == (29_999 * MINUTE, 40_000 * MINUTE)


# --- one trade, what is paid, what is explained ----------------------------------------------------------------------


def test_one_trade_is_drawn_from_zero_and_its_first_marker_whole(build: Build) -> None:
    trade = msgspec.structs.replace(build(days=3).trades[0], entry_ts=build(days=3).window.start_ms)
    figures = figures_of(render(build(days=3, trades=[trade], fills=[])))
    assert figures["pnl"][0]["layout"]["yaxis"]["rangemode"] == "tozero"
    assert figures["holding"][0]["layout"]["yaxis"]["dtick"] == 1
    markers = [part for part in figures["price"][0]["data"] if part["mode"] == "markers"]
    assert markers and all(part["cliponaxis"] is False for part in markers)


def test_what_is_paid_has_one_sign(build: Build) -> None:
    page = render(build(days=3))
    assert '<button type="button">Funding paid</button>' in page and '<button type="button">Fees paid</button>' in page
    result = build(days=3)
    row = re.search(r"<td>\u2212 Funding paid</td><td class=\"num\" data-units=\"(-?\d+)\" data-sign=\"-1\">", page)
    assert row and int(row[1]) == result.reconciliation.funding


def test_every_entry_of_a_trust_record_is_explained_or_left_off(build: Build) -> None:
    page = render(build(days=3, trust={"ambiguous_bars": 7, "moon_phase": "full", "open_is_previous_close": 0.98712}))
    section = page[page.index('<section id="trust"') : page.index('<section id="orders"')]
    assert "Ambiguous bars" in section and "Moon phase" not in section and "98.7%" in section
    assert '<td class="dim"></td>' not in section and len(EXPLAINED) > 10
