"""The first difference of two sides: which bar, what each side has, in what it begins, and what it may come of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from keel.core.model.frame import Frame
from keel.core.model.timeframe import NEVER, tf_ms
from keel.runners.research.wire_parity.rows import KINDS, Row, Side, first_row, row_of

AT_CLOSE: Final = ("bars", "marks", "orders", "equity points")
"""Kinds whose time is a close: they belong to the bar that ended then."""
_BEGINS: Final = {
    "bars": "bar", "marks": "mark", "orders": "order", "fills": "fill", "funding payments": "funding", "liquidations": "liquidation",
    "equity points": "equity", "final account": "account",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WireDifference:
    """What is not the same, first of all. kind: of KINDS; number: which one of its kind (from 0), of ``symbol`` where one kind has a table
    each; ts: when it was known; bar_ts: the open of its execution bar, None at the end of the run.  begins_in: bar, mark, order, fill, fee,
    funding, liquidation, equity or account.  cause: what it may come of."""

    kind: str
    number: int
    symbol: str
    ts: int | None
    bar_ts: int | None
    begins_in: str
    backtest: Row | None
    session: Row | None
    cause: str = ""


def first_difference(backtest: Side, session: Side, execution: Frame) -> WireDifference | None:
    """The earliest difference; of several at one time the one that may be the cause of the others. execution: the bars of the run."""
    found = [*_of_tables(backtest, session), *_of_rows(backtest, session)]
    if not found:
        return None
    first = min(found, key=lambda each: (NEVER if each.ts is None else each.ts, KINDS.index(each.kind)))
    bar = None if first.ts is None else _bar_of(execution, first.ts, is_at_close=first.kind in AT_CLOSE)
    return WireDifference(
        first.kind, first.number, first.symbol, first.ts, bar, first.begins_in, first.backtest, first.session, guess(first)
    )


def _of_tables(backtest: Side, session: Side) -> list[WireDifference]:
    found = []
    for kind, tables in backtest.tables.items():
        for symbol, ours in tables.items():
            theirs = session.tables[kind][symbol]
            number = first_row(ours, theirs)
            if number is not None:
                found.append(_difference(kind, number, symbol, row_of(ours, number), row_of(theirs, number)))
    return found


def _of_rows(backtest: Side, session: Side) -> list[WireDifference]:
    found = []
    for kind, ours in backtest.rows.items():
        theirs = session.rows[kind]
        for number in range(max(len(ours), len(theirs))):
            a, b = _at(ours, number), _at(theirs, number)
            if a != b:
                found.append(_difference(kind, number, str((a or b or {}).get("symbol", "")), a, b))
                break
    return found


def _at(rows: Sequence[Row], number: int) -> Row | None:
    return rows[number] if number < len(rows) else None


def _difference(kind: str, number: int, symbol: str, a: Row | None, b: Row | None) -> WireDifference:
    times = [row["ts"] for row in (a, b) if row is not None and "ts" in row]
    begins = "fee" if kind == "fills" and differing(a, b) == ["fee"] else _BEGINS[kind]
    return WireDifference(kind, number, symbol, min(times, default=None), None, begins, a, b)


def differing(a: Row | None, b: Row | None) -> list[str]:
    """The fields that differ; none where one side has no row."""
    return [] if a is None or b is None else [name for name in a if a[name] != b.get(name)]


def _bar_of(execution: Frame, ts: int, *, is_at_close: bool) -> int:
    closes = execution.ts + tf_ms(execution.timeframe)
    row = int(np.searchsorted(closes, ts, side="left" if is_at_close else "right"))
    return int(execution.ts[min(row, len(execution) - 1)])


# --- what it may come of ---


def guess(found: WireDifference) -> str:
    """A sentence on what such a difference comes of, as a rule."""
    a, b = found.backtest, found.session
    if found.begins_in == "fill" and any(row is not None and row.get("reason") == "trailing" for row in (a, b)):
        return _TRAILING
    if a is None or b is None:
        side = "the session" if b is None else "the backtest"
        return _ONE_SIDED[found.kind, b is None].format(side=side)
    names = differing(a, b)
    if found.begins_in == "fee":
        rates = " and ".join(f"{row['fee'] / (row['qty'] * row['price'] * 1e8):.6f}" for row in (a, b))
        return f"fee rates differ: {rates} of the fill's value, in the backtest and in the session"
    if found.kind == "fills" and "realized_pnl" in names and not {"price", "qty"} & set(names):
        return "the position that this fill closes was opened at another price or size: look at the fills before it"
    if found.kind == "funding payments":
        what = "rate" if "rate" in names else "mark price" if "mark_price" in names else "position" if "qty" in names else "time"
        return f"the {what} at the funding time differs"
    return _SAME_ROW[found.kind].format(fields=", ".join(names))


_TRAILING: Final = (
    "a trailing stop: the exchange takes one only after the fill, so that it follows from the next bar on, and the backtest's from the"
    " fill; where the best price of the trade lies in its entry's bar, the two differ by nature"
)
_SAME_ROW: Final = {
    "bars": "the exchange's bar is not the stored one ({fields}): the store was imported from elsewhere, or has changed",
    "marks": "the exchange's mark price is not the stored one: the store has no marks of the execution timeframe, or other ones",
    "orders": "the same decision gave another order ({fields}): sizes follow the equity, exits the entry's price; or the instrument's grid"
    " or limits differ",
    "fills": "the exchange filled otherwise ({fields}): spread, slippage, latency or path settings differ, or the order came a bar later",
    "liquidations": "the takeover differs ({fields}): margin mode, leverage, risk tiers or marks are not the same",
    "equity points": "the account is valued otherwise at equal fills and fees: mark prices",
    "final account": "sums differ at equal fills: something else moved the account (a transfer, a liquidation, an order by hand)",
}
_ONE_SIDED: Final = {
    ("bars", True): "the exchange never gave {side} this bar: a candle message was lost and its history has it neither",
    ("bars", False): "{side} has a hole where the exchange has a bar",
    ("marks", True): "{side} heard no mark price for this bar: the instant was closed before, or was missed",
    ("marks", False): "{side} ended before",
    ("orders", True): "{side} did not decide here: its bar came too late, or the strategy keeps state that a session has not",
    ("orders", False): "{side} did not decide here: the strategy looks at something that a backtest has not (the clock, the network)",
    ("fills", True): "{side} never heard of this fill: a message was lost, or the exchange refused or did not trigger the order",
    ("fills", False): "{side} has no such fill: an order by hand, or one that the exchange triggered earlier",
    ("funding payments", True): "{side} never heard of this payment: a message was lost, or nothing was held at the funding time",
    ("funding payments", False): "{side} paid nothing: it has no rate at this time, or held nothing",
    ("liquidations", True): "{side} was not taken over: marks, margin mode or leverage differ",
    ("liquidations", False): "{side} was not taken over: marks, margin mode or leverage differ",
    ("equity points", True): "{side} ended before: it broke, or was stopped",
    ("equity points", False): "{side} ended before: a stop condition of the account",
    ("final account", True): "{side} has no such account",
    ("final account", False): "{side} has no such account",
}
