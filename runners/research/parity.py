"""The kernel against the actors over one prepared system: every order, fill, funding payment, liquidation and trade, the equity at each
bar, the final ledger. Exact: integers and the bits of floats.

Both sides are brought into rows of one form, so that a difference can be shown beside its counterpart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from keel.core.errors import InvariantError
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Fill, FundingPayment, Liquidation, Message, OrderUpdate, SubmitOrder
from keel.core.model.money import UNIT, to_text
from keel.core.model.timeframe import NEVER, tf_ms
from keel.core.model.trade import Trade
from keel.core.results.funnel import Funnel
from keel.core.results.result import StopReason
from keel.runners.backtest.funnel import run_funnel
from keel.runners.backtest.kernel_run import kernel_refuses, run_kernel
from keel.runners.backtest.preparation import Prepared
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import wire_backtest
from keel.sim.kernel import KernelResult
from keel.sim.kernel import layout as at
from keel.sim.kernel.funnel import WORDS, word_of
from keel.sim.margin.ledger import ACCOUNTS

Row = Mapping[str, Any]

KINDS: Final = ("orders", "fills", "funding payments", "liquidations", "trades", "equity points", "funnel", "ledger accounts")
"""What is compared, in the order in which equal times are told."""

_ROLES: Final = {"sl": "stop_loss", "tp": "take_profit", "ts": "trailing"}
"""What an exit is, by the end of its id."""


@dataclass(frozen=True, slots=True)
class ParityDifference:
    """The first thing that is not the same: what, which one of its kind (from 0), its bar (open, ms), and both sides."""

    kind: str
    number: int
    bar_ts: int | None
    kernel: Row | None
    actors: Row | None


@dataclass(frozen=True, slots=True)
class Parity:
    """What was compared. counts: by KINDS, how many the actors had. difference: None where all was identical."""

    bars: int
    counts: dict[str, int]
    difference: ParityDifference | None


@dataclass(slots=True)
class ParitySide:
    """One side: rows by kind."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    equity: np.ndarray = field(default_factory=lambda: np.zeros(0))
    bars: int = 0


def compare(prepared: Prepared, *, in_python: bool = False) -> Parity:
    """Run both and compare. ``prepared`` is one that ``kernel_refuses`` has nothing against. Raises as ``keel.sim.kernel.run``."""
    refusal = kernel_refuses(prepared)
    if refusal is not None:
        raise InvariantError(f"the kernel does not model {refusal}")
    kernel = kernel_record(prepared, run_kernel(prepared, in_python=in_python))
    return compare_records(prepared, kernel, actors_record(prepared))


def compare_records(prepared: Prepared, kernel: ParitySide, actors: ParitySide) -> Parity:
    """The earliest difference of two records of one system."""
    found = [each for kind in actors.rows if (each := _first_difference(kind, kernel.rows[kind], actors.rows[kind])) is not None]
    equity = _equity_difference(prepared, kernel.equity, actors.equity)
    if equity is not None:
        found.append(equity)
    found.sort(key=lambda each: (NEVER if each.bar_ts is None else each.bar_ts, KINDS.index(each.kind)))
    counts = {kind: len(actors.equity) if kind == "equity points" else len(actors.rows[kind]) for kind in KINDS}
    first = found[0] if found else None
    if first is not None and first.bar_ts is not None:
        is_at_close = first.kind in ("orders", "equity points")
        first = replace(first, bar_ts=_bar_of(prepared, first.bar_ts, is_at_close=is_at_close))
    return Parity(actors.bars, counts, first)


# --- the actors' side ---


def actors_record(prepared: Prepared) -> ParitySide:
    """Run the actors over the prepared history."""
    parts = wire_backtest(prepared, "parity")
    bars = replay(parts.feed, parts.engine, parts.venue)
    history = prepared.histories[0]
    instrument, symbol = history.instrument, history.symbol
    orders, numbers = _orders(parts.messages, instrument)
    trades, venue = parts.portfolio.trade_log.closed, parts.venue
    funnel = run_funnel(parts.risk, parts.executor, parts.portfolio, fills=len(venue.fills), takeovers=len(venue.liquidations))
    book = parts.venue.books[symbol].positions[0]
    accounts = dict(zip(ACCOUNTS, parts.venue.ledger.coins[instrument.quote], strict=True))
    return ParitySide(
        {
            "orders": orders,
            "fills": [_fill(fill, numbers, instrument) for fill in parts.venue.fills],
            "funding payments": [_payment(payment, instrument) for payment in parts.venue.funding_payments],
            "liquidations": [_liquidation(each, instrument) for each in parts.venue.liquidations],
            "trades": [_trade(trade, instrument) for trade in trades],
            "funnel": _funnel_rows(funnel),
            "ledger accounts": _ledger(accounts, book.steps, book.cost, parts.venue.insurance_paid, parts.venue.stop_reason),
        },
        np.array(parts.portfolio.equity_values, dtype=np.float64),
        bars,
    )


