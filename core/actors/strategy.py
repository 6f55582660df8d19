"""Hosts one strategy: asks it for decisions, stamps and checks them, and tells it what became of its orders.

``StrategyActor`` hosts signal strategies, which are asked for one symbol at a time; portfolio strategies have a host of their own
(core/actors/portfolio_strategy.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from keel.core.engine.ports import Strategy
from keel.core.errors import FieldError, InvariantError, KeelError, StrategyError
from keel.core.model.messages import Fill, Message, OrderUpdate, Signal
from keel.core.model.time_range import to_iso
from keel.core.strategy.raised import evidence_lines, seen_at, user_error
from keel.core.strategy.snapshot import RuntimeSnapshot


class StrategyHost:
    """What every strategy's host does: begins it, and passes fills and order updates on to those who listen."""

    __slots__ = ("_emit", "_on_fill", "_on_order", "_params", "_symbols", "strategy", "strategy_id")

    def __init__(
        self, strategy: Any, strategy_id: str, params: Mapping[str, Any], symbols: tuple[str, ...], emit: Callable[[Message], None]
    ) -> None:
        self.strategy = strategy
        self.strategy_id = strategy_id
        self._params = params
        self._symbols = frozenset(symbols)
        self._emit = emit
        self._on_fill: Callable[[Fill], None] | None = getattr(strategy, "on_fill", None)
        self._on_order: Callable[[OrderUpdate], None] | None = getattr(strategy, "on_order", None)

    @property
    def receives_fills(self) -> bool:
        """Whether the strategy has an ``on_fill``."""
        return self._on_fill is not None

    @property
    def receives_orders(self) -> bool:
        """Whether the strategy has an ``on_order``."""
        return self._on_order is not None

    def start(self) -> None:
        """Call the strategy's ``on_start(params)``, if it has one. Raises StrategyError for what it raises."""
        on_start: Callable[[Mapping[str, Any]], None] | None = getattr(self.strategy, "on_start", None)
        if on_start is not None:
            try:
                on_start(self._params)
            except (Exception, SystemExit) as error:
                raise self._failure(error, "in on_start") from error

    def on_fill(self, fill: Fill) -> None:
        """Pass a fill on. Raises StrategyError for what the strategy raises."""
        if self._on_fill is not None:
            try:
                self._on_fill(fill)
            except (Exception, SystemExit) as error:
                raise self._failure(error, f"in on_fill for {fill.symbol} at {to_iso(fill.ts)}", fill.symbol) from error

    def on_order(self, update: OrderUpdate) -> None:
        """Pass an order update on. Raises StrategyError for what the strategy raises."""
        if self._on_order is not None:
            try:
                self._on_order(update)
            except (Exception, SystemExit) as error:
                raise self._failure(error, f"in on_order for {update.symbol} at {to_iso(update.ts)}", update.symbol) from error

    def _failure(self, error: BaseException, where: str, symbol: str = "") -> StrategyError:
        """What stands in place of an error of the strategy's code. A mistake of ours, and an error that tells a person what to do already
        (a feature that is not declared, a warm-up that is too short), are raised again as they are."""
        if isinstance(error, FieldError):
            told = f"strategy {self.strategy_id} made what cannot be sent {where}: {error}"
        elif isinstance(error, (KeelError, InvariantError)):
            raise error
        else:
            told = f"strategy {self.strategy_id} raised {type(error).__name__} {where}: {error}"
        return user_error(told, error, self._seen(symbol))

    def _seen(self, symbol: str) -> Mapping[str, Any]:
        """What the strategy was shown last of a symbol."""
        return {}


class StrategyActor(StrategyHost):
    """One signal strategy, all symbols of its system."""

    __slots__ = ("_generate", "_shown")

    def __init__(
        self, strategy: Strategy, strategy_id: str, params: Mapping[str, Any], symbols: tuple[str, ...], emit: Callable[[Message], None]
    ) -> None:
        super().__init__(strategy, strategy_id, params, symbols, emit)
        self._generate = strategy.generate_signal
        self._shown: RuntimeSnapshot | None = None

    def on_snapshot(self, snapshot: RuntimeSnapshot) -> None:
        """Ask for a decision; publish it when there is one. Raises StrategyError, with the cause, for what the strategy raises."""
        self._shown = snapshot
        try:
            signal = self._generate(snapshot, self._params)
        except (Exception, SystemExit) as error:
            raise self._failure(error, _where(snapshot), snapshot.symbol) from error
        if signal is not None:
            self._publish(signal, snapshot)

    def _seen(self, symbol: str) -> Mapping[str, Any]:
        shown = self._shown
        return seen_at(shown) if shown is not None and shown.symbol == symbol else {}

    def _publish(self, signal: Signal, snapshot: RuntimeSnapshot) -> None:
        if signal.__class__ is not Signal:
            self._refuse(f"returned {type(signal).__name__} {_where(snapshot)}: return a Signal or None", snapshot)
        if signal.symbol not in self._symbols:
            self._refuse(f"decided for {signal.symbol!r}, which its system does not trade ({_where(snapshot)})", snapshot)
        try:
            stamped = Signal(
                signal.symbol, signal.direction, signal.size_usd, signal.strategy or self.strategy_id, signal.confidence, signal.metadata,
                signal.stop_loss, signal.take_profit, signal.trailing, signal.order_type, signal.limit_price, snapshot.bar_ltf.ts_close,
            )  # fmt: skip
        except FieldError as error:  # it was altered after it was made
            self._refuse(f"returned what cannot be sent {_where(snapshot)}: {error}", snapshot)
        self._emit(stamped)

    def _refuse(self, what: str, snapshot: RuntimeSnapshot) -> NoReturn:
        seen = seen_at(snapshot)
        error = StrategyError("\n".join([f"strategy {self.strategy_id} {what}", *evidence_lines(seen)]))
        error.evidence = seen
        raise error


def _where(snapshot: RuntimeSnapshot) -> str:
    return f"for {snapshot.symbol} at {to_iso(snapshot.ts_close)}"
