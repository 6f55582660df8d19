"""A new journal's opening contains what came before it: a fill seconds before the start is booked once, never twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from keel.core.errors import SafetyError
from keel.core.model.messages import Fill, FundingPayment, Signal
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import ExecutionConfig, RiskConfig, SizingConfig
from keel.runners.live.memory.records import Opened
from keel.runners.live.startup.plan import Plan
from keel.sim.sandbox.market.random_walk import walk_instrument
from keel.strategies.base import BaseStrategy
from tests.builders import plain_system
from tests.runners.live.conftest import Ran, plan_of, run_session
from tests.sim.sandbox.conftest import Sandbox, made_bars, stepping
from tests.sim.sandbox.raw import Raw


class Long(BaseStrategy):
    """Long from its first bar on."""

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return None if snapshot.position.qty else Signal(snapshot.symbol, "LONG")


class Still(BaseStrategy):
    """Does nothing, so that all that is booked comes from the opening."""

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return None


def plan(sandbox: Sandbox, journals: Path, category: str, strategy: type[BaseStrategy] = Still, **changes: Any) -> Plan:
    system = plain_system(
        timeframe="1m", category=category, risk=RiskConfig(leverage=1.0, policy="none"), sizing=SizingConfig(model="fixed_usd", usd=5000),
        execution=ExecutionConfig(),
    )  # fmt: skip
    return plan_of(system, strategy, None, sandbox.url, journals, **changes)


def market(category: str) -> Any:
    return stepping(made_bars(120, instrument=walk_instrument("BTCUSDT", category), first=45))  # type: ignore[arg-type]


def trade(sandbox: Sandbox, category: str, side: str, qty: str) -> None:
    order = {"category": category, "symbol": "BTCUSDT", "side": side, "orderType": "Market", "qty": qty, "marketUnit": "baseCoin"}
    _, _, answer = Raw(sandbox).post("/v5/order/create", order)
    assert answer["retCode"] == 0, answer
    sandbox.step()


def check_contains_everything(ran: Ran, sandbox: Sandbox, held: float, earlier: int) -> None:
    """Nothing is booked a second time: books, equity and the exchange agree."""
    truth = sandbox.truth()
    portfolio = ran.live.books.portfolio
    moved = [row for row in truth["executions"] if row["execType"] == "Trade"]
    assert len(moved) == earlier and ran.of(Fill) == []
    assert portfolio.position_qty("BTCUSDT") == pytest.approx(held, abs=1e-8)
    assert portfolio.cash == truth["wallet_units"]["USDT"]
    assert portfolio.realized == 0 and ran.ending.agrees, ran.ending
    assert ran.ending.statement is not None and ran.ending.statement.items == ()
    (opened,) = ran.of(Opened)
    assert isinstance(opened, Opened) and len(opened.executions) >= earlier


@pytest.mark.parametrize("category", ["linear", "spot"])
def test_a_strangers_fills_before_the_first_start(category: str, journals: Path) -> None:
    with market(category) as sandbox:
        trade(sandbox, category, "Buy", "0.1")
        trade(sandbox, category, "Sell", "0.04")
        ran = run_session(plan(sandbox, journals, category), max_bars=3)
        check_contains_everything(ran, sandbox, 0.0599 if category == "spot" else 0.06, 2)


@pytest.mark.parametrize(
    ("change", "category"),
    [
        ("parameter", "linear"),
        ("fresh", "spot"),
        pytest.param("parameter", "spot", marks=pytest.mark.long),
        pytest.param("fresh", "linear", marks=pytest.mark.long),
    ],
)
def test_own_fills_before_another_journal(category: str, change: str, journals: Path) -> None:
    """Stopped seconds after its entry was filled, and started again with another parameter, or with --fresh."""
    with market(category) as sandbox:
        first = run_session(plan(sandbox, journals, category, Long), max_bars=2)
        assert len(first.of(Fill)) == 1
        changed: dict[str, Any] = {"uid": "ffffffffffff"} if change == "parameter" else {"fresh": True}
        again = run_session(plan(sandbox, journals, category, **changed), max_bars=3)
        held = first.live.books.portfolio.position_qty("BTCUSDT")
        check_contains_everything(again, sandbox, held, 1)
        third = run_session(plan(sandbox, journals, category, **(changed | {"fresh": False})), max_bars=3)
    assert third.live.journal.session == 2 and third.ending.agrees and third.of(Fill) == []


def test_a_payment_right_before_the_start(journals: Path) -> None:
    """Funding of the last minute is in the cash that was read."""
    with market("linear") as sandbox:
        trade(sandbox, "linear", "Buy", "0.1")
        while not sandbox.truth()["funding"]:
            sandbox.step()
        ran = run_session(plan(sandbox, journals, "linear"), max_bars=2)
        assert ran.of(FundingPayment) == [] and ran.live.books.portfolio.funding == 0
        check_contains_everything(ran, sandbox, 0.1, 1)


def test_a_list_that_lags_tells_of_it_late(journals: Path) -> None:
    """The opening's list did not have it yet; what was executed before the opening is in it all the same."""
    with market("linear") as sandbox:
        trade(sandbox, "linear", "Buy", "0.1")
        sandbox.faults({"action": {"kind": "lag_query", "ms": 1_500}})
        ran = run_session(plan(sandbox, journals, "linear"), max_bars=3)
        assert ran.live.books.portfolio.position_qty("BTCUSDT") == pytest.approx(0.1)
        assert ran.of(Fill) == [] and ran.ending.differences == []


def test_an_account_that_is_traded_all_the_while_is_not_opened(journals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keel.adapters.bybit.execution.polling.account_reader import AccountReader

    with market("linear") as sandbox:
        wallet = AccountReader.wallet

        async def traded_meanwhile(self: AccountReader) -> Any:
            trade(sandbox, "linear", "Buy", "0.001")
            return await wallet(self)

        monkeypatch.setattr(AccountReader, "wallet", traded_meanwhile)
        with pytest.raises(SafetyError, match="is traded all the while"):
            run_session(plan(sandbox, journals, "linear"), max_bars=1)
