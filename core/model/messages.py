"""Every message of the system: frozen structs, tagged for the journal. Market data are nouns, commands are imperative and have
one handler, events are past tense and have any number.

What user code writes into a message is checked when it is made (core/model/words.py): a word that is none, or a number that is none, is
refused. The expressions that say so stand written out, without calls of our own: an order passes through a dozen of them.

Times are milliseconds since the Unix epoch, UTC. Prices and quantities are floats on the instrument's grid; money (fees, funding,
realised PnL) is an integer of 1e-8 of its coin. A bar covers [ts_open, ts_close) and is known at ts_close, never earlier.
"""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any, Final, Literal, get_args

import msgspec

from keel.core.model.words import check_fields

Direction = Literal["LONG", "SHORT", "FLAT"]
Side = Literal["BUY", "SELL"]
OrderType = Literal["market", "limit", "stop_market", "stop_limit"]
TimeInForce = Literal["GTC", "IOC", "FOK", "POST_ONLY"]
PriceSource = Literal["last", "mark", "index"]
EntryType = Literal["market", "limit"]
ExitMode = Literal["full", "partial"]
PositionIdx = Annotated[int, msgspec.Meta(ge=0, le=2)]

_DIRECTIONS: Final = frozenset(get_args(Direction))
_SIDES: Final = frozenset(get_args(Side))
_ORDER_TYPES: Final = frozenset(get_args(OrderType))
_ENTRY_TYPES: Final = frozenset(get_args(EntryType))
_TIMES_IN_FORCE: Final = frozenset(get_args(TimeInForce))
_SOURCES: Final = frozenset(get_args(PriceSource))
_MODES: Final = frozenset(get_args(ExitMode))


