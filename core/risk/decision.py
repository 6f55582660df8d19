"""What risk answers: yes or no with a reason, a value and a limit; and how much."""

from __future__ import annotations

from typing import Final, Literal, final

import msgspec

from keel.core.model.messages import Bracket

Reason = Literal[
    "trading_reducing",
    "daily_loss_percent",
    "max_drawdown_percent",
    "short_not_allowed",
    "cooldown_bars",
    "max_orders_per_minute",
    "price_collar_percent",
    "max_open_positions",
    "max_position_usd",
    "max_gross_usd",
    "leverage",
    "max_qty",
    "below_min_qty",
    "below_min_notional",
    "no_equity",
    "no_price",
    "unknown_symbol",
    "left_out",
    "stop_distance_unknown",
    "exit_distance_unknown",
    "volatility_unknown",
    "limit_price_missing",
    "invalid_size",
    "invalid_stop_loss",
    "invalid_take_profit",
    "invalid_trailing",
    "position_manager",
    "max_daily_volatility",
    "beyond_cash",
]
"""Why risk says no. The names of limits are those of the system file's keys. The last three are a position manager's: left out by one of
your own, more volatile than PositionManager allows, and all orders together worth more than the cash."""

ControlReason = Literal[
    "trading_halted",
    "not_armed",
    "symbol_not_allowed",
    "symbol_frozen",
    "qty_off_grid",
    "price_off_grid",
    "price_stale",
    "max_order_usd",
    "max_open_orders_per_symbol",
    "max_open_orders",
    "max_net_usd",
    "max_leverage",
    "margin_headroom",
    "reduce_only_increases",
    "duplicate_order",
    "max_orders_per_symbol_per_minute",
    "cancel_ratio",
    "reject_breaker",
    "repeated_execution",
    "self_trade",
    "dry_run",
    "replaced_rests",
]
"""Why a session's controls say no, beside the reasons that they share with risk."""

RENAMED: Final[dict[str, str]] = {
    "gate_closed": "trading_reducing",
    "price_collar": "price_collar_percent",
    "order_rate": "max_orders_per_minute",
    "symbol_order_rate": "max_orders_per_symbol_per_minute",
    "daily_loss": "daily_loss_percent",
    "stop_daily_loss_percent": "daily_loss_percent",
    "max_drawdown": "max_drawdown_percent",
    "stop_max_drawdown_percent": "max_drawdown_percent",
    "max_order_qty": "max_qty",
    "no_mark": "no_price",
}
"""What reasons and causes were called in version 0.1, as its journals and results have them -> their one name."""

MALFORMED: Final[frozenset[str]] = frozenset(
    {
        "price_collar_percent",
        "no_price",
        "short_not_allowed",
        "unknown_symbol",
        "limit_price_missing",
        "invalid_size",
        "invalid_stop_loss",
        "invalid_take_profit",
        "invalid_trailing",
    }
)
"""Reasons that say the signal itself cannot be trusted, or asks for what its market does not know (a SHORT on spot): nothing of it is done,
not even the closing half of a flip."""


@final
class RiskDecision(msgspec.Struct, frozen=True, gc=False):
    """Whether a signal may become an order.

    ``adjusted_size``: notional in quote coins where it differs from what the signal asked for; None when unchanged, never 0 when
    allowed. ``value`` and ``limit`` are in the unit of the rule that ``reason`` names.
    """

    allowed: bool
    adjusted_size: float | None = None
    reason: Reason | Literal[""] = ""
    value: float = 0.0
    limit: float = 0.0


APPROVED: Final = RiskDecision(True)


def denied(reason: Reason, value: float = 0.0, limit: float = 0.0) -> RiskDecision:
    """A denial."""
    return RiskDecision(False, None, reason, value, limit)


class Sizing(msgspec.Struct, frozen=True, gc=False):
    """How large an entry is: ``quantity`` (base units, on the grid, unsigned) is ``steps`` of it, ``size_usd`` its notional.

    ``wanted_usd`` is the notional before flooring to the step. When not allowed, ``reason``, ``value`` and ``limit`` say why; when
    allowed, ``reason`` names the limit that made it smaller, if one did.
    """

    allowed: bool
    quantity: float = 0.0
    size_usd: float = 0.0
    reason: Reason | Literal[""] = ""
    value: float = 0.0
    limit: float = 0.0
    steps: int = 0
    wanted_usd: float = 0.0
    bracket: Bracket | None = None
    """The exits that go with the entry."""
    asked_usd: float = 0.0
    """The notional before any limit made it smaller; 0 where none did."""


def unsized(no: RiskDecision) -> Sizing:
    """A decision's no as a sizing."""
    return Sizing(False, reason=no.reason, value=no.value, limit=no.limit)
