"""Exits: distances from the decision bar, rounded to the grid away from the entry, on both sides; the signal's own come first."""

from __future__ import annotations

from typing import Any

import pytest

from keel.core.features.spec import parse_features
from keel.core.features.vector import VectorEngine
from keel.core.model.messages import Bracket, Message, OrderIntent, Signal, SignalDenied
from keel.core.risk.exits import hidden_features
from keel.core.system.config import Distance, ExitsConfig, SizingConfig
from tests.core.risk.account import DAY, Account, Desk

PERCENT = ExitsConfig(stop_loss=Distance(percent=2.0), take_profit=Distance(percent=4.0))
ATR = ExitsConfig(stop_loss=Distance(atr=2.0, period=14), take_profit=Distance(atr=3.0, period=7))
TRAIL = ExitsConfig(trailing=Distance(percent=1.0, activate_percent=2.0), trigger="mark")
ATRS = {("BTCUSDT", "_atr_14"): 1.234, ("BTCUSDT", "_atr_7"): 1.11}


def signal(direction: Any, **own: Any) -> Signal:
    return Signal("BTCUSDT", direction, ts=DAY, **own)


def answer(exits: ExitsConfig | None, wish: Signal, price: float = 100.0) -> Message:
    account = Account(100_000.0)
    account.prices["BTCUSDT"] = price
    desk = Desk(account, exits=exits, features=ATRS)
    desk.actor.on_signal(wish)
    (message,) = desk.out
    return message


CASES: list[tuple[str, ExitsConfig | None, float, Signal, Bracket | None]] = [
    ("none", None, 100.0, signal("LONG"), None),
    ("long", PERCENT, 100.0, signal("LONG"), Bracket(98.0, 104.0)),
    ("short", PERCENT, 100.0, signal("SHORT"), Bracket(102.0, 96.0)),
    # 123.4: 2 % is 2.468, 4 % is 4.936; tick 0.1
    ("long, off the grid", PERCENT, 123.4, signal("LONG"), Bracket(120.9, 128.4)),
    ("short, off the grid", PERCENT, 123.4, signal("SHORT"), Bracket(125.9, 118.4)),
    ("a level on the grid is not pushed on", ExitsConfig(stop_loss=Distance(percent=10.0)), 67.0, signal("LONG"), Bracket(60.3)),
    ("a level on the grid, short", ExitsConfig(take_profit=Distance(percent=10.0)), 67.0, signal("SHORT"), Bracket(None, 60.3)),
    # ATR 14 is 1.234 -> 2.468; ATR 7 is 1.11 -> 3.33
    ("atr, long", ATR, 100.0, signal("LONG"), Bracket(97.5, 103.4)),
    ("atr, short", ATR, 100.0, signal("SHORT"), Bracket(102.5, 96.6)),
    ("trailing, long", TRAIL, 123.4, signal("LONG"), Bracket(None, None, 1.3, 125.9, "mark")),
    ("trailing, short", TRAIL, 123.4, signal("SHORT"), Bracket(None, None, 1.3, 120.9, "mark")),
    ("trailing at once", ExitsConfig(trailing=Distance(percent=1.0)), 100.0, signal("LONG"), Bracket(None, None, 1.0)),
    ("own stop, system's target", PERCENT, 100.0, signal("LONG", stop_loss=95.55), Bracket(95.5, 104.0)),
    ("own stop, short", PERCENT, 100.0, signal("SHORT", stop_loss=104.55), Bracket(104.6, 96.0)),
    ("own target, no system", None, 100.0, signal("LONG", take_profit=110.01), Bracket(None, 110.1)),
    ("own trailing has no activation", TRAIL, 100.0, signal("LONG", trailing=2.01), Bracket(None, None, 2.1, None, "mark")),
    # lengths are measured at the close (100), laid off from the limit (96)
    ("limit entry", PERCENT, 100.0, signal("LONG", order_type="limit", limit_price=96.0), Bracket(94.0, 100.0)),
]


@pytest.mark.parametrize(("exits", "price", "wish", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_brackets(exits: ExitsConfig | None, price: float, wish: Signal, wanted: Bracket | None) -> None:
    message = answer(exits, wish, price)
    assert isinstance(message, OrderIntent)
    assert message.bracket == wanted


WRONG: list[tuple[ExitsConfig | None, Signal, str]] = [
    (None, signal("LONG", stop_loss=100.0), "invalid_stop_loss"),
    (None, signal("LONG", stop_loss=101.0), "invalid_stop_loss"),
    (None, signal("SHORT", stop_loss=99.0), "invalid_stop_loss"),
    (None, signal("LONG", take_profit=100.0), "invalid_take_profit"),
    (None, signal("SHORT", take_profit=101.0), "invalid_take_profit"),
    (None, signal("LONG", stop_loss=-1.0), "invalid_stop_loss"),
    (None, signal("LONG", stop_loss=0.05), "invalid_stop_loss"),  # rounds to nothing
    (None, signal("LONG", trailing=0.0), "invalid_trailing"),
    (ExitsConfig(take_profit=Distance(percent=100.0)), signal("SHORT"), "invalid_take_profit"),
    (ExitsConfig(stop_loss=Distance(atr=1.0, period=99)), signal("LONG"), "exit_distance_unknown"),
]


@pytest.mark.parametrize(("exits", "wish", "reason"), WRONG)
def test_exits_on_the_wrong_side_or_unknown_are_denied(exits: ExitsConfig | None, wish: Signal, reason: str) -> None:
    message = answer(exits, wish)
    assert isinstance(message, SignalDenied)
    assert message.reason == reason


def test_a_malformed_flip_does_not_even_close() -> None:
    desk = Desk(Account(BTCUSDT=1.0))
    desk.actor.on_signal(signal("SHORT", stop_loss=90.0))
    assert [type(message) for message in desk.out] == [SignalDenied]


def test_only_entries_carry_exits() -> None:
    desk = Desk(Account(BTCUSDT=1.0), exits=PERCENT)
    desk.actor.on_signal(signal("FLAT"))
    desk.actor.on_signal(Signal("ETHUSDT", "SHORT", ts=DAY))
    assert [message.bracket for message in desk.out if isinstance(message, OrderIntent)] == [None, Bracket(102.0, 96.0)]


def test_hidden_features_are_declared_once_and_only_when_needed() -> None:
    assert hidden_features(None, SizingConfig()) == {}
    assert hidden_features(PERCENT, SizingConfig()) == {}
    both = hidden_features(ATR, SizingConfig(model="risk_per_trade", stop_atr=2.0, atr_period=14))
    assert both == {"_atr_14": {"fn": "ATR", "timeperiod": 14}, "_atr_7": {"fn": "ATR", "timeperiod": 7}}


def test_hidden_volatility_is_the_deviation_of_log_returns() -> None:
    """Against numpy, on a wandering price."""
    import numpy as np

    from keel.core.model.frame import Frame

    closes = 100.0 * np.exp(np.cumsum(np.random.default_rng(5).normal(0.0, 0.01, 200)))
    columns = {"open": closes, "high": closes, "low": closes, "close": closes, "volume": np.ones(200)}
    frame = Frame(np.arange(200, dtype=np.int64) * 60_000, columns, symbol="BTCUSDT", timeframe="1m")
    declared = hidden_features(None, SizingConfig(model="inverse_vol", lookback_bars=96))
    values = VectorEngine().compute(parse_features(declared, {}, "1m"), frame)["_volatility_96"]
    assert np.isnan(values[95]) and not np.isnan(values[96])
    assert values[-1] == pytest.approx(np.diff(np.log(closes))[-96:].std(), rel=1e-9)
