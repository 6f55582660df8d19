"""The fast path for the most common case: one market order has arrived by the open, and the symbol has no other order.

It decides nothing that the general way (``walk``, ``order_entry``, ``matching``) would decide otherwise. What is not plain (another order
or command, a refusal, funding that is due, a position to be taken over, a price off the grid) is left untouched for the general way. A
plain order is executed by the same settlement. A test holds both ways together.
"""

from __future__ import annotations

from keel.core.costs import CostModels
from keel.core.model.costs import taker_ticks
from keel.core.model.messages import SubmitOrder
from keel.core.system.config import ExecutionConfig
from keel.sim.exchange.book import Position, SymbolBook, WorkingOrder
from keel.sim.exchange.events import UsedIds
from keel.sim.exchange.metrics import ExchangeMetrics
from keel.sim.margin.liquidation import is_touched
from keel.sim.matching.matching import Matching


class FastPath:
    """Takes plain market orders at the open. For accounts whose prices need no look at the bar's volume (``is_open_to``)."""

    __slots__ = ("_execute", "_matching", "_metrics", "_rate", "_used_ids")

    def __init__(self, matching: Matching, metrics: ExchangeMetrics, used_ids: UsedIds) -> None:
        self._matching, self._metrics, self._used_ids = matching, metrics, used_ids
        self._rate = matching.taker_rate
        self._execute = matching.execute

    @staticmethod
    def is_open_to(config: ExecutionConfig, models: CostModels | None, *, hedge_mode: bool) -> bool:
        """Whether an account has such orders at all: one-way, without impact, volume cap and models that move the price."""
        if models is not None and models.has_prices:
            return False
        return config.impact == "none" and config.max_volume_share == "none" and not hedge_mode

    def take(self, book: SymbolBook, ts_open: int) -> bool:
        """Everything of the open, where the book stands. False: it goes the general way, and nothing was done."""
        pending = book.pending
        if len(pending) != 1 or book.orders or book.waiting or book.is_spot or book.funding.next_stamp <= ts_open:
            return False
        due, command = pending[0]
        if due > ts_open or command.__class__ is not SubmitOrder or command.client_order_id in self._used_ids:
            return False
        position = book.positions[0]
        if position.liquidation_price and is_touched(position.steps, book.mark, position.liquidation_price):
            return False
        ticks = round(book.last * book.price_den / book.price_num)
        if ticks * book.price_num / book.price_den != book.last:
            return False
        order = _plain_order(book, position, command, ticks)
        if order is None:
            return False
        pending.popleft()
        book.ts = ts_open
        book.ambiguous = False
        self._metrics.orders += 1
        self._used_ids[order.client_order_id] = None
        rate = self._rate
        self._execute(book, position, order, order.leaves, taker_ticks(ticks, rate, order.side) if rate else ticks, ticks, False)
        if position.steps * order.side < 0 and is_touched(position.steps, book.mark, position.liquidation_price):
            self._matching.price_point(book)
        return True


def _plain_order(book: SymbolBook, position: Position, command: SubmitOrder, ticks: int) -> WorkingOrder | None:
    """The order of a command that the venue takes on as it is; None when it is not plain. ``ticks``: the last price."""
    qty = command.qty
    if command.order_type != "market" or command.bracket is not None or command.position_idx or not 0.0 < qty < 1e15:
        return None
    steps = round(qty * book.qty_den / book.qty_num)
    if steps * book.qty_num / book.qty_den != qty:
        return None
    side_name = command.side
    side = 1 if side_name == "BUY" else -1
    if command.reduce_only:
        if not 0 < steps <= -side * position.steps:
            return None
    elif steps < book.min_steps or qty > book.instrument.max_market_qty or ticks * steps < book.min_value:
        return None
    return WorkingOrder(
        command.client_order_id, side_name, side, "market", steps, 0, None, command.time_in_force, command.reduce_only,
        command.close_on_trigger, 0, None, command.reason,
    )  # fmt: skip
