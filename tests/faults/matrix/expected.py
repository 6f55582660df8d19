"""What a fault must lead to besides the rules of all, and how soon: by the journal, the exchange's truth and what was told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from keel.adapters.bybit.execution.tracking.order_query_records import OrderDoubted
from keel.adapters.journal import Record
from keel.core.model.messages import Fill
from keel.runners.live.memory.records import Adjusted, CauseEnded, CauseRaised

if TYPE_CHECKING:
    from tests.faults.matrix.show import Show

FOUND_OUT_MS: Final = 16_000
"""An order whose fate is unknown is looked for until eleven seconds after it left, and last 14.8 s after it was doubted."""
STARTING: Final = 8
LISTED_S: Final = 32.0
"""Executions are listed every 30 s."""


@dataclass(frozen=True)
class After:
    """What can be asked after a run. struck_ms: when the fault struck.  how: which of its forms it took."""

    show: Show
    records: list[Record]
    truth: dict[str, Any]
    moment: int
    struck_ms: int
    how: str

    def raised(self, *causes: str) -> list[int]:
        """When these causes were raised, at or after the strike."""
        found = [record for record in self.records if isinstance(record.message, CauseRaised) and record.message.cause in causes]
        return [record.ts for record in found if record.ts >= self.struck_ms - 1_000]

    def told(self, *codes: str) -> bool:
        """Whether a notice with one of these codes was given."""
        return any(notice.code in codes for notice in self.show.notices)


Expected = Callable[[After], Iterator[str]]


def nothing(after: After) -> Iterator[str]:
    """The rules of all are all."""
    yield from ()


def found_out(after: After) -> Iterator[str]:
    """Every doubt about an order ends within 15 s (of a session that lives so long)."""
    ended: dict[str, int] = {}
    for record in reversed(after.records):
        message = record.message
        if isinstance(message, CauseEnded) and message.cause == "order_unknown":
            ended[message.key] = record.ts
        elif record.kind == "SessionStarted":
            ended.clear()
        elif isinstance(message, OrderDoubted) and message.client_order_id in ended:
            took = ended[message.client_order_id] - record.ts
            if took > FOUND_OUT_MS:
                yield f"the fate of {message.client_order_id} was found out after {took / 1000:.1f} s"


def heard_within(seconds: float) -> Expected:
    """Every execution is booked so soon after it happened; of other hands' orders, for which nobody waits, at the latest when the list is
    read for all."""

    def judge(after: After) -> Iterator[str]:
        booked = {record.message.fill_id: record.ts for record in after.records if isinstance(record.message, Fill)}
        for row in after.truth["executions"]:
            late = booked.get(row["execId"], row["_seen"]) - row["_seen"]
            allowed = max(seconds, LISTED_S) if row["orderLinkId"] in after.show.strangers else seconds
            if late > allowed * 1_000:
                yield f"the execution {row['execId']} was booked after {late / 1000:.1f} s, at most {allowed:g} s are allowed"

    return judge


def raises_within(seconds: float, *causes: str) -> Expected:
    """One of these causes is raised so soon after the strike."""

    def judge(after: After) -> Iterator[str]:
        times = after.raised(*causes)
        if not times:
            yield f"none of {', '.join(causes)} was raised"
        elif min(times) > after.struck_ms + seconds * 1_000:
            yield f"{causes[0]} was raised after {(min(times) - after.struck_ms) / 1000:.1f} s, at most {seconds:g} s are allowed"

    return judge


def quiet_while_banned(after: After) -> Iterator[str]:
    """Fewer than five requests of a session come to an address that refuses (starts that are refused are its supervisor's)."""
    if after.show.refused:
        return
    wire = after.show.server.wire.state()
    end = after.struck_ms + 599_000
    rows = [row for kind in ("requests", "connects") for row in wire[kind]]
    knocks = sum(after.struck_ms < row["received"] < end for row in rows)
    if knocks >= 5 + 1:  # the one under way when the ban began is none of them
        yield f"{knocks} requests and connections came while the address was banned"


def tells(*codes: str) -> Expected:
    """A notice with one of these codes is given."""

    def judge(after: After) -> Iterator[str]:
        if not after.told(*codes):
            yield f"none of the notices {', '.join(codes)} was given"

    return judge


def disk(after: After) -> Iterator[str]:
    """A disk that refuses halts for good; one that is slow does not."""
    refusals = [each for each in after.show.refused if "Journal" in each or "journal" in each]
    if after.how == "slow" and after.show.refused:
        yield f"a slow disk stopped the session: {after.show.refused[0]}"
    elif after.how != "slow" and not refusals:
        yield "the journal's disk refused, and no session stopped for it"


def clock(after: After) -> Iterator[str]:
    """Beyond half a second nothing that adds leaves."""
    if abs(int(after.how)) > 500 and not after.raised("clock_off", "starting") and not after.show.refused:
        yield f"the clock was {after.how} ms off, and nothing stood in the way"


def foreign_trade(after: After) -> Iterator[str]:
    """It is told and stands in the way at once."""
    yield from raises_within(5.0, "execution_adl" if after.how == "adl" else "execution_external")(after)


def outside(after: After) -> Iterator[str]:
    """Found within 30 s. Money that comes or goes is taken over within two readings."""
    if after.how == "transfer":
        taken = [record.ts for record in after.records if isinstance(record.message, Adjusted) and record.message.reason == "transfer"]
        if not taken or taken[0] > after.struck_ms + 65_000:
            yield "a transfer was not taken over within two readings"
        return
    if after.moment == STARTING and after.how in ("leverage", "margin"):
        return  # a start sets both as the system has them
    causes = {
        "order": ("external_order",), "position": ("execution_external", "position_differs", "cash_differs"),
        "leverage": ("leverage",), "margin": ("auto_add_margin",),
    }[after.how]  # fmt: skip
    yield from raises_within(31.0, *causes)(after)


def blocked(after: After) -> Iterator[str]:
    """It is told, and beyond two seconds nothing leaves."""
    if after.moment == STARTING:
        return  # nobody trades yet, and nobody watches
    yield from tells("loop_late")(after)
    if float(after.how) >= 2.0 and not after.raised("loop_stalled"):
        yield f"the loop was blocked for {after.how} s, and orders may have left"


def mischief(after: After) -> Iterator[str]:
    """A strategy that raises ends its session, one that hangs halts it, one that floods is throttled."""
    if after.how == "raises" and not any("a mistake in a strategy" in each for each in after.show.refused):
        yield "the strategy raised, and the session did not stop for it"
    if after.how == "hangs" and not after.raised("loop_stalled"):
        yield "the strategy hung, and orders may have left"
    if after.how == "floods" and not after.raised("repeated_execution", "max_orders_per_minute", "max_orders_per_symbol_per_minute"):
        yield "two hundred orders at once, and nothing stood in their way"
