"""What is heard at an instant, in which order; written down first; and what becomes of it when something breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from keel.core.engine.engine import Engine
from keel.core.engine.instant import BarsTooLate, Instant, InstantClosed, LateBar
from keel.core.errors import InvariantError
from keel.core.model.messages import Bar, FundingRate, MarkPrice, Message
from keel.runners.backtest.wiring import wire_backtest
from tests.builders import HOUR, START, bar, builtin, made_ready, sample_store

DAYS = 3


def engine() -> Engine:
    with sample_store(days=DAYS) as store:
        system, strategy = builtin("hold", "warmup_bars=40", "execution_timeframe=1h")
        return wire_backtest(made_ready(store, system, START + 2 * 24 * HOUR, START + DAYS * 24 * HOUR, strategy()), "t").engine


def hour(number: int, close: float = 100.0) -> Bar:
    return bar(48 + number, close, tf="1h")


def instant(number: int, **changes: Any) -> Instant:
    each = hour(number)
    return Instant(each.ts_close, marks={"BTCUSDT": 99.0}, bars=[each], **changes)


class Written:
    """A journal in memory."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self.messages: list[Message] = []
        self.kept: list[Message] = []

    def append(self, message: Message) -> None:
        self.messages.append(message)

    def keep(self, message: Message) -> None:
        self.kept.append(message)

    def fail(self, error: BaseException) -> None:
        self.failure = error


async def given(*each: Message | Instant | LateBar) -> AsyncIterator[Message | Instant | LateBar]:
    for one in each:
        yield one


def test_what_is_known_comes_first_then_rates_then_each_symbols_mark_before_its_bars_then_the_end() -> None:
    first, second, coarse = bar(0, 1.0, symbol="B"), bar(0, 2.0, symbol="A"), bar(0, 1.0, symbol="B", tf="4h")
    rate, known = FundingRate("A", START, 0.1), MarkPrice("X", 0, 1.0)
    whole = Instant(5, [rate], {"A": 7.0, "B": 8.0, "C": 9.0}, [first, second, coarse], False, [known])
    marks = [MarkPrice("B", 5, 8.0), MarkPrice("A", 5, 7.0)]
    assert list(whole.messages()) == [known, rate, marks[0], first, marks[1], second, coarse, InstantClosed(5, False)]
    assert list(LateBar(first, [known]).messages()) == [known, first, BarsTooLate(first.ts_close)]


async def test_each_message_is_written_before_it_is_heard() -> None:
    heard, journal = engine(), Written()
    seen: list[tuple[type, int]] = []
    for kind in (MarkPrice, Bar, InstantClosed):
        heard.bus.subscribe(kind, lambda message: seen.append((type(message), len(journal.messages))))
    await heard.run(given(instant(0), instant(1)), journal)
    assert seen == [(kind, place) for place, kind in enumerate([MarkPrice, Bar, InstantClosed] * 2, 1)]
    assert heard.closes.tolist() == [hour(0).ts_close, hour(1).ts_close] and heard.clock.now_ms == hour(1).ts_close
    assert journal.failure is None and journal.kept == []


async def test_what_was_written_one_by_one_closes_the_same_instants_when_it_is_heard_again() -> None:
    live, again, journal = engine(), engine(), Written()
    await live.run(given(*(instant(number) for number in range(5)), LateBar(hour(0))), journal)
    for message in journal.messages:
        again.receive(message)
    assert again.closes == live.closes and len(live.closes) == 5
    assert again.portfolio.equity_values == live.portfolio.equity_values and again.clock.now_ms == live.clock.now_ms


async def test_after_something_broke_messages_are_kept_and_nobody_hears_them() -> None:
    heard, journal = engine(), Written()
    broken = ValueError("broken")

    def fail(message: Message) -> None:
        raise broken

    heard.bus.subscribe(InstantClosed, fail)
    late = MarkPrice("BTCUSDT", hour(3).ts_close, 1.0)
    await heard.run(given(instant(0), late, instant(1), LateBar(hour(0))), journal)
    assert journal.failure is broken and journal.kept == [late]
    assert heard.bus.failed is not None and heard.closes.tolist() == [hour(0).ts_close] and heard.portfolio.mark("BTCUSDT") == 99.0


def test_an_instant_is_closed_once_and_never_before_an_earlier_one() -> None:
    heard = engine()
    heard.process(instant(1))
    for number in (0, 1):
        with pytest.raises(InvariantError, match="is closed after"):
            heard.receive(InstantClosed(hour(number).ts_close, True))
