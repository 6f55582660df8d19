"""What became of every signal and every order, held against a count of the messages themselves."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from keel.adapters.report.page import render
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Direction, Message, OrderIntent, OrderUpdate, Signal, SignalDenied, SubmitOrder
from keel.core.model.money import UNIT
from keel.core.results.funnel import Counted, Funnel, total, why_no_trades
from keel.core.results.reasons import funnel_lines
from keel.core.results.result import BacktestResult
from keel.core.risk.position_manager import PositionManager
from keel.core.system.config import Distance, ExecutionConfig, ExitsConfig, RiskConfig, SizingConfig, SystemConfig
from keel.runners.backtest.engine import run_wired
from keel.runners.backtest.wiring import wire_backtest
from keel.runners.cli.research.figures import show_funnel
from keel.strategies.base import BaseStrategy
from tests.builders import HOUR, START, made_ready, perpetual, plain_system, spot_pair, store_of
from tests.runners.backtest.test_outcome import walk
from tests.runners.portfolio.scripted import BTC, ETH, Scripted, future, market
from tests.runners.portfolio.scripted import run as run_portfolio

HOURS = 300
DIRECTIONS: tuple[Direction, ...] = ("LONG", "SHORT", "FLAT")


class Drawn(BaseStrategy):
    """Asks for something at most bars, always the same for the same seed: directions, sizes, exits, limit prices."""

    def __init__(self, seed: int, *, limits: bool = False, exits: bool = False) -> None:
        self.random, self.limits, self.exits = np.random.default_rng(seed), limits, exits

    def generate_signal(self, snapshot: Any, params: Any) -> Signal | None:
        draw, close = self.random.random(4), snapshot.bar_ltf.close
        if draw[0] < 0.3:
            return None
        direction: Direction = DIRECTIONS[int(draw[1] * 3)]
        more: dict[str, Any] = {}
        if self.limits and direction != "FLAT" and draw[2] < 0.7:
            more |= {"order_type": "limit", "limit_price": close * (0.99 if direction == "LONG" else 1.01)}
        if self.exits and direction != "FLAT" and draw[3] < 0.8:
            more |= {"stop_loss": close * (0.98 + 0.06 * draw[2]), "size_usd": 50.0 + 50.0 * round(draw[3])}
        return Signal(snapshot.symbol, direction, **more)


class Noted:
    """Every message, in the order in which it was handled."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def of(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.messages if message.__class__ is kind]


def noted_run(system: SystemConfig, strategy: BaseStrategy, bars: Sequence[Any], instrument: Instrument | None = None) -> Any:
    with store_of(bars, instrument=instrument) as store:
        prepared = made_ready(store, system, START, START + len(bars) * HOUR, strategy)
    parts, noted = wire_backtest(prepared, "test"), Noted()
    for kind in (Signal, SignalDenied, OrderIntent, SubmitOrder, OrderUpdate):
        parts.engine.bus.subscribe(kind, noted.messages.append)
    return run_wired(prepared, parts), noted


COSTLY = ExecutionConfig(funding="none", slippage_bps=200)
EXITS = ExitsConfig(stop_loss=Distance(percent=1.0), take_profit=Distance(percent=2.0), max_bars=2)
SYSTEMS: dict[str, tuple[dict[str, Any], Drawn, Instrument | None]] = {
    "flips": ({}, Drawn(1), None),
    "limit orders": ({}, Drawn(2, limits=True), None),
    "exits of the strategy's own, some on the wrong side": ({}, Drawn(3, exits=True), None),
    "brackets and max_bars": ({"exits": EXITS}, Drawn(4), None),
    "liquidations": ({"risk": RiskConfig(policy="none", leverage=50), "exits": None}, Drawn(5), None),
    "limits of risk": ({"risk": RiskConfig(max_position_usd=90.0, cooldown_bars=2)}, Drawn(6), None),
    "a drawdown that ends it": ({"risk": RiskConfig(max_drawdown_percent=1.0), "initial_equity": 300.0}, Drawn(7), None),
    "spot": ({"category": "spot"}, Drawn(8), spot_pair(min_notional=5 * UNIT)),
    "orders beyond the balance": ({"initial_equity": 100.5, "execution": COSTLY}, Drawn(9), None),
}


