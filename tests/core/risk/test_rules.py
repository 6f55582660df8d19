"""Each limit by its own reason, at its boundary, one step under and one step over."""

from __future__ import annotations

from typing import Any

import pytest

from keel.core.model.messages import Halt, Message, OrderIntent, OrderUpdate, Resume, Signal, SignalDenied
from tests.core.risk.account import DAY, HOUR, MINUTE, Account, Desk, instrument

LONG = Signal("BTCUSDT", "LONG", ts=DAY, strategy="s")
SHORT = Signal("BTCUSDT", "SHORT", ts=DAY, strategy="s")
FLAT = Signal("BTCUSDT", "FLAT", ts=DAY, strategy="s")
ETH_LONG = Signal("ETHUSDT", "LONG", ts=DAY)


def limit(direction: Any, price: float | None) -> Signal:
    return Signal("BTCUSDT", direction, ts=DAY, order_type="limit", limit_price=price)


def outcome(messages: list[Message]) -> list[tuple[Any, ...]]:
    """(side, qty) of orders, (reason, value, limit) of denials."""
    short: list[tuple[Any, ...]] = []
    for message in messages:
        if isinstance(message, OrderIntent):
            short.append((message.side, message.qty))
        elif isinstance(message, SignalDenied):
            short.append((message.reason, pytest.approx(message.value), message.limit))
    return short


CASES: list[tuple[str, dict[str, Any], Account, Signal, list[tuple[Any, ...]]]] = [
    # room, at price 100 and a wanted size of 1.0 = 100 USDT
    ("position limit equal", {"max_position_usd": 100.0}, Account(), LONG, [("BUY", 1.0)]),
    ("position limit caps", {"max_position_usd": 50.0}, Account(), LONG, [("BUY", 0.5)]),
    ("position limit floors", {"max_position_usd": 50.09}, Account(), LONG, [("BUY", 0.5)]),
    ("position limit under minimum", {"max_position_usd": 4.9}, Account(), LONG, [("max_position_usd", 4.9, 4.9)]),
    ("gross counts others", {"max_gross_usd": 150.0}, Account(ETHUSDT=-1.0), LONG, [("BUY", 0.5)]),
    ("gross is full", {"max_gross_usd": 100.0}, Account(ETHUSDT=1.0), LONG, [("max_gross_usd", 0.0, 100.0)]),
    ("gross frees what a flip closes", {"max_gross_usd": 200.0}, Account(BTCUSDT=-1.0, ETHUSDT=1.0), LONG, [("BUY", 2.0)]),
    ("leverage 1 caps at equity", {}, Account(50.0), LONG, [("BUY", 0.5)]),
    ("leverage 2", {"leverage": 2.0}, Account(40.0), LONG, [("BUY", 0.8)]),
    ("leverage counts others", {"leverage": 2.0}, Account(80.0, ETHUSDT=1.0), LONG, [("BUY", 0.6)]),
    ("leverage is used up", {}, Account(100.0, ETHUSDT=1.0), LONG, [("leverage", 0.0, 1.0)]),
    ("margin reserve", {"margin_reserve_percent": 10.0}, Account(50.0), LONG, [("BUY", 0.45)]),
    ("nothing left", {}, Account(0.0), LONG, [("leverage", 0.0, 1.0)]),
    ("no policy, no leverage cap", {"policy": "none"}, Account(50.0), LONG, [("BUY", 1.0)]),
    ("no policy, no limits", {"policy": "none", "max_position_usd": 1.0}, Account(ETHUSDT=1.0), LONG, [("BUY", 1.0)]),
    ("a dear limit binds more", {"price_collar_percent": 100.0}, Account(50.0), limit("LONG", 125.0), [("BUY", 0.4)]),
    # positions
    ("two of two", {"max_open_positions": 2}, Account(ETHUSDT=1.0), LONG, [("BUY", 1.0)]),
    ("a third of two", {"max_open_positions": 2}, Account(ETHUSDT=1.0, SOLUSDT=1.0), LONG, [("max_open_positions", 2.0, 2.0)]),
    ("a flip is no new position", {"max_open_positions": 1}, Account(BTCUSDT=-1.0), LONG, [("BUY", 2.0)]),
    # collar against the mark
    ("collar at its edge", {"price_collar_percent": 5.0}, Account(), limit("LONG", 95.0), [("BUY", 1.0)]),
    ("collar beyond", {"price_collar_percent": 5.0}, Account(), limit("LONG", 94.9), [("price_collar_percent", 5.1, 5.0)]),
    ("collar above", {"price_collar_percent": 5.0}, Account(), limit("SHORT", 105.1), [("price_collar_percent", 5.1, 5.0)]),
    ("collar on exits", {"price_collar_percent": 5.0}, Account(BTCUSDT=1.0), limit("FLAT", 106.0), [("price_collar_percent", 6.0, 5.0)]),
    ("collar ignores market orders", {"price_collar_percent": 5.0}, Account(BTCUSDT=1.0), FLAT, [("SELL", 1.0)]),
    ("no policy, no collar", {"policy": "none", "price_collar_percent": 5.0}, Account(), limit("LONG", 50.0), [("BUY", 1.0)]),
    # what cannot be worked with
    ("limit without a price", {}, Account(), limit("LONG", None), [("limit_price_missing", 0.0, 0.0)]),
    ("exit limit without a price", {}, Account(BTCUSDT=1.0), limit("FLAT", None), [("limit_price_missing", 0.0, 0.0)]),
    ("negative wish", {}, Account(), Signal("BTCUSDT", "LONG", -1.0, ts=DAY), [("invalid_size", -1.0, 0.0)]),
    ("unknown symbol", {}, Account(), Signal("XUSDT", "LONG", ts=DAY), [("unknown_symbol", 0.0, 0.0)]),
]  # fmt: skip


