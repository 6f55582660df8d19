"""What is done, and in which order: a table of what comes, without a clock and without a process."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from keel.core.system.config import SupervisionConfig
from keel.runners.live.supervisor.decisions import Decider
from keel.runners.live.supervisor.rules import Finding

Come = Callable[[Decider], list[Any]]
TERM, INT, KILL = signal.SIGTERM, signal.SIGINT, -signal.SIGKILL


def end(code: int | None, at: float, *, in_order: bool = False) -> Come:
    return lambda decider: decider.ended(code, in_order=in_order, now_s=at)


def hang(at: float) -> Come:
    return lambda decider: decider.found(Finding("trader_silent", "error", "no heartbeat", "hang"), at)


def lingers(at: float) -> Come:
    return lambda decider: decider.found(Finding("trader_lingers", "warning", "still there", "kill"), at)


def said_end(decider: Decider) -> list[Any]:
    decider.on_end()
    return []


def pressed(number: int, at: float, *, shared: bool = False) -> Come:
    return lambda decider: decider.on_signal_sent(number, has_trader_heard=shared, now_s=at)


def time(at: float) -> Come:
    return lambda decider: decider.passed(at)


def flat(is_flat: bool) -> Come:
    return lambda decider: decider.flattened(is_flat)


def panic(at: float) -> Come:
    return lambda decider: decider.on_panic(at)


FLATTEN = {"on_hang": "flatten"}
CASES: list[tuple[str, dict[str, Any], list[Come], list[str]]] = [
    ("an end in order", {}, [end(0, 5, in_order=True)], ["leave 0"]),
    ("an end in order whose books differ", {}, [end(5, 5, in_order=True)], ["leave 5"]),
    ("Ctrl-C on the terminal reaches the trader by itself", {}, [pressed(INT, 1, shared=True), end(0, 3, in_order=True)], ["leave 0"]),
    ("a signal to the supervisor alone is passed on, once", {}, [pressed(TERM, 1), end(0, 3, in_order=True)], ["ask 15", "leave 0"]),
    ("a second one is passed on, too: it ends on the spot", {}, [pressed(INT, 1), pressed(INT, 2), end(130, 3)],
     ["ask 2", "ask 2", "leave 130"]),
    ("one that does not end when it is asked is killed", {}, [pressed(TERM, 1), time(45.9), time(46), time(60), end(KILL, 60)],
     ["ask 15", "kill", "leave 4"]),
    ("a hang: asked, ended in order", {}, [hang(10), hang(11), end(1, 12)], ["ask 15", "leave 4"]),
    ("a hang that cannot be asked", {}, [hang(10), time(54), time(55), end(KILL, 56)], ["ask 15", "kill", "leave 4"]),
    ("a hang, flattened after the end", FLATTEN, [hang(10), time(55), end(KILL, 56), flat(True)],
     ["ask 15", "kill", "flatten", "leave 4"]),
    ("a hang, and the account is not flat", FLATTEN, [hang(10), end(1, 12), flat(False)], ["ask 15", "flatten", "leave 5"]),
    ("silence that ends is no reason any more, but it was asked", {}, [hang(10), end(0, 20, in_order=True)], ["ask 15", "leave 4"]),
    ("a crash is restarted after a second", {}, [end(KILL, 10), time(10.9), time(11), end(0, 50, in_order=True)], ["start", "leave 0"]),
    ("panic while a restart is due: nobody is started any more", {}, [end(KILL, 10), panic(10.5), flat(True), time(12)],
     ["flatten", "leave 4"]),
    ("panic while a restart is due, not flat", {}, [end(KILL, 10), panic(10.5), flat(False), time(12)], ["flatten", "leave 5"]),
    ("panic that the trader could not hear yet ended it", {}, [end(-signal.SIGUSR1, 10), flat(True), time(12)], ["flatten", "leave 4"]),
    ("what cannot be known is a crash", {}, [end(None, 10), time(11)], ["start"]),
    ("the exchange was not there", {}, [end(5, 10), time(11)], ["start"]),
    ("a refusal is not tried again", {}, [end(4, 10)], ["leave 4"]),
    ("a configuration neither", {}, [end(2, 10)], ["leave 2"]),
    ("data neither", {}, [end(3, 10)], ["leave 3"]),
    ("a crash with on_crash stop", {"on_crash": "stop"}, [end(KILL, 10)], ["leave 137"]),
    ("a crash with on_crash flatten", {"on_crash": "flatten"}, [end(KILL, 10), flat(True)], ["flatten", "leave 4"]),
    ("a crash loop ends", {"max_restarts": 2}, [end(1, 10), time(11), end(1, 12), time(13.9), time(14), end(1, 15)],
     ["start", "start", "leave 1"]),
    ("crashes that are far apart are no loop", {"max_restarts": 1}, [end(1, 10), time(11), end(1, 611), time(612)], ["start", "start"]),
    ("no restart at all", {"max_restarts": 0}, [end(1, 10)], ["leave 1"]),
    ("Ctrl-C while a restart is due", {}, [end(1, 10), pressed(INT, 10.5, shared=True), time(20)], ["leave 1"]),
    ("panic: flattened at once, then the trader is to end", {}, [panic(10), flat(True), end(4, 12)], ["flatten", "ask 15", "leave 4"]),
    ("panic with a trader that hangs", {}, [panic(10), flat(True), time(55), end(KILL, 55)], ["flatten", "ask 15", "kill", "leave 4"]),
    ("panic, and the account is not flat", {}, [panic(10), flat(False), end(0, 12, in_order=True)], ["flatten", "ask 15", "leave 5"]),
    ("memory: asked to end, no flattening", FLATTEN,
     [lambda decider: decider.found(Finding("trader_memory", "error", "too much", "stop"), 5.0), end(0, 9, in_order=True)],
     ["ask 15", "leave 4"]),
    ("one that has ended sends its alerts: nobody kills it for that, and nothing is flattened", FLATTEN,
     [pressed(TERM, 1), said_end, time(100), end(0, 101, in_order=True)], ["ask 15", "leave 0"]),
    ("one that has ended and does not go is killed; how it ended is what it said", FLATTEN,
     [said_end, lingers(90), lingers(91), end(5, 92, in_order=True)], ["kill", "leave 5"]),
    ("one that broke, said so, and does not go: a crash", FLATTEN, [said_end, lingers(90), end(1, 92), time(93)], ["kill", "start"]),
    ("an account that is to be flattened after a hang does not wait for alerts", FLATTEN,
     [hang(10), said_end, time(54), time(55), end(KILL, 56), flat(True)], ["ask 15", "kill", "flatten", "leave 4"]),
    ("one that is not, does", {}, [hang(10), said_end, time(55), end(0, 60, in_order=True)], ["ask 15", "leave 4"]),
    ("what one has said is not the next one's", {}, [said_end, end(1, 10), time(11), pressed(TERM, 12), time(57)],
     ["start", "ask 15", "kill"]),
    ("what is only told does nothing", {}, [lambda decider: decider.found(Finding("clock_jump", "warning", "jump"), 5.0)], []),
]  # fmt: skip


@pytest.mark.parametrize(("name", "policy", "comes", "expected"), CASES, ids=[case[0] for case in CASES])
def test_steps(name: str, policy: dict[str, Any], comes: list[Come], expected: list[str]) -> None:
    decider = Decider(SupervisionConfig(**policy))
    steps = [step for come in comes for step in come(decider)]
    words = {"ask": lambda step: f" {step.signal}", "leave": lambda step: f" {step.code}"}
    assert [f"{step.do}{words.get(step.do, lambda step: '')(step)}" for step in steps] == expected
