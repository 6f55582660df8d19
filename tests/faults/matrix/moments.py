"""The twelve moments: how a story is brought to each, and the step in which a fault that waits for it strikes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from keel.core.model.messages import AmendOrder
from tests.faults.matrix import script
from tests.faults.matrix.show import Show

CREATE, CANCEL, AMEND = "/v5/order/create", "/v5/order/cancel", "/v5/order/amend"
READS: Final = ("/v5/execution/list", "/v5/order/realtime", "/v5/position/list", "/v5/account/wallet-balance")
Go = Callable[[], None]
Arm = Callable[[Show, Go], None]


@dataclass(frozen=True)
class Moment:
    """``path``: the request that is under way; "" where none is: a fault of requests then strikes the next command.
    is_thin: orders fill in parts.  ends_session: a session that sees it ends."""

    number: int
    name: str
    arm: Arm
    path: str = ""
    is_thin: bool = False
    ends_session: bool = False


# --- how to wait for something ---


def once(hooks: list[Any], fits: Callable[..., bool], go: Go) -> None:
    """Call ``go`` in the first step that fits."""

    def hear(*told: Any) -> None:
        if hear in hooks and fits(*told):
            hooks.remove(hear)
            go()

    hooks.append(hear)


def at_minute(minute: float) -> Arm:
    """Just before the market's news of that minute (from the story's first) are told."""

    def arm(show: Show, go: Go) -> None:
        once(show.watch.moves, lambda moved: (moved.ts_close - show.begin_ms) / 60_000 >= minute, go)

    return arm


def request(path: str, fits: Callable[[dict[str, Any]], bool] = lambda body: True) -> Arm:
    """When this request arrives, alone or in a batch."""

    def arm(show: Show, go: Go) -> None:
        once(show.watch.requests, lambda found, sent: found in (path, f"{path}-batch") and fits(json.loads(sent)), go)

    return arm


def _resting(show: Show, go: Go) -> None:
    """A second after the entry that rests was taken."""

    def later() -> None:
        asyncio.get_running_loop().call_later(1.0, go)

    def fits(row: tuple[Any, ...]) -> bool:
        return row[1] == "order" and row[7] == "New" and not row[6] and show.minute >= script.REST - 0.2

    once(show.watch.rows, fits, later)


def _in_parts(show: Show, go: Go) -> None:
    """With the trade that leaves something of its order."""
    taken: dict[str, int] = {}

    def fits(row: tuple[Any, ...]) -> bool:
        if row[1] == "order":
            taken.setdefault(row[2], row[8])
            return False
        taken[row[2]] = taken.get(row[2], 0) - row[7]
        return taken[row[2]] > 0

    once(show.watch.rows, fits, go)


def _amending(show: Show, go: Go) -> None:
    """An entry rests, its price is changed, and that request arrives."""

    def amend() -> None:
        live = show.live
        for record in live.books.executor.open_orders() if live is not None else ():
            command = record.command
            if live is not None and command is not None and command.price is not None and record.state == "accepted":
                price = command.price - 100.0
                live.venue.amend_order(AmendOrder(record.client_order_id, record.symbol, live.books.clock.now_ms, None, price))

    _resting(show, amend)
    request(AMEND)(show, go)


def _starting(show: Show, go: Go) -> None:
    """The session is ended in order while it holds a position; the next one begins to read the account."""

    def begun() -> None:
        once(show.watch.requests, lambda path, _: path in READS, go)

    def restart() -> None:
        once(show.watch.starts, lambda: True, begun)
        show.restart()

    at_minute(script.LONG + 1.5)(show, restart)


def _resyncing(show: Show, go: Go) -> None:
    """The private stream was cut while a position is held; the lists are being read after it is back."""

    def cut() -> None:
        show.cut_private()
        once(show.watch.requests, lambda path, _: path == READS[0], go)

    at_minute(script.LONG + 1.5)(show, cut)


def _panicking(show: Show, go: Go) -> None:
    """A person presses panic while an entry rests or a position is held: the latch is set, and a second client takes everything back."""

    def press() -> None:
        go()
        show.panic()

    at_minute(script.LONG + 1.2)(show, press)


MOMENTS: Final = {
    moment.number: moment
    for moment in (
        Moment(1, "idle", at_minute(script.IDLE + 0.5)),
        Moment(2, "create sent, no answer yet", request(CREATE), CREATE),
        Moment(3, "taken, resting", _resting),
        Moment(4, "partly filled", _in_parts, is_thin=True),
        Moment(5, "cancel under way", request(CANCEL), CANCEL),
        Moment(6, "amendment under way", _amending, AMEND),
        Moment(7, "close under way", request(CREATE, lambda body: bool(body.get("reduceOnly"))), CREATE),
        Moment(8, "start, the account is being read", _starting, READS[0]),
        Moment(9, "reconnected, lists are being read", _resyncing, READS[0]),
        Moment(10, "a candle closes", at_minute(script.LONG)),
        Moment(11, "funding is settled", at_minute(60 - script.FIRST + 0.01)),
        Moment(12, "panic", _panicking, ends_session=True),
    )
}
"""Number -> moment."""

__all__ = ["AMEND", "CANCEL", "CREATE", "MOMENTS", "READS", "Moment"]
