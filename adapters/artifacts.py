"""The files of one run: written once, whole, and read again.

    config.json    the effective configuration, before anything runs
    trades.jsonl   one closed round trip a line; trades.csv has the same rows
    equity.csv     the account at every execution bar; equity.parquet has the same rows (adapters/curve_files.py)
    result.json    the structured result: reconciliation, trust, open trades, liquidations, funding, order log; timing at its end
    results.json   every metric, why one is missing, the proof metrics, the verdict, the funnel (what became of signals and orders)
    summary.json   a dozen lines for people and dashboards; the last to be written: where it stands, the run is complete

trades.jsonl, trades.csv and equity.csv have the same bytes for the same configuration and data: no run id, no wall clock. Prices and
quantities are floats in their shortest text, money is exact decimal text. No file holds nan or inf.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import asdict

from keel.adapters.curve_files import CURVE_FILES, check_curve, write_curve
from keel.adapters.plain_data import plain, without_columns
from keel.adapters.whole_file import json_text, write_bytes
from keel.core.errors import DataError, InvariantError
from keel.core.model.messages import FundingPayment, Liquidation
from keel.core.model.money import to_text, to_units
from keel.core.model.time_range import to_iso
from keel.core.model.trade import Trade
from keel.core.results.funnel import Funnel
from keel.core.results.result import BacktestResult, Reconciliation

MONEY_FIELDS = ("entry_notional", "exit_notional", "gross_pnl", "fees", "funding", "slippage", "entry_fees", "entry_slippage")
"""The fields of a Trade that are money."""

SUMMARY_METRICS = (
    "net_profit",
    "final_equity",
    "total_return",
    "sharpe",
    "max_drawdown_pct",
    "win_rate",
    "profit_factor",
    "total_trades",
    "fees",
)
"""The metrics of summary.json, in its order; the ones that a run lacks are left out."""

EXACT_METRICS = {
    "initial_equity": "initial_equity",
    "final_equity": "final_equity",
    "net_profit": "net",
    "fees": "fees",
    "funding": "funding",
    "slippage": "slippage",
    "unrealized_pnl": "unrealized",
}
"""Metrics whose exact amount stands in the reconciliation, and under which name."""


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The JSON files of one run; None where a file is not there (yet)."""

    folder: Path
    config: dict[str, Any] | None
    results: dict[str, Any] | None
    summary: dict[str, Any] | None
    result: dict[str, Any] | None


def write_config(folder: Path, effective_config: Mapping[str, Any]) -> None:
    """Write config.json. Raises InvariantError for what is not plain data, DataError when the disk refuses."""
    write_bytes(folder / "config.json", json_text(plain(effective_config, "config")))


def write_result(folder: Path, result: BacktestResult, outcome: Mapping[str, Any] | None = None) -> None:
    """Write all files of a finished backtest but config.json; the folder exists.

    outcome: what the epoch adds to results.json and summary.json (run id, status, verdict, ...).
    A run that a stop condition ended is completed, and says its ``stop_reason``.
    Raises InvariantError when a number is not finite or a value has no plain form, DataError when the disk refuses: none of these files
    is there then, so that what is small may still find room.
    """
    curve = result.equity_curve
    check_curve(curve)
    texts: dict[str, bytes] = {}
    try:
        with ThreadPoolExecutor(1) as beside:
            equity = beside.submit(write_curve, folder, curve)  # DuckDB formats it while we make the other texts
            texts = _texts(result, outcome or {})
            equity.result()
        for name, content in texts.items():
            write_bytes(folder / name, content)
    except (DataError, InvariantError):
        for name in (*CURVE_FILES, *texts):
            (folder / name).unlink(missing_ok=True)
        raise


def _texts(result: BacktestResult, outcome: Mapping[str, Any]) -> dict[str, bytes]:
    """The files beside the curve, in the order in which they are written."""
    trades = trade_rows(result.trades)
    lines, table = _json_lines(trades), _csv_table(trades)
    structured = json_text(_structured(result))
    notes = {"notes": plain(result.metric_notes, "metric_notes"), "proof": without_columns(result.proof, "proof")}
    stop = None if result.stop_reason is None else result.stop_reason.code
    warned = {"warnings": list(result.warnings)}
    head = {"run_id": result.run_id, "status": "completed", **outcome, "stop_reason": stop, **warned}
    notes |= {"funnel": plain(result.funnel.to_plain(), "funnel"), "benchmark": benchmark_of(result)}
    results, summary = _results(result.metrics, head, notes, exact=_exact_metrics(result), funnel=result.funnel)
    return {"trades.jsonl": lines, "trades.csv": table, "result.json": structured, "results.json": results, "summary.json": summary}