SHOWS: dict[str, Callable[[Funnel], Any]] = {
    "flips": lambda funnel: funnel.trades > 50 and not funnel.denied,
    "limit orders": lambda funnel: funnel.withdrawn and funnel.cancelled,
    "exits of the strategy's own, some on the wrong side": lambda funnel: "invalid_stop_loss" in reasons(funnel.denied),
    "brackets and max_bars": lambda funnel: (
        funnel.origins["bracket"] > 50 and "CancelByOCOTpCanceledBySlTriggered" in reasons(funnel.cancelled)
    ),
    "liquidations": lambda funnel: funnel.takeovers > 0,
    "limits of risk": lambda funnel: reasons(funnel.denied) == {"cooldown_bars"} and funnel.denied[0].closed > 0,
    "a drawdown that ends it": lambda funnel: "max_drawdown_percent" in reasons(funnel.denied),
    "spot": lambda funnel: "short_not_allowed" in reasons(funnel.denied),
    "orders beyond the balance": lambda funnel: reasons(funnel.rejected) == {"110007 ab not enough for new order"},
}


def reasons(counted: Sequence[Counted]) -> set[str]:
    return {each.reason for each in counted}


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_signal_and_every_order_is_in_exactly_one_place(name: str) -> None:
    changes, strategy, instrument = SYSTEMS[name]
    result, noted = noted_run(plain_system(**changes), strategy, walk(HOURS, seed=len(name)), instrument or perpetual())
    funnel = result.funnel
    held_against_the_messages(funnel, noted, result)
    assert funnel.signals > 30 and funnel.fills > 0
    assert SHOWS[name](funnel)


def held_against_the_messages(funnel: Funnel, noted: Noted, result: BacktestResult) -> None:
    assert (funnel.signals_missing, funnel.orders_missing) == (0, 0)
    signals, denials = noted.of(Signal), noted.of(SignalDenied)
    assert funnel.signals == len(signals)
    assert {each.reason: each.count for each in funnel.denied} == Counter(message.reason for message in denials)
    for each in funnel.denied:
        first = next(message for message in denials if message.reason == each.reason)
        assert (each.ts, each.symbol, each.value, each.limit) == (first.ts, first.symbol, first.value, first.limit)
    refused = {(message.symbol, message.ts) for message in denials}
    ordered = {(each.symbol, each.ts) for each in noted.of(OrderIntent) if each.qty and each.reason == "signal"} - refused
    assert funnel.ordered == len(ordered)
    withdrawn = {(each.symbol, each.ts) for each in noted.of(OrderIntent) if not each.qty}
    assert funnel.withdrawn <= len(withdrawn)
    last = {message.client_order_id: message for message in noted.of(OrderUpdate) if message.status not in ("cancel_rejected",)}
    sent = {command.client_order_id for command in noted.of(SubmitOrder)}
    brackets = {name for name, message in last.items() if message.parent_id is not None}
    assert funnel.orders == len(sent | brackets) and funnel.origins.get("bracket", 0) == len(brackets - sent)
    ends = Counter(message.status for message in last.values())
    assert funnel.filled == ends["filled"]
    for status, counted in (("rejected", funnel.rejected), ("expired", funnel.expired), ("cancelled", funnel.cancelled)):
        assert total(counted) == ends[status]
    assert funnel.fills == len(result.fills) and funnel.takeovers == len(result.liquidations)
    assert (funnel.trades, len(funnel.open)) == (len(result.trades), len(result.open_trades))
    if result.system.category == "linear":
        assert sum(each.unrealized_pnl for each in funnel.open) == result.reconciliation.unrealized


