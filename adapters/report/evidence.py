"""What the result rests on: sources and doubts, orders that did not go through, every measure, the configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from keel.adapters.report.text import esc, label, missing, percent, scalar, table, when
from keel.core.metrics.performance import METRICS
from keel.core.results.result import BacktestResult

EXPLAINED = {
    "synthetic": "Whether any price was invented.",
    "data_sources": "Where the bars came from.",
    "decision_timeframe": "Decisions are made at the closes of these bars.",
    "execution_timeframe": "Orders are filled inside these bars.",
    "execution_is_finer": "Finer execution bars leave less to guess about the path between two decisions.",
    "symbols": "Each symbol's series: bars, sources, what is odd about them, and what stands in for a mark or index that is missing.",
    "open_is_previous_close": "Opens that repeat the close before them: orders fill at the decision price plus costs, stops meet no gap.",
    "ambiguous_bars": "Bars in which the other order of high and low gives other fills or another equity.",
    "skipped_bars": "Bars that the window lacks, and that were passed over (execution.gaps: skip).",
    "partial_bars": "Coarser bars that were built from less than all their fine ones.",
    "off_grid_prices": "Closes that are not on the instrument's tick.",
    "path": "The order in which a bar's prices are visited.",
    "limit_fill": "through: a resting order needs the price to go beyond it; touch: to reach it.",
    "latency_ms": "From the decision to the order's arrival.",
    "cost_models": "Cost models of the system's own (execution.costs); none: the built-in ones.",
    "liquidation": "full: the whole position is taken over at once.",
    "not_modelled": "What happens in a market and not here.",
    "compared": "Whether books and exchange were compared at the end of the session.",
    "differences": "What differed then; empty: nothing, to the last unit.",
    "statements": "The exchange's transaction log against the session's books, once a UTC day and at the end; what differs has a name.",
    "bounds": "The same run, taking in each bar the order of high and low that leaves less equity at its close.",
}
"""What each entry of a trust record means. An entry that is not here is left off: a figure that nobody explains supports nothing."""

SHARES = ("open_is_previous_close",)
"""Entries that are shares of 1."""

MANY = 24
"""Lists longer than this are counted, not printed."""


def trust_section(result: BacktestResult) -> str:
    """The trust record, line by line, with a word on what each line means."""
    rows = [_trust_row(key, value) for key, value in result.trust.items() if key in EXPLAINED]
    if not rows:
        return '<p class="empty">The run recorded nothing about its sources.</p>'
    return table(('<th scope="col">What</th>', '<th scope="col">Value</th>', '<th scope="col">Meaning</th>'), rows, classes="trust")


def order_log_section(result: BacktestResult, *, groups: int = 12) -> str:
    """Denied, rejected and expired orders, counted by what and why."""
    if not result.order_log:
        return '<p class="empty">No signal was denied, and no order was rejected or expired.</p>'
    counts: Counter[tuple[str, str]] = Counter()
    last: dict[tuple[str, str], int] = {}
    for entry in result.order_log:
        key = (_kind_of(entry), str(entry.get("reason") or "no reason given"))
        counts[key] += 1
        last[key] = max(last.get(key, 0), int(entry.get("ts") or 0))
    rows = [
        f'<tr><td>{esc(label(kind))}</td><td>{esc(reason)}</td><td class="num">{count:,}</td><td>{when(last[kind, reason])}</td></tr>'
        for (kind, reason), count in counts.most_common(groups)
    ]
    heads = (
        '<th scope="col">What</th>',
        '<th scope="col">Why</th>',
        '<th scope="col" class="num">Times</th>',
        '<th scope="col">Last (UTC)</th>',
    )
    rest = len(counts) - groups
    note = f'<p class="note">{rest:,} rarer reasons are not listed.</p>' if rest > 0 else ""
    return table(heads, rows) + note


def measures_section(result: BacktestResult) -> str:
    """All metrics, and the proof-grade groups, folded away."""
    notes = result.metric_notes
    blocks = [_measure_block("Metrics", {key: (value, notes.get(key)) for key, value in result.metrics.items()})]
    proof = plain(result.proof)
    if isinstance(proof, Mapping):
        loose = {key: (value, notes.get(key)) for key, value in proof.items() if not isinstance(value, Mapping)}
        for key, group in proof.items():
            if isinstance(group, Mapping):
                blocks.append(_measure_block(label(key), {name: (value, notes.get(name)) for name, value in group.items()}))
        if loose:
            blocks.append(_measure_block("Other", loose))
    return f'<details><summary>All measures</summary><div class="measures">{"".join(blocks)}</div></details>'


def configuration_section(result: BacktestResult) -> str:
    """The whole effective configuration as the system file would say it."""
    text = msgspec.yaml.encode(msgspec.to_builtins(result.system)).decode("utf-8")
    return f"<details><summary>Configuration</summary><pre>{esc(text)}</pre></details>"


def plain(value: Any) -> Any:
    """Structs, dataclasses and numpy values as dicts, lists and plain numbers."""
    return None if value is None else msgspec.to_builtins(value, enc_hook=_from_numpy)


def _from_numpy(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


def _trust_row(key: str, value: Any) -> str:
    return f'<tr><th scope="row">{esc(label(key))}</th><td>{_value(plain(value), key)}</td><td class="dim">{esc(EXPLAINED[key])}</td></tr>'


def _value(value: Any, name: str = "") -> str:
    if name in SHARES and isinstance(value, float):
        return percent(100.0 * value, 1)
    if isinstance(value, Mapping):
        if not value:
            return "none"
        items = "".join(
            f"<div><dt>{esc(str(key).replace('_', ' '))}</dt><dd>{_value(item, str(key))}</dd></div>" for key, item in value.items()
        )
        return f'<dl class="nested">{items}</dl>'
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) > MANY:
            return f"{len(value):,} values"
        if any(isinstance(item, Mapping) for item in value):
            return "".join(_value(item) for item in value)
        return esc(", ".join(scalar(item) for item in value) or "none")
    return esc(scalar(value))


def _kind_of(entry: Mapping[str, Any]) -> str:
    for key in ("status", "kind", "type", "event"):
        if entry.get(key):
            return str(entry[key])
    return "order"


def _measure_block(name: str, values: Mapping[str, tuple[Any, str | None]]) -> str:
    rows = []
    for key, (value, note) in values.items():
        shown = missing(note) if value is None else _value(value)
        formula = f' title="{esc(METRICS[key])}"' if key in METRICS else ""
        rows.append(f'<tr{formula}><td>{esc(label(key))}</td><td class="num">{shown}</td></tr>')
    return f'<div class="measure"><h3>{esc(name)}</h3><table><tbody>{"".join(rows)}</tbody></table></div>'
