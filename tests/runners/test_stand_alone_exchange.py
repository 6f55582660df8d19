"""The documents' two lines on an exchange's own trades and equity: a run's orders, given to an exchange that stands alone, leave there what
the run's result says, metric by metric."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError, DataError
from keel.core.metrics import ProofConfig, compute_backtest_metrics, compute_proof_metrics
from keel.core.model.messages import AmendOrder, Bar, CancelOrder, FundingRate, SetTradingStop, SubmitOrder
from keel.core.model.timeframe import tf_ms
from keel.core.results.result import BacktestResult
from keel.runners.backtest.engine import run_wired
from keel.runners.backtest.wiring import wire_backtest
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange
from keel.strategies.base import BaseStrategy
from tests.builders import HOUR, START, builtin, made_ready, sample_store

FROM, TO = "2024-01-25", "2024-02-05"


@pytest.fixture(scope="module")
def store() -> Iterator[HistoricalDataStore]:
    with sample_store(("BTCUSDT", "ETHUSDT")) as made:
        yield made


def run_and_repeat(store: HistoricalDataStore, name: str, *overrides: str) -> tuple[BacktestResult, SimulatedExchange]:
    """A system's backtest, and an exchange that stands alone to which the run's own commands were given bar by bar."""
    system, strategy = builtin(name, *overrides)
    prepared = made_ready(store, system, FROM, TO, strategy())
    parts = wire_backtest(prepared, "t")
    result = run_wired(prepared, parts)
    instruments = {history.symbol: history.instrument for history in prepared.histories}
    alone = SimulatedExchange(
        list(instruments), system.initial_equity, system.execution, RiskProfileConfig.from_risk(system.risk, system.initial_equity),
        instruments=instruments,
    )  # fmt: skip
    calls = {
        SubmitOrder: alone.submit_order, AmendOrder: alone.amend_order,
        CancelOrder: alone.cancel_order, SetTradingStop: alone.set_trading_stop,
    }  # fmt: skip
    commands = [message for message in parts.messages if type(message) in calls]
    for bars in zip(*(list(_bars(history)) for history in prepared.histories), strict=True):
        while commands and commands[0].ts <= bars[0][0].ts_open:
            command = commands.pop(0)
            alone.clock.now_ms = command.ts
            calls[type(command)](command)
        for bar, mark, rates in bars:
            alone.process_bar(bar, mark=mark, funding_rates=rates)
    return result, alone


def _bars(history: Any) -> Iterator[tuple[Bar, Bar, list[FundingRate]]]:
    """Bars with their marks and with the rates that fall due before or at their close."""
    frame, mark, funding, length = history.execution, history.mark, history.funding, tf_ms(history.execution.timeframe)
    due = list(zip(funding.stamps.tolist(), funding.rates.tolist(), strict=True))[1:]
    for row, ts in enumerate(frame.ts.tolist()):
        rates = []
        while due and due[0][0] <= ts:
            rates.append(FundingRate(history.symbol, *due.pop(0)))
        last = Bar(
            history.symbol,
            frame.timeframe,
            ts,
            ts + length,
            *(float(frame[name][row]) for name in ("open", "high", "low", "close", "volume")),
        )
        marks = [float(getattr(mark, name)[row]) for name in ("open", "high", "low", "close")]
        yield last, Bar(history.symbol, frame.timeframe, ts, ts + length, *marks, 0.0), rates


CASES = [
    ("ema_cross", "execution_timeframe=null", "params.fast=4", "params.slow=12", "risk.leverage=3", "sizing.percent=150"),
    ("rsi_reversion", "execution_timeframe=null", "risk.leverage=2"),
    ("hold", "execution_timeframe=null", "symbols=[BTCUSDT,ETHUSDT]"),
]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_an_exchanges_own_trades_and_equity_give_the_metrics_of_a_result(store: HistoricalDataStore, case: tuple[str, ...]) -> None:
    result, alone = run_and_repeat(store, *case)
    metrics = compute_backtest_metrics(alone.trades, alone.equity_curve, result.system.initial_equity)
    assert _close(dict(metrics), dict(result))
    assert metrics.notes == result.metric_notes
    assert len(alone.fills) == len(result.fills) > 0
    ours, theirs = (msgspec.to_builtins(proof) for proof in (compute_proof_metrics(alone, result.system), result.proof))
    assert _close(ours, theirs)


def _close(one: Any, other: Any) -> bool:
    """Alike, floats to the rounding of their sums."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        wrong = {name: (one[name], other[name]) for name in one if not _close(one[name], other[name])}
        assert not wrong, wrong
        return True
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_close, one, other))
    if isinstance(one, float):
        return isinstance(other, float) and (math.isclose(one, other, rel_tol=1e-7, abs_tol=1e-7))
    return bool(one == other)


