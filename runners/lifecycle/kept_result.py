"""The result of a run as its files keep it: what a report is drawn from where the run's code cannot be asked again.

A script's strategy may be a function, a cell of a notebook or an object that was made with values; its run is read back, never repeated.
Bars and buy and hold come from the store where it still has the run's very bars; otherwise the result has none, and a warning says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from keel.adapters.artifacts import read_trade, read_trades
from keel.adapters.curve_files import read_equity
from keel.adapters.replay.history import SymbolHistory
from keel.adapters.replay.loader import ReplayPlan, load_histories
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import DataError, KeelError
from keel.core.model.messages import Liquidation
from keel.core.model.money import to_units
from keel.core.model.time_range import TimeRange
from keel.core.model.trade import Trades
from keel.core.results.funnel import Funnel
from keel.core.results.result import BacktestResult, Reconciliation, StopReason
from keel.core.system.config import SystemConfig
from keel.runners.backtest.curve import buy_and_hold
from keel.runners.lifecycle.identity import bars_fingerprints
from keel.runners.lifecycle.registry import RunInfo

NO_BARS = "drawn without bars: the store no longer has those of the run, so there is no price chart and no buy and hold"


def kept_result(run: RunInfo, store_path: Path) -> BacktestResult:
    """The result, from the run's own files. Raises DataError for files that are damaged or missing."""
    files = run.read()
    if files.config is None or files.results is None or files.result is None:
        raise DataError(f"{run.run_id} ({run.status}) has no result to draw: only finished backtests have a report")
    try:
        result = _result(run, files.config["config"], files.results, files.result)
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise DataError(f"{run.folder}: its files are not those of a finished backtest: {error}") from error
    histories = _histories(result, files.config["config"], store_path)
    if not histories:
        result.warnings = [*result.warnings, NO_BARS]
    elif result.system.benchmark == "hold":
        times, start = result.equity_curve.ts[1:], result.window.start_ms
        result.benchmark = buy_and_hold(histories[0], times, start, result.system.initial_equity, result.system.execution)
    result.bars = {history.symbol: history.execution for history in histories}
    return result


def _result(run: RunInfo, config: Mapping[str, Any], results: Mapping[str, Any], kept: Mapping[str, Any]) -> BacktestResult:
    stop = kept["stop_reason"]
    return BacktestResult(
        system=msgspec.convert(kept["system"], SystemConfig),
        window=TimeRange(kept["window"]["start_ms"], kept["window"]["end_ms"]),
        metrics=results["metrics"],
        metric_notes=results["notes"],
        proof=results["proof"],
        trades=Trades(read_trades(run.folder), open_trades := [read_trade(row) for row in kept["open_trades"]]),
        open_trades=open_trades,
        fills=[],
        funding_payments=[],
        liquidations=[_liquidation(row) for row in kept["liquidations"]],
        equity_curve=read_equity(run.folder),
        reconciliation=Reconciliation(**{name: to_units(kept["reconciliation"][name]) for name in Reconciliation.__dataclass_fields__}),
        trust=kept["trust"],
        timing=kept["timing"],
        stop_reason=None if stop is None else StopReason(stop["code"], stop["ts"], stop["detail"]),
        order_log=kept["order_log"],
        funnel=Funnel.from_plain(results.get("funnel", {})),
        warnings=list(results.get("warnings", [])),
        run_id=run.run_id,
        system_uid=kept["system_uid"],
        message_hash=kept["message_hash"],
        artifacts=run.folder,
        effective_config=dict(config),
    )


def _liquidation(row: Mapping[str, Any]) -> Liquidation:
    own = {name: row[name] for name in Liquidation.__struct_fields__}
    return Liquidation(**{**own, "loss": to_units(row["loss"]), "insurance": to_units(row["insurance"])})


def _histories(result: BacktestResult, config: Mapping[str, Any], store_path: Path) -> list[SymbolHistory]:
    """The window's bars with marks and funding, without warm-up; none where the store does not have what the run read."""
    system = result.system
    plan = ReplayPlan(
        symbols=tuple(system.symbols), category=system.category, timeframe=system.timeframe,
        execution_timeframe=system.execution_timeframe or system.timeframe, warmup={system.timeframe: 0}, window=result.window,
        execution=system.execution, env=config["env"],
    )  # fmt: skip
    try:
        with HistoricalDataStore(store_path, read_only=True) as store:
            histories = load_histories(store, plan)
    except KeelError:  # no store, no such series, a gap: what it has is not what the run read, and the warning says so
        return []
    return histories if bars_fingerprints(histories) == config.get("bars_fingerprints") else []
