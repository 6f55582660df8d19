"""The kernel's pessimistic path is the worse of both orders of high and low, in every bar, from the state at its open.

The oracle runs the same source over the whole history again, in an order of extremes that it is told for each bar, and compares the equity
at the bar's close. Compiled and uncompiled, and the kernel and the actors, are held together elsewhere.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from keel.core.system.config import Distance, ExecutionConfig, ExitsConfig, RiskConfig, SizingConfig
from keel.runners.backtest.kernel_run import run_kernel
from keel.runners.backtest.preparation import Prepared
from keel.sim.kernel import loop
from keel.sim.kernel.walk import along, follow, wake
from tests.builders import perpetual, plain_system
from tests.sim.kernel.worlds import Market, world

LEAST = 5e-9  # of equity, in quote coins: half of what the ledger counts


@st.composite
def short_worlds(draw: st.DrawFn) -> Prepared:
    """Some twenty bars with exits near the price, or leverage that is soon liquidated."""
    market = Market(
        draw(st.integers(0, 2**32 - 1)), draw(st.integers(8, 24)), draw(st.sampled_from([0, 1, 6])), draw(st.sampled_from([60.0, 150.0])),
        0.0, 0.0, draw(st.sampled_from([("1h", "1h"), ("1h", "15m")])), draw(st.sampled_from(["", "", "near"])), False,
        draw(st.sampled_from(["", "odd", "often"])), False, 0,
    )  # fmt: skip
    near = st.none() | st.sampled_from([0.3, 0.8, 1.6]).map(lambda percent: Distance(percent=percent))
    trailing = near | st.just(Distance(percent=0.7, activate_percent=0.4))
    tick, step = (("0.1", "0.001"), ("0.01", "0.01"), ("1", "0.1"))[(0, 1, 6).index(market.grid)]
    system = plain_system(
        "XUSDT", initial_equity=10_000.0, sizing=SizingConfig(percent=draw(st.sampled_from([50.0, 2_000.0]))),
        risk=RiskConfig(leverage=draw(st.sampled_from([1.0, 50.0]))), warmup_bars=None,
        execution=ExecutionConfig(path="pessimistic", slippage_bps=draw(st.sampled_from([0.0, 1.0]))),
        exits=ExitsConfig(
            stop_loss=draw(near), take_profit=draw(near), trailing=draw(trailing), trigger=draw(st.sampled_from(["last", "mark"]))
        ),
        timeframe=market.timeframes[0], execution_timeframe=market.timeframes[1],
    )  # fmt: skip
    return world(market, perpetual("XUSDT", tick, step), system, 0.5)


def walked(prepared: Prepared, forced: dict[int, bool] | None) -> tuple[np.ndarray, list[tuple[int, bool]]]:
    """(equity at each close, the bars that were walked with whether the low usually comes first). forced: by the bar's open; None: the
    kernel's own way."""
    seen: list[tuple[int, bool]] = []

    def forced_along(state, levels, terms, tables, funding, ts_open, last, mark, index):  # type: ignore[no-untyped-def]
        usual = last[3] >= last[0]
        seen.append((ts_open, usual))
        if forced is None:
            along(state, levels, terms, tables, funding, ts_open, last, mark, index)
            return
        follow(state, levels, terms, tables, funding, ts_open, last, mark, index, forced.get(ts_open, usual))
        wake(state, levels, terms[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "along", forced_along)
        result = run_kernel(prepared, in_python=True)
    return result.equity, seen


def check_each_bar(prepared: Prepared) -> None:
    equity, seen = walked(prepared, None)
    rows = {int(ts): row for row, ts in enumerate(prepared.histories[0].execution.ts)}
    chosen: dict[int, bool] = {}
    for ts, usual in seen:
        row = rows[ts]
        own, other = (float(walked(prepared, {**chosen, ts: first})[0][row]) for first in (usual, not usual))
        assert equity[row] == pytest.approx(min(own, other), abs=LEAST)
        chosen[ts] = usual is not (other < own - LEAST)
        event("worse" if other < own - LEAST else "better" if other > own + LEAST else "same")
    whole, _ = walked(prepared, chosen)
    assert np.array_equal(whole, equity)


@settings(max_examples=80, suppress_health_check=list(HealthCheck), deadline=None)
@given(short_worlds())
def test_every_bar_is_the_worse_of_both_orders(prepared):
    check_each_bar(prepared)


@pytest.mark.long
@settings(max_examples=1_500, suppress_health_check=list(HealthCheck), deadline=None)
@given(short_worlds())
def test_every_bar_of_many_worlds_is_the_worse_of_both_orders(prepared):
    check_each_bar(prepared)
