"""Hosts one portfolio strategy: once a step it is asked for all its symbols together, and its orders go to risk as one message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from keel.core.actors.strategy import StrategyHost
from keel.core.errors import ConfigError, StrategyError
from keel.core.model.instrument import Category
from keel.core.model.messages import Message
from keel.core.model.time_range import to_iso
from keel.core.risk.position_manager import as_order
from keel.core.strategy.portfolio_order import INSTRUMENT_TYPES, DataView, OMSView, Order, PortfolioOrders, market_symbol


class StepKeeper(Protocol):
    """The account's side of a step (the OMS client): hears that one begins, and shows itself read-only."""

    def begin_step(self, ts: int) -> None: ...
    @property
    def view(self) -> OMSView: ...


class StepSchedule:
    """Steps are due at origin + step, origin + 2 x step, ... (ms); each is taken at the first instant at or after its time."""

    __slots__ = ("due", "origin", "step")

    def __init__(self, origin: int, step: int) -> None:
        self.origin, self.step = origin, step
        self.due = origin + step
        """When the next step is due (ms)."""

    def take(self, ts: int) -> bool:
        """Whether a step is due at this instant; it is taken then."""
        if ts < self.due:
            return False
        self.due = ts - (ts - self.origin) % self.step + self.step
        return True


class PortfolioStrategyActor(StrategyHost):
    """One portfolio strategy and the views that it is given; ``symbols`` are the exchange's.

    left_out: symbols that are not traded now, and that it may order all the same: risk denies it.
    """

    __slots__ = ("_category", "_data", "_left_out", "_oms", "_schedule", "_step_ts")

    def __init__(
        self,
        strategy: Any,
        strategy_id: str,
        params: Mapping[str, Any],
        symbols: tuple[str, ...],
        emit: Callable[[Message], None],
        *,
        oms: StepKeeper,
        data: DataView,
        schedule: StepSchedule,
        category: Category,
        left_out: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(strategy, strategy_id, params, symbols, emit)
        self._left_out = left_out
        self._oms, self._data, self._schedule, self._category = oms, data, schedule, category
        self._step_ts = 0

    def on_instant(self, ts: int) -> None:
        """All bars of this instant are in. Raises StrategyError for what the strategy raises, and for what is no order of its symbols."""
        if not self._schedule.take(ts):
            return
        self._oms.begin_step(ts)
        self._step_ts = ts
        try:
            wanted = self.strategy.run_strategy(self._oms.view, self._data)
        except (Exception, SystemExit) as error:
            raise self._failure(error, f"in run_strategy at {to_iso(ts)}") from error
        orders = tuple(self._order(given, ts) for given in self._listed(wanted, ts))
        if orders:
            self._emit(PortfolioOrders(ts, self.strategy_id, orders))

    def _seen(self, symbol: str) -> Mapping[str, Any]:
        """The step, and the prices that the account shows at it."""
        if not self._step_ts:
            return {}
        view = self._oms.view
        return {"step": to_iso(self._step_ts), "prices": {name: view.get_current_price(name) for name in sorted(self._symbols)}}

    def _listed(self, wanted: Any, ts: int) -> list[Any]:
        if wanted is None:
            return []
        if not isinstance(wanted, (list, tuple)):
            raise StrategyError(f"strategy {self.strategy_id} returned {type(wanted).__name__} at {to_iso(ts)}: return a list of orders")
        return list(wanted)

    def _order(self, given: Any, ts: int) -> Order:
        """The order, checked: one of ours, for a symbol and a market that are traded here."""
        try:
            order = as_order(given)
            symbol = market_symbol(order.symbol, self._category)
        except ConfigError as error:
            raise StrategyError(f"strategy {self.strategy_id} at {to_iso(ts)}: {error}") from error
        if symbol not in self._symbols and symbol not in self._left_out:
            raise StrategyError(f"strategy {self.strategy_id} ordered {order.symbol!r} at {to_iso(ts)}, which is not among its symbols")
        traded = INSTRUMENT_TYPES[self._category]
        if order.instrument_type != traded:
            raise StrategyError(
                f"strategy {self.strategy_id} ordered {order.symbol!r} as {order.instrument_type!r} at {to_iso(ts)}:"
                f" this run trades {traded!r}"
            )
        return order
