"""Charts of distributions and sums: PnL per trade, daily returns, holding times, the way from gross to net."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from keel.adapters.report.charts import Figure, Floats, floats, times, trade_words, unit
from keel.adapters.report.resample import extreme_rows
from keel.adapters.report.text import money
from keel.core.model.money import to_float
from keel.core.model.timeframe import MINUTE_MS
from keel.core.model.trade import Trade
from keel.core.results.result import Reconciliation

HOLDING_TICKS = ((1, "1 min"), (5, "5 min"), (15, "15 min"), (60, "1 h"), (240, "4 h"), (720, "12 h"), (1440, "1 d"), (4320, "3 d"))
HOLDING_TICKS_LONG = ((10_080, "1 w"), (43_200, "30 d"), (129_600, "90 d"), (525_600, "1 y"))


def pnl_figure(trades: list[Trade], coin: str, axis: dict[str, Any]) -> Figure:
    """Net PnL of each trade at its exit; of very many, the extremes of each stretch of time."""
    net = np.array([to_float(trade.net_pnl) for trade in trades])
    shown = [trades[row] for row in extreme_rows(net)]
    traces = [
        _pnl_points("Gain", [trade for trade in shown if trade.net_pnl > 0], "@pos"),
        _pnl_points("Loss", [trade for trade in shown if trade.net_pnl <= 0], "@neg"),
    ]
    layout = {
        "hovermode": "closest",
        "xaxis": axis,
        "yaxis": {"tickformat": ",~r", "zeroline": True, "rangemode": "tozero"},
        "showlegend": False,
        "annotations": [unit(coin)],
    }
    return {"data": traces, "layout": layout}


def return_figure(returns: Floats) -> Figure:
    """Daily returns in percent, with the normal curve of the same mean and deviation."""
    values = 100.0 * returns[np.isfinite(returns)]
    counts, edges = np.histogram(values, bins=_edges(values))
    centers, width = (edges[1:] + edges[:-1]) / 2.0, float(edges[1] - edges[0])
    bars = _bars("Days", centers, counts, width, "@accent/0.75", "%{x:.2f}%: %{y} days")
    traces = [bars]
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    if deviation > 0:
        grid = np.linspace(float(edges[0]), float(edges[-1]), 160)
        density = np.exp(-0.5 * ((grid - mean) / deviation) ** 2) / (deviation * math.sqrt(2.0 * math.pi))
        style = {"color": "@ink/0.6", "width": 1.2, "dash": "dot"}
        normal = {"type": "scatter", "mode": "lines", "name": "Normal", "x": floats(grid), "y": floats(density * width * len(values))}
        traces.append({**normal, "line": style, "hoverinfo": "skip"})
    layout = {
        "xaxis": {"ticksuffix": "%", "zeroline": True},
        "yaxis": _counting(int(counts.max())),
        "bargap": 0,
        "showlegend": False,
        "annotations": [unit("Days")],
    }
    return {"data": traces, "layout": layout}


def holding_figure(trades: list[Trade]) -> Figure:
    """How long trades were held, gains and losses apart, on a logarithmic scale of time."""
    minutes = np.array([max(trade.holding_ms or 0, 1000) / MINUTE_MS for trade in trades])
    gains = np.array([trade.net_pnl > 0 for trade in trades])
    logs = np.log10(minutes)
    counts_of = _histograms(logs, gains)
    ticks = [tick for tick in HOLDING_TICKS + HOLDING_TICKS_LONG if logs.min() - 0.35 <= math.log10(tick[0]) <= logs.max() + 0.35]
    axis = {"tickvals": [math.log10(tick[0]) for tick in ticks], "ticktext": [tick[1] for tick in ticks]}
    layout = {
        "barmode": "stack",
        "bargap": 0.06,
        "xaxis": axis,
        "yaxis": _counting(max(sum(pair) for pair in zip(*(trace["y"] for trace in counts_of), strict=True))),
        "legend": {"traceorder": "normal"},
        "annotations": [unit("Trades")],
    }
    return {"data": counts_of, "layout": layout}


def waterfall_figure(money_went: Reconciliation, coin: str) -> Figure:
    """From gross to net, cost by cost."""
    steps = [
        ("Gross", money_went.gross, 1),
        ("− Slippage", money_went.slippage, -1),
        ("− Fees<br>paid", money_went.fees, -1),
        ("− Funding<br>paid", money_went.funding, -1),
    ]
    if money_went.liquidation_loss:
        steps.append(("− Liqui-<br>dations", money_went.liquidation_loss, -1))
    if money_went.unrealized:
        steps.append(("Unrealized", money_went.unrealized, 1))
    amounts = [sign * amount for _, amount, sign in steps] + [money_went.net]
    texts = [money(amount, signed=sign > 0) for _, amount, sign in steps] + [money(money_went.net, signed=True)]
    trace = {
        "type": "waterfall",
        "x": [name for name, _, _ in steps] + ["Net"],
        "y": [to_float(amount) for amount in amounts],
        "measure": ["relative"] * len(steps) + ["total"],
        "text": texts,
        "textposition": "outside",
        "cliponaxis": False,
        "hovertemplate": "%{text}<extra></extra>",
        "increasing": {"marker": {"color": "@pos/0.8"}},
        "decreasing": {"marker": {"color": "@neg/0.8"}},
        "totals": {"marker": {"color": "@accent/0.85"}},
        "connector": {"line": {"color": "@line", "width": 1}},
    }
    layout = {
        "xaxis": {"type": "category", "automargin": True},
        "yaxis": {"tickformat": ",~r", "zeroline": True},
        "showlegend": False,
        "annotations": [unit(coin)],
    }
    return {"data": [trace], "layout": layout}


def _pnl_points(name: str, trades: list[Trade], color: str) -> dict[str, Any]:
    ts = np.array([trade.exit_ts or 0 for trade in trades], dtype=np.int64)
    values = np.array([to_float(trade.net_pnl) for trade in trades])
    trace = {"type": "scatter", "mode": "markers", "name": name, "x": times(ts), "y": floats(values)}
    words = {"text": [trade_words(trade) for trade in trades], "hovertemplate": "%{text}<extra></extra>"}
    return {**trace, "marker": {"color": color, "size": 5, "opacity": 0.7}, "cliponaxis": False, **words}


def _counting(most: int) -> dict[str, Any]:
    """The axis of a count: whole numbers from zero on."""
    return {"rangemode": "tozero", "tickformat": ",d"} | ({"dtick": 1} if most <= 5 else {})


def _histograms(logs: Floats, gains: np.ndarray) -> list[dict[str, Any]]:
    low, high = float(logs.min()), float(logs.max())
    if high - low < 0.5:
        low, high = low - 0.25, high + 0.25
    edges = np.linspace(low, high, 33)
    centers, width = (edges[1:] + edges[:-1]) / 2.0, float(edges[1] - edges[0])
    traces = []
    for name, chosen, color in (("Gains", gains, "@pos/0.75"), ("Losses", ~gains, "@neg/0.75")):
        counts, _ = np.histogram(logs[chosen], bins=edges)
        traces.append(_bars(name, centers, counts, width, color, f"%{{y}} {name.lower()}"))
    return traces


def _bars(name: str, centers: Floats, counts: np.ndarray, width: float, color: str, hover: str) -> dict[str, Any]:
    trace = {"type": "bar", "name": name, "x": floats(centers), "y": counts.tolist(), "width": 0.94 * width}
    return {**trace, "marker": {"color": color, "line": {"width": 0}}, "hovertemplate": f"{hover}<extra></extra>"}


def _edges(values: Floats) -> Floats:
    """Bins of Freedman-Diaconis width, within what a chart of this size can show, with an edge at zero."""
    reach = float(np.ptp(values)) or 1.0
    spread = float(np.subtract(*np.percentile(values, [75, 25])))
    step = float(np.clip(2.0 * spread / len(values) ** (1 / 3), reach / 60, reach / 10))
    first, last = math.floor(float(values.min()) / step), math.floor(float(values.max()) / step) + 1
    return np.arange(first, last + 1, dtype=np.float64) * step
