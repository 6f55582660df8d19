"""I-9, I-11, I-18: what left while nothing (or nothing that adds) was to leave, and whether the gate says what is so."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final

from keel.adapters.journal import Record
from keel.core.engine.instant import InstantClosed
from keel.core.risk.gate.causes import CAUSES
from keel.runners.live.memory.records import CauseEnded, CauseRaised, GateChanged
from tests.faults.checker.fold import Told
from tests.faults.checker.seen import Seen

CREATE: Final = "/v5/order/create"
PANIC: Final = "panic"
UNDER_WAY_MS: Final = 50
"""For so long a create that left before the latch may be on its way."""
CLEAR_AFTER_MS: Final = 30_000
"""So long after the last fault a session is READY, or has said why not."""
FOREVER: Final = 1 << 60


def latched(truth: dict[str, Any], records: list[Record], told: dict[str, Told], slack_ms: int, seen: Seen) -> Iterator[str]:
    """I-9: orders that add and arrived after a latch: the one that a harness set, or any that the journal tells of."""
    shut = [(begin + slack_ms, end - slack_ms) for begin, end in _panics(records)]
    if seen.latched_ms is not None:
        shut.append((seen.latched_ms + UNDER_WAY_MS, FOREVER if seen.rearmed_ms is None else seen.rearmed_ms))
    arrived = _arrivals(seen)
    for row in truth["creates"]:
        order = told.get(row["orderLinkId"])
        if row["code"] != 0 or order is None or order.intent is None or order.intent.reduce_only:
            continue
        at = arrived.get(row["orderLinkId"], row["received"])
        if any(begin < at < end for begin, end in shut):
            yield f"I-9: {row['orderLinkId']} adds, and was accepted after the panic's latch"


def _panics(records: Iterable[Record]) -> Iterator[tuple[int, int]]:
    """(from, to) of each panic that the journal tells of. No session begins under a latch: where one does, a person has taken it away."""
    begin: int | None = None
    for record in records:
        message = record.message
        if isinstance(message, CauseRaised) and message.cause == PANIC:
            begin = record.ts if begin is None else begin
        elif begin is not None and (record.kind == "SessionStarted" or (isinstance(message, CauseEnded) and message.cause == PANIC)):
            yield begin, record.ts
            begin = None
    if begin is not None:
        yield begin, FOREVER


def gate(truth: dict[str, Any], records: list[Record], told: dict[str, Told], slack_ms: int, seen: Seen) -> Iterator[str]:
    """I-11: orders that came well inside of a time for which the gate was shut to them. A session begins with the gate shut."""
    spans, arrived = list(_spans(records)), _arrivals(seen)
    for row in truth["creates"]:
        order = told.get(row["orderLinkId"])
        if row["code"] != 0 or order is None or order.intent is None:
            continue
        at = arrived.get(row["orderLinkId"], row["received"])
        for begin, end, state in spans:
            is_shut = state == "HALTED" or (state == "REDUCING" and not order.intent.reduce_only)
            if is_shut and begin + slack_ms < at < end - slack_ms:
                yield f"I-11: {row['orderLinkId']} was received while the gate was {state}"


def _arrivals(seen: Seen) -> dict[str, int]:
    """Client id -> when a create of it came in last: one that a fault delays was sent when it came, not when it was applied."""
    found: dict[str, int] = {}
    for row in (seen.wire or {}).get("requests", ()):
        if row["path"] == CREATE:
            found[json.loads(row["sent"]).get("orderLinkId", "")] = row["received"]
    return found


def _spans(records: Iterable[Record]) -> Iterator[tuple[int, int, str]]:
    """(from, to, state), in ms of the journal's clock, over all sessions."""
    begin, state, last = 0, "HALTED", 0
    for record in records:
        last = max(last, record.ts)
        changed = record.message.state if isinstance(record.message, GateChanged) else None
        if record.kind == "SessionStarted":
            changed = "HALTED"
        if changed is not None and changed != state:
            yield begin, record.ts, state
            begin, state = record.ts, changed
    yield begin, FOREVER if state == "HALTED" else last, state


def alive(records: list[Record], symbols: set[str], seen: Seen) -> Iterator[str]:
    """I-18: at each instant the state is the one that the standing causes make, with a reason; and after the last fault it is so in time,
    and instants go on where orders may leave."""
    state, why, standing = "HALTED", "starting", set[tuple[str, str, str]]()
    closed: list[int] = []
    for record in records:
        message = record.message
        if record.kind == "SessionStarted":
            state, why, standing = "HALTED", "starting", set()
        elif isinstance(message, GateChanged):
            state, why = message.state, message.why
        elif isinstance(message, CauseRaised):
            standing.add((message.cause, message.symbol, message.key))
        elif isinstance(message, CauseEnded):
            standing.discard((message.cause, message.symbol, message.key))
        elif isinstance(message, InstantClosed):
            closed.append(record.ts)
            yield from _as_it_is(message.ts, state, why, standing, symbols)
    yield from _goes_on(state, why, closed, seen)


def _as_it_is(ts: int, state: str, why: str, standing: set[tuple[str, str, str]], symbols: set[str]) -> Iterator[str]:
    of_all = [CAUSES[cause].state.name if cause in CAUSES else "HALTED" for cause, symbol, _ in standing if not symbol]
    asked = "HALTED" if "HALTED" in of_all else "REDUCING" if of_all else "ACTIVE"
    if asked == "ACTIVE" and symbols and symbols <= {symbol for _, symbol, _ in standing}:
        asked = "REDUCING"
    if state != asked:
        yield f"I-18: at {ts} the gate is {state}, and what stands makes it {asked}: {sorted(standing)}"
    if state != "ACTIVE" and not why:
        yield f"I-18: at {ts} the gate is {state} without a reason"


def _goes_on(state: str, why: str, closed: list[int], seen: Seen) -> Iterator[str]:
    if seen.faults_over_ms is None or seen.ended_ms is None or seen.ended_ms < seen.faults_over_ms + CLEAR_AFTER_MS:
        return
    if not seen.bar_ms:
        return
    clear = seen.faults_over_ms + CLEAR_AFTER_MS
    times = [clear, *(ts for ts in closed if clear <= ts <= seen.ended_ms), seen.ended_ms]
    gap = max(later - earlier for earlier, later in pairwise(times))
    if gap > 2 * seen.bar_ms + CLEAR_AFTER_MS:
        yield f"I-18: {gap / 1000:.0f} s after the last fault no instant was closed, and the gate is {state} {why}".rstrip()