FLAT_BARS = [(100.0, 100.0, 100.0, 100.0)] * 8
RISE = [*[(100.0, 100.0, 100.0, 100.0)] * 3, (100.0, 110.0, 100.0, 110.0), (110.0, 110.0, 110.0, 110.0)]


class Said(BaseStrategy):
    """Gives the signals that it was made with, one an hour."""

    def __init__(self, *signals: Signal | None) -> None:
        self.signals = signals

    def generate_signal(self, snapshot: Any, params: Any) -> Signal | None:
        number = (snapshot.ts_close - START) // HOUR - 1
        return self.signals[number] if number < len(self.signals) else None


def say(direction: Any, **more: Any) -> Signal:
    return Signal("BTCUSDT", direction, **more)


def funnel_of(*signals: Signal | None, bars: Sequence[Any] = FLAT_BARS, **changes: Any) -> Funnel:
    result, _ = noted_run(plain_system(**changes), Said(*signals), bars)
    funnel: Funnel = result.funnel
    return funnel


def test_what_asks_for_more_of_what_is_held_is_ignored_and_says_what_it_asked_for() -> None:
    """Flat; 50 USDT with a stop at 90; then the same again, another stop, another size, both; flat twice."""
    funnel = funnel_of(
        say("FLAT"), say("LONG", size_usd=50.0, stop_loss=90.0), say("LONG", size_usd=50.0, stop_loss=90.0),
        say("LONG", size_usd=50.0, stop_loss=95.0), say("LONG", size_usd=70.0, stop_loss=90.0),
        say("LONG", size_usd=70.0, stop_loss=95.0), say("FLAT"), say("FLAT"),
    )  # fmt: skip
    assert [(each.reason, each.count, each.value, each.limit) for each in funnel.ignored] == [
        ("flat_already", 2, 0.0, 0.0), ("held_already", 1, 0.0, 0.0), ("other_exits", 1, 95.0, 90.0), ("other_size", 1, 70.0, 50.0),
        ("other_size_and_exits", 1, 70.0, 50.0),
    ]  # fmt: skip
    assert (funnel.signals, funnel.ordered, funnel.ignored[2].ts) == (8, 2, START + 4 * HOUR)


def test_a_denied_flip_that_closes_is_denied_once_and_says_that_it_closed() -> None:
    funnel = funnel_of(say("LONG"), None, say("SHORT", size_usd=0.01), None, None, sizing=SizingConfig(model="fixed_qty", qty=0.5))
    (denied,) = funnel.denied
    assert (denied.reason, denied.count, denied.closed, funnel.ordered, funnel.trades) == ("below_min_qty", 1, 1, 1, 1)


def test_a_wish_that_the_sizer_makes_smaller_is_counted() -> None:
    """50 USDT by the sizer: a wish of 70 gets 50, one of 30 what it asked for, and 0 leaves the size to the sizer."""
    wishes = [say("LONG", size_usd=70.0), say("FLAT"), say("LONG", size_usd=30.0), say("FLAT"), say("LONG")]
    funnel = funnel_of(*wishes, sizing=SizingConfig(model="fixed_usd", usd=50.0))
    (capped,) = funnel.capped
    assert (capped.reason, capped.count, capped.detail) == ("sizer", 1, "70.00 was asked for, 50.00 is left of it")
    assert any("only makes its answer smaller" in text for _, text in funnel_lines(funnel))


def test_a_target_that_is_reached_withdraws_what_waits() -> None:
    """A buy waits at 90; FLAT takes it back, and is no order."""
    funnel = funnel_of(say("LONG", order_type="limit", limit_price=90.0), None, say("FLAT"))
    assert (funnel.signals, funnel.ordered, funnel.withdrawn, funnel.orders) == (2, 1, 1, 1)
    assert [(each.reason, each.count) for each in funnel.cancelled] == [("CancelByUser", 1)]