class Message(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The base of all messages; its tag is the class name."""


# --- market data -----------------------------------------------------------------------------------------------------


class Bar(Message, frozen=True):
    """One closed candle of one symbol and timeframe. volume is in base units."""

    symbol: str
    tf: str
    ts_open: int
    ts_close: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class MarkPrice(Message, frozen=True):
    """The mark price of a symbol at a time."""

    symbol: str
    ts: int
    price: float


class FundingRate(Message, frozen=True):
    """The rate that was settled at ts. rate is a fraction per interval: 0.0001 is 1 bp; longs pay when it is positive."""

    symbol: str
    ts: int
    rate: float


class OpenInterest(Message, frozen=True):
    """Open interest in base units."""

    symbol: str
    ts: int
    open_interest: float


# --- decisions -------------------------------------------------------------------------------------------------------


class Signal(Message, frozen=True):
    """What a strategy wants of a symbol. size_usd is notional at the decision price; 0 leaves the size to the sizer.

    stop_loss and take_profit are prices, trailing is a distance in price; given here they take precedence over the system's ``exits``.
    ``confidence`` and ``metadata`` (plain JSON data) are recorded, and never change a size by themselves.
    """

    symbol: str
    direction: Direction
    size_usd: float = 0.0
    strategy: str = ""
    confidence: float = 1.0
    metadata: dict[str, Any] | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    trailing: float | None = None
    order_type: EntryType = "market"
    limit_price: float | None = None
    ts: int = 0
    """Decision time; the strategy actor stamps it."""

    def __post_init__(self) -> None:
        given: Any = self
        if not (
            (word := given.direction).__class__ is str
            and word in _DIRECTIONS
            and (word := given.order_type).__class__ is str
            and word in _ENTRY_TYPES
            and self.symbol.__class__ is str
            and self.strategy.__class__ is str
            and self.ts.__class__ is int
            and (number := given.size_usd).__class__ is float
            and isfinite(number)
            and (number := given.confidence).__class__ is float
            and isfinite(number)
            and ((number := given.stop_loss) is None or (number.__class__ is float and isfinite(number)))
            and ((number := given.take_profit) is None or (number.__class__ is float and isfinite(number)))
            and ((number := given.trailing) is None or (number.__class__ is float and isfinite(number)))
            and ((number := given.limit_price) is None or (number.__class__ is float and isfinite(number)))
            and (self.metadata is None or self.metadata.__class__ is dict)
        ):
            check_fields(self)


class SignalDenied(Message, frozen=True):
    """Risk denied a signal."""

    symbol: str
    ts: int
    reason: str
    value: float = 0.0
    limit: float = 0.0


class OrderDenied(Message, frozen=True):
    """A control denied an order on its way out: reason, value, limit."""

    symbol: str
    ts: int
    reason: str
    value: float = 0.0
    limit: float = 0.0


class Bracket(msgspec.Struct, frozen=True, gc=False):
    """Exits that live at the venue from the entry's fill on. Prices, but for trailing and activation: distance and price.

    ``mode`` full: one set for the whole position, a new one replaces it; partial: sized by the fill it came with.
    """

    stop_loss: float | None = None
    take_profit: float | None = None
    trailing: float | None = None
    activation: float | None = None
    """Price from which the trailing stop follows; None: at once."""
    trigger: PriceSource = "last"
    mode: ExitMode = "full"
    take_profit_limit: float | None = None
    """A limit price for the take-profit instead of a market exit (mode partial only)."""

    def __post_init__(self) -> None:
        given: Any = self
        if not (
            (word := given.trigger).__class__ is str
            and word in _SOURCES
            and (word := given.mode).__class__ is str
            and word in _MODES
            and ((number := given.stop_loss) is None or (number.__class__ is float and isfinite(number)))
            and ((number := given.take_profit) is None or (number.__class__ is float and isfinite(number)))
            and ((number := given.trailing) is None or (number.__class__ is float and isfinite(number)))
            and ((number := given.activation) is None or (number.__class__ is float and isfinite(number)))
            and ((number := given.take_profit_limit) is None or (number.__class__ is float and isfinite(number)))
        ):
            check_fields(self)


class OrderIntent(Message, frozen=True):
    """An order that risk has approved; only risk makes these. The executor turns it into a SubmitOrder.

    ``qty`` is in base units. A flip is one order of (target - position).
    ``cancel_first``: resting orders of the symbol are cancelled before.
    """

    symbol: str
    side: Side
    qty: float
    ts: int
    order_type: OrderType = "market"
    price: float | None = None
    trigger_price: float | None = None
    trigger_by: PriceSource = "last"
    time_in_force: TimeInForce = "GTC"
    reduce_only: bool = False
    bracket: Bracket | None = None
    cancel_first: bool = False
    reason: str = "signal"
    strategy: str = ""
    decision_price: float = 0.0

    def __post_init__(self) -> None:
        given: Any = self
        if not (
            _are_order_words(self)
            and (number := given.decision_price).__class__ is float
            and isfinite(number)
            and self.cancel_first.__class__ is bool
        ):
            check_fields(self)


# --- commands --------------------------------------------------------------------------------------------------------


class SubmitOrder(Message, frozen=True):
    """Place an order. ``qty`` 0 with reduce_only and close_on_trigger closes the whole position.

    ``trigger_rising``: for a stop, whether it fires when the price rises to its trigger (None: by the side of the current price).
    ``position_idx``: 0 one-way, 1 long and 2 short side in hedge mode.
    """

    client_order_id: str
    symbol: str
    side: Side
    order_type: OrderType
    qty: float
    ts: int
    price: float | None = None
    trigger_price: float | None = None
    trigger_by: PriceSource = "last"
    trigger_rising: bool | None = None
    time_in_force: TimeInForce = "GTC"
    reduce_only: bool = False
    close_on_trigger: bool = False
    position_idx: PositionIdx = 0
    bracket: Bracket | None = None
    reason: str = "signal"

    def __post_init__(self) -> None:
        if not (
            _are_order_words(self)
            and self.client_order_id.__class__ is str
            and (self.trigger_rising is None or self.trigger_rising.__class__ is bool)
            and self.close_on_trigger.__class__ is bool
            and self.position_idx.__class__ is int
            and 0 <= self.position_idx <= 2
        ):
            check_fields(self)


def _are_order_words(order: OrderIntent | SubmitOrder) -> bool:
    """Whether what intents and orders have in common is as it should be."""
    given: Any = order
    return (
        (word := given.side).__class__ is str
        and word in _SIDES
        and (word := given.order_type).__class__ is str
        and word in _ORDER_TYPES
        and (word := given.trigger_by).__class__ is str
        and word in _SOURCES
        and (word := given.time_in_force).__class__ is str
        and word in _TIMES_IN_FORCE
        and order.symbol.__class__ is str
        and order.ts.__class__ is int
        and (number := given.qty).__class__ is float
        and isfinite(number)
        and ((number := given.price) is None or (number.__class__ is float and isfinite(number)))
        and ((number := given.trigger_price) is None or (number.__class__ is float and isfinite(number)))
        and order.reduce_only.__class__ is bool
        and (order.bracket is None or order.bracket.__class__ is Bracket)
    )


class AmendOrder(Message, frozen=True):
    """Change a resting order; None leaves a value as it is."""

    client_order_id: str
    symbol: str
    ts: int
    qty: float | None = None
    price: float | None = None
    trigger_price: float | None = None

    def __post_init__(self) -> None:
        given: Any = self
        if not (
            _is_named(self)
            and ((number := given.qty) is None or (number.__class__ is float and isfinite(number)))
            and ((number := given.price) is None or (number.__class__ is float and isfinite(number)))
            and ((number := given.trigger_price) is None or (number.__class__ is float and isfinite(number)))
        ):
            check_fields(self)


class CancelOrder(Message, frozen=True):
    """Cancel one order."""

    client_order_id: str
    symbol: str
    ts: int

    def __post_init__(self) -> None:
        if not _is_named(self):
            check_fields(self)


def _is_named(command: AmendOrder | CancelOrder) -> bool:
    """Whether what names an order is text, and the time a whole number."""
    return command.client_order_id.__class__ is str and command.symbol.__class__ is str and command.ts.__class__ is int


class CancelAll(Message, frozen=True):
    """Cancel every resting order of a symbol, or of the account (symbol None)."""

    ts: int
    symbol: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)


class SetTradingStop(Message, frozen=True):
    """Set, replace or (all None) remove the exits of an open position, as a whole."""

    symbol: str
    ts: int
    bracket: Bracket
    position_idx: PositionIdx = 0

    def __post_init__(self) -> None:
        if not (
            self.symbol.__class__ is str
            and self.bracket.__class__ is Bracket
            and self.position_idx.__class__ is int
            and 0 <= self.position_idx <= 2
        ):
            check_fields(self)


# --- venue events ----------------------------------------------------------------------------------------------------

OrderStatus = Literal[
    "accepted",
    "rejected",
    "amended",
    "amend_rejected",
    "cancel_rejected",
    "triggered",
    "partially_filled",
    "filled",
    "cancelled",
    "expired",
]
_STATUSES: Final = frozenset(get_args(OrderStatus))


class OrderUpdate(Message, frozen=True):
    """What became of an order. ``reason`` holds the venue's code and words for rejected, cancelled and expired.

    ``expired`` is an end that nobody asked for: IOC rest, FOK not whole, post-only that would cross. An order that is filled whole on
    arrival goes straight to ``filled``.
    """

    client_order_id: str
    symbol: str
    ts: int
    status: OrderStatus
    filled_qty: float = 0.0
    leaves_qty: float = 0.0
    reason: str = ""
    order_type: OrderType = "market"
    price: float | None = None
    trigger_price: float | None = None
    side: Side = "BUY"
    parent_id: str | None = None
    """For orders that the venue made by itself out of a bracket: the order to which the bracket was attached."""

    def __post_init__(self) -> None:
        given: Any = self
        if not (
            (word := given.status).__class__ is str
            and word in _STATUSES
            and (word := given.side).__class__ is str
            and word in _SIDES
            and (word := given.order_type).__class__ is str
            and word in _ORDER_TYPES
        ):
            check_fields(self)


FillKind = Literal["trade", "bust"]
_FILL_KINDS: Final = frozenset(get_args(FillKind))


class Fill(Message, frozen=True):
    """An execution. ``fee`` and ``realized_pnl`` in 1e-8 of ``fee_coin`` and of the quote coin; fee > 0 is paid.

    ``reference`` is the path price before costs, on the grid. kind bust: a liquidation takeover, whose fee and PnL are booked as stated.
    """

    fill_id: str
    client_order_id: str
    symbol: str
    ts: int
    side: Side
    qty: float
    price: float
    fee: int
    realized_pnl: int
    maker: bool
    reference: float
    kind: FillKind = "trade"
    fee_coin: str = "USDT"
    position_idx: int = 0
    reason: str = "signal"
    """Why the order was made: signal, stop_loss, take_profit, trailing, liquidation, ..."""

    def __post_init__(self) -> None:
        given: Any = self
        if not (
            (word := given.side).__class__ is str
            and word in _SIDES
            and (word := given.kind).__class__ is str
            and word in _FILL_KINDS
            and (number := given.qty).__class__ is float
            and isfinite(number)
            and (number := given.price).__class__ is float
            and isfinite(number)
        ):
            check_fields(self)


class FundingPayment(Message, frozen=True):
    """Funding of one position at one stamp; amount in 1e-8 of the quote coin, positive is paid."""

    symbol: str
    ts: int
    amount: int
    rate: int
    mark_price: float
    qty: float
    position_idx: int = 0


class Liquidation(Message, frozen=True):
    """A position was taken over. Prices as floats; loss in 1e-8: the margin that went, insurance: what the fund had to add."""

    symbol: str
    ts: int
    side: Side
    qty: float
    mark_price: float
    liquidation_price: float
    bankruptcy_price: float
    loss: int
    insurance: int
    position_idx: int = 0

    def __post_init__(self) -> None:
        check_fields(self)


class PositionReport(Message, frozen=True):
    """A position as the venue states it; qty is negative when short."""

    symbol: str
    ts: int
    qty: float
    entry_price: float
    position_idx: int = 0


class BalanceReport(Message, frozen=True):
    """A wallet balance as the venue states it, in 1e-8 of the coin."""

    coin: str
    ts: int
    wallet: int


# --- control ---------------------------------------------------------------------------------------------------------


class Halt(Message, frozen=True):
    """Close the gate: nothing but reductions passes. ``flatten``: close what is open, too."""

    ts: int
    reason: str
    flatten: bool = False

    def __post_init__(self) -> None:
        check_fields(self)


class Resume(Message, frozen=True):
    """Open the gate again."""

    ts: int
    reason: str


class FeedGap(Message, frozen=True):
    """Bars that never came: [start, end)."""

    symbol: str
    tf: str
    start: int
    end: int


class Fault(Message, frozen=True):
    """A handler raised; trading stops."""

    ts: int
    where: str
    error: str