# --- by hand: buy 5 at 100 at the first bar's open, three bars that close at 100.5, 101.5, 102.5 --------------------------------------


def bought() -> SimulatedExchange:
    """A taker fee of 0.055 % on 500 is 0.275; no slippage."""
    from keel.core.system.config import ExecutionConfig

    exchange = SimulatedExchange("BTCUSDT", 1000.0, ExecutionConfig(slippage_bps=0.0))
    exchange.submit_order(SubmitOrder("c1", "BTCUSDT", "BUY", "market", 5.0, 0))
    for i in range(3):
        exchange.process_bar(Bar("BTCUSDT", "1h", i * HOUR, (i + 1) * HOUR, 100.0 + i, 101.0 + i, 99.0 + i, 100.5 + i, 10.0))
    return exchange


def test_what_is_open_counts_in_the_documents_two_lines() -> None:
    exchange = bought()
    assert [trade.qty for trade in exchange.open_trades] == [5.0] and list(exchange.trades) == []
    metrics = compute_backtest_metrics(exchange.trades, exchange.equity_curve, 1000.0)
    wanted = {"final_equity": 1012.225, "net_profit": 12.225, "fees": 0.275, "total_pnl": 12.5, "unrealized_pnl": 12.5,
              "open_trades": 1, "total_trades": 0, "exposure_pct": 100.0}  # fmt: skip
    assert {name: metrics[name] for name in wanted} == pytest.approx(wanted)
    for config in (ProofConfig(1000.0), RiskProfileConfig(initial_equity=1000.0)):
        proof = compute_proof_metrics(exchange, config)
        assert proof.entry_friction.fees == pytest.approx(0.275)
        assert proof.trade_quality.open_trades == 1
        assert proof.exposure.max_gross_notional == pytest.approx(512.5)
        assert proof.margin_stress.max_margin_usage_pct == pytest.approx(100 * 500.275 / 1002.225, rel=1e-3)


def test_the_curve_has_a_row_per_instant_and_the_worst_of_each_bar() -> None:
    """The first bar's position came at its open and stood through it: its low, 99, is 5 x 1.5 below the close."""
    curve = bought().equity_curve
    assert curve.ts.tolist() == [0, HOUR, 2 * HOUR, 3 * HOUR]
    assert curve["equity"].tolist() == pytest.approx([1000.0, 1002.225, 1007.225, 1012.225])
    assert curve["equity_worst"].tolist() == pytest.approx([1000.0, 994.725, 999.725, 1004.725])


def test_the_capital_may_be_left_to_the_curve() -> None:
    """As the documents' sketch of the engine calls it; and a list of (time, equity) is a curve, too."""
    exchange = bought()
    given = compute_backtest_metrics(exchange.trades, exchange.equity_curve, 1000.0)
    assert compute_backtest_metrics(exchange.trades, exchange.equity_curve) == given
    rows = list(zip(exchange.equity_curve.ts.tolist(), exchange.equity_curve["equity"].tolist(), strict=True))
    assert compute_backtest_metrics(exchange.trades, rows, 1000.0)["final_equity"] == given["final_equity"]


@pytest.mark.parametrize("curve", [[], [1.0, 2.0, 3.0], 7, ([START],), [(START, "much")]])
def test_what_is_no_curve_is_an_error_for_people(curve: Any) -> None:
    with pytest.raises((ConfigError, DataError), match="curve"):
        compute_backtest_metrics([], curve, 1000.0)


def test_equity_in_two_quote_coins_makes_no_curve(store: HistoricalDataStore) -> None:
    from tests.builders import perpetual

    instruments = {"BTCUSDT": perpetual(), "BTCUSDC": perpetual("BTCUSDC", base="BTC", quote="USDC")}
    with pytest.raises(ConfigError, match="USDC and USDT"):
        SimulatedExchange(list(instruments), 1000.0, instruments=instruments).equity_curve  # noqa: B018


class Never(BaseStrategy):
    """Decides nothing."""


def test_a_results_own_trades_give_its_own_metrics(store: HistoricalDataStore) -> None:
    """``result.trades`` knows what is open, as an exchange's do."""
    result, _ = run_and_repeat(store, "hold", "execution_timeframe=null", "symbols=[BTCUSDT]")
    assert len(result.open_trades) == 1
    again = compute_backtest_metrics(result.trades, result.equity_curve, result.system.initial_equity)
    assert dict(again) == dict(result)
