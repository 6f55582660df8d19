"""What a session did, one log line each: decisions, ends of orders, fills, payments, numbers taken over, halts. The journal has all of it;
this is for grep. No line is written between a decision and its order's bytes: lines wait until orders have left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from keel.core.engine.bus import Bus
from keel.core.model.messages import (
    Fill,
    FundingPayment,
    Halt,
    Liquidation,
    Message,
    OrderDenied,
    OrderUpdate,
    Resume,
    Signal,
    SignalDenied,
)
from keel.core.model.money import to_text
from keel.core.model.time_range import to_iso
from keel.core.strategy.portfolio_order import PortfolioOrders
from keel.runners.live.memory.records import Adjusted

_TOLD: Final = frozenset({"accepted", "triggered", "filled", "cancelled", "rejected", "expired"})
"""What of an order is a line; a partial fill is the line of its fill."""
_ALERTS: Final = (OrderDenied, SignalDenied, Halt, Liquidation)


class Log(Protocol):
    """A structured logger."""

    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...


Later = Callable[[Callable[[], None]], None]
"""Takes what can wait until orders have left."""
Watch = Callable[[Bus, Later], None]
"""Is given the bus when what is new begins to pass on it."""


def nobody_watches(bus: Bus, later: Later) -> None:
    """Where nobody wants to hear what passes."""


def at_once(work: Callable[[], None]) -> None:
    """Where nothing goes first."""
    work()


def log_events(bus: Bus, log: Log, later: Later = at_once) -> None:
    """From now on write a line for what passes on the bus; ``code`` says of what kind it is, ``at`` is the market's time."""

    def write(message: Message) -> None:
        later(lambda: write_now(message))

    def write_now(message: Message) -> None:
        name, fields = _LINES[type(message)](message)
        tell = log.warning if isinstance(message, _ALERTS) or fields.get("status") == "rejected" else log.info
        kept = {key: value for key, value in fields.items() if value not in (None, "")}
        tell(name, code=name.replace(" ", "_"), at=to_iso(getattr(message, "ts", 0)), **kept)

    def of_order(update: OrderUpdate) -> None:
        if update.status in _TOLD:
            write(update)

    def of_orders(wanted: PortfolioOrders) -> None:
        later(lambda: write_targets(wanted))

    def write_targets(wanted: PortfolioOrders) -> None:
        for order in wanted.orders:
            fields = {"symbol": order.symbol, "side": order.side, "value": order.value}
            kept = {key: value for key, value in fields.items() if value is not None}
            log.info("target", code="target", at=to_iso(wanted.ts), **kept)

    bus.subscribe(PortfolioOrders, of_orders)
    for kind in _LINES:
        bus.subscribe(kind, of_order if kind is OrderUpdate else write)  # type: ignore[arg-type]  # each takes its own kind


def _of(name: str, *fields: str) -> Callable[[Any], tuple[str, dict[str, Any]]]:
    return lambda message: (name, {field: getattr(message, field) for field in fields})


def _fill(fill: Fill) -> tuple[str, dict[str, Any]]:
    names = ("symbol", "client_order_id", "fill_id", "side", "qty", "price", "maker", "kind", "fee_coin")
    money = {"fee": to_text(fill.fee), "realized_pnl": to_text(fill.realized_pnl)}
    return "fill", {name: getattr(fill, name) for name in names} | money


def _funding(payment: FundingPayment) -> tuple[str, dict[str, Any]]:
    return "funding", {"symbol": payment.symbol, "paid": to_text(payment.amount), "rate": to_text(payment.rate), "qty": payment.qty}


def _adjusted(change: Adjusted) -> tuple[str, dict[str, Any]]:
    position = {"symbol": change.symbol, "steps": change.steps} if change.symbol else {}
    money = {"cash_change": to_text(change.cash_change)} if change.cash_change else {}
    return "taken over", {"reason": change.reason, **position, **money}


_LINES: Final[Mapping[type[Message], Callable[[Any], tuple[str, dict[str, Any]]]]] = {
    Signal: _of("signal", "symbol", "direction", "order_type", "limit_price", "stop_loss", "take_profit"),
    SignalDenied: _of("signal denied", "symbol", "reason", "value", "limit"),
    OrderDenied: _of("order denied", "symbol", "reason", "value", "limit"),
    OrderUpdate: _of(
        "order", "symbol", "client_order_id", "status", "side", "order_type", "price", "trigger_price", "filled_qty", "reason"
    ),
    Fill: _fill,
    FundingPayment: _funding,
    Liquidation: _of("liquidation", "symbol", "side", "qty", "mark_price", "liquidation_price"),
    Adjusted: _adjusted,
    Halt: _of("halt", "reason", "flatten"),
    Resume: _of("resume", "reason"),
}