def write_metrics(folder: Path, metrics: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
    """Write results.json and summary.json of a run that gave only metrics, or none because it failed. Raises as ``write_result``."""
    results, summary = _results(metrics, outcome, {})
    write_bytes(folder / "results.json", results)
    write_bytes(folder / "summary.json", summary)


def trade_row(trade: Trade) -> dict[str, Any]:
    """One trade as it stands in trades.jsonl and trades.csv; an open one has None for its exit.

    Raises InvariantError for a price, quantity or return that is not finite.
    """
    return trade_rows([trade])[0]


def trade_rows(trades: Sequence[Trade]) -> list[dict[str, Any]]:
    """The rows of many trades. Raises as ``trade_row``."""
    rows, texts = [], _TimeTexts()
    for trade in trades:
        row = asdict(trade)
        for name in MONEY_FIELDS:
            row[name] = to_text(row[name])
        row["net_pnl"] = to_text(trade.net_pnl)
        row["return_pct"] = trade.return_pct
        row["holding_ms"] = trade.holding_ms
        row["entry_time"] = texts[trade.entry_ts]
        row["exit_time"] = None if trade.exit_ts is None else texts[trade.exit_ts]
        for name in _FLOAT_FIELDS:
            value = row[name]
            if value is not None and (type(value) is not float or not isfinite(value)):
                row[name] = plain(value, f"trade {trade.number}.{name}")
        rows.append(row)
    return rows


class _TimeTexts(dict[int, str]):
    """Times as ISO text, each made once: one trade often begins where another ended."""

    def __missing__(self, ts: int) -> str:
        text = self[ts] = to_iso(ts)
        return text


_FLOAT_FIELDS = ("entry_price", "exit_price", "qty", "return_pct")


def money_of(reconciliation: Reconciliation) -> dict[str, str]:
    """A reconciliation as exact decimal text, with its net and its difference (0, or the run is not to be believed)."""
    names = (*Reconciliation.__dataclass_fields__, "net", "difference")
    return {name: to_text(getattr(reconciliation, name)) for name in names}


def read_run(folder: Path) -> RunFiles:
    """The JSON files of a run's folder. Raises DataError for one that is damaged, or a folder that is no run's."""
    config = read_json(folder / "config.json")
    results = read_json(folder / "results.json")
    if config is None and results is None:
        raise DataError(f"{folder} is not the folder of a run: it has neither config.json nor results.json")
    return RunFiles(folder, config, results, read_json(folder / "summary.json"), read_json(folder / "result.json"))


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is no such file. Raises DataError for one that is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def read_trades(folder: Path) -> list[Trade]:
    """The trades of a backtest's trades.jsonl, as they were. Raises DataError, with the line, for one that is damaged."""
    path = folder / "trades.jsonl"
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    trades = []
    for number, line in enumerate(lines, start=1):
        try:
            trades.append(read_trade(msgspec.json.decode(line, type=dict[str, Any])))
        except (msgspec.MsgspecError, KeyError) as error:
            raise DataError(f"{path}, line {number}, is not a trade: {error}") from error
    return trades


def read_trade(row: Mapping[str, Any]) -> Trade:
    """The trade of one row. Raises KeyError for a field that is not there, ValidationError for one of another kind."""
    own = {name: to_units(row[name]) if name in MONEY_FIELDS else row[name] for name in Trade.__struct_fields__}
    return msgspec.convert(own, Trade)


# --- what stands in the files ----------------------------------------------------------------------------------------


def _json_lines(rows: list[dict[str, Any]]) -> bytes:
    return msgspec.json.Encoder().encode_lines(rows)


def _csv_table(rows: list[dict[str, Any]]) -> bytes:
    names = list(rows[0]) if rows else list(trade_row(_NO_TRADE))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(names)
    table.writerows(row.values() for row in rows)  # all have the same fields in the same order
    return text.getvalue().encode()


_NO_TRADE = Trade(number=0, symbol="", side="LONG", entry_ts=0, entry_price=0.0, qty=0.0, entry_notional=0)


def _exact_metrics(result: BacktestResult) -> dict[str, float]:
    """The metrics that the books know to the last unit, as the numbers nearest to it: their text has no more than 8 decimals."""
    amounts = money_of(result.reconciliation)
    return {name: float(amounts[entry]) for name, entry in EXACT_METRICS.items() if result.metrics.get(name) is not None}


def benchmark_of(result: BacktestResult) -> dict[str, Any] | None:
    """Buy and hold as plain data: its symbol and what it returned, a fraction; None where the run has no benchmark."""
    held = result.benchmark_return
    return None if held is None else {"symbol": result.system.symbols[0], "total_return": held}


def open_trade_row(trade: Trade, funnel: Funnel) -> dict[str, Any]:
    """One open trade as it stands in result.json: marked open, with its last mark and its unrealised PnL."""
    held = next((each for each in funnel.open if each.number == trade.number), None)
    mark, unrealized = (None, None) if held is None else (held.mark_price, to_text(held.unrealized_pnl))
    return {**trade_row(trade), "open": True, "mark_price": mark, "unrealized_pnl": unrealized}


def _results(
    metrics: Mapping[str, Any], outcome: Mapping[str, Any], notes: Mapping[str, Any], *, exact: Mapping[str, float] | None = None,
    funnel: Funnel | None = None,
) -> tuple[bytes, bytes]:  # fmt: skip
    """results.json and summary.json. exact: what stands in the summary in place of metrics that are sums of floats. funnel: for the
    summary, which has its numbers and what is open."""
    head: dict[str, Any] = plain(outcome, "outcome")
    numbers: dict[str, Any] = plain(metrics, "metrics")
    few = ("run_id", "strategy_id", "epoch", "symbol", "status", "stop_reason", "warnings", "passed", "next_epoch")
    shown = numbers | dict(exact or {})
    summary = {name: head[name] for name in few if name in head} | {name: shown[name] for name in SUMMARY_METRICS if name in shown}
    if funnel is not None:
        summary |= {
            "funnel": funnel.counts(),
            "open_trades": plain([each.to_plain() for each in funnel.open], "open_trades"),
            "dust": plain([each.to_plain() for each in funnel.dust], "dust"),
        }
    if head.get("error"):
        summary["error"] = f"{head['error']['type']}: {head['error']['message']}"
    return json_text({**head, "metrics": numbers, **notes}), json_text(summary)


def _structured(result: BacktestResult) -> dict[str, Any]:
    stop, window = result.stop_reason, result.window
    counts = ("trades", "open_trades", "fills", "funding_payments", "liquidations", "order_log")
    content = {
        "run_id": result.run_id,
        "system_uid": result.system_uid,
        "message_hash": result.message_hash,
        "status": result.status,
        "stop_reason": None if stop is None else {"code": stop.code, "ts": stop.ts, "time": to_iso(stop.ts), "detail": stop.detail},
        "window": {"start": to_iso(window.start_ms), "end": to_iso(window.end_ms), "start_ms": window.start_ms, "end_ms": window.end_ms},
        "reconciliation": money_of(result.reconciliation),
        "trust": result.trust,
        "counts": {name: len(getattr(result, name)) for name in counts} | {"equity_rows": len(result.equity_curve)},
        "open_trades": [open_trade_row(trade, result.funnel) for trade in result.open_trades],
        "liquidations": [_liquidation(event) for event in result.liquidations],
        "funding": _funding(result.funding_payments),
        "order_log": result.order_log,
        "system": msgspec.to_builtins(result.system),
        "timing": result.timing,
    }
    checked: dict[str, Any] = plain(content, "result")
    return checked


def _liquidation(event: Liquidation) -> dict[str, Any]:
    row = {name: getattr(event, name) for name in event.__struct_fields__}
    return {**row, "time": to_iso(event.ts), "loss": to_text(event.loss), "insurance": to_text(event.insurance)}


def _funding(payments: list[FundingPayment]) -> dict[str, dict[str, Any]]:
    """By symbol: how many payments, what was paid, what was received, and their difference (net, positive: paid)."""
    sums: dict[str, list[int]] = {}
    for payment in payments:
        entry = sums.setdefault(payment.symbol, [0, 0, 0])
        entry[0] += 1
        entry[1 if payment.amount > 0 else 2] += abs(payment.amount)
    return {
        symbol: {"payments": count, "paid": to_text(paid), "received": to_text(received), "net": to_text(paid - received)}
        for symbol, (count, paid, received) in sums.items()
    }