def test_what_is_open_is_valued_at_its_mark() -> None:
    """1 x 100 bought at the open of the second bar; the last close is 110."""
    (held,) = funnel_of(say("LONG"), bars=RISE).open
    assert (held.symbol, held.side, held.qty, held.entry_price, held.mark_price) == ("BTCUSDT", "LONG", 1.0, 100.0, 110.0)
    assert (held.unrealized_pnl, held.entry_ts) == (10 * UNIT, START + HOUR)


def test_what_is_open_and_cannot_be_sold_is_dust() -> None:
    """Spot: 0.06 x 100 is worth 6, after the fall 4.2: less than the 5 that the exchange takes."""
    bars = [*FLAT_BARS[:3], (100.0, 100.0, 70.0, 70.0), (70.0, 70.0, 70.0, 70.0)]
    system = plain_system(category="spot", sizing=SizingConfig(model="fixed_qty", qty=0.06))
    result, _ = noted_run(system, Said(say("LONG")), bars, spot_pair(min_notional=5 * UNIT))
    (held,) = result.funnel.open
    assert held.dust and held.mark_price == 70.0 and held.qty == pytest.approx(0.06, rel=0.002)
    (kept,) = noted_run(system, Said(say("LONG")), FLAT_BARS, spot_pair(min_notional=5 * UNIT))[0].funnel.open
    assert not kept.dust


