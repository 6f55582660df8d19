"""Instants and prices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keel.core.engine.instant import Instant, LateBar
from keel.core.model.messages import Bar, MarkPrice
from keel.runners.live.market.bar_synchronizer import Gathered, Instants
from keel.runners.live.market.intake import Intake
from keel.runners.live.market.prices import Prices
from tests.builders import HOUR, MINUTE, START, bar


def minute(number: int, symbol: str = "BTCUSDT") -> Bar:
    return bar(number, 100.0, symbol=symbol, tf="1m")


def test_an_instant_is_whole_when_every_series_has_given_its_bar() -> None:
    instants = Instants(("BTCUSDT", "ETHUSDT"), ("1m",), grace_ms=1_000)
    assert instants.add(minute(0, "ETHUSDT"), 0)
    assert instants.ready(500) == []
    assert instants.add(minute(0), 600)
    (instant,) = instants.ready(600)
    assert [one.symbol for one in instant.bars] == ["BTCUSDT", "ETHUSDT"] and instant.missing == []


def test_finer_bars_come_first_and_coarser_ones_are_waited_for() -> None:
    instants = Instants(("BTCUSDT",), ("1h", "1m"), grace_ms=1_000)
    assert instants.add(minute(59), 0)
    assert instants.ready(0) == []
    assert instants.add(bar(0, 100.0, tf="1h"), 1)
    (instant,) = instants.ready(1)
    assert [one.tf for one in instant.bars] == ["1m", "1h"] and instant.ts == START + HOUR


def test_after_the_grace_it_goes_on_without_the_late_one_which_then_comes_too_late() -> None:
    instants = Instants(("BTCUSDT", "ETHUSDT"), ("1m",), grace_ms=1_000)
    instants.add(minute(0), 0)
    instants.add(minute(1), 100)
    instants.add(minute(1, "ETHUSDT"), 100)
    assert instants.ready(900) == []  # the younger one is whole, and waits for the older
    first, second = instants.ready(1_000)
    assert first.missing == [("ETHUSDT", "1m")] and second.missing == []
    assert not instants.add(minute(0, "ETHUSDT"), 1_100)
    assert instants.last_ts == START + 2 * MINUTE


def intake_of(instants: Instants, put: Callable[[Any], None], prices: Prices, *, is_due: bool = True) -> Intake:
    return Intake(
        instants, prices, put, Account(), lambda notice: None, is_news=lambda ts: True, decides_after=lambda: 0, first=lambda: None,
        is_due=lambda: is_due,
    )  # fmt: skip


def test_an_instant_is_heard_when_it_is_whole_and_not_with_each_bar() -> None:
    instants, heard = Instants(("BTCUSDT", "ETHUSDT", "SOLUSDT"), ("1m",), grace_ms=1_000_000), list[Instant]()
    take = intake_of(instants, heard.append, Prices()).bar
    for symbol in ("ETHUSDT", "SOLUSDT", "BTCUSDT"):
        assert heard == []
        take(minute(0, symbol))
    assert [instant.ts for instant in heard] == [minute(0).ts_close]
    take(minute(2))
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        take(minute(1, symbol))
    assert [instant.ts for instant in heard] == [minute(0).ts_close, minute(1).ts_close], "the older is whole, and the younger waits"


def test_before_it_is_time_instants_wait_and_then_all_of_them_are_heard_in_order() -> None:
    instants, heard = Instants(("BTCUSDT",), ("1m",), grace_ms=0), list[Instant]()
    intake = intake_of(instants, heard.append, Prices(), is_due=False)
    for number in (1, 0):
        intake.bar(minute(number))
    intake.give()
    assert heard == []
    intake.give_all()
    assert [instant.ts for instant in heard] == [minute(0).ts_close, minute(1).ts_close]
    intake.bar(minute(0))
    assert heard[-1] == LateBar(minute(0))  # type: ignore[comparison-overlap]


def test_of_the_marks_between_two_instants_the_latest_is_heard_and_the_others_are_counted() -> None:
    instants, heard = Instants(("BTCUSDT",), ("1m",), grace_ms=0), list[Instant]()
    intake = intake_of(instants, heard.append, Prices())
    take = intake.market(None, "1m")
    for price in (1.0, 2.0, 3.0):
        take(MarkPrice("BTCUSDT", 0, price))
    take(MarkPrice("ETHUSDT", 0, 9.0))
    take(minute(0))
    take(MarkPrice("BTCUSDT", 0, 4.0))
    take(minute(1))
    assert [instant.marks["BTCUSDT"] for instant in heard] == [3.0, 4.0] and intake.replaced == 2


class Account:
    """Mark 1 % under last."""

    def mark(self, symbol: str) -> float:
        return 99.0

    def last(self, symbol: str) -> float:
        return 100.0


def test_an_instant_that_lies_back_is_not_valued_by_the_mark_of_now() -> None:
    prices = Prices(mark={"BTCUSDT": 50.0})
    instant = Gathered(START + MINUTE, [bar(0, 200.0, tf="1m"), bar(0, 300.0, symbol="SPOTUSDT", tf="1m")], [])
    assert prices.marks_of(instant, Account(), is_news=True) == {"BTCUSDT": 50.0}
    assert prices.marks_of(instant, Account(), is_news=False) == {"BTCUSDT": 198.0}