@pytest.mark.parametrize(("risk", "account", "signal", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_limits(risk: dict[str, Any], account: Account, signal: Signal, wanted: list[tuple[Any, ...]]) -> None:
    desk = Desk(account, risk=risk)
    desk.actor.on_signal(signal)
    assert outcome(desk.out) == wanted


def test_room_keeps_both_fees_back() -> None:
    """At leverage 10 and 0.055 % taker, 100 coins of margin carry 100 / (0.1 + 0.0011) = 989.119 of notional."""
    desk = Desk(
        Account(100.0), risk={"leverage": 10.0}, sizing={"model": "fixed_qty", "qty": 50.0}, symbols=(instrument(taker_fee=55_000),)
    )
    desk.actor.on_signal(LONG)
    assert outcome(desk.out) == [("BUY", 9.891)]


def test_profit_of_other_positions_is_not_spendable() -> None:
    """Wallet 100, unrealised profit 100 in ETH of notional 300: only the wallet carries new margin."""
    account = Account(100.0, ETHUSDT=3.0)
    account.equity = 200.0
    desk = Desk(account, risk={"leverage": 4.0}, sizing={"model": "fixed_qty", "qty": 50.0})
    desk.actor.on_signal(LONG)
    assert outcome(desk.out) == [("BUY", 1.0)]


def test_profit_that_a_flip_realises_is_spendable() -> None:
    account = Account(100.0, BTCUSDT=1.0)
    account.entries["BTCUSDT"] = 50.0
    account.equity = 150.0
    desk = Desk(account, sizing={"model": "fixed_qty", "qty": 50.0})
    desk.actor.on_signal(SHORT)
    assert outcome(desk.out) == [("SELL", 2.5)]


SPOT = (instrument(category="spot"), instrument("ETHUSDT", category="spot"))
SPOT_CASES: list[tuple[str, Account, Signal, list[tuple[Any, ...]]]] = [
    ("buy", Account(), LONG, [("BUY", 1.0)]),
    ("short is denied", Account(), SHORT, [("short_not_allowed", 0.0, 0.0)]),
    ("short sells nothing of what is held", Account(BTCUSDT=2.0), SHORT, [("short_not_allowed", 0.0, 0.0)]),
    ("a holding off the step sells its floor", Account(BTCUSDT=0.9985), FLAT, [("SELL", 0.998)]),
    ("dust is flat: not sold, and that is said", Account(BTCUSDT=0.049), FLAT, [("below_min_notional", 4.9, 5.0)]),
    ("less than a step is nothing", Account(BTCUSDT=0.0009), FLAT, []),
    ("dust is flat: bought", Account(BTCUSDT=0.049), LONG, [("BUY", 1.0)]),
    ("worth the minimum is held", Account(BTCUSDT=0.05), FLAT, [("SELL", 0.05)]),
]


@pytest.mark.parametrize("policy", ["rules", "none"])
@pytest.mark.parametrize(("account", "signal", "wanted"), [case[1:] for case in SPOT_CASES], ids=[case[0] for case in SPOT_CASES])
def test_spot(policy: str, account: Account, signal: Signal, wanted: list[tuple[Any, ...]]) -> None:
    desk = Desk(account, symbols=SPOT, allow_short=False, risk={"policy": policy})
    desk.actor.on_signal(signal)
    assert outcome(desk.out) == wanted


def test_spot_spends_the_quote_balance_once() -> None:
    """Equity 1000 of which 900 is another coin: only 100 can be spent, and no leverage multiplies it."""
    account = Account(1000.0, ETHUSDT=9.0)
    account.cash = 100 * 10**8
    desk = Desk(account, symbols=SPOT, allow_short=False, sizing={"model": "fixed_qty", "qty": 5.0})
    desk.actor.on_signal(LONG)
    assert outcome(desk.out) == [("BUY", 1.0)]


def test_reductions_pass_every_limit_but_the_collar() -> None:
    """The account is over every limit and the gate is closed: FLAT passes, a flip passes as its closing half."""
    strict = {"max_position_usd": 1.0, "max_gross_usd": 1.0, "max_open_positions": 1, "max_orders_per_minute": 1, "cooldown_bars": 9}
    for signal, wanted in ((FLAT, [("SELL", 1.0)]), (SHORT, [("trading_reducing", 0.0, 0.0), ("SELL", 1.0)])):
        desk = Desk(Account(1.0, BTCUSDT=1.0, ETHUSDT=1.0), risk=strict)
        desk.actor.on_halt(Halt(DAY, "panic"))
        desk.actor.on_signal(signal)
        assert outcome(desk.out) == wanted
        assert [m.reduce_only for m in desk.out if isinstance(m, OrderIntent)] == [True]


# --- cooldown ---

COOLDOWN_CASES = [
    # (exit at, decision at, bars, allowed)
    (DAY, DAY + HOUR, 1, True),  # exit at the open of a bar: that bar counts
    (DAY, DAY + HOUR, 2, False),
    (DAY, DAY + 2 * HOUR, 2, True),
    (DAY + 1, DAY + HOUR, 1, False),  # exit inside a bar: only the next one counts
    (DAY + 1, DAY + 2 * HOUR, 1, True),
    (DAY + HOUR - 1, DAY + HOUR, 1, False),
    (DAY + HOUR - 1, DAY + 2 * HOUR, 1, True),
    (DAY + 1, DAY + HOUR, 0, True),
]


@pytest.mark.parametrize(("exit_ts", "decision_ts", "bars", "allowed"), COOLDOWN_CASES)
def test_cooldown_counts_whole_decision_bars(exit_ts: int, decision_ts: int, bars: int, allowed: bool) -> None:
    desk = Desk(risk={"cooldown_bars": bars})
    desk.actor.manager.policy.note_exit("BTCUSDT", exit_ts)
    desk.actor.on_signal(Signal("BTCUSDT", "LONG", ts=decision_ts))
    assert [isinstance(message, OrderIntent) for message in desk.out] == [allowed]


def test_cooldown_is_per_symbol_and_a_flip_waits() -> None:
    desk = Desk(Account(BTCUSDT=1.0), risk={"cooldown_bars": 1})
    desk.actor.manager.policy.note_exit("BTCUSDT", DAY)
    desk.actor.on_signal(ETH_LONG)
    desk.actor.on_signal(Signal("BTCUSDT", "SHORT", ts=DAY + 9 * HOUR))
    assert outcome(desk.out) == [("BUY", 1.0), ("cooldown_bars", 0.0, 1.0), ("SELL", 1.0)]


# --- orders per minute ---


def test_orders_per_minute_roll_with_the_clock() -> None:
    """Two per minute: the third waits until the first is 60,000 ms old, exactly."""
    desk = Desk(risk={"max_orders_per_minute": 2})

    def tries(at: int) -> str:
        desk.clock.now_ms = at
        desk.out.clear()
        desk.actor.on_signal(limit("LONG", 100.0))
        message = desk.out[0]
        return message.reason if isinstance(message, SignalDenied) else "sent"

    assert [tries(DAY), tries(DAY + 10), tries(DAY + 20)] == ["sent", "sent", "max_orders_per_minute"]
    assert [tries(DAY + MINUTE - 1), tries(DAY + MINUTE), tries(DAY + MINUTE + 9)] == [
        "max_orders_per_minute",
        "sent",
        "max_orders_per_minute",
    ]
    assert tries(DAY + MINUTE + 10) == "sent"


def test_closing_orders_count_but_are_not_refused() -> None:
    desk = Desk(Account(BTCUSDT=1.0), risk={"max_orders_per_minute": 1})
    desk.actor.on_signal(FLAT)
    desk.actor.on_signal(ETH_LONG)
    assert outcome(desk.out) == [("SELL", 1.0), ("max_orders_per_minute", 1.0, 1.0)]


# --- day and peak ---


def watch(desk: Desk, *points: tuple[int, float]) -> list[Message]:
    """What risk says while the account's equity takes these values; it hears its own Halt and Resume."""
    said: list[Message] = []
    for ts, equity in points:
        desk.account.equity = equity
        desk.clock.now_ms = ts
        desk.actor.on_instant(ts)
        fresh = desk.said()
        for message in fresh:
            if isinstance(message, Halt):
                desk.actor.on_halt(message)
            elif isinstance(message, Resume):
                desk.actor.on_resume(message)
        said += fresh + desk.said()
    return said


def test_daily_loss_at_its_limit_halts_until_midnight_utc() -> None:
    desk = Desk(risk={"daily_loss_percent": 5.0, "on_limit": "hold"})
    evening = DAY + 20 * HOUR
    assert watch(desk, (evening, 10_000.0), (evening + HOUR, 9_500.01)) == []
    assert watch(desk, (evening + 2 * HOUR, 9_500.0)) == [Halt(evening + 2 * HOUR, "daily_loss_percent", False)]
    desk.actor.on_signal(LONG)
    assert outcome(desk.said()) == [("daily_loss_percent", pytest.approx(5.0), 5.0)]
    assert watch(desk, (evening + 3 * HOUR, 9_000.0)) == []
    midnight = DAY + 24 * HOUR
    assert watch(desk, (midnight, 9_000.0)) == [Resume(midnight, "daily_loss_percent")]
    desk.actor.on_signal(LONG)
    assert outcome(desk.said()) == [("BUY", 1.0)]
    assert watch(desk, (midnight + HOUR, 8_550.0)) == [Halt(midnight + HOUR, "daily_loss_percent", False)]


def test_the_day_begins_with_its_own_equity() -> None:
    """4 % lost in each of two days is never a loss of 5 % in one."""
    desk = Desk(risk={"daily_loss_percent": 5.0})
    assert watch(desk, (DAY, 10_000.0), (DAY + 23 * HOUR, 9_600.0), (DAY + 24 * HOUR, 9_600.0), (DAY + 47 * HOUR, 9_216.0)) == []


def test_drawdown_is_from_the_peak_and_for_good() -> None:
    desk = Desk(risk={"max_drawdown_percent": 20.0, "on_limit": "hold"})
    assert watch(desk, (DAY, 10_000.0), (DAY + HOUR, 12_000.0), (DAY + 2 * HOUR, 9_600.01)) == []
    assert watch(desk, (DAY + 3 * HOUR, 9_600.0)) == [Halt(DAY + 3 * HOUR, "max_drawdown_percent", False)]
    assert watch(desk, (DAY + 48 * HOUR, 20_000.0), (DAY + 72 * HOUR, 1_000.0)) == []
    desk.actor.on_resume(Resume(DAY, "a person"))
    desk.actor.on_signal(LONG)
    assert outcome(desk.said()) == [("max_drawdown_percent", 20.0, 20.0)]


def test_flatten_closes_everything_and_comes_back_until_it_is() -> None:
    desk = Desk(Account(BTCUSDT=1.0, ETHUSDT=-2.0), risk={"max_drawdown_percent": 10.0, "leverage": 10.0})
    said = watch(desk, (DAY, 10_000.0), (DAY + HOUR, 9_000.0))
    assert said[0] == Halt(DAY + HOUR, "max_drawdown_percent", True)
    assert outcome(said) == [("SELL", 1.0), ("BUY", 2.0)]
    assert {(m.reason, m.reduce_only, m.order_type) for m in said if isinstance(m, OrderIntent)} == {("limit", True, "market")}
    assert watch(desk, (DAY + 2 * HOUR, 9_000.0)) == []  # both are on their way
    for record in desk.executor.open_orders():
        desk.executor.on_order_update(OrderUpdate(record.client_order_id, record.symbol, DAY, "cancelled"))
    desk.account.positions["BTCUSDT"] = 0.0
    assert outcome(watch(desk, (DAY + 3 * HOUR, 9_000.0))) == [("BUY", 2.0)]


def test_neither_day_nor_peak_is_watched_without_a_limit() -> None:
    assert not Desk().actor.limits.is_limited
    assert not Desk(risk={"policy": "none", "daily_loss_percent": 5.0}).actor.limits.is_limited
    assert Desk(risk={"daily_loss_percent": 5.0}).actor.limits.is_limited


def test_halt_and_resume_from_outside() -> None:
    desk = Desk(Account(ETHUSDT=1.0))
    desk.actor.on_halt(Halt(DAY, "panic", flatten=True))
    assert outcome(desk.said()) == [("SELL", 1.0)]
    desk.actor.on_signal(LONG)
    assert outcome(desk.said()) == [("trading_reducing", 0.0, 0.0)]
    desk.actor.on_resume(Resume(DAY, "a person"))
    desk.actor.on_signal(LONG)
    assert outcome(desk.said()) == [("BUY", 1.0)]
