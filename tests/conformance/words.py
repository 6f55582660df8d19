"""The words in which every client is spoken to, and in which it answers: acts, what is seen, and what a refusal means.

All numbers are decimal text. What is seen is text, too, so that a table can be read, and a difference shows itself in one line:
a fill is ``a BUY 2 @ 100.01 taker fee 0.110011`` (with the coin, where the fee is not in the quote coin), an order is ``filled 2``
(state and what was filled), a resting order ``a BUY 2 @ 95`` or, with a trigger, ``a BUY 2 ! 95``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal, Protocol

from keel.core.model.messages import Side, TimeInForce

SYMBOL: Final = "XYZUSDT"


def plain(number: str | float | Decimal) -> str:
    """A number as plain decimal text without trailing zeros."""
    value = number if isinstance(number, Decimal) else Decimal(str(number) or "0")
    text = format(value.normalize(), "f")
    return "0" if text == "-0" else text


# --- acts ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exits:
    """Exits of an order, or of the open position: prices, and the trailing stop's distance."""

    stop_loss: str | None = None
    take_profit: str | None = None
    trailing: str | None = None
    activation: str | None = None
    mode: Literal["full", "partial"] = "full"
    take_profit_limit: str | None = None


@dataclass(frozen=True)
class Place:
    """An order by the name ``order``. Without ``limit`` it is a market order; with ``stop`` it waits for that price."""

    order: str
    side: Side
    qty: str
    limit: str | None = None
    stop: str | None = None
    tif: TimeInForce = "GTC"
    reduce_only: bool = False
    exits: Exits | None = None
    symbol: str = SYMBOL


@dataclass(frozen=True)
class Again:
    """The request of an order once more, by the same client id, as after a lost answer."""

    order: str


@dataclass(frozen=True)
class Batch:
    """Several orders at once."""

    orders: Sequence[Place]


@dataclass(frozen=True)
class Amend:
    """Another quantity, price or trigger for a resting order."""

    order: str
    qty: str | None = None
    limit: str | None = None
    stop: str | None = None


@dataclass(frozen=True)
class Cancel:
    """The end of one order."""

    order: str


@dataclass(frozen=True)
class CancelAll:
    """The end of everything that rests of the symbol."""


@dataclass(frozen=True)
class SetExits:
    """The exits of the open position, as a whole."""

    exits: Exits


@dataclass(frozen=True)
class Step:
    """So many bars of the scripted market."""

    bars: int = 1


Act = Place | Again | Batch | Amend | Cancel | CancelAll | SetExits | Step


# --- what is seen ----------------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """What a client knows of its account. A table's expectation is some of it."""

    fills: list[str] = field(default_factory=list)
    orders: dict[str, str] = field(default_factory=dict)
    """Every order that the exchange took, those of brackets included (``a-sl``, ``a-tp``, ``a-ts``)."""
    lives: dict[str, str] = field(default_factory=dict)
    """Their states in the order in which they were heard, each said once until it changes."""
    open: list[str] = field(default_factory=list)
    position: str = "0"
    """Signed quantity, and ``@`` entry price; of spot the holding."""
    balance: str = "0"
    """Wallet balance of the quote coin: free, held for orders and in positions."""
    funding: list[str] = field(default_factory=list)
    """Positive is paid."""
    refused: list[str] = field(default_factory=list)
    """Name and meaning, in the order in which the client heard of it."""
    closes: list[str] = field(default_factory=list)
    """Closes of the candles that were heard."""


def fill_text(order: str, side: str, qty: str, price: str, *, maker: bool, fee: str, coin: str = "") -> str:
    """A fill, as tables write it. ``coin`` only where it is not the quote coin."""
    paid = plain(fee) + (f" {coin}" if coin not in ("", "USDT") else "")
    return f"{order} {side.upper()} {plain(qty)} @ {plain(price)} {'maker' if maker else 'taker'} fee {paid}"


def open_text(order: str, side: str, qty: str, limit: str | float | None, stop: str | float | None) -> str:
    """A resting order. The quantity of a position's exits follows the position, a trailing stop's level the market: left out."""
    role = order.rpartition("-")[2].rstrip("0123456789") if "-" in order else ""
    text = f"{order} {side.upper()}" + ("" if role else f" {plain(qty)}")
    if stop is not None and role != "ts":
        text += f" ! {plain(stop)}"
    return text if limit is None else f"{text} @ {plain(limit)}"


def position_text(qty: str | float, entry: str | float) -> str:
    """A position; a flat one has no entry price."""
    size = plain(qty)
    return size if size == "0" else f"{size} @ {plain(entry)}"


def life_text(states: Sequence[str]) -> str:
    """States without repetitions."""
    return " ".join(state for state, before in zip(states, ("", *states), strict=False) if state != before)


def candle_text(row: Sequence[str | float]) -> str:
    """Open, high, low, close and volume."""
    return " ".join(plain(value) for value in row)


# --- refusals --------------------------------------------------------------------------------------------------------

_MEANINGS: Final = (
    ("duplicate client id", ("110072", "170141", "EC_DuplicatedClOrdID")),
    ("no such order", ("110001", "170213")),
    ("nothing to reduce", ("110017",)),
    ("not enough margin", ("110007",)),
    ("not enough balance", ("170131",)),
    ("below the minimum quantity", ("10001 The number of contracts exceeds minimum limit allowed", "170136")),
    ("off the quantity step", ("10001 Qty invalid", "170137")),
    ("off the price tick", ("10001 Price invalid", "170134")),
    ("not more than what is filled", ("110064",)),
    ("below the minimum value", ("110094", "170140")),
    ("unknown symbol", ("10001 params error: symbol invalid", "unknown_symbol")),
    ("no position", ("10001 can not set tp/sl/ts for zero position",)),
    ("exits on the wrong side", ("10001 StopLoss:", "10001 TakeProfit:")),
    ("would take liquidity", ("EC_PostOnlyWillTakeLiquidity",)),
    ("no liquidity at its price", ("EC_NoImmediateQtyToFill",)),
    ("not fillable as a whole", ("EC_CancelForNoFullFill",)),
)
UNSAID: Final = "EC_Others"
"""Bybit's enum of reasons has no other word for what its codes say."""


def meaning(reason: str) -> str:
    """What a code and its words mean. Raises AssertionError for a refusal that no table speaks of."""
    for name, beginnings in _MEANINGS:
        if reason.casefold().startswith(tuple(one.casefold() for one in beginnings)):
            return name
    raise AssertionError(f"a refusal without a meaning: {reason!r}")


# --- clients ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    """The account that a case begins with."""

    usdt: str = "100000"
    leverage: str = "10"
    category: Literal["linear", "spot"] = "linear"


class Refused(Exception):
    """The client's own setup was refused: leverage, symbol."""


Question = Literal["instrument", "candles", "funding rates", "orders"]
"""What lists tell, not streams: the symbol's terms; closed candles and settled rates from the first bar on; what became of each order."""


class Client(Protocol):
    """An account at a scripted market. Made by ``clients.CLIENTS``; ``close`` checks that the account adds up."""

    def act(self, act: Act) -> None: ...
    def ask(self, question: Question) -> list[str]: ...
    def look(self) -> Seen: ...
    def close(self) -> None: ...


Expected = Mapping[str, object]
"""Fields of ``Seen``."""
