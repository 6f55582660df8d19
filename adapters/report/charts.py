"""Charts over time as plain plotly figures: equity with drawdown, price with trades, exposure.

A figure is {"data": traces, "layout": ...} as plotly.js reads it, with two words of our own that report.js translates: "@name" or
"@name/0.3" is a colour of the page's theme (with its opacity), and {"ms": base64 of float64} are times in ms UTC.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

from keel.adapters.report.holes import emptied, hole_rows, lifted, segments
from keel.adapters.report.resample import SCREEN_BUCKETS, extreme_band, extreme_rows
from keel.adapters.report.text import duration, esc, money, percent, price, quantity, when
from keel.core.metrics.curve import Curve
from keel.core.metrics.drawdown import Drawdowns
from keel.core.model.frame import Frame
from keel.core.model.timeframe import TIMEFRAMES
from keel.core.model.trade import Trade

Figure = dict[str, Any]
Floats = npt.NDArray[np.float64]
EXPOSURE_STRETCHES = 240
"""A position comes and goes within one pixel; this many means can be told apart."""

MARKED_TRADES = 1500
"""More markers than this cover the price; the trades with the largest PnL stay."""


def times(ts: npt.NDArray[np.int64]) -> dict[str, str]:
    """Times in ms, packed."""
    return {"ms": _base64(ts.astype("<f8"))}


def floats(values: Floats) -> dict[str, str]:
    """Values as the typed array that plotly.js reads."""
    return {"dtype": "f8", "bdata": _base64(np.asarray(values).astype("<f8"))}


def line(name: str, ts: npt.NDArray[np.int64], values: Floats, color: str, *, width: float = 1.4, **more: Any) -> dict[str, Any]:
    """A line over time through the rows that a screen can show, broken where there are none."""
    shown_ts, shown = lifted(ts, values, extreme_rows(values), hole_rows(ts))
    style = {"color": color, "width": width, **more.pop("line", {})}
    trace = {"type": "scatter", "mode": "lines", "name": name, "x": times(shown_ts), "y": floats(shown)}
    return {**trace, "line": style, **more}


def unit(text: str, *, y: float = 1.0) -> dict[str, Any]:
    """The unit of a y axis, at its top (report.js sets it flush with the page's edge)."""
    return {"text": text, "xref": "paper", "yref": "paper", "y": y, "yanchor": "bottom", "yshift": 4}


def span(start_ms: int, end_ms: int) -> dict[str, Any]:
    """A time axis that covers the window, so that charts under one another line up."""
    return {"type": "date", "range": times(np.array([start_ms, end_ms]))}


def equity_figure(falls: Drawdowns, benchmark: Frame | None, coin: str, axis: dict[str, Any]) -> Figure:
    """Equity over buy and hold, and under them the distance from the peak."""
    curve = falls.curve
    traces = [line("Equity", curve.ts, curve.equity, "@accent", hovertemplate="%{y:,.2f}")]
    if benchmark is not None and len(benchmark):
        style = {"dash": "dot"}
        hover = "%{y:,.2f}"
        traces.insert(0, line("Buy and hold", benchmark.ts, benchmark["equity"], "@muted", width=1.2, line=style, hovertemplate=hover))
    under = 100.0 * falls.underwater
    worst = under if curve.worst is None else _worst_pct(falls, curve.worst)
    below = {"yaxis": "y2", "showlegend": False, "hovertemplate": "%{y:.2f}%"}
    if curve.worst is not None:
        traces.append(line("Worst within the bar", curve.ts, worst, "@neg/0.35", width=0.8, **below))
    area = {"fill": "tozeroy", "fillcolor": "@neg/0.16"}
    holes = hole_rows(curve.ts)
    if len(holes):  # a fill would go on across a nan
        area_ts, edge = emptied(curve.ts, under, extreme_rows(under), holes)
        shape = {"type": "scatter", "mode": "lines", "name": "Drawdown area", "x": times(area_ts), "y": floats(edge), "line": {"width": 0}}
        traces.append({**shape, **area, **below, "hoverinfo": "skip", "hovertemplate": None})
        area = {}
    traces.append(line("Drawdown", curve.ts, under, "@neg", width=1.1, **area, **below))
    deepest = min(float(worst.min()), float(under.min()))
    deepest = deepest if deepest < -0.01 else -1.0  # next to nothing is drawn as nothing, on an axis of whole percents
    layout = {
        "hovermode": "x unified",
        "hoversubplots": "axis",
        "legend": {"traceorder": "reversed"},
        "xaxis": {**axis, "anchor": "y2"},
        "yaxis": {"domain": [0.36, 1], "tickformat": ",~r"},
        "yaxis2": {"domain": [0, 0.27], "ticksuffix": "%", "rangemode": "tozero", "range": [1.06 * deepest, 0], "nticks": 5},
        "annotations": [unit(coin), unit("Drawdown", y=0.27)],
    }
    return {"data": traces, "layout": layout}


def exposure_figure(curve: Curve, gross: Floats, axis: dict[str, Any]) -> Figure:
    """Gross notional as a percentage of equity: mean of each stretch of time, and the highest in it behind."""
    exposure = 100.0 * gross / np.where(curve.equity > 0, curve.equity, np.nan)
    known = np.where(np.isnan(exposure), 0.0, exposure)
    ts, highest, means = _stretches(curve.ts, known)
    common = {"type": "scatter", "mode": "lines", "x": times(ts), "fill": "tozeroy", "hovertemplate": "%{y:.1f}%"}
    style = {"shape": "hv", "width": 0}
    high = {**common, "name": "Highest", "y": floats(highest), "line": style, "fillcolor": "@accent/0.16"}
    mean = {**common, "name": "Mean", "y": floats(means), "line": style, "fillcolor": "@accent/0.75"}
    layout = {
        "hovermode": "x unified",
        "xaxis": axis,
        "yaxis": {"rangemode": "tozero", "ticksuffix": "%"},
        "legend": {"traceorder": "reversed"},
        "annotations": [unit("Of equity")],
    }
    return {"data": [high, mean], "layout": layout}


def price_figure(bars: Frame, trades: list[Trade], quote: str, axis: dict[str, Any]) -> Figure:
    """Closes with the range of the bars behind them, and where positions were entered and left."""
    traces = [*_price_traces(bars), *_trade_traces(most_telling(trades))]
    layout = {
        "hovermode": "closest",
        "xaxis": axis,
        "yaxis": {"tickformat": ",~r"},
        "legend": {"traceorder": "reversed"},
        "annotations": [unit(quote)],
    }
    return {"data": traces, "layout": layout}


def most_telling(trades: list[Trade]) -> list[Trade]:
    """The trades that the price chart marks: all, or those with the largest PnL, in order of time."""
    if len(trades) <= MARKED_TRADES:
        return trades
    largest = sorted(trades, key=lambda trade: -abs(trade.net_pnl))[:MARKED_TRADES]
    return sorted(largest, key=lambda trade: trade.number)


def trade_words(trade: Trade) -> str:
    """One trade for a hover box."""
    heading = f"<b>#{trade.number} {trade.side} {esc(trade.symbol)}</b> · {quantity(trade.qty)}"
    entry = f"in {when(trade.entry_ts)} at {price(trade.entry_price)}"
    if trade.exit_ts is None or trade.exit_price is None:
        return f"{heading}<br>{entry}<br>still open at the end"
    left = f"out {when(trade.exit_ts)} at {price(trade.exit_price)} · {esc(trade.exit_reason.replace('_', ' ') or 'signal')}"
    result = f"net <b>{money(trade.net_pnl, signed=True)}</b> ({percent(trade.return_pct, signed=True)})"
    return f"{heading}<br>{entry}<br>{left}<br>{result} after {duration(trade.holding_ms or 0)}"


def _worst_pct(falls: Drawdowns, worst: Floats) -> Floats:
    """Each bar's worst equity against the peak before it, in percent: its lowest value is the metric max_drawdown_intrabar_pct."""
    before = np.concatenate(([falls.curve.initial], falls.peak[:-1]))
    return np.asarray(100.0 * np.minimum(np.minimum(worst, falls.curve.equity) / before - 1.0, 0.0))


def _stretches(ts: npt.NDArray[np.int64], values: Floats) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """(beginnings, highest, mean) of stretches of equal row count; zero from the beginning of a hole on."""
    parts, holes = [], hole_rows(ts)
    for part in segments(len(ts), holes):
        own_ts, own = ts[part], values[part]
        starts, _, highest = extreme_band(own, own, max(1, EXPOSURE_STRETCHES * len(own) // len(ts)))
        means = np.add.reduceat(own, starts) / np.diff(np.append(starts, len(own)))
        parts.append((own_ts[starts], highest, means))
        if part.stop < len(ts):
            parts.append((own_ts[-1:] + 1, np.zeros(1), np.zeros(1)))
    all_ts, highs, middles = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return all_ts, highs, middles


def _band(bars: Frame, closes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """(times, lows, highs) of the range behind the closes; at both edges of a hole it shrinks to the price there."""
    parts, size = [], len(bars)
    for part in segments(size, hole_rows(closes)):
        low, high, close, opened, closed = bars["low"][part], bars["high"][part], bars["close"][part], bars.ts[part], closes[part]
        starts, lows, highs = extreme_band(low, high, max(1, SCREEN_BUCKETS * len(low) // size))
        middles = (opened[starts] + closed[np.append(starts[1:], len(low)) - 1]) // 2
        if part.start:
            parts.append((opened[:1], close[:1], close[:1]))
        parts.append((middles, lows, highs))
        if part.stop < size:
            parts.append((closed[-1:], close[-1:], close[-1:]))
    ts, lows, highs = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return ts, lows, highs


def _price_traces(bars: Frame) -> list[dict[str, Any]]:
    closes = bars.ts + _bar_ms(bars)
    middles, lows, highs = _band(bars, closes)
    common = {
        "type": "scatter",
        "mode": "lines",
        "x": times(middles),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    low = {**common, "name": "Low", "y": floats(lows)}
    high = {**common, "name": "High", "y": floats(highs), "fill": "tonexty", "fillcolor": "@muted/0.22"}
    hover = "%{x|%Y-%m-%d %H:%M}<br>close %{y:,~r}<extra></extra>"
    return [low, high, line("Close", closes, bars["close"], "@muted", width=1.0, showlegend=False, hovertemplate=hover)]


def _bar_ms(bars: Frame) -> int:
    known = TIMEFRAMES.get(bars.timeframe)
    return known if known is not None else int(np.median(np.diff(bars.ts))) if len(bars) > 1 else 0


def _trade_traces(trades: list[Trade]) -> list[dict[str, Any]]:
    closed = [trade for trade in trades if trade.exit_ts is not None]
    won = [trade for trade in closed if trade.net_pnl > 0]
    lost = [trade for trade in closed if trade.net_pnl <= 0]
    longs = [trade for trade in trades if trade.side == "LONG"]
    shorts = [trade for trade in trades if trade.side == "SHORT"]
    size = 8.0 if len(trades) <= 120 else 6.5 if len(trades) <= 400 else 5.0
    candidates = [
        _spans(won, "@pos/0.55"),
        _spans(lost, "@neg/0.55"),
        _markers("Exit, loss", lost, "circle-open", "@neg", size, exits=True),
        _markers("Exit, gain", won, "circle-open", "@pos", size, exits=True),
        _markers("Short entry", shorts, "triangle-down", "@short", size, exits=False),
        _markers("Long entry", longs, "triangle-up", "@long", size, exits=False),
    ]
    return [trace for trace in candidates if trace is not None]


def _markers(name: str, trades: list[Trade], symbol: str, color: str, size: float, *, exits: bool) -> dict[str, Any] | None:
    if not trades:
        return None
    ts = np.array([(trade.exit_ts if exits else trade.entry_ts) or 0 for trade in trades], dtype=np.int64)
    at = np.array([(trade.exit_price if exits else trade.entry_price) or np.nan for trade in trades])
    edge = {"width": 1.0 if exits else 0, "color": color}
    marker = {"symbol": symbol, "color": color, "size": size - 0.5 if exits else size, "line": edge}
    trace = {"type": "scatter", "mode": "markers", "name": name, "x": times(ts), "y": floats(at), "marker": marker, "cliponaxis": False}
    return {**trace, "text": [trade_words(trade) for trade in trades], "hovertemplate": "%{text}<extra></extra>"}


def _spans(trades: list[Trade], color: str) -> dict[str, Any] | None:
    """A thin line from each entry to its exit; nan lifts the pen."""
    if not trades:
        return None
    ts = np.array([[trade.entry_ts, trade.exit_ts, trade.exit_ts] for trade in trades], dtype=np.int64).ravel()
    at = np.array([[trade.entry_price, trade.exit_price, np.nan] for trade in trades], dtype=np.float64).ravel()
    style = {"color": color, "width": 1, "dash": "dot"}
    trace = {"type": "scatter", "mode": "lines", "x": times(ts), "y": floats(at), "line": style}
    return {**trace, "hoverinfo": "skip", "showlegend": False, "connectgaps": False}


def _base64(values: npt.NDArray[np.float64]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
