"""Hosts one strategy: asks it for decisions, stamps and checks them, and tells it what became of its orders.

``StrategyActor`` hosts signal strategies, which are asked for one symbol at a time; portfolio strategies have a host of their own
(core/actors/portfolio_strategy.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from core.errors import InvariantError, KeelError, StrategyError
from core.messages import Fill, Message, OrderUpdate, Signal
from core.ports import Strategy
from core.snapshot import RuntimeSnapshot
from core.time_range import to_iso


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
    def hears_fills(self) -> bool:
        """Whether the strategy has an ``on_fill``."""
        return self._on_fill is not None

    @property
    def hears_orders(self) -> bool:
        """Whether the strategy has an ``on_order``."""
        return self._on_order is not None

    def start(self) -> None:
        """Call the strategy's ``on_start(params)``, if it has one. Raises StrategyError for what it raises."""
        on_start: Callable[[Mapping[str, Any]], None] | None = getattr(self.strategy, "on_start", None)
        if on_start is not None:
            try:
                on_start(self._params)
            except (KeelError, InvariantError):
                raise
            except (Exception, SystemExit) as error:
                raise self._failure(error, "in on_start") from error

    def on_fill(self, fill: Fill) -> None:
        """Pass a fill on. Raises StrategyError for what the strategy raises."""
        if self._on_fill is not None:
            try:
                self._on_fill(fill)
            except (KeelError, InvariantError):
                raise
            except (Exception, SystemExit) as error:
                raise self._failure(error, f"in on_fill for {fill.symbol} at {to_iso(fill.ts)}") from error

    def on_order(self, update: OrderUpdate) -> None:
        """Pass an order update on. Raises StrategyError for what the strategy raises."""
        if self._on_order is not None:
            try:
                self._on_order(update)
            except (KeelError, InvariantError):
                raise
            except (Exception, SystemExit) as error:
                raise self._failure(error, f"in on_order for {update.symbol} at {to_iso(update.ts)}") from error

    def _failure(self, error: BaseException, where: str) -> StrategyError:
        return StrategyError(f"strategy {self.strategy_id} raised {type(error).__name__} {where}: {error}")


class StrategyActor(StrategyHost):
    """One signal strategy, all symbols of its system."""

    __slots__ = ("_generate",)

    def __init__(
        self, strategy: Strategy, strategy_id: str, params: Mapping[str, Any], symbols: tuple[str, ...], emit: Callable[[Message], None]
    ) -> None:
        super().__init__(strategy, strategy_id, params, symbols, emit)
        self._generate = strategy.generate_signal

    def on_snapshot(self, snapshot: RuntimeSnapshot) -> None:
        """Ask for a decision; publish it when there is one. Raises StrategyError, with the cause, for what the strategy raises."""
        try:
            signal = self._generate(snapshot, self._params)
        except (KeelError, InvariantError):
            raise
        except (Exception, SystemExit) as error:
            raise self._failure(error, f"for {snapshot.symbol} at {to_iso(snapshot.ts_close)}") from error
        if signal is not None:
            self._publish(signal, snapshot)

    def _publish(self, signal: Signal, snapshot: RuntimeSnapshot) -> None:
        if signal.__class__ is not Signal:
            raise StrategyError(
                f"strategy {self.strategy_id} returned {type(signal).__name__} for {snapshot.symbol} at {to_iso(snapshot.ts_close)}:"
                " return a Signal or None"
            )
        if signal.symbol not in self._symbols:
            raise StrategyError(f"strategy {self.strategy_id} decided for {signal.symbol!r}, which its system does not trade")
        self._check_numbers(signal, snapshot)
        self._emit(
            Signal(
                signal.symbol, signal.direction, signal.size_usd, signal.strategy or self.strategy_id, signal.confidence, signal.metadata,
                signal.stop_loss, signal.take_profit, signal.trailing, signal.order_type, signal.limit_price, snapshot.bar_ltf.ts_close,
            )
        )  # fmt: skip

    def _check_numbers(self, signal: Signal, snapshot: RuntimeSnapshot) -> None:
        """Refuse what is not a number: it would go on as a size or a price. Not given (None) is fine."""
        for name in ("size_usd", "confidence", "stop_loss", "take_profit", "trailing", "limit_price"):
            value = getattr(signal, name)
            if value is not None and not isfinite(value):
                where = f"{snapshot.symbol} at {to_iso(snapshot.ts_close)}"
                raise StrategyError(f"strategy {self.strategy_id} gave {name} = {value} for {where}: a finite number is needed")
