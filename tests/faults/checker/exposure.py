"""I-10, I-14: the exchange's own story, played through: what was held, and what could have come to be, at every order of ours.

A story is ``Account.story`` of the sandbox: (time, "order", order id, client id, symbol, side, reduces, status, steps open, price) and
(time, "trade", order id, client id, symbol, side, reduces, steps, price).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from tests.faults.checker.fold import Told
from tests.faults.checker.seen import Limits, Seen

GONE: Final = ("CancelAsked", "Cancelled", "Rejected", "Filled", "Deactivated", "PartiallyFilledCanceled")


@dataclass
class Resting:
    """An order that adds, while it is open."""

    symbol: str
    side: str
    steps: int
    is_foreign: bool


@dataclass
class Played:
    """What the story has come to. Positions in steps, costs and cash in quote coins."""

    step: Decimal
    held: dict[str, int] = field(default_factory=dict)
    price: dict[str, Decimal] = field(default_factory=dict)
    open: dict[str, Resting] = field(default_factory=dict)

    def worst(self, symbol: str) -> Decimal:
        """The most that may come to be held of a symbol, in quote coins at its latest price."""
        resting = [one for one in self.open.values() if one.symbol == symbol and not one.is_foreign]
        held = self.held.get(symbol, 0)
        buys = sum(one.steps for one in resting if one.side == "Buy")
        sells = sum(one.steps for one in resting if one.side == "Sell")
        return max(abs(held + buys), abs(held - sells)) * self.step * self.price.get(symbol, Decimal(0))


def exposure(truth: dict[str, Any], told: dict[str, Told], strangers: Collection[str], qty_step: str, seen: Seen) -> Iterator[str]:
    """Both rules. The last price at which an order was made is the exchange's word of it."""
    made_at = {row["orderId"]: Decimal(row.get("lastPriceOnCreated") or "0") for row in truth["orders"]}
    cash = Decimal(truth["wallet_units"]["USDT"]) / 10**8
    played = Played(Decimal(qty_step))
    for row in truth["story"]:
        if row[1] == "trade":
            yield from _trade(played, row)
        else:
            yield from _order(played, row, made_at, told, strangers, seen.limits, cash)


def _trade(played: Played, row: list[Any]) -> Iterator[str]:
    _, _, order_id, name, symbol, side, reduces, steps, price = row
    before = played.held.get(symbol, 0)
    after = before + (steps if side == "Buy" else -steps)
    played.held[symbol], played.price[symbol] = after, Decimal(price)
    if reduces and (abs(after) >= abs(before) or after * before < 0):
        yield f"I-14: {name or order_id} reduces only, and took {symbol} from {before} to {after} steps"


def _order(
    played: Played,
    row: list[Any],
    made_at: dict[str, Decimal],
    told: dict[str, Told],
    strangers: Collection[str],
    limits: Limits | None,
    cash: Decimal,
) -> Iterator[str]:
    _, _, order_id, name, symbol, side, reduces, status, steps, _ = row
    before = played.open.get(order_id)
    if reduces or status in GONE or not steps:
        played.open.pop(order_id, None)
        return
    is_foreign = name in strangers or name not in told
    played.open[order_id] = Resting(symbol, side, steps, is_foreign)
    if is_foreign or (before is not None and before.steps >= steps):
        return
    if made_at.get(order_id):
        played.price[symbol] = made_at[order_id]
    known = told[name].held
    if before is None and known and (known > 0) == (side == "Sell") and steps * played.step == abs(known):
        yield f"I-14: {name} closes {symbol} exactly, and is not reduce-only"
    if limits is not None:
        yield from _beyond(played, name, symbol, limits, cash)


def _beyond(played: Played, name: str, symbol: str, limits: Limits, cash: Decimal) -> Iterator[str]:
    gross = sum((played.worst(each) for each in played.price), Decimal(0))
    count = sum(not one.is_foreign for one in played.open.values())
    asked: list[tuple[str, Decimal, Decimal | None]] = [
        ("max_position_usd", played.worst(symbol), _times(limits.max_position_usd, limits.room)),
        ("max_gross_usd", gross, _times(limits.max_gross_usd, limits.room)),
        ("leverage", gross, Decimal(repr(limits.leverage)) * cash * limits.room),
        ("open orders", Decimal(count), Decimal(limits.max_open_orders)),
    ]
    for what, found, most in asked:
        if most is not None and found > most:
            yield f"I-10: with {name} {what} comes to {found:.2f}, at most {most:.2f} is allowed"


def _times(limit: float | None, room: Decimal) -> Decimal | None:
    return None if limit is None else Decimal(repr(limit)) * room