def _orders(messages: Sequence[Message], instrument: Instrument) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Every order from its first message to its last, and the row of each id."""
    rows: list[dict[str, Any]] = []
    numbers: dict[str, int] = {}
    for message in messages:
        if isinstance(message, SubmitOrder):
            bracket, price = message.bracket, instrument.price_grid
            stop, target = (None, None) if bracket is None else (bracket.stop_loss, bracket.take_profit)
            numbers[message.client_order_id] = len(rows)
            rows.append(_order(
                message.ts, message.side, instrument.qty_grid.count(message.qty), message.reason, message.reduce_only,
                0 if stop is None else price.count(stop), 0 if target is None else price.count(target), -1,
            ))  # fmt: skip
        elif isinstance(message, OrderUpdate) and message.client_order_id not in numbers:
            trigger = 0 if message.trigger_price is None else instrument.price_grid.count(message.trigger_price)
            role = _ROLES[message.client_order_id.rpartition("-")[2][:2]]
            numbers[message.client_order_id] = len(rows)
            steps = instrument.qty_grid.count(message.leaves_qty)
            rows.append(_order(message.ts, message.side, steps, role, True, trigger, 0, numbers[message.parent_id or ""]))
        elif isinstance(message, OrderUpdate) and message.status in at.ORDER_STATUSES:
            rows[numbers[message.client_order_id]] |= {"status": message.status, "ts_end": message.ts, "word": word_of(message.reason)}
    return rows, numbers


def _order(
    ts: int, side: str, steps: int, reason: str, reduce_only: bool, stop: int, target: int, parent: int, status: str = "pending",
    ts_end: int = 0, word: str = "",
) -> dict[str, Any]:  # fmt: skip
    return {
        "ts": ts, "side": side, "steps": steps, "reason": reason, "reduce_only": reduce_only, "stop_ticks": stop, "target_ticks": target,
        "parent": parent, "status": status, "ts_end": ts_end, "word": word,
    }  # fmt: skip


def _fill(fill: Fill, numbers: Mapping[str, int], instrument: Instrument) -> dict[str, Any]:
    price = instrument.price_grid
    return {
        "ts": fill.ts, "order": numbers.get(fill.client_order_id, -1), "side": fill.side, "steps": instrument.qty_grid.count(fill.qty),
        "ticks": price.count(fill.price), "reference": price.count(fill.reference), "fee": fill.fee, "pnl": fill.realized_pnl,
        "reason": fill.reason, "is_bust": fill.kind == "bust",
    }  # fmt: skip


def _payment(payment: FundingPayment, instrument: Instrument) -> dict[str, Any]:
    steps = instrument.qty_grid.count(payment.qty)
    return {"ts": payment.ts, "amount": payment.amount, "rate": payment.rate, "mark": payment.mark_price, "steps": steps}


def _liquidation(each: Liquidation, instrument: Instrument) -> dict[str, Any]:
    return {
        "ts": each.ts, "side": each.side, "steps": instrument.qty_grid.count(each.qty), "loss": each.loss, "insurance": each.insurance,
        "mark": each.mark_price, "liquidation_price": each.liquidation_price, "bankruptcy_price": each.bankruptcy_price,
    }  # fmt: skip


def _trade(trade: Trade, instrument: Instrument) -> dict[str, Any]:
    return {
        "ts": trade.exit_ts, "entry_ts": trade.entry_ts, "side": trade.side, "steps": instrument.qty_grid.count(trade.qty),
        "entry_notional": trade.entry_notional, "exit_notional": trade.exit_notional, "gross_pnl": trade.gross_pnl, "fees": trade.fees,
        "funding": trade.funding, "slippage": trade.slippage, "reason": trade.exit_reason, "fills": trade.fills,
    }  # fmt: skip


# --- the kernel's side ---


def kernel_record(prepared: Prepared, result: KernelResult) -> ParitySide:
    """What the kernel gave, in the same rows."""
    ledger = result.ledger
    accounts = {
        "free": ledger.free, "order_margin": 0, "position_margin": ledger.position_margin, "fees": ledger.fees, "funding": ledger.funding,
        "pnl": ledger.pnl, "insurance": ledger.insurance, "external": ledger.external,
    }  # fmt: skip
    stop = _stop(prepared.histories[0].instrument, result)
    return ParitySide(
        {
            "orders": [_kernel_order(row) for row in _dicts(result.orders)],
            "fills": [_kernel_fill(row) for row in _dicts(result.fills)],
            "funding payments": [row | {"mark": row["mark"] / UNIT} for row in _dicts(result.payments)],
            "liquidations": [
                row | {"side": _side(row["side"])} | dict(zip(at.LIQUIDATION_PRICES, prices, strict=True))
                for row, prices in zip(_dicts(result.liquidations), result.liquidation_prices.tolist(), strict=True)
            ],
            "trades": [_kernel_trade(row) for row in _dicts(result.trades)],
            "funnel": _funnel_rows(result.funnel),
            "ledger accounts": _ledger(accounts, ledger.steps, ledger.cost, result.insurance_paid, stop),
        },
        result.equity,
        result.bars,
    )


def _dicts(rows: np.ndarray) -> list[dict[str, int]]:
    """Structured rows as dicts of Python's own integers."""
    names = rows.dtype.names or ()
    return [dict(zip(names, row, strict=True)) for row in rows.tolist()]