def test_the_rest_that_a_sale_leaves_is_listed_as_dust(capsys: pytest.CaptureFixture[str]) -> None:
    """Spot: 1 bought at 100 for a fee of 0.001; of 0.999 a step of 0.01 sells 0.99; 0.009 x 110 = 0.99 is left, which had cost 0.90."""
    bars = [*FLAT_BARS[:3], (100.0, 110.0, 100.0, 110.0), (110.0, 110.0, 110.0, 110.0), (110.0, 110.0, 110.0, 110.0)]
    costs = ExecutionConfig(funding="none", slippage_bps=0)
    system = plain_system(category="spot", sizing=SizingConfig(model="fixed_qty", qty=1.0), execution=costs)
    result, _ = noted_run(system, Said(say("LONG"), None, say("FLAT")), bars, spot_pair(step="0.01"))
    assert result.funnel.open == () and len(result.trades) == 1
    (left,) = result.funnel.dust
    assert (left.symbol, left.qty, left.mark_price) == ("BTCUSDT", pytest.approx(0.009), 110.0)
    assert (left.value, left.unrealized_pnl) == (99 * UNIT // 100, 9 * UNIT // 100)
    assert result.funnel.counts()["dust"] == 1 and Funnel.from_plain(result.funnel.to_plain()) == result.funnel
    show_funnel(result.funnel.to_plain(), "USDT")
    assert re.search(r"Open at the end\n.*\nBTCUSDT +dust +0.009 +110.0000 +0.09 USDT", capsys.readouterr().out)
    assert "0.009 BTCUSDT worth 0.99" in render(result)


def test_words_of_a_venue_count_together_whatever_their_numbers() -> None:
    """Two stops that a gap at the open passes before the order is there: one reason, the first one's own words beside it."""
    falls = [(100.0, 100.0, 100.0, 100.0), (80.0, 80.0, 80.0, 80.0), (60.0, 60.0, 60.0, 60.0), (60.0, 60.0, 60.0, 60.0)]
    funnel = funnel_of(say("LONG", stop_loss=95.0), say("LONG", stop_loss=75.0), bars=falls)
    (rejected,) = funnel.rejected
    assert rejected.reason == "10001 StopLoss:… set for Buy position should be lower than base_price:…"
    assert (rejected.count, rejected.detail) == (2, "10001 StopLoss:95 set for Buy position should be lower than base_price:80")


NOTHING = [
    ((None,), "no signal"),
    ((say("FLAT"), say("FLAT")), "all 2 signals were ignored (flat_already)"),
    ((say("LONG", stop_loss=120.0),), "the only signal was denied (invalid_stop_loss)"),
    ((say("LONG", stop_loss=120.0), say("FLAT")), "2 signals: 1 denied (invalid_stop_loss), 1 ignored (flat_already)"),
    ((say("LONG", order_type="limit", limit_price=90.0),), "the only order was not filled by the end"),
]


@pytest.mark.parametrize(("signals", "why"), NOTHING)
def test_why_there_is_no_trade(signals: tuple[Signal | None, ...], why: str) -> None:
    assert why_no_trades(funnel_of(*signals)) == why


def test_what_is_no_number_is_left_out_of_plain_data() -> None:
    """The sizer has no stop to measure: the distance is nan, which no file may hold."""
    funnel = funnel_of(say("LONG"), sizing=SizingConfig(model="risk_per_trade", percent=1.0))
    (denied,) = funnel.to_plain()["denied"]
    assert denied["reason"] == "stop_distance_unknown" and "value" not in denied
    assert [each.reason for each in Funnel.from_plain(funnel.to_plain()).denied] == ["stop_distance_unknown"]


def test_a_funnel_is_plain_data_and_back() -> None:
    result, _ = noted_run(plain_system(exits=EXITS), Drawn(3, exits=True), walk(60))
    assert Funnel.from_plain(result.funnel.to_plain()) == result.funnel


# --- portfolio strategies ---

CALM = [(100.0, 100.0)] * 24


def wild() -> list[tuple[float, float]]:
    return [(100.0, 130.0) if hour % 2 else (130.0, 100.0) for hour in range(24)]


class LeavesOut:
    """A position manager that drops every short, and makes every order of ETH nothing."""

    def filter_orders(self, orders: Sequence[Any], oms_client: Any, data_manager: Any) -> list[Any]:
        return [future(each.side, 0.0 if each.symbol == ETH else each.value, each.symbol) for each in orders if each.side != "SHORT"]


def test_orders_of_a_portfolio_strategy_that_its_position_manager_refuses_are_denied() -> None:
    """Long and flip BTC; a short that is left out; ETH made nothing, once while it is held."""
    script = {
        1: [future("LONG", 500.0), future("LONG", 300.0, ETH)],
        2: [future("SHORT", 500.0)],
        3: [future("CLOSE"), future("CLOSE", None, ETH)],
    }
    with market({"BTCUSDT": CALM, "ETHUSDT": CALM}) as store:
        answer, tester = run_portfolio(store, Scripted(script, (BTC, ETH)), 24, manager=LeavesOut())
    assert tester.result is not None
    funnel = tester.result.funnel
    assert [(each.reason, each.count, each.symbol) for each in funnel.denied] == [("position_manager", 2, "ETHUSDT")]
    assert (funnel.signals, funnel.ordered, total(funnel.ignored), funnel.signals_missing) == (5, 2, 1, 0)
    assert answer["funnel"] == funnel.to_plain()


def test_the_position_managers_reasons_and_numbers_are_the_denials() -> None:
    """Beyond the cash everything but CLOSE is refused; what is too volatile becomes nothing, and is closed where it is held."""
    script = {5: [future("LONG", 11_000.0)], 6: [future("LONG", 100.0), future("LONG", 100.0, ETH)]}
    manager = PositionManager(window=timedelta(hours=4), timeframe="1h", min_returns=2)
    with market({"BTCUSDT": CALM, "ETHUSDT": wild()}) as store:
        _, tester = run_portfolio(store, Scripted(script, (BTC, ETH)), 24, manager=manager)
    assert tester.result is not None
    funnel = tester.result.funnel
    beyond, volatile = sorted(funnel.denied, key=lambda each: each.reason)
    assert (beyond.reason, beyond.count, beyond.value, beyond.limit) == ("beyond_cash", 1, 11_000.0, 10_000.0)
    assert (volatile.reason, volatile.limit, volatile.symbol) == ("max_daily_volatility", 0.1, "ETHUSDT") and volatile.value > 0.1
    assert (funnel.signals, funnel.ordered, funnel.signals_missing) == (3, 1, 0)
