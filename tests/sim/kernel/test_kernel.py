"""The kernel's own door: what it takes and refuses, what runs may share, and that nothing is silently different."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from keel.core.errors import DataError
from keel.core.model.messages import Signal
from keel.core.system.config import ExecutionConfig, ImpactConfig, RiskConfig, SizingConfig, SystemConfig
from keel.runners.backtest.kernel_run import kernel_columns, kernel_refuses, kernel_setup, kernel_signals
from keel.runners.backtest.preparation import Prepared
from keel.runners.research.sweep.workers.kernel import KernelBench
from keel.runners.research.sweep.workers.task import Task
from keel.sim.kernel import KernelRefused, KernelRoom, KernelSetup, run, summarize, unsupported
from keel.strategies.base import VectorStrategy
from keel.strategies.ema_cross import EmaCross
from keel.strategies.hold import Hold
from tests.builders import perpetual, plain_system, spot_pair
from tests.sim.kernel.worlds import Market, world

MARKET = Market(3, 400, 0, 30.0, 0.0, 0.0, ("1h", "1h"), "near", False, "aligned", False, 0)


def made(market: Market = MARKET, **changes: Any) -> Prepared:
    """A prepared run that trades a lot."""
    values: dict[str, Any] = {
        "sizing": SizingConfig(percent=50.0), "risk": RiskConfig(leverage=3.0), "execution": ExecutionConfig(), "warmup_bars": None,
        "timeframe": market.timeframes[0], "execution_timeframe": market.timeframes[1],
    }  # fmt: skip
    return world(market, perpetual("XUSDT"), plain_system("XUSDT", **(values | changes)), 0.3)


def parts(prepared: Prepared) -> tuple[Any, Any, KernelSetup]:
    history, columns = prepared.histories[0], prepared.columns[0]
    return (
        kernel_columns(history, columns, prepared.window.start_ms), kernel_signals(columns), kernel_setup(prepared.system, prepared)
    )  # fmt: skip


REFUSED = [
    ("latency", {"execution": ExecutionConfig(latency_ms=1)}),
    ("impact", {"execution": ExecutionConfig(impact=ImpactConfig(base_bps=1.0))}),
    ("volume", {"execution": ExecutionConfig(max_volume_share=0.1)}),
    ("cross", {"risk": RiskConfig(margin_mode="cross")}),
    ("max_orders_per_minute", {"risk": RiskConfig(max_orders_per_minute=3)}),
    ("several symbols", {"symbols": ["XUSDT", "YUSDT"]}),
    ("risk.leverage", {"risk": RiskConfig(leverage=101.0)}),
]


@pytest.mark.parametrize(("word", "changes"), REFUSED, ids=[word for word, _ in REFUSED])
def test_what_is_not_modelled_is_named(word, changes):
    prepared = made()
    assert kernel_refuses(prepared) is None
    prepared.system = msgspec.structs.replace(prepared.system, **changes)
    refusal = kernel_refuses(prepared)
    assert refusal is not None and word in refusal


def test_spot_is_refused():
    assert "spot" in (unsupported(plain_system(category="spot"), spot_pair()) or "")


class Deciding(EmaCross):
    def generate_signal(self, snapshot: Any, params: Any) -> Signal | None:
        return None


class Listening(Hold):
    def on_fill(self, fill: Any) -> None: ...


class Starting(VectorStrategy):
    def on_start(self, params: Any) -> None: ...


@pytest.mark.parametrize(("strategy", "word"), [(Deciding, "generate_signal"), (Listening, "on_fill"), (Starting, "on_start")])
def test_a_strategy_that_does_more_than_its_array_is_refused(strategy, word):
    prepared = made()
    prepared.strategy = strategy()
    assert word in (kernel_refuses(prepared) or "")


def test_a_decision_whose_last_execution_bar_is_missing_is_refused():
    prepared = made(replace(MARKET, timeframes=("1h", "15m")))
    execution = prepared.histories[0].execution
    kept = np.arange(len(execution)) != 11
    prepared.histories[0].execution = type(execution)(
        execution.ts[kept], {name: execution[name][kept] for name in execution}, symbol="XUSDT", timeframe="15m"
    )
    assert "missing" in (kernel_refuses(prepared) or "")
    bench, task = KernelBench(), Task("a", prepared.system, prepared.window.to_tuple_ms(), "data", {})
    assert bench.run(task, prepared, 0.0) == bench.run(task, prepared, 0.0) == kernel_refuses(prepared)


def test_an_amount_beyond_64_bits_is_refused_not_wrapped():
    columns, signals, setup = parts(made(sizing=SizingConfig(model="fixed_qty", qty=1e6), risk=RiskConfig(policy="none", leverage=100.0),
                                         initial_equity=3.9e9))  # fmt: skip
    with pytest.raises(KernelRefused):
        run(columns, signals, setup)
    with pytest.raises(KernelRefused):
        summarize(columns, signals, setup)


def test_arrays_that_do_not_fit_are_refused():
    columns, signals, setup = parts(made())
    with pytest.raises(DataError, match="one per decision"):
        run(columns, signals[:-1], setup)
    with pytest.raises(DataError, match="int8"):
        run(columns, signals.astype(np.int64), setup)
    with pytest.raises(DataError, match="feature"):
        run(columns, signals, setup, (np.zeros(3), np.zeros(0), np.zeros(0), np.zeros(0)))


def test_logs_grow_when_more_happens_than_was_thought():
    columns, signals, setup = parts(made(replace(MARKET, rows=6_000)))
    many = np.resize(np.array([1, -1], dtype=np.int8), len(signals))
    assert len(run(columns, many, setup).fills) == 5_999


def test_runs_that_share_their_room_give_what_runs_of_their_own_give():
    room = KernelRoom()
    for market in (MARKET, replace(MARKET, rows=3_000), replace(MARKET, rows=50, seed=5)):
        columns, signals, setup = parts(made(market))
        shared, own = run(columns, signals, setup, room=room), run(columns, signals, setup)
        assert shared.ledger == own.ledger
        assert shared.fills.tolist() == own.fills.tolist() and shared.trades.tolist() == own.trades.tolist()
        assert shared.equity.tobytes() == own.equity.tobytes()


def test_threads_share_columns():
    columns, signals, _ = parts(made(replace(MARKET, rows=5_000)))
    setups = [
        KernelSetup.of(plain_system("XUSDT", sizing=SizingConfig(percent=float(p)), risk=RiskConfig(leverage=5.0)), perpetual("XUSDT"))
        for p in range(5, 105, 5)
    ]
    alone = [summarize(columns, signals, setup) for setup in setups]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda setup: summarize(columns, signals, setup), setups))
    assert together == alone
    assert len({summary.ledger for summary in alone}) == len(setups)


def test_columns_cannot_be_written_by_a_run():
    columns, signals, setup = parts(made())
    before = signals.copy()
    run(columns, signals, setup)
    assert (signals == before).all()
    with pytest.raises(ValueError, match="read-only"):
        columns.last[0][0] = 1.0


def test_a_run_of_no_decisions_stays_as_it_began():
    columns, signals, setup = parts(made())
    result = run(columns, np.zeros_like(signals), setup)
    assert len(result.orders) == 0 and result.ledger.free == -result.ledger.external and (result.equity == 10_000.0).all()


@pytest.mark.long
def test_without_compilation_the_same_source_runs_in_python():
    """numba's own switch: what is compiled otherwise then runs as Python has it."""
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from tests.sim.kernel.test_kernel import made, parts\n"
        "from keel.sim.kernel import run\n"
        "result = run(*parts(made()))\n"
        "print(result.ledger, len(result.fills), result.equity.sum().hex())\n"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, check=True
    )
    result = run(*parts(made()))
    assert done.stdout.strip() == f"{result.ledger} {len(result.fills)} {result.equity.sum().hex()}"
    assert len(result.fills) > 50


def test_setups_are_numbers_of_the_system():
    system: SystemConfig = plain_system("XUSDT", risk=RiskConfig(leverage=2.5), execution=ExecutionConfig(slippage_bps=2.5))
    setup = KernelSetup.of(system, perpetual("XUSDT"))
    from keel.sim.kernel import layout as at

    assert (setup.rules[at.LEVERAGE], setup.rules[at.COST_RATE]) == (250_000_000, 25_000)
    assert not setup.rules.flags.writeable