def _kernel_order(row: Mapping[str, int]) -> dict[str, Any]:
    return _order(
        row["ts"], _side(row["side"]), row["steps"], at.ORDER_REASONS[row["reason"]], bool(row["reduce_only"]), row["stop_ticks"],
        row["target_ticks"], row["parent"], at.ORDER_STATUSES[row["status"]], row["ts_end"], WORDS[row["word"]],
    )  # fmt: skip


def _kernel_fill(row: Mapping[str, int]) -> dict[str, Any]:
    changed = {"side": _side(row["side"]), "reason": at.ORDER_REASONS[row["reason"]], "is_bust": bool(row["is_bust"])}
    return {**row, **changed}


def _kernel_trade(row: Mapping[str, int]) -> dict[str, Any]:
    named = {"ts": row["exit_ts"], "side": "LONG" if row["side"] > 0 else "SHORT", "reason": at.ORDER_REASONS[row["reason"]]}
    return {name: value for name, value in {**row, **named}.items() if name != "exit_ts"}


def _side(side: int) -> str:
    return "BUY" if side > 0 else "SELL"


def _stop(instrument: Instrument, result: KernelResult) -> StopReason | None:
    """The stop in the exchange's words (sim/exchange/exhaustion.py)."""
    if result.stop is None:
        return None
    ts, need, equity = result.stop
    quote = instrument.quote
    detail = (
        f"{instrument.symbol}: equity {to_text(equity)} {quote}, free {to_text(equity)} {quote}; "
        f"the smallest order needs {to_text(need)} {quote}"
    )
    return StopReason(result.stop_code, ts, detail)


# --- both ---


def _funnel_rows(funnel: Funnel) -> list[dict[str, Any]]:
    """The counts of a funnel, a row each; reasons of the venue without their numbers. What is still open the kernel does not list."""
    rows: list[dict[str, Any]] = []
    for stage, value in funnel.counts().items():
        numbers = value if isinstance(value, dict) else {"": value}
        by_reason = Counter[str]()
        for reason, number in numbers.items():
            by_reason[word_of(reason)] += number
        rows += [{"stage": stage, "reason": reason, "count": by_reason[reason]} for reason in sorted(by_reason)]
    return [row for row in rows if row["stage"] != "open"]


def _ledger(accounts: Mapping[str, int], steps: int, cost: int, insurance_paid: int, stop: StopReason | None) -> list[dict[str, Any]]:
    values: dict[str, Any] = {**accounts, "position_steps": steps, "position_cost": cost, "insurance_paid": insurance_paid, "stop": stop}
    return [{"account": name, "value": value} for name, value in values.items()]


def _first_difference(kind: str, kernel: Sequence[Row], actors: Sequence[Row]) -> ParityDifference | None:
    for number in range(max(len(kernel), len(actors))):
        ours = kernel[number] if number < len(kernel) else None
        theirs = actors[number] if number < len(actors) else None
        if ours != theirs:
            times = [row["ts"] for row in (ours, theirs) if row is not None and "ts" in row]
            return ParityDifference(kind, number, min(times, default=None), ours, theirs)
    return None


def _equity_difference(prepared: Prepared, kernel: np.ndarray, actors: np.ndarray) -> ParityDifference | None:
    rows = min(len(kernel), len(actors))
    same = kernel[:rows].view(np.int64) == actors[:rows].view(np.int64)
    if same.all() and len(kernel) == len(actors):
        return None
    number = rows if same.all() else int(np.argmin(same))
    execution = prepared.histories[0].execution
    ours, theirs = ({"equity": float(each[number])} if number < len(each) else None for each in (kernel, actors))
    return ParityDifference("equity points", number, int(execution.ts[number]) + tf_ms(execution.timeframe), ours, theirs)


def _bar_of(prepared: Prepared, ts: int, *, is_at_close: bool) -> int:
    """The open of the execution bar to which a time belongs: what is sent or valued at a close, to the bar that ended."""
    execution = prepared.histories[0].execution
    row = int(np.searchsorted(execution.ts + tf_ms(execution.timeframe), ts, side="left" if is_at_close else "right"))
    return int(execution.ts[min(row, len(execution) - 1)])
