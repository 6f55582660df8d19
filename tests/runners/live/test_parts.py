"""Instants and prices."""

from __future__ import annotations

from typing import cast

from keel.adapters.journal import Journal
from keel.core.model.messages import Bar
from keel.runners.live.market.bar_synchronizer import Instant, Instants
from keel.runners.live.market.prices import Prices
from keel.runners.live.session.inbox import Inbox
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


def test_the_session_is_woken_when_an_instant_is_whole_and_not_by_each_bar() -> None:
    instants, wakes = Instants(("BTCUSDT", "ETHUSDT", "SOLUSDT"), ("1m",), grace_ms=1_000), list[int]()
    inbox = Inbox(cast("Journal", None), lambda error: None)
    inbox.wake = lambda: wakes.append(len(instants.ready(0)))
    take = inbox.gather(instants, Prices())
    for symbol in ("ETHUSDT", "SOLUSDT", "BTCUSDT"):
        assert wakes == []
        take(minute(0, symbol))
    assert wakes == [1]
    take(minute(2))
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        take(minute(1, symbol))
    assert wakes == [1, 1], "the older one is whole, and the younger one waits"


class Account:
    """Mark 1 % under last."""

    def mark(self, symbol: str) -> float:
        return 99.0

    def last(self, symbol: str) -> float:
        return 100.0


def test_an_instant_that_lies_back_is_not_valued_by_the_mark_of_now() -> None:
    prices = Prices(mark={"BTCUSDT": 50.0})
    instant = Instant(START + MINUTE, [bar(0, 200.0, tf="1m"), bar(0, 300.0, symbol="SPOTUSDT", tf="1m")], [])
    assert prices.marks_of(instant, Account(), is_news=True) == {"BTCUSDT": 50.0}
    assert prices.marks_of(instant, Account(), is_news=False) == {"BTCUSDT": 198.0}
