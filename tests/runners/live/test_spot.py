"""Spot sessions: coins in the wallet in place of positions, fees in coins, rests that are flat; the same decisions as the backtest."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.store import HistoricalDataStore
from keel.core.actors.portfolio import Portfolio
from keel.core.model.messages import Fill, Signal
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import ExecutionConfig, RiskConfig, SizingConfig, SystemConfig
from keel.runners.live.checks.reconcile import differences
from keel.runners.live.memory.records import Opened
from keel.runners.live.reporting.outcome import session_result
from keel.strategies.base import BaseStrategy
from tests.builders import DAY, HOUR, add_series, coarser, plain_system, sample, spot_pair
from tests.runners.live.conftest import plan_of, run_session, stored_sandbox
from tests.runners.live.test_same_decisions import FROM, both, check_same
from tests.sim.sandbox.raw import Raw

TO = FROM + DAY


class InAndOut(BaseStrategy):
    """Long for seven bars of fourteen."""

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return Signal(snapshot.symbol, "LONG" if (snapshot.bar_ltf.ts_open - FROM) // 900_000 % 14 < 7 else "FLAT")


class Holding(BaseStrategy):
    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return Signal(snapshot.symbol, "LONG") if not snapshot.position.qty else None


class Waiting(BaseStrategy):
    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return None


def spot_store() -> HistoricalDataStore:
    store = HistoricalDataStore(":memory:")
    made = sample(days=40).series["BTCUSDT"]
    add_series(store, coarser(made.last, 5), "BTCUSDT", "5m", spot_pair("BTCUSDT", "0.1", "0.000001", min_notional=5 * 10**8))
    return store


def system_of(**changes: Any) -> SystemConfig:
    values: dict[str, Any] = {
        "category": "spot", "timeframe": "15m", "execution_timeframe": "5m", "warmup_bars": 50, "execution": ExecutionConfig(),
        "risk": RiskConfig(leverage=1.0), "sizing": SizingConfig(model="percent_equity", percent=50),
    }  # fmt: skip
    return plain_system(**(values | changes))


def test_a_session_decides_as_the_backtest_and_the_books_agree(journals: Path) -> None:
    with spot_store() as store:
        parts, ran, truth = both(store, system_of(), InAndOut, (FROM, TO), journals)
    check_same(parts, ran, truth)
    fills = [fill for fill in ran.journal if isinstance(fill, Fill)]
    assert len(fills) > 10 and {fill.fee_coin for fill in fills} == {"BTC", "USDT"}
    assert "books and exchange" not in str(ran.ending.differences)


@pytest.mark.long
def test_a_restart_goes_on(journals: Path) -> None:
    with spot_store() as store:
        parts, _, _ = both(store, system_of(), InAndOut, (FROM, TO), journals / "at once")
        with stored_sandbox(store, system_of(), FROM, TO) as sandbox:
            for bars in (60, 101, 59, None):
                ran = run_session(plan_of(system_of(), InAndOut, store, sandbox.url, journals), max_bars=bars)
                assert ran.ending.differences == [] and ran.ending.failure is None
    assert ran.live.books.portfolio.equity_values == parts.portfolio.equity_values
    assert ran.live.journal.session == 4


def test_coins_that_a_stranger_bought_are_a_difference_until_they_are_booked(journals: Path) -> None:
    with spot_store() as store, stored_sandbox(store, system_of(), FROM, TO) as sandbox:
        run_session(plan_of(system_of(), Holding, store, sandbox.url, journals), max_bars=20)
        order = {"category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "0.01", "marketUnit": "baseCoin"}
        assert Raw(sandbox).post("/v5/order/create", order)[2]["retCode"] == 0
        Raw(sandbox).post("/admin/step", {"bars": 1})
        ran = run_session(plan_of(system_of(), Holding, store, sandbox.url, journals), max_bars=20)
    assert ran.live.venue.gate.frozen
    texts = [each.text for each in (*ran.ending.differences, *ran.live.gate.entries())]
    is_booked = any(fill.client_order_id.startswith("external-") for fill in ran.of(Fill) if isinstance(fill, Fill))
    assert is_booked or any("BTC, the wallet" in text for text in texts), texts  # its order is looked for first, for some seconds


def test_a_journal_begins_on_coins_that_are_there(journals: Path) -> None:
    with spot_store() as store, stored_sandbox(store, system_of(), FROM, TO) as sandbox:
        first = run_session(plan_of(system_of(), Holding, store, sandbox.url, journals), max_bars=20)
        held = first.live.books.portfolio.lines["BTCUSDT"].book.steps
        ran = run_session(plan_of(system_of(), Waiting, store, sandbox.url, journals, uid="feedbeef0000"), max_bars=20)
    (opened,) = [message for message in ran.journal if isinstance(message, Opened)]
    (symbol, units, cost) = opened.positions[0]
    assert (symbol, units) == ("BTCUSDT", held) and cost > 0
    assert ran.ending.differences == [] and ran.ending.positions == first.ending.positions
    equity = ran.live.books.portfolio.equity
    assert equity == pytest.approx(first.live.books.portfolio.equity, rel=0.05)
    result = session_result(ran.live, ran.ending, wall_s=1.0)
    assert result.metrics["net_profit"] == pytest.approx(equity - (first.live.books.portfolio.cash + cost) / 1e8, abs=1e-6)
    assert result.equity_curve["equity"][0] == pytest.approx(equity, rel=0.05)  # coins that were there are no profit


def test_a_rest_under_one_step_is_flat(journals: Path) -> None:
    with spot_store() as store, stored_sandbox(store, system_of(), FROM, FROM + 3 * HOUR) as sandbox:
        ran = run_session(plan_of(system_of(), InAndOut, store, sandbox.url, journals))
    portfolio = ran.live.books.portfolio
    assert not portfolio.open_positions() and ran.ending.positions == {} and ran.ending.differences == []


@pytest.mark.parametrize("wallet", ["0.837836325", "0.837836335", "0.8378363251", "0.8378363249", "0.00000000050", "1"])
def test_a_wallet_that_is_finer_than_we_compare_differs_from_nothing(wallet: str) -> None:
    """A fee in the coin leaves nine decimals: both sides are rounded alike, or a difference of 1e-8 froze the symbol for good."""
    pair = msgspec.structs.replace(spot_pair("BTCUSDT", "0.1", "0.000001"), base_unit=10**10)
    portfolio = Portfolio([pair], 10**12)
    portfolio.seed("BTCUSDT", int(Decimal(wallet).scaleb(10)), 10**10)
    row = wire.CoinRow(coin="BTC", walletBalance=wallet)
    venue: Any = SimpleNamespace(
        tracker=SimpleNamespace(stated=SimpleNamespace(balances={"BTC": translate.balance_report(row, 0)}, pushes={}))
    )
    assert differences(portfolio, venue, "USDT") == []
