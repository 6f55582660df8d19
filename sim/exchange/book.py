"""State of one symbol at the venue: positions, live orders, queued commands, the moment inside the bar, and when to look again.

Data only; what happens to it is decided elsewhere. Nothing here is shared between symbols but the accounts of their coins (under cross
margin, the account that their positions stand on).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from keel.core.errors import ConfigError
from keel.core.model.instrument import Instrument
from keel.core.model.messages import (
    AmendOrder,
    Bracket,
    CancelAll,
    CancelOrder,
    OrderType,
    PriceSource,
    SetTradingStop,
    Side,
    SubmitOrder,
    TimeInForce,
)
from keel.core.model.position import PositionBook
from keel.core.model.timeframe import NEVER
from keel.sim.exchange.metrics import PositionChange
from keel.sim.margin.funding import FundingSchedule
from keel.sim.margin.isolated import IsolatedMargin
from keel.sim.margin.ledger import Accounts

if TYPE_CHECKING:
    from keel.sim.margin.cross import CrossAccount

Command = SubmitOrder | AmendOrder | CancelOrder | CancelAll | SetTradingStop

LAST, MARK, INDEX = range(3)
SOURCES: Final[dict[PriceSource, int]] = {"last": LAST, "mark": MARK, "index": INDEX}
INFINITY: Final = float("inf")

FRESH, RESTING, UNTRIGGERED, WAITING = range(4)
"""Where a live order stands: arrived at this moment; a limit in the book; conditional; a taker that waits for volume."""

STOP_LOSS, TAKE_PROFIT, TRAILING = "stop_loss", "take_profit", "trailing"


class WorkingOrder(msgspec.Struct, eq=False):
    """One live order. Quantities in steps, limit in ticks, trigger as a float price (mark and index are not on the grid)."""

    client_order_id: str
    side_name: Side
    side: int
    """+1 buys, -1 sells."""
    order_type: OrderType
    leaves: int
    sequence: int
    limit: int | None = None
    time_in_force: TimeInForce = "GTC"
    reduce_only: bool = False
    close_on_trigger: bool = False
    position_idx: int = 0
    bracket: Bracket | None = None
    reason: str = "signal"
    filled: int = 0
    state: int = FRESH
    announced: bool = False
    """Whether "accepted" was emitted."""
    trigger: float | None = None
    source: int = LAST
    rising: bool = False
    reserve: int = 0
    """Order margin held for it, in the units of the coin that it would spend."""
    role: str = ""
    """Of a bracket's child: stop_loss, take_profit or trailing."""
    is_full: bool = False
    parent_id: str | None = None
    partner: WorkingOrder | None = None
    """The other leg of a partial bracket."""
    distance: float = 0.0
    activation: float | None = None
    """Price from which a trailing stop follows; None once it does."""
    extreme: float = 0.0


class Position(PositionBook):
    """A position at the venue: the integer book, its margin and liquidation price, and the exits that hang on it."""

    __slots__ = ("bracket_count", "children", "idx", "liquidation_price", "margin", "parent_id")

    def __init__(self, instrument: Instrument, idx: int) -> None:
        super().__init__(instrument)
        self.idx = idx
        self.margin = 0
        self.liquidation_price = 0.0  # 0: none
        self.parent_id = ""  # the order that opened or last increased it
        self.children: list[WorkingOrder] = []


class SymbolBook:
    """One symbol. ``wake_ts``, ``wake_low`` and ``wake_high`` tell the loop which bars may be skipped:

    a bar is of interest only if ts_close > wake_ts, or its low (of last, mark and index) <= wake_low, or its high >= wake_high.
    """

    __slots__ = (
        "account",
        "accounts",
        "ambiguous",
        "base_accounts",
        "fresh",
        "funding",
        "index",
        "instrument",
        "is_capped",
        "is_spot",
        "is_trailing",
        "last",
        "leverage",
        "lot",
        "maker_fee",
        "margin",
        "mark",
        "min_steps",
        "min_value",
        "orders",
        "pending",
        "position_log",
        "positions",
        "price_den",
        "price_num",
        "qty_den",
        "qty_num",
        "symbol",
        "taker_fee",
        "ts",
        "volatility_bps",
        "volume",
        "volume_left",
        "waiting",
        "wake_high",
        "wake_low",
        "wake_ts",
    )

    def __init__(
        self,
        instrument: Instrument,
        margin: IsolatedMargin,
        accounts: Accounts,
        base_accounts: Accounts,
        fees: tuple[int, int],
        hedge: bool,
    ) -> None:
        self.instrument = instrument
        self.symbol = instrument.symbol
        self.is_spot = instrument.category == "spot"
        self.margin = margin
        self.leverage = margin.leverage
        self.taker_fee, self.maker_fee = fees
        self.account: CrossAccount | None = None  # cross margin: what this symbol's positions stand on
        self.accounts = accounts
        self.base_accounts = base_accounts
        self.lot = lot_of(instrument)
        self.price_num, self.price_den = instrument.price_grid.num, instrument.price_grid.den
        self.qty_num, self.qty_den = instrument.qty_grid.num, instrument.qty_grid.den
        self.min_steps = max(1, instrument.qty_grid.ceil(instrument.min_qty))
        numerator, denominator = instrument.notional_factor
        self.min_value = -(-instrument.min_notional * denominator // numerator)  # smallest ticks x steps worth the smallest notional
        self.positions = [Position(instrument, idx) for idx in ((1, 2) if hedge else (0,))]
        self.position_log: list[PositionChange] = []
        self.orders: dict[str, WorkingOrder] = {}
        self.fresh: list[WorkingOrder] = []  # what takes at this moment, in order of sequence
        self.waiting: list[WorkingOrder] = []  # takers that found no volume left in the bar
        self.pending: deque[tuple[int, Command]] = deque()
        self.funding = FundingSchedule()
        self.ts = 0
        self.last = self.mark = self.index = 0.0
        self.volume = self.volatility_bps = 0.0
        self.volume_left = -1  # steps that may still be taken from this bar; -1: no cap
        self.is_capped = False  # whether the cap has cut or put off something in this bar
        self.ambiguous = False  # whether the bar being walked is to be counted as ambiguous
        self.wake_ts = NEVER
        self.is_trailing = False  # whether a trailing stop followed the price when the wake levels were set: it moves at any of them
        self.wake_low = -INFINITY
        self.wake_high = INFINITY

    def position(self, idx: int) -> Position | None:
        """The position with this index; None when the account's position mode has no such index."""
        positions = self.positions
        if positions[0].idx == idx:
            return positions[0]
        return positions[1] if len(positions) > 1 and positions[1].idx == idx else None

    def price(self, source: int) -> float:
        """The price of a source at the present moment."""
        return self.last if source == LAST else self.mark if source == MARK else self.index


def lot_of(instrument: Instrument) -> int:
    """Units of the position's book in one quantity step: 1, for spot the ledger's units of the base coin. Raises ConfigError for a rest."""
    grid, units = instrument.qty_grid, instrument.book_grid
    lot, rest = divmod(grid.num * units.den, grid.den * units.num)
    if rest or not lot:
        raise ConfigError(f"{instrument.symbol}: its base unit of 1/{instrument.base_unit} does not divide its quantity step")
    return lot
