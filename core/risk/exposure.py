"""The exposure that positions and everything that may still be filled lead to, at worst: one sum for risk's room and for the controls.

What buys and what sells never nets: each side may be filled alone. An order that only reduces adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from keel.core.model.messages import SubmitOrder
from keel.core.model.orders import OrderRecord

Qty = TypeVar("Qty", int, float)
"""Steps, or base units."""


def reach(held: Qty, buys: Qty, sells: Qty) -> tuple[Qty, Qty]:
    """A position (signed) once all that buys is filled and nothing else, and once all that sells is."""
    return held + buys, held - sells


def largest(held: Qty, buys: Qty, sells: Qty) -> Qty:
    """The most that may be held meanwhile, unsigned."""
    long, short = reach(held, buys, sells)
    return max(abs(held), abs(long), abs(short))


class Held(Protocol):
    """What is held, and at which prices (the portfolio)."""

    def position_qty(self, symbol: str) -> float: ...
    def mark(self, symbol: str) -> float: ...


class WorstCase(NamedTuple):
    """In USD at mark prices. What a missing mark leaves unknown counts as infinite: no limit lets it pass, and none of it is ever nan."""

    position: float
    """|position| of the order's symbol."""
    gross: float
    """Sum of |position| over all symbols."""
    net: float
    """Long less short once all that rests on the order's side is filled; positive in the direction of the order, infinite where unknown."""


def worst_case(
    order: SubmitOrder, symbols: Iterable[str], held: Held, resting: Iterable[OrderRecord], is_going: Callable[[OrderRecord], bool]
) -> WorstCase:
    """Of an order that adds. is_going: whether an order that rests counts as gone already, since its cancel has been sent."""
    counted: dict[str, list[OrderRecord]] = {}
    for record in resting:
        command = record.command
        if command is not None and not command.reduce_only and record.client_order_id != order.client_order_id and not is_going(record):
            counted.setdefault(record.symbol, []).append(record)
    position, gross, net = math.inf, 0.0, 0.0
    for symbol in symbols:
        own = order if symbol == order.symbol else None
        now = held.position_qty(symbol)
        if own is None and symbol not in counted:  # nothing may change it: most symbols, for every order that is asked about
            if now:
                mark = held.mark(symbol)
                value = now * mark if mark > 0.0 else math.copysign(math.inf, now)
                gross += abs(value)
                net += value
            continue
        mark = held.mark(symbol)
        buys, sells = _coming(counted.get(symbol, ()), own)
        long, short = reach(now, buys, sells)
        value = _usd(largest(now, buys, sells) if own is None else _largest_after(now, long, short), mark)
        gross += value
        net += _usd(long if order.side == "BUY" else short, mark)
        if own is not None:
            position = value
    net = net if order.side == "BUY" else -net
    return WorstCase(_known(position), _known(gross), net if math.isfinite(net) else math.inf)


def _largest_after(now: float, long: float, short: float) -> float:
    """The most that is held once an order has changed something: what is held before it is no reason against an order that leads away."""
    return max(abs(long) if long != now else 0.0, abs(short) if short != now else 0.0)


def _coming(resting: Sequence[OrderRecord], own: SubmitOrder | None) -> tuple[float, float]:
    """What buys and what sells, in base units."""
    buys = sells = 0.0
    for record in resting:
        assert record.command is not None  # the others were left out
        left = max(0.0, record.command.qty - record.filled_qty)
        buys, sells = (buys + left, sells) if record.command.side == "BUY" else (buys, sells + left)
    if own is not None:
        buys, sells = (buys + own.qty, sells) if own.side == "BUY" else (buys, sells + own.qty)
    return buys, sells


def _known(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _usd(qty: float, mark: float) -> float:
    return qty * mark if mark > 0.0 else math.copysign(math.inf, qty) if qty else 0.0
