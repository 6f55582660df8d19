"""A sweep as one HTML page that works offline: the maps, the robust region, the settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keel.adapters.report.page import Figures, document, plot, section
from keel.adapters.report.text import esc, label, number, table
from keel.core.model.time_range import to_iso
from keel.runners.research.sweep.ask import SweepRecord
from keel.runners.research.sweep.summary import BESIDE, Entry, HeatMap, Summary

MOST_ROWS = 500
"""Settings that the page lists; results.csv has all."""


def render_sweep(record: SweepRecord, summary: Summary, engine: str, notes: Sequence[str]) -> str:
    """The page as text."""
    figures: Figures = {}
    name = label(summary.metric)
    parts = [_header(record, summary, engine, notes), _figures(summary)]
    if summary.heat is not None:
        parts.append(_maps(summary.heat, summary, figures))
    parts.append(section("region", "Robust region", _region(summary), "Where a good result does not hang on one exact value"))
    scores = [value for entry in summary.entries if (value := entry.by_window[summary.windows[0]]) is not None]
    if len(scores) > 1:
        figures["spread"] = [_spread(scores, name)]
        words = "All settings that were tried: the best of many is partly luck"
        parts.append(section("spread", f"{name} over all settings", plot("spread", 240), words))
    for name_of, reasons in (("without a score", summary.unscored), ("refused", summary.refused)):
        if reasons:
            rows = "".join(f"<p>{count:,} settings: {esc(reason)}</p>" for reason, count in reasons.items())
            words = f"{sum(reasons.values()):,} settings; a score needs {summary.min_trades:,} closed trades"
            parts.append(section(name_of.split()[0], f"Settings {name_of}", rows, words if reasons is summary.unscored else ""))
    parts.append(section("settings", "Settings", _table(summary), _table_caption(summary)))
    parts.append("<footer>all times UTC; this page loads nothing from the network</footer>")
    return document(f"{record.system['system']} · sweep", "".join(parts), figures)


def shown(setting: dict[str, Any]) -> str:
    """A setting in words."""
    return ", ".join(f"{key.removeprefix('params.')} {value}" for key, value in setting.items())


def _header(record: SweepRecord, summary: Summary, engine: str, notes: Sequence[str]) -> str:
    windows = "; ".join(f"{span.name or 'window'} {to_iso(span.start_ms)[:10]} to {to_iso(span.end_ms)[:10]}" for span in record.windows)
    facts = [
        ("Sweep", record.sweep_id),
        ("Search", f"{record.ask.search}, seed {record.ask.seed}" if record.ask.search != "grid" else "grid"),
        (
            "Searched",
            "; ".join([*record.ask.params, *(["timeframe " + ", ".join(record.ask.timeframes)] if record.ask.timeframes else [])]),
        ),
        ("Symbols", ", ".join(record.ask.symbols or record.system["symbols"])),
        ("Windows", windows),
        ("Metric", f"{summary.metric} ({'less' if summary.lower_is_better else 'more'} is better), in {summary.windows[0]}"),
        ("Engine", engine or "none"),
        ("Strategy", record.system["strategy"]),
    ]
    items = "".join(f"<div><dt>{name}</dt><dd>{esc(value)}</dd></div>" for name, value in facts)
    lines = "".join(f'<p class="banner warn" role="note"><strong>NOTE</strong> {esc(text)}</p>' for text in notes)
    title = f'<p class="eyebrow">keel · sweep</p><h1>{esc(record.system["system"])}</h1>'
    return f'<header>{title}{lines}<dl class="facts">{items}</dl></header>'


def _figures(summary: Summary) -> str:
    peak = next((entry for entry in summary.entries if entry.number == summary.peak), None)
    first = summary.windows[0]
    cells = [
        ("Settings tried", f"{summary.tried:,}", f"{summary.done:,} done, {summary.failed:,} failed, {summary.invalid:,} refused"),
        ("Median of the region", *_middle_of_region(summary)),
        ("The peak", _text(peak.by_window[first] if peak else None), shown(peak.setting) if peak else "nothing was measured"),
        (
            "Best by luck alone",
            _text(summary.luck),
            summary.no_luck or f"expected of {summary.tried:,} independent tries that spread like these",
        ),
    ]
    major = "".join(_figure(*cell) for cell in cells)
    return f'<section id="figures"><div class="major">{major}</div></section>'


def _figure(name: str, value: str, note: str) -> str:
    parts = (("name", name), ("value", value), ("below", note))
    return f'<div class="figure">{"".join(f"<span class={kind}>{esc(text)}</span>" for kind, text in parts)}</div>'


def _middle_of_region(summary: Summary) -> tuple[str, str]:
    if summary.region is None:
        return "n/a", "no robust region"
    values = summary.region.by_window[summary.windows[0]]
    return _text(values[1]), f"{summary.region.settings:,} settings (worst {_text(values[0])}, best {_text(values[2])})"


# --- maps ------------------------------------------------------------------------------------------------------------


def _maps(heat: HeatMap, summary: Summary, figures: Figures) -> str:
    name = f"{label(summary.metric)} in {summary.windows[0]}"
    fixed = f" Cut at {shown(heat.fixed)}." if heat.fixed else ""
    if len(heat.y_labels) == 1:
        figures["map"] = [_line(heat, name)]
        return section("maps", name, plot("map", 320), f"The setting's own value, and the median of its neighbourhood.{fixed}")
    height = min(760, 130 + 26 * max(8, len(heat.y_labels)))
    figures["map"] = [_heat(heat, heat.values, name, summary)]
    figures["robust"] = [_heat(heat, heat.robust, "Robust score", summary)]
    both = [
        section("map", name, plot("map", height), f"Each setting's own value; squares mark the robust region.{fixed}"),
        section(
            "robust", "Robust score", plot("robust", height), "The median of each setting's neighbourhood, one step in every direction."
        ),
    ]
    return f'<div class="pair">{"".join(both)}</div>'


def _heat(heat: HeatMap, values: list[list[float | None]], name: str, summary: Summary) -> dict[str, Any]:
    known = [value for row in values for value in row if value is not None]
    straddles = bool(known) and min(known) < 0 < max(known)
    better, worse = ("@neg", "@pos") if summary.lower_is_better else ("@pos", "@neg")
    sizes = sorted(abs(value) for value in known)
    reach = sizes[round(0.98 * (len(sizes) - 1))] if sizes else 1.0  # a few extremes are not to drown the rest
    scale = [[0, worse], [0.5, "@raised"], [1, better]] if straddles else [[0, "@grid"], [1, "@accent"]]
    trace = {
        "type": "heatmap",
        "x": heat.x_labels,
        "y": heat.y_labels,
        "z": values,
        "colorscale": scale,
        **({"zmin": -reach, "zmax": reach} if straddles else {}),
        "xgap": 1,
        "ygap": 1,
        "hovertemplate": f"{heat.x} %{{x}}, {heat.y} %{{y}}<br>{name} %{{z:.3f}}<extra></extra>",
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": {"size": 11, "color": "@muted"}},
    }
    inside = [(x, y) for y, row in enumerate(heat.region) for x, is_in in enumerate(row) if is_in]
    marks = {
        "type": "scatter",
        "mode": "markers",
        "name": "robust region",
        "x": [heat.x_labels[x] for x, _ in inside],
        "y": [heat.y_labels[y] for _, y in inside],
        "marker": {"symbol": "square-open", "size": 11, "color": "@ink", "line": {"width": 1.5}},
        "hoverinfo": "skip",
    }
    layout = {
        "showlegend": False,
        "margin": {"l": 64, "r": 8, "t": 8, "b": 52},
        "plot_bgcolor": "@line",
        "xaxis": _axis(heat.x, heat.x_labels),
        "yaxis": _axis(heat.y, heat.y_labels),
    }
    return {"data": [trace, marks], "layout": layout}


def _axis(name: str, labels: list[str]) -> dict[str, Any]:
    title = {"text": name, "font": {"size": 12}}
    return {"type": "category", "title": title, "showgrid": False, "categoryarray": labels, "range": [-0.5, len(labels) - 0.5]}


def _line(heat: HeatMap, name: str) -> dict[str, Any]:
    both = {"type": "scatter", "x": heat.x_labels}
    own = {**both, "mode": "lines+markers", "name": name, "y": heat.values[0], "line": {"color": "@accent"}}
    robust = {**both, "mode": "lines", "name": "neighbourhood's median", "y": heat.robust[0], "line": {"color": "@pos", "dash": "dot"}}
    axis = {"type": "category", "title": {"text": heat.x, "font": {"size": 12}}, "categoryarray": heat.x_labels}
    return {"data": [own, robust], "layout": {"xaxis": axis, "margin": {"l": 58, "r": 8, "t": 30, "b": 52}}}


def _spread(scores: list[float], name: str) -> dict[str, Any]:
    trace = {
        "type": "histogram",
        "x": scores,
        "nbinsx": 60,
        "marker": {"color": "@accent/0.6"},
        "hovertemplate": "%{x}: %{y}<extra></extra>",
    }
    axis = {"title": {"text": name, "font": {"size": 12}}}
    return {"data": [trace], "layout": {"showlegend": False, "xaxis": axis, "bargap": 0.05, "margin": {"l": 58, "r": 8, "t": 8, "b": 52}}}


# --- words and tables ------------------------------------------------------------------------------------------------


def region_lines(summary: Summary) -> list[str]:
    """The region in sentences."""
    region = summary.region
    if region is None:
        lines = [f"No robust region: {summary.no_region}."]
        if summary.best_neighbourhood is not None:
            lines.append(f"The best neighbourhood is that of {shown(summary.best_neighbourhood.centre)}.")
        return lines
    spans = ", ".join(f"{key.removeprefix('params.')} {_span(values)}" for key, values in region.spans.items())
    lines = [f"{region.settings:,} settings: {spans}. Its centre: {shown(region.centre)}."]
    for window, (worst, middle, best) in region.by_window.items():
        lines.append(f"{summary.metric} in {window}: worst {_text(worst)}, median {_text(middle)}, best {_text(best)}.")
    lines.append("The peak lies in it." if region.has_peak else "The peak lies outside of it: its neighbours do not bear it out.")
    if region.edges:
        lines.append(f"It touches the end of the searched range of {', '.join(region.edges)}: search further out.")
    return lines


def _region(summary: Summary) -> str:
    return "".join(f"<p>{esc(text)}</p>" for text in region_lines(summary))


def _table_caption(summary: Summary) -> str:
    total = len(summary.entries)
    return f"{min(total, MOST_ROWS):,} of {total:,}, the best robust score first. Press a column's head to sort; results.csv has all points"


def _table(summary: Summary) -> str:
    keys = list(summary.entries[0].setting) if summary.entries else []
    heads = [
        *((key.removeprefix("params."), True) for key in keys),
        *((f"{summary.metric}, {window}", True) for window in summary.windows),
        ("robust", True),
        ("worst neighbour", True),
        *((label(name), True) for name in BESIDE),
        ("region", False),
        ("status", False),
    ]
    head = [f'<th class="{"num" if is_number else ""}"><button type="button">{esc(name)}</button></th>' for name, is_number in heads]
    rows = [_row(entry, keys, summary) for entry in summary.entries[:MOST_ROWS]]
    return f'<div class="scroll">{table(head, rows, classes="sortable")}</div>'


def _row(entry: Entry, keys: list[str], summary: Summary) -> str:
    values: list[tuple[Any, str]] = [(entry.setting[key], str(entry.setting[key])) for key in keys]
    numbers = [*(entry.by_window[window] for window in summary.windows), entry.robust, entry.worst]
    values += [(value, _text(value)) for value in numbers]
    total, drawdown, trades = (entry.beside[name] for name in BESIDE)
    values.append((total, "n/a" if total is None else f"{number(100 * total, 1)}%"))
    values.append((drawdown, "n/a" if drawdown is None else f"{number(drawdown, 1)}%"))
    values.append((trades, "n/a" if trades is None else number(trades, 0)))
    cells = "".join(f'<td class="num" data-v="{_sortable(value)}">{esc(text)}</td>' for value, text in values)
    status = ": ".join(filter(None, (entry.status, entry.reason, entry.no_score and f"no score: {entry.no_score}")))
    return f"<tr>{cells}<td>{'yes' if entry.in_region else ''}</td><td>{esc(status)}</td></tr>"


def _sortable(value: Any) -> str:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else "-1e308" if value is None else esc(value)


def _text(value: float | None) -> str:
    return "n/a" if value is None else number(value, 2 if abs(value) < 1000 else 0)


def _span(values: Sequence[Any]) -> str:
    if len(values) == 2 and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return str(values[0]) if values[0] == values[1] else f"{values[0]} to {values[1]}"
    return " or ".join(map(str, values))
