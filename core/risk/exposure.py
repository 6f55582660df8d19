"""What an order may lead to: everything that rests on the worse side is filled, and the order with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from core.messages import SubmitOrder
from core.orders import OrderRecord


class Held(Protocol):
    """What is held, and at which prices (the portfolio)."""

    def position_qty(self, symbol: str) -> float: ...
    def mark(self, symbol: str) -> float: ...


class WorstCase(NamedTuple):
    """In USD at mark prices. What a missing mark leaves unknown counts as infinite: no limit lets it pass, and none of it is ever nan."""

    position: float
    """|position| of the order's symbol."""
    gross: float
    """The same, summed over all symbols."""
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
        now, mark = held.position_qty(symbol), held.mark(symbol)
        long, short = _filled(now, counted.get(symbol, ()), own)
        most = max(abs(long) if long != now else 0.0, abs(short) if short != now else 0.0, 0.0 if own is not None else abs(now))
        value = _usd(most, mark)
        gross += value
        net += _usd(long if order.side == "BUY" else short, mark)
        if own is not None:
            position = value
    net = net if order.side == "BUY" else -net
    return WorstCase(_known(position), _known(gross), net if math.isfinite(net) else math.inf)


def _filled(now: float, resting: Sequence[OrderRecord], own: SubmitOrder | None) -> tuple[float, float]:
    """The position after all that buys, and after all that sells."""
    buys = sells = 0.0
    for record in resting:
        assert record.command is not None  # the others were left out
        left = max(0.0, record.command.qty - record.filled_qty)
        buys, sells = (buys + left, sells) if record.command.side == "BUY" else (buys, sells + left)
    if own is not None:
        buys, sells = (buys + own.qty, sells) if own.side == "BUY" else (buys, sells + own.qty)
    return now + buys, now - sells


def _known(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _usd(qty: float, mark: float) -> float:
    return qty * mark if mark > 0.0 else math.copysign(math.inf, qty) if qty else 0.0
