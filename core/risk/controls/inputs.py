"""What the controls look at: the limits, the account, open orders, the gate, what was counted; and the sums that several of them need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from keel.core.model.instrument import Instrument
from keel.core.model.messages import SubmitOrder
from keel.core.model.orders import OrderRecord
from keel.core.risk.controls.limits import ControlLimits
from keel.core.risk.controls.order_counts import OrderCounts
from keel.core.risk.exposure import WorstCase, worst_case
from keel.core.risk.gate.gate import Gate


class AccountView(Protocol):
    """The account as controls read it (the portfolio)."""

    @property
    def equity(self) -> float: ...
    def position_qty(self, symbol: str) -> float: ...
    def mark(self, symbol: str) -> float: ...


class Working(Protocol):
    """Open orders (the executor)."""

    def open_orders(self, symbol: str | None = None) -> Iterable[OrderRecord]: ...


class ControlInputs:
    """``age_ms``: how old a symbol's latest price is, ``oldest_ms``: the oldest of all of them, for whoever knows it without going through
    all; None where that is not known. ``is_armed``: whether the environment is."""

    def __init__(
        self,
        limits: ControlLimits,
        instruments: Mapping[str, Instrument],
        account: AccountView,
        working: Working,
        gate: Gate,
        *,
        environment_is_armed: Callable[[], bool],
        age_ms: Callable[[str], float | None] = lambda symbol: None,
        oldest_ms: Callable[[], float | None] | None = None,
    ) -> None:
        self.limits = limits
        self.instruments, self.account, self.working, self.gate = instruments, account, working, gate
        self.is_armed = environment_is_armed
        self.age_ms = age_ms
        self.oldest_ms = self._oldest_ms if oldest_ms is None else oldest_ms
        self.counts = OrderCounts()
        self._worst: tuple[SubmitOrder, WorstCase] | None = None
        """Of the order that is being asked about."""

    def value(self, order: SubmitOrder) -> float:
        """Notional in quote coins, at the order's price; of a market order at the mark."""
        return order.qty * (order.price or self.account.mark(order.symbol))

    def worst_case(self, order: SubmitOrder) -> WorstCase:
        """Worked out once for each question, since five controls ask for it."""
        if self._worst is None or self._worst[0] is not order:
            case = worst_case(
                order, self.instruments, self.account, self.working.open_orders(), lambda record: self._is_going(record, order)
            )
            self._worst = order, case
        return self._worst[1]

    def _is_going(self, record: OrderRecord, order: SubmitOrder) -> bool:
        """Whether a resting order's cancel is believed: of the order's own symbol, where last_look asks again; of another symbol nothing
        waits for its end, so that a hard limit counts it."""
        return record.is_being_cancelled and (record.symbol == order.symbol or not self.limits.is_hard)

    def _oldest_ms(self) -> float | None:
        ages = [self.age_ms(symbol) for symbol in self.instruments]
        return None if None in ages else max((age for age in ages if age is not None), default=0.0)

    def rejections(self, symbol: str, now_ms: int) -> int:
        """How many in a row, where they pause the symbol; else 0."""
        count, since = self.counts.rejects.get(symbol, (0, 0))
        return count if count >= self.limits.max_rejects and now_ms - since < self.limits.reject_pause_ms else 0
