"""The page that shows a session beside its backtest: the profit of both, and what the difference is made of, in sum and trade by trade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from keel.adapters.report.page import document, section, write_page
from keel.adapters.report.text import esc, money, sign_class, table
from keel.core.model.money import to_units

MEANINGS: Mapping[str, str] = {
    "data": "the store's bars or marks are not those that the session heard",
    "timing": "decided at another time or price",
    "latency": "the market moved between decision and arrival",
    "spread": "half the spread, beyond what the backtest assumes",
    "slippage": "the rest of the fill price",
    "fee": "fees",
    "funding": "funding",
    "size": "another quantity",
    "missed": "trades that only the backtest made",
    "extra": "trades that only the session made, and orders that the system did not give",
    "outside": "what moved the account beside its trades",
}


class ComparedRow(msgspec.Struct, frozen=True):
    """One round trip. Money as exact decimal text; None: that side has none."""

    symbol: str
    side: str
    entry: str
    session: str | None
    backtest: str | None
    difference: str
    parts: Mapping[str, str]


class ComparedSession(msgspec.Struct, frozen=True):
    """What the page shows. parts add up to the difference."""

    system: str
    run: str
    symbols: Sequence[str]
    quote: str
    start: str
    end: str
    session_profit: str
    backtest_profit: str
    difference: str
    parts: Mapping[str, str]
    bars: str
    notes: Sequence[str]
    rows: Sequence[ComparedRow]


def write_compare_page(found: ComparedSession, path: Path) -> Path:
    """Write it whole, or not at all. Raises DataError when it cannot be written."""
    return write_page(document(f"{found.system} · session and backtest", _body(found), {}), path)


def _body(found: ComparedSession) -> str:
    notes = "".join(f"<p>{esc(note)}</p>" for note in found.notes)
    head = (
        f"<header><h1>{esc(found.system)}: the session beside its backtest</h1>"
        f"<p>{esc(', '.join(found.symbols))} · {esc(found.start)} to {esc(found.end)} · {esc(found.run)} · over {esc(found.bars)}</p>"
        f'<p><a href="report.html">The report of the session</a></p></header>'
    )
    shown = [name for name in found.parts if any(to_units(row.parts.get(name, "0")) for row in found.rows)]
    return "".join((
        head,
        section("parts", "What the difference is made of", f"{_sums(found)}{notes}", f"In {esc(found.quote)}; the parts add up exactly"),
        section("trades", "Trade by trade", f'<div class="wide">{_trades(found, shown)}</div>', "A trade in one row, on whichever side"),
    ))  # fmt: skip


def _sums(found: ComparedSession) -> str:
    rows = [_line("Profit of the session", found.session_profit, ""), _line("Profit of the backtest", found.backtest_profit, "")]
    rows += [_line(name, amount, MEANINGS[name]) for name, amount in found.parts.items()]
    rows.append(_line("Difference", found.difference, "session less backtest: the sum of the parts", is_total=True))
    return table((_head("What"), _head(found.quote, num=True), _head("Meaning")), rows)


def _line(name: str, amount: str, meaning: str, *, is_total: bool = False) -> str:
    style = ' class="total"' if is_total else ""
    return f'<tr{style}><th scope="row">{esc(name)}</th>{_amount(amount)}<td class="dim">{esc(meaning)}</td></tr>'


def _trades(found: ComparedSession, shown: Sequence[str]) -> str:
    names = ("Symbol", "Side", "Entry (UTC)")
    numbers = ("Session", "Backtest", "Difference", *shown)
    rows = [_trade(row, shown) for row in found.rows]
    return table((*(_head(name) for name in names), *(_head(name, num=True) for name in numbers)), rows)


def _trade(row: ComparedRow, shown: Sequence[str]) -> str:
    words = "".join(f"<td>{esc(word)}</td>" for word in (row.symbol, row.side, row.entry))
    nets = "".join('<td class="num dim">none</td>' if net is None else _amount(net) for net in (row.session, row.backtest))
    parts = "".join(_amount(row.parts[name]) if name in row.parts else '<td class="num"></td>' for name in shown)
    return f"<tr>{words}{nets}{_amount(row.difference)}{parts}</tr>"


def _amount(text: str) -> str:
    units = to_units(text)
    return f'<td class="num {sign_class(units)}">{money(units, 2, signed=True)}</td>'


def _head(name: str, *, num: bool = False) -> str:
    return f'<th scope="col"{" class=num" if num else ""}>{esc(name)}</th>'
