"""Targets: what is missing is ordered, within limits and the exchange's steps; what is too much always goes."""

from __future__ import annotations

from typing import Any

import pytest

from keel.core.actors.executor import Executor
from keel.core.actors.portfolio_risk import PortfolioRiskActor
from keel.core.engine.clock import ReplayClock
from keel.core.model.messages import Halt, Message, OrderIntent, SignalDenied
from keel.core.strategy.portfolio_order import Order, PortfolioOrders, TargetPosition
from keel.core.system.config import Distance, ExitsConfig, RiskConfig, SizingConfig
from tests.core.risk.account import DAY, HOUR, Account, instrument

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def actor(account: Account, *, risk: dict[str, Any] | None = None, exits: ExitsConfig | None = None, **market: Any) -> Any:
    """A risk actor over an account; ``out`` hears it. All prices are 100, steps 0.001, the least order 5 USDT."""
    out: list[Message] = []
    instruments = {symbol: instrument(symbol, **market) for symbol in SYMBOLS}
    made = PortfolioRiskActor(
        RiskConfig(**{"policy": "none", **(risk or {})}), SizingConfig(), exits, instruments, account, ReplayClock(DAY), out.append,
        timeframe="1h", read_feature=lambda symbol, name: 1.0, allow_short=market.get("category") != "spot",
        working=Executor("t", instruments, ReplayClock(DAY), lambda _: None),
    )  # fmt: skip
    return made, out


def target(side: Any, value: float | None, symbol: str = "BTCUSDT", ts: int = DAY) -> TargetPosition:
    return TargetPosition(symbol, ts, side, value, "s")


def sent(out: list[Message]) -> list[tuple[str, float, bool]]:
    return [(m.side, m.qty, m.reduce_only) for m in out if isinstance(m, OrderIntent)]


def reasons(out: list[Message]) -> list[str]:
    return [m.reason for m in out if isinstance(m, SignalDenied)]


TARGETS: list[tuple[float, str, float | None, list[tuple[str, float, bool]]]] = [
    # held, side, value -> orders (the price is 100)
    (0.0, "LONG", 250.0, [("BUY", 2.5, False)]),
    (0.0, "SHORT", 250.0, [("SELL", 2.5, False)]),
    (0.0, "LONG", 250.0999, [("BUY", 2.5, False)]),  # rounded down to the step
    (2.5, "LONG", 250.0, []),
    (2.5, "LONG", 400.0, [("BUY", 1.5, False)]),
    (2.5, "LONG", 100.0, [("SELL", 1.5, True)]),
    (-2.5, "SHORT", 400.0, [("SELL", 1.5, False)]),
    (-2.5, "SHORT", 100.0, [("BUY", 1.5, True)]),
    (2.5, "SHORT", 100.0, [("SELL", 3.5, False)]),
    (-2.5, "LONG", 100.0, [("BUY", 3.5, False)]),
    (2.5, "CLOSE", None, [("SELL", 2.5, True)]),
    (2.5, "LONG", 0.0, [("SELL", 2.5, True)]),
    (-2.5, "SHORT", 0.0, [("BUY", 2.5, True)]),
    (0.0, "CLOSE", None, []),
    (2.5, "LONG", 249.9, [("SELL", 0.001, True)]),  # a reduction may be small
    (0.0, "LONG", None, [("BUY", 10.0, False)]),  # no value: the sizer's 10 % of 10,000
    (2.5, "LONG", None, []),  # as any signal of the side that is held
]


@pytest.mark.parametrize(("held", "side", "value", "orders"), TARGETS)
def test_a_position_is_moved_to_its_target(held: float, side: str, value: float | None, orders: Any) -> None:
    risk, out = actor(Account(BTCUSDT=held))
    risk.on_target(target(side, value))
    assert sent(out) == orders and not reasons(out)


DENIED = [
    (0.0, "LONG", 4.9, {}, "below_min_notional", []),
    (0.0, "LONG", 0.05, {}, "below_min_qty", []),
    (2.5, "LONG", 254.9, {}, "below_min_notional", []),  # what is missing is too small an order
    (2.5, "SHORT", 4.9, {}, "below_min_notional", [("SELL", 2.5, True)]),  # the closing half is done all the same
    (0.0, "LONG", 500.0, {"policy": "rules", "max_position_usd": 3.0}, "max_position_usd", []),
    (0.0, "LONG", 500.0, {"policy": "rules", "max_open_positions": 1}, "max_open_positions", []),
]


