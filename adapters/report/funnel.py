"""From signals to trades: four stages side by side, what became of each, and below them the reasons that are worth a look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keel.adapters.report.text import esc, number, table, when
from keel.core.results.funnel import Counted, Funnel, total
from keel.core.results.reasons import IGNORED, NOT_ACTED_ON, USUAL, example_of, meaning_of

Part = tuple[str, int, str]
"""A part of a stage: its name, how many, and the tone in which it is drawn."""


def funnel_block(funnel: Funnel) -> str:
    """The block; empty for a result that nobody counted."""
    if not (funnel.signals or funnel.orders or funnel.fills):
        return ""
    ends = [
        ("filled", funnel.filled, "good"), ("rejected", total(funnel.rejected), "bad"), ("expired", total(funnel.expired), "warn"),
        ("cancelled", total(funnel.cancelled), "quiet"), ("still open", funnel.resting, "idle"),
    ]  # fmt: skip
    brackets = funnel.orders - funnel.orders_sent
    stages = [
        _stage("Signals", funnel.signals, [
            ("ordered", funnel.ordered, "good"), ("withdrawn", funnel.withdrawn, "quiet"), ("ignored", total(funnel.ignored), "idle"),
            ("denied", total(funnel.denied), "bad"),
        ]),
        _stage("Orders", funnel.orders, ends, f"{number(brackets, 0)} exits of the exchange among them" if brackets else ""),
        _stage("Fills", funnel.fills, [("traded", funnel.fills - funnel.takeovers, "good"), ("liquidations", funnel.takeovers, "bad")]),
        _stage("Round trips", funnel.trades + len(funnel.open), [("closed", funnel.trades, "good"), ("open", len(funnel.open), "idle")]),
    ]  # fmt: skip
    return f'<div class="funnel">{"".join(stages)}</div>{_reasons(funnel)}'


def _stage(name: str, value: int, parts: Sequence[Part], below: str = "") -> str:
    shown = [part for part in parts if part[1] > 0]
    bar = "".join(f'<i class="{tone}" style="flex-grow:{count}"></i>' for _, count, tone in shown)
    words = "".join(f'<span><i class="{tone}"></i>{number(count, 0)} {esc(part)}</span>' for part, count, tone in shown)
    note = f'<span class="below">{esc(below)}</span>' if below else ""
    return (
        f'<div class="stage"><span class="name">{esc(name)}</span><span class="value">{number(value, 0)}</span>'
        f'<div class="bar" aria-hidden="true">{bar}</div><div class="parts">{words}</div>{note}</div>'
    )


def _reasons(funnel: Funnel) -> str:
    rows = [
        *_rows("Ignored", (each for each in funnel.ignored if each.reason not in USUAL)),
        *_rows("Denied", funnel.denied),
        *_rows("Capped", funnel.capped),
        *_rows("Rejected", funnel.rejected),
        *_rows("Expired", funnel.expired),
        *_rows("Exit refused", funnel.exits_refused),
    ]
    if not rows:
        return ""
    heads = ("What", "Times", "Why", "The first (UTC)", "What to look at")
    return f'<div class="wide">{table((_head(name) for name in heads), rows, classes="reasons")}</div>'


def _rows(what: str, counted: Iterable[Counted]) -> list[str]:
    return [_row(what, each) for each in sorted(counted, key=lambda each: -each.count)]


def _row(what: str, each: Counted) -> str:
    meaning, example = meaning_of(each.reason), example_of(each)
    words = IGNORED.get(each.reason) or meaning.words
    advice = NOT_ACTED_ON if each.reason in IGNORED else meaning.advice
    closed = f"; {number(each.closed, 0)} of them closed what was held" if each.closed else ""
    first = " ".join(filter(None, (each.symbol, when(each.ts) if each.ts else "")))
    why = f"<code>{esc(each.reason)}</code>{f'<br>{esc(words)}' if words else ''}{closed}"
    seen = f"{esc(first)}{f'<br>{esc(example)}' if example else ''}"
    cells = f'<td>{what}</td><td class="num">{number(each.count, 0)}</td><td>{why}</td><td>{seen}</td>'
    return f'<tr>{cells}<td class="dim">{esc(advice)}</td></tr>'


def _head(name: str) -> str:
    return f'<th scope="col"{" class=num" if name == "Times" else ""}>{name}</th>'
