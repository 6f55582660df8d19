"""The thirty faults: what each does in the step in which its moment comes, for how long, and what is expected besides the rules of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.faults.checker import CLOCK_SLACK_MS
from tests.faults.conftest import http, ws
from tests.faults.matrix import actions, expected
from tests.faults.matrix.expected import Expected
from tests.faults.matrix.moments import CANCEL, CREATE, Moment
from tests.faults.matrix.show import Show

COMMANDS: Final = "/v5/order/"
TOPICS: Final = ("order", "execution", "position", "wallet")
Begin = Callable[[Show, Moment], None]


@dataclass(frozen=True)
class Fault:
    """begin: what it does.  must_act: whether one of its rules must have acted before it counts as over.  expected: see ``expected``.
    stops: whether a session may stop for it.  remembers: whether the journal alone must give the same state afterwards.
    slack_ms: by how much clocks may part."""

    number: int
    name: str
    begin: Begin
    lasts_s: float = 20.0
    must_act: bool = True
    expected: Expected = expected.nothing
    stops: bool = False
    remembers: bool = True
    slack_ms: int = CLOCK_SLACK_MS


def path_of(moment: Moment) -> str:
    """The request that is under way at a moment, or any command."""
    return moment.path or COMMANDS


def rules(make: Callable[[Show, Moment], list[dict[str, Any]]]) -> Begin:
    """Rules of the sandbox."""
    return lambda show, moment: show.put(*make(show, moment))


def drop(when: str) -> Begin:
    return rules(lambda show, moment: [http("drop", path_of(moment), when, nth=1, times=show.rng.randint(1, 2))])


def _no_success(show: Show, moment: Moment) -> list[dict[str, Any]]:
    errors = ({"ret_code": 10000}, {"ret_code": 10016}, {"http": 503})
    error = {"kind": "error", **show.rng.choice(errors)}
    return [http(error, path_of(moment), show.rng.choice(("before_apply", "after_apply")), nth=1, times=show.rng.randint(1, 2))]


def _nonsense(show: Show, moment: Moment) -> list[dict[str, Any]]:
    return [http({"kind": "truncate", "bytes": show.rng.choice((0, 1, 17, 60))}, path_of(moment), nth=1, times=show.rng.randint(1, 2))]


def _limited(show: Show, moment: Moment) -> list[dict[str, Any]]:
    error = {"kind": "error", "ret_code": 10006, "reset": show.rng.choice(("future", "past", "absent"))}
    return [http(error, path_of(moment), "before_apply", nth=1, times=show.rng.randint(1, 3))]


def _refused_on_cancel(show: Show, moment: Moment) -> list[dict[str, Any]]:
    error = {"kind": "error", "ret_code": show.rng.choice((110001, 110008, 110010))}
    return [http(error, CANCEL, show.rng.choice(("before_apply", "after_apply")), nth=1)]


def _denied(show: Show, moment: Moment) -> list[dict[str, Any]]:
    error = {"kind": "error", "ret_code": show.rng.choice((10003, 10004, 33004, 10010))}
    return [http(error, path_of(moment), "before_apply", nth=1, times=2)]


def _closed(show: Show, moment: Moment) -> None:
    if show.rng.random() < 0.4:
        show.cut_private()
    for code in show.rng.sample((1001, 1006, 0), 2):
        action = {"kind": "close", "code": code} if code == 1001 else "abort"
        show.put(ws(action, show.rng.choice(TOPICS), nth=show.rng.randint(1, 3)))


def _login_refused(show: Show, moment: Moment) -> None:
    show.put(ws({"kind": "error", "ret_msg": "auth failed"}, "op:auth", nth=1, times=show.rng.choice((1, 2))))
    show.cut_private()


def _not_subscribed(show: Show, moment: Moment) -> None:
    show.put(ws(show.rng.choice(("drop", {"kind": "error", "ret_msg": "topic refused"})), "op:subscribe", nth=show.rng.randint(1, 4)))
    show.cut_private()


def _doubled(show: Show, moment: Moment) -> list[dict[str, Any]]:
    rng = show.rng
    return [ws({"kind": "dup", "n": rng.randint(1, 5), "gap_ms": rng.choice((0, 30, 2_000))}, topic) for topic in TOPICS]


def _mixed(show: Show, moment: Moment) -> list[dict[str, Any]]:
    return [ws({"kind": "reorder", "window": 20}, topic, nth=1, times=3) for topic in TOPICS]


def _kind_of_execution(show: Show, moment: Moment) -> list[dict[str, Any]]:
    kind = show.rng.choice(("SomethingNew", "", "Settle"))
    return [ws({"kind": "mutate", "patch": [{"op": "replace", "path": "/data/0/execType", "value": kind}]}, "execution", nth=1)]


def _public(show: Show, moment: Moment) -> list[dict[str, Any]]:
    topic = show.rng.choice(("kline", "tickers"))
    choices: tuple[Any, ...] = ("abort", {"kind": "close", "code": 1001}, {"kind": "freeze", "keep_pong": show.rng.random() < 0.5})
    return [ws(show.rng.choice(choices), topic, nth=1)]


def _candles(show: Show, moment: Moment) -> list[dict[str, Any]]:
    def confirm(value: bool) -> dict[str, Any]:
        return {"kind": "mutate", "patch": [{"op": "replace", "path": "/data/0/confirm", "value": value}]}

    late = {"kind": "delay", "ms": show.rng.choice((300, 3_000))}
    twice = {"kind": "dup", "n": show.rng.randint(1, 4), "gap_ms": show.rng.choice((0, 500))}
    choices: tuple[Any, ...] = ("drop", late, twice, confirm(False))
    return [ws(show.rng.choice(choices), "kline", from_state="confirm", nth=1, times=show.rng.randint(1, 2))]


FIELDS: Final = {
    "order": ("qty", "cumExecQty", "leavesQty", "price"),
    "execution": ("execQty", "execPrice", "execFee"),
    "position": ("size", "positionValue"),
    "wallet": ("coin/0/walletBalance",),
    "kline": ("close", "high", "open"),
}


def _numbers(show: Show, moment: Moment) -> list[dict[str, Any]]:
    topic = show.rng.choice(sorted(FIELDS))
    value = show.rng.choice(("NaN", "", "-1", "1e999", "Infinity", None, [], "0x10"))
    patch = {"op": "replace", "path": f"/data/0/{show.rng.choice(FIELDS[topic])}", "value": value}
    return [ws({"kind": "mutate", "patch": [patch]}, topic, nth=1, times=show.rng.randint(1, 2))]


def _lagging(show: Show, moment: Moment) -> None:
    show.put({"action": {"kind": "lag_query", "ms": show.rng.choice((500, 2_000, 5_000))}})
    if show.rng.random() < 0.5:
        show.put(http("drop", path_of(moment), nth=1))


def _engine_restart(show: Show, moment: Moment) -> None:
    show.put({"action": {"kind": "restart", "clear_closed": True}})
    if show.rng.random() < 0.5:
        show.put(http("drop", path_of(moment), nth=1))


def _duplicate_answer(show: Show, moment: Moment) -> list[dict[str, Any]]:
    """The create was taken, and the answer calls its name used: what a second try would be told."""
    return [http({"kind": "error", "ret_code": 110072, "ret_msg": "OrderLinkedID is duplicate"}, CREATE, nth=1)]


STREAM: Final = ("private_stream", "starting")


def _frozen(show: Show, moment: Moment) -> list[dict[str, Any]]:
    return [ws({"kind": "freeze", "keep_pong": True}, show.rng.choice(TOPICS), nth=1)]


FAULTS: Final = {
    fault.number: fault
    for fault in (
        Fault(1, "answer lost, never applied", drop("before_apply"), expected=expected.found_out),
        Fault(2, "answer lost, applied", drop("after_apply"), expected=expected.found_out),
        Fault(3, "10000, 10016 or 503, before or after", rules(_no_success), expected=expected.found_out),
        Fault(4, "200 that is no JSON, empty or cut", rules(_nonsense), expected=expected.found_out),
        Fault(5, "110072 for an order that was taken", rules(_duplicate_answer), expected=expected.found_out),
        Fault(6, "110001, 110008 or 110010 to a cancel", rules(_refused_on_cancel)),
        Fault(7, "10006, reset in the future, past, absent", rules(_limited)),
        Fault(8, "HTTP 403 for ten minutes", actions.banned, 600.0, must_act=False, expected=expected.quiet_while_banned, stops=True),
        Fault(9, "clock off by 0.3, 1 or 10 s", actions.clock, 70.0, must_act=False, expected=expected.clock, stops=True, slack_ms=11_000),
        Fault(10, "key refused", rules(_denied), stops=True),
        Fault(11, "private stream closed or cut", _closed, must_act=False),
        Fault(12, "private stream frozen, pings answered", rules(_frozen), expected=expected.heard_within(15)),
        Fault(13, "login refused after a reconnection", _login_refused, expected=expected.raises_within(5, *STREAM), stops=True),
        Fault(14, "a topic not acknowledged, or refused", _not_subscribed, expected=expected.raises_within(5, *STREAM)),
        Fault(15, "private messages one to five times more", rules(_doubled), expected=expected.heard_within(15)),
        Fault(16, "private messages in another order", rules(_mixed), expected=expected.heard_within(15)),
        Fault(17, "an execution message lost", rules(lambda *_: [ws("drop", "execution", nth=1)]), expected=expected.heard_within(30)),
        Fault(18, "an order message lost", rules(lambda *_: [ws("drop", "order", nth=1)]), expected=expected.heard_within(15)),
        Fault(19, "an execution of nobody's order", actions.foreign_trade, must_act=False,
              expected=expected.foreign_trade),
        Fault(20, "an execution of another kind", rules(_kind_of_execution)),
        Fault(21, "public stream cut, closed or frozen", rules(_public)),
        Fault(22, "candle late, lost, doubled or not closed", rules(_candles)),
        Fault(23, "a number that is none", rules(_numbers)),
        Fault(24, "lists lag by up to 5 s", _lagging, must_act=False),
        Fault(25, "engine restarts, closed orders forgotten", _engine_restart, must_act=False),
        Fault(26, "the process is killed", actions.killed, 10.0, must_act=False),
        Fault(27, "journal's disk full, failing or slow", actions.disk, must_act=False, expected=expected.disk, stops=True),
        Fault(28, "event loop blocked for 0.15, 1 or 5 s", actions.blocked, must_act=False, expected=expected.blocked),
        Fault(29, "strategy raises, hangs or floods", actions.mischief, must_act=False, expected=expected.mischief, stops=True,
              remembers=False),
        Fault(30, "changed from outside: order, position, leverage, margin, money", actions.outside, 60.0, must_act=False,
              expected=expected.outside),
    )
}  # fmt: skip
"""Number -> fault."""
