"""keel parity: what it compares, how a difference is shown, and the built-in systems over invented and real history."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.model.time_range import TimeRange, to_iso
from keel.core.system.config import ExecutionConfig, SizingConfig
from keel.runners.backtest.engine import run_prepared
from keel.runners.backtest.kernel_run import kernel_refuses, run_kernel
from keel.runners.backtest.preparation import Prepared, prepare
from keel.runners.research.parity import KINDS, ParitySide, actors_record, compare, compare_records, kernel_record
from keel.runners.tools.registry import ToolContext
from keel.runners.user_code import load_function
from keel.strategies.base import VectorStrategy
from tests.builders import DAY, START, builtin, made_ready, perpetual, plain_system, sample_store, store_of

VECTOR = ("ema_cross", "momentum", "rsi_reversion", "hold")
"""The built-in systems whose strategies give an array."""
SHORT = ("warmup_bars=60", "params.fast=5", "params.slow=12")


@pytest.fixture(scope="session", autouse=True)
def kernel(compiled_kernel: None) -> None:
    """It is there."""


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    """The crossover over three weeks of invented history."""
    system, strategy = builtin("ema_cross", *SHORT)
    return made_ready(sample_store(days=30), system, START + 5 * DAY, START + 26 * DAY, strategy())


@pytest.fixture(scope="module")
def both(prepared: Prepared) -> tuple[ParitySide, ParitySide]:
    """Both sides of it."""
    return kernel_record(prepared, run_kernel(prepared)), actors_record(prepared)


# --- what is compared ---


def test_everything_is_counted_and_identical(prepared, both):
    found = compare_records(prepared, *both)
    assert found.difference is None
    assert tuple(found.counts) == KINDS
    assert found.bars == found.counts["equity points"] == 21 * 288
    assert found.counts["fills"] > 20 and found.counts["trades"] > 10 and found.counts["funding payments"] > 50


CHANGES: list[tuple[str, int, str, Any]] = [
    ("orders", 3, "steps", 1),
    ("fills", 5, "fee", 1),
    ("fills", 0, "ticks", 1),
    ("funding payments", 7, "amount", 1),
    ("trades", 2, "slippage", 1),
    ("ledger accounts", 0, "value", 1),
]


@pytest.mark.parametrize(("kind", "number", "name", "change"), CHANGES)
def test_one_unit_is_a_difference_and_is_shown_with_its_bar(prepared, both, kind, number, name, change):
    kernel, actors = copy.deepcopy(both[0]), both[1]
    kernel.rows[kind][number][name] += change
    found = compare_records(prepared, kernel, actors).difference
    assert found is not None and (found.kind, found.number) == (kind, number)
    assert found.kernel is not None and found.actors is not None
    assert found.kernel[name] == found.actors[name] + change
    if kind in ("fills", "funding payments"):
        ts = found.actors["ts"]
        assert found.bar_ts is not None and found.bar_ts <= ts < found.bar_ts + 300_000


def test_the_last_bit_of_an_equity_point_is_a_difference(prepared, both):
    kernel = copy.deepcopy(both[0])
    kernel.equity = kernel.equity.copy()
    kernel.equity.view("int64")[100] += 1
    found = compare_records(prepared, kernel, both[1]).difference
    assert found is not None and (found.kind, found.number) == ("equity points", 100)
    assert found.bar_ts == START + 5 * DAY + 100 * 300_000


def test_the_earliest_of_several_differences_is_told(prepared, both):
    kernel = copy.deepcopy(both[0])
    kernel.rows["trades"][0]["fees"] += 1
    kernel.rows["fills"][1]["pnl"] += 1
    kernel.rows["funding payments"][0]["amount"] += 1
    found = compare_records(prepared, kernel, both[1]).difference
    first = min((both[1].rows[kind][number]["ts"], kind) for kind, number in (("fills", 1), ("funding payments", 0), ("trades", 0)))
    assert found is not None and found.kind == first[1]


def test_a_missing_row_is_a_difference(prepared, both):
    kernel = copy.deepcopy(both[0])
    kernel.rows["fills"].pop()
    found = compare_records(prepared, kernel, both[1]).difference
    assert found is not None and found.kernel is None and found.actors is not None


# --- the built-in systems ---

VARIANTS = [
    (),
    ("execution_timeframe=1h",),
    ("timeframe=15m", "execution.half_spread_bps=1.5", "execution.path=pessimistic"),
    ("risk.leverage=50", "sizing={model: percent_equity, percent: 3000}", "risk.margin_reserve_percent=0"),
    ("risk.daily_loss_percent=1", "risk.cooldown_bars=3", "risk.on_limit=hold"),
    ("exits={stop_loss: {percent: 1}, take_profit: {atr: 2}, trailing: {percent: 1, activate_percent: 0.5}, trigger: mark}",),
    ("exits={trailing: {atr: 1.5}, max_bars: 12}", "sizing={model: risk_per_trade, percent: 1, stop_atr: 2}"),
    ("sizing={model: inverse_vol, budget_percent: 40}", "execution.funding={constant: 0.0003}"),
]


@pytest.mark.parametrize("name", VECTOR)
@pytest.mark.parametrize("overrides", VARIANTS, ids=range(len(VARIANTS)))
def test_a_built_in_system_is_the_same(name, overrides):
    system, strategy = builtin(name, "warmup_bars=120", *overrides)
    ready = made_ready(sample_store(days=30), system, START + 8 * DAY, START + 28 * DAY, strategy())
    assert kernel_refuses(ready) is None
    assert compare(ready).difference is None


# --- the command ---


def test_the_command_says_identical(keel):
    answer = keel("parity", "ema_cross", "--start", "2024-01-24", "--end", "2024-01-28", "--set", "warmup_bars=100")
    assert answer.code == 0, answer.err
    assert "identical" in answer.out and "fills" in answer.out


def test_the_command_answers_in_json(keel):
    answer = keel("parity", "momentum", "--start", "2024-01-24", "--end", "2024-01-28", "--set", "warmup_bars=100", "--json")
    assert answer.code == 0, answer.err
    assert answer.data["identical"] is True and answer.data["difference"] is None
    assert answer.data["compared"]["equity points"] == 4 * 288


def test_what_the_kernel_does_not_model_is_told_in_one_line(keel):
    for arguments, word in (
        (("atr_breakout", "--set", "warmup_bars=20"), "AtrBreakout"),
        (("ema_cross", "--set", "warmup_bars=20", "--set", "execution.latency_ms=100"), "latency"),
    ):
        answer = keel("parity", *arguments, "--start", "2024-01-24", "--end", "2024-01-28")
        assert (answer.code, answer.out) == (2, "")
        assert word in answer.err and answer.err.count("\n") == 1


def test_without_numba_it_says_what_to_install(keel_process, tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('not here')\n")
    span = ("--start", "2024-01-24", "--end", "2024-01-28", "--set", "warmup_bars=20")
    answer = keel_process("parity", "ema_cross", *span, PYTHONPATH=str(tmp_path))
    assert answer.code == 2 and answer.err.endswith("pip install keel-trader[fast]\n") and answer.err.count("\n") == 1


def test_a_difference_is_shown_and_fails(prepared, both, capsys):
    from keel.runners.cli.research.parity import show
    from keel.runners.tools.research.parity import ParityResponse, entry_of

    kernel = copy.deepcopy(both[0])
    kernel.rows["fills"][5]["fee"] += 1
    found = compare_records(prepared, kernel, both[1])
    assert found.difference is not None
    window = {"name": "w", "start": to_iso(START), "end": to_iso(START + DAY)}
    answer = ParityResponse(
        system="ema_cross", symbol="BTCUSDT", window=window, window_note="", bars=found.bars, compared=found.counts, identical=False,
        difference=entry_of(found.difference), kernel_s=0.0, actors_s=0.0,
    )  # fmt: skip
    show(answer)
    text = capsys.readouterr().out
    assert "number 6 of the fills in the bar of 2024-01" in text and "* fee" in text and "identical" not in text


def test_the_tool_is_in_the_registry(tmp_path):
    from keel.runners.home import Home
    from keel.runners.tools import parity_check_tool

    answer = parity_check_tool.call({"system_id": "no_such_system"}, ToolContext(Home(tmp_path)))
    assert not answer["ok"] and "no_such_system" in answer["error"]["message"]


# --- real history ---

FIVE_MINUTES = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "WIFUSDT")
ONE_MINUTE = ("BNBUSDT", "BTCUSDT", "ETHUSDT", "SOLUSDT")


@pytest.fixture(scope="module")
def real_store(real_data: Path) -> Any:
    """Perpetuals: bars of 5m and 1m, marks, funding."""
    with HistoricalDataStore(":memory:") as store:
        for folder in ("kline_5m", "kline_1m", "kline_1h", "mark_1h", "funding"):
            for path in sorted((real_data / "bybit" / "linear" / folder).glob("*.parquet")):
                store.import_file(path)
        yield store


def over(store: HistoricalDataStore, name: str, window: tuple[str, str], *overrides: str) -> Prepared:
    system, strategy = builtin(name, *overrides)
    return prepare(store, system, TimeRange.from_dates(*window), strategy(), system.params, load_function=load_function)


REAL = [
    (),
    ("timeframe=5m", "execution_timeframe=5m", "warmup_bars=200"),
    ("risk.leverage=20", "sizing={model: percent_equity, percent: 400}", "exits={stop_loss: {percent: 2}, trailing: {percent: 1.5}}"),
]


@pytest.mark.real_data
@pytest.mark.parametrize("name", VECTOR)
@pytest.mark.parametrize("symbol", FIVE_MINUTES)
@pytest.mark.parametrize("overrides", REAL, ids=("as it is", "5m", "leverage and exits"))
def test_nine_months_of_real_bars_are_the_same(real_store, name, symbol, overrides):
    window = ("2025-04-15", "2025-08-09") if symbol == "SOLUSDT" else ("2025-01-15", "2025-09-30")
    ready = over(real_store, name, window, f"symbols=[{symbol}]", "warmup_bars=200", "risk.max_drawdown_percent=null", *overrides)
    found = compare(ready)
    assert found.difference is None and found.counts["fills"] > 0


@pytest.mark.real_data
@pytest.mark.parametrize("name", VECTOR)
@pytest.mark.parametrize("symbol", ONE_MINUTE)
def test_a_month_of_real_minutes_is_the_same(real_store, name, symbol):
    changes = ["timeframe=1m", "execution_timeframe=1m", "warmup_bars=500", "risk.max_drawdown_percent=null"]
    if name == "momentum":
        changes.append("params.threshold=0.3")
    if symbol == "BNBUSDT":
        changes.append("execution.funding={constant: 0.0001}")
    found = compare(over(real_store, name, ("2025-05-31", "2025-06-29"), f"symbols=[{symbol}]", *changes))
    assert found.difference is None and found.counts["fills"] > 0


class Turning(VectorStrategy):
    """Long and short by turns."""

    def signals(self, frame, params):
        return np.where(np.arange(len(frame["close"])) // 3 % 2, -1, 1).astype(np.int8)


@pytest.mark.parametrize(("tick", "step"), [("0.000001", "0.0001"), ("0.0001", "0.000001"), ("0.00000001", "0.1")])
def test_the_books_add_up_where_a_tick_times_a_step_is_less_than_the_unit_of_money(tick, step):
    """Slippage is what the fill's value differs from that at the reference price, both rounded: the value of the difference is not it."""
    contract = perpetual(tick=tick, step=step)
    size = float(tick)
    closes = [size * (123_457 + (7_919 * number) % 1_543) for number in range(48)]
    prices = [(before, max(before, close), min(before, close), close) for before, close in zip([closes[0], *closes], closes, strict=False)]
    system = plain_system(
        sizing=SizingConfig(model="fixed_qty", qty=float(step) * 1_234_567),
        execution=ExecutionConfig(slippage_bps=3.7, half_spread_bps=0.9, funding="none"),
    )
    prepared = made_ready(store_of(prices, instrument=contract), system, START, START + 2 * DAY, Turning())
    result = run_prepared(prepared)
    assert result.reconciliation.slippage > 0 and result.reconciliation.difference == 0
    assert len(result.trades) > 10
    assert compare(prepared).difference is None
