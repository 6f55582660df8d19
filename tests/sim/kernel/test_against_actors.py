"""The kernel gives what the actors give, to the last unit, whatever the market, the system and the decisions are.

Each case is a random market (gaps, holes, marks that stray, odd funding) under a random system (costs, leverage up to liquidation, exits,
sizing, limits, grids) with random targets: orders, fills, funding, liquidations, trades, equity at each bar and the ledger are compared.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from keel.core.metrics.performance import compute_backtest_metrics
from keel.core.model.money import LIMIT
from keel.runners.backtest.engine import run_prepared
from keel.runners.backtest.kernel_run import kernel_refuses, run_kernel, summarize_kernel
from keel.runners.backtest.preparation import Prepared
from keel.runners.research.parity import compare
from keel.sim.kernel import KernelRefused
from tests.builders import HOUR, START, builtin, made_ready, store_of
from tests.sim.kernel.worlds import worlds

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def check(prepared: Prepared, *, in_python: bool = False) -> None:
    assert kernel_refuses(prepared) is None
    try:
        parity = compare(prepared, in_python=in_python)
    except KernelRefused:
        assert prepared.system.initial_equity > LIMIT / 1e8 / 1000 or prepared.system.sizing.model == "fixed_qty"
        return
    assert parity.difference is None


@settings(max_examples=150, suppress_health_check=QUIET)
@given(worlds())
def test_a_random_world_is_the_same(prepared):
    check(prepared)


@pytest.mark.long
@settings(max_examples=2_500, suppress_health_check=QUIET)
@given(worlds())
def test_thousands_of_random_worlds_are_the_same(prepared):
    check(prepared)


@settings(max_examples=40, suppress_health_check=QUIET)
@given(worlds())
def test_the_same_source_uncompiled_is_the_same(prepared):
    check(prepared, in_python=True)


@settings(max_examples=60, suppress_health_check=QUIET)
@given(worlds())
def test_a_summary_has_the_figures_of_the_actors_run(prepared):
    try:
        summary = summarize_kernel(prepared)
    except KernelRefused:
        return
    result = run_prepared(prepared)
    metrics = result.metrics
    names = ("total_trades", "winning_trades", "losing_trades", "final_equity", "net_profit", "fees", "funding", "slippage")
    assert {name: getattr(summary, name) for name in names} == {name: metrics[name] for name in names}
    assert summary.max_drawdown_abs == metrics["max_drawdown_abs"]
    assert summary.max_drawdown_pct == metrics["max_drawdown_pct"]
    assert summary.sharpe == metrics["sharpe"]
    assert summary.total_return == metrics["total_return"]
    assert summary.liquidations == len(result.liquidations)
    assert summary.ledger.balance == result.reconciliation.final_balance
    assert (summary.stop_code or None) == (result.stop_reason.code if result.stop_reason is not None else None)


CAPS = [
    ("leverage", ["sizing.percent=100"]),
    ("max_position_usd", ["risk.max_position_usd=500"]),
    ("max_gross_usd", ["risk.max_gross_usd=500"]),
]


@pytest.mark.parametrize(("reason", "changes"), CAPS)
def test_what_a_limit_makes_smaller_is_counted_as_the_actors_count_it(reason: str, changes: list[str]) -> None:
    system, strategy = builtin("hold", *changes, "execution.funding=none", "timeframe=1h", "execution_timeframe=1h", "warmup_bars=0")
    with store_of([(100.0,) * 4] * 6) as store:
        prepared = made_ready(store, system, START, START + 6 * HOUR, strategy())
    kernel, actors = summarize_kernel(prepared).funnel, run_prepared(prepared).funnel
    assert kernel.counts()["capped"] == actors.counts()["capped"] == {reason: 1}


@settings(max_examples=25, suppress_health_check=QUIET)
@given(worlds())
def test_a_summary_and_a_whole_run_agree(prepared):
    try:
        summary, result = summarize_kernel(prepared), run_kernel(prepared)
    except KernelRefused:
        return
    assert summary.ledger == result.ledger
    assert summary.funnel == result.funnel and (summary.funnel.signals_missing, summary.funnel.orders_missing) == (0, 0)
    assert (summary.bars, summary.stop_code, summary.total_trades) == (result.bars, result.stop_code, len(result.trades))
    closes = prepared.histories[0].execution.ts[: result.bars]
    times, equity = np.concatenate([[closes[0] - 1], closes]), np.concatenate([[prepared.system.initial_equity], result.equity])
    metrics = compute_backtest_metrics([], (times, equity), prepared.system.initial_equity)
    assert (summary.max_drawdown_abs, summary.max_drawdown_pct) == (metrics["max_drawdown_abs"], metrics["max_drawdown_pct"])