@pytest.mark.parametrize(("held", "side", "value", "limits", "reason", "orders"), DENIED)
def test_a_no_says_why(held: float, side: str, value: float, limits: Any, reason: str, orders: Any) -> None:
    risk, out = actor(Account(BTCUSDT=held, ETHUSDT=1.0), risk=limits)
    risk.on_target(target(side, value))
    assert (sent(out), reasons(out)) == (orders, [reason])


def test_limits_over_all_symbols_make_a_target_smaller() -> None:
    """Gross 500: ETH holds 300; BTC wants 400, gets 200; then SOL has no room left: the order that is in flight counts."""
    risk, out = actor(Account(ETHUSDT=3.0), risk={"policy": "rules", "max_gross_usd": 500.0})
    risk.on_target(target("LONG", 400.0))
    risk.on_target(target("SHORT", 100.0, "SOLUSDT"))
    assert sent(out) == [("BUY", 2.0, False)] and reasons(out) == ["max_gross_usd"]


def test_a_closed_gate_lets_reductions_through() -> None:
    risk, out = actor(Account(BTCUSDT=2.5, ETHUSDT=-1.0))
    risk.on_halt(Halt(DAY, "test"))
    risk.on_target(target("LONG", 100.0))
    risk.on_target(target("SHORT", 200.0, "ETHUSDT"))
    risk.on_target(target("CLOSE", None, "ETHUSDT"))
    assert sent(out) == [("SELL", 1.5, True), ("BUY", 1.0, True)] and reasons(out) == ["trading_reducing"]


def test_the_cooldown_is_not_for_more_of_what_is_held() -> None:
    risk, out = actor(Account(BTCUSDT=1.0, ETHUSDT=-1.0), risk={"policy": "rules", "cooldown_bars": 3})
    risk.on_target(target("LONG", 200.0, ts=DAY + HOUR))
    risk.on_target(target("LONG", 200.0, "ETHUSDT", ts=DAY + HOUR))
    assert sent(out) == [("BUY", 1.0, False), ("BUY", 1.0, True)] and reasons(out) == ["cooldown_bars"]


def test_orders_above_the_maximum_are_split() -> None:
    risk, out = actor(Account(), max_market_qty=2.0)
    risk.on_target(target("LONG", 500.0))
    assert [qty for _, qty, _ in sent(out)] == [
        1.667,
        1.667,
        1.666,
    ]  # as equal as steps allow: a small rest may be less than the exchange takes
    assert [m.cancel_first for m in out if isinstance(m, OrderIntent)] == [True, False, False]


def test_the_same_target_twice_in_one_step_is_ordered_once() -> None:
    risk, out = actor(Account())
    risk.on_target(target("LONG", 500.0))
    risk.on_target(target("LONG", 500.0))
    assert sent(out) == [("BUY", 5.0, False)]


def test_exits_of_the_system_go_with_what_opens() -> None:
    risk, out = actor(Account(BTCUSDT=1.0), exits=ExitsConfig(stop_loss=Distance(percent=2.0)))
    for value in (300.0, 50.0):
        risk.on_target(target("LONG", value))
    stops = [m.bracket and m.bracket.stop_loss for m in out if isinstance(m, OrderIntent)]
    assert stops == [98.0, None] and [m.reduce_only for m in out if isinstance(m, OrderIntent)] == [False, True]


@pytest.mark.parametrize("value", [100.0, 0.0, None])
def test_a_short_on_spot_is_refused_and_sells_nothing(value: float | None) -> None:
    risk, out = actor(Account(BTCUSDT=2.5), category="spot")
    risk.on_target(target("SHORT", value))
    risk.on_target(target("SHORT", value, "ETHUSDT"))
    assert sent(out) == [] and reasons(out) == ["short_not_allowed"] * 2


def test_a_step_passes_the_position_manager_and_any_name_is_the_symbol() -> None:
    class Halves:
        def filter_orders(self, orders: Any, oms: Any, data: Any) -> list[Order]:
            assert (oms, data) == ("oms", "data")
            return [Order(each.symbol, each.instrument_type, each.side, each.value / 2) for each in orders]

    risk, out = actor(Account())
    risk.screen_with(Halves(), "oms", "data", "linear")
    risk.on_portfolio_orders(PortfolioOrders(DAY, "s", (Order("BTC-USDT-PERP", "future", "LONG", 500.0),)))
    assert sent(out) == [("BUY", 2.5, False)]
    risk.screen_with(None, "oms", "data", "linear")
    risk.on_portfolio_orders(PortfolioOrders(DAY, "s", (Order("ETH-USDT", "future", "LONG", 500.0),)))
    assert sent(out)[1:] == [("BUY", 5.0, False)]
