"""How often a code is told, and what waits for a target: counted without a clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keel.adapters.bybit.notices import Severity
from keel.runners.live.alerts.backlog import LONGEST_ASKED_S, LONGEST_PAUSE_S, Backlog
from keel.runners.live.alerts.limits import Limits
from keel.runners.live.alerts.message import LONGEST, Message


def message(code: str = "loop_late", severity: Severity = "warning", text: str = "late") -> Message:
    return Message(1_700_000_000_000, code, severity, text, "", "demo ema_cross")


def test_what_repeats_is_summed_up_when_its_window_is_over() -> None:
    limits = Limits(3, 600.0)
    assert [limits.admits(message(text=str(number)), number) for number in range(15)] == [True] * 3 + [False] * 12
    assert limits.over(599.0) == []
    (sum_,) = limits.over(600.0)
    assert sum_.text == "12 more of the same in 10 min, the last: 14"
    assert limits.over(1_200.0) == []
    assert limits.admits(message(), 601.0)


def test_a_window_without_a_rest_ends_by_itself() -> None:
    limits = Limits(1, 60.0)
    assert limits.admits(message(), 0.0)
    assert limits.admits(message(), 60.0)
    assert limits.due_s() is None


def test_another_code_and_a_graver_one_are_counted_by_themselves() -> None:
    limits = Limits(1, 60.0)
    assert limits.admits(message(), 0.0)
    assert not limits.admits(message(), 1.0)
    assert limits.admits(message("feed_gap"), 1.0)
    assert limits.admits(message(severity="error"), 1.0)
    assert limits.due_s() == 60.0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100)), max_size=80))
def test_nothing_is_lost(steps: list[tuple[str, float]]) -> None:
    """What went out by itself and what the sums count are all that came."""
    limits, now, alone, summed = Limits(2, 50.0), 0.0, 0, 0

    def count(sums: list[Message]) -> int:
        return sum(int(each.text.split()[0]) for each in sums)

    for code, pause in steps:
        now += pause
        summed += count(limits.over(now))
        alone += limits.admits(message(code), now)
    assert alone + summed + count(limits.rest()) == len(steps)


def test_a_full_backlog_loses_the_oldest_of_the_least_grave() -> None:
    backlog = Backlog(3)
    for severity, text in (("error", "1"), ("info", "2"), ("info", "3"), ("warning", "4"), ("error", "5")):
        backlog.put(message(severity=severity, text=text))  # type: ignore[arg-type]
    left = []
    while (each := backlog.first()) is not None:
        left.append(each.text)
        backlog.sent(each)
    assert (left, backlog.dropped) == (["1", "4", "5"], 2)


def test_pauses_grow_to_a_limit_and_a_server_may_ask_for_more() -> None:
    backlog = Backlog(10)
    backlog.put(message())
    assert [backlog.failed(0.0, None) for _ in range(8)] == [2, 4, 8, 16, 32, 64, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert backlog.failed(0.0, 300.0) == 300.0
    assert backlog.failed(0.0, 1e9) == LONGEST_ASKED_S
    assert backlog.failed(0.0, 1.0) == LONGEST_PAUSE_S
    assert backlog.due(LONGEST_PAUSE_S - 1) is None
    assert backlog.wait_s(LONGEST_PAUSE_S - 1) == 1.0
    first = backlog.due(LONGEST_PAUSE_S)
    assert first is not None
    backlog.sent(first)
    assert (len(backlog), backlog.failures, backlog.wait_s(0.0)) == (0, 0, None)


def test_a_body_stays_below_what_discord_takes_and_says_what_to_do() -> None:
    found = message("loop_late", text="x" * 10_000)
    assert len(found.body) <= LONGEST
    assert "10,000 characters" in found.body
    assert "what to do: once: a busy machine" in message().body
    assert message().title == "WARNING keel demo ema_cross: loop_late"


def test_one_that_a_target_does_not_like_holds_up_no_other() -> None:
    backlog = Backlog(10)
    poison, good, last = (message("gate", "error", str(number)) for number in range(3))
    for each in (poison, good, last):
        backlog.put(each)
    for _ in range(3):
        assert backlog.first() is poison
        backlog.failed(0.0, None)
    assert backlog.first() is good
    backlog.sent(good)
    assert backlog.first() is last
    backlog.sent(last)
    assert backlog.first() is poison and not backlog.pass_by()
    assert not Backlog(10).pass_by()
