"""The policies: what is allowed at all, and how large a position may be. Each limit has its own reason, value and limit.

Yes-or-no rules stand in ``check``, in the order in which they are asked; rules that make an order smaller stand in ``room``. FLAT
passes everything but the price collar. Minimum and maximum sizes are the exchange's, not rules: sizing.py keeps to them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from core.clock import Clock
from core.config import RiskConfig
from core.instrument import Instrument
from core.messages import Signal
from core.money import UNIT
from core.risk.decision import APPROVED, Reason, RiskDecision, denied
from core.risk.limits import AccountLimits, Cooldown, Throttle
from core.risk.view import PortfolioView

Room = tuple[float, Reason, float]
"""The largest notional that a position may have, the limit that says so, and that limit as the system file states it."""

_NO_LIMIT: Room = (math.inf, "leverage", math.inf)


class RiskPolicy(Protocol):
    """What screens signals. It may remember (exits, orders, the gate); the account it is only shown."""

    def check(self, signal: Signal, state: PortfolioView) -> RiskDecision: ...
    def room(self, signal: Signal, state: PortfolioView) -> Room: ...
    def note_exit(self, symbol: str, ts: int) -> None: ...
    def note_order(self) -> None: ...


class Gate:
    """Open, or closed by a Halt from outside. Nothing but reductions passes a closed gate."""

    __slots__ = ("closed_by",)

    def __init__(self) -> None:
        self.closed_by = ""

    def check(self) -> RiskDecision:
        """A no while closed."""
        return denied("gate_closed") if self.closed_by else APPROVED


class NoPolicy:
    """Nothing is limited but by the gate and by what the market itself does not know (a short sale on spot)."""

    __slots__ = ("_allow_short", "_gate")

    def __init__(self, gate: Gate, *, allow_short: bool) -> None:
        self._gate = gate
        self._allow_short = allow_short

    def check(self, signal: Signal, state: PortfolioView) -> RiskDecision:
        """Whether the signal may become an order."""
        if signal.direction == "FLAT":
            return APPROVED
        if self._gate.closed_by:
            return self._gate.check()
        if signal.direction == "SHORT" and not self._allow_short:
            return denied("short_not_allowed")
        return APPROVED

    def room(self, signal: Signal, state: PortfolioView) -> Room:
        """No limit."""
        return _NO_LIMIT

    def note_exit(self, symbol: str, ts: int) -> None:
        """Nothing depends on it."""

    def note_order(self) -> None:
        """Nothing depends on it."""


class RulesPolicy:
    """The limits of the system file's ``risk``."""

    __slots__ = ("_base", "_collar", "_config", "_cooldown", "_instruments", "_limits", "_throttle", "_unit_margins")

    def __init__(
        self,
        config: RiskConfig,
        base: NoPolicy,
        limits: AccountLimits,
        instruments: Mapping[str, Instrument],
        *,
        clock: Clock,
        timeframe: str,
    ) -> None:
        self._config = config
        self._base = base
        self._limits = limits
        self._instruments = instruments
        self._collar = config.price_collar_percent
        self._cooldown = Cooldown(config.cooldown_bars, timeframe) if config.cooldown_bars else None
        self._throttle = Throttle(config.max_orders_per_minute, clock) if config.max_orders_per_minute is not None else None
        self._unit_margins: dict[str, float] = {}

    def check(self, signal: Signal, state: PortfolioView) -> RiskDecision:
        """Whether the signal may become an order. ``adjusted_size``: its wish, where a limit leaves less room."""
        if self._collar is not None and signal.order_type == "limit" and signal.limit_price is not None:
            decision = _check_collar(signal.limit_price, state.mark(signal.symbol), self._collar)
            if not decision.allowed:
                return decision
        if signal.direction == "FLAT":
            return APPROVED
        decision = self._base.check(signal, state)
        if decision.allowed:
            decision = self._check_memory(signal, state)
        if decision.allowed and self._config.max_open_positions is not None:
            decision = self._check_open_positions(signal.symbol, state, self._config.max_open_positions)
        if decision.allowed and signal.size_usd > 0.0:
            return self._check_wish(signal, state)
        return decision

    def room(self, signal: Signal, state: PortfolioView) -> Room:
        """The largest notional that the symbol's position may have after the order; what it has now is taken to be closed first."""
        config, symbol = self._config, signal.symbol
        own = state.notional(symbol)
        others = state.gross_notional() - own
        room: Room = (self._affordable(signal, state, own, others), "leverage", config.leverage)
        if config.max_position_usd is not None and config.max_position_usd < room[0]:
            room = (config.max_position_usd, "max_position_usd", config.max_position_usd)
        if config.max_gross_usd is not None and config.max_gross_usd - others < room[0]:
            room = (config.max_gross_usd - others, "max_gross_usd", config.max_gross_usd)
        return room

    def note_exit(self, symbol: str, ts: int) -> None:
        """The symbol's position was closed at ts."""
        if self._cooldown is not None:
            self._cooldown.note_exit(symbol, ts)

    def note_order(self) -> None:
        """An order goes out."""
        if self._throttle is not None:
            self._throttle.note_order()

    # --- one rule each ---

    def _check_memory(self, signal: Signal, state: PortfolioView) -> RiskDecision:
        decision = self._limits.check()
        if decision.allowed and self._cooldown is not None:
            decision = self._cooldown.check(signal.symbol, signal.ts, self._is_held(signal.symbol, state))
        if decision.allowed and self._throttle is not None:
            decision = self._throttle.check()
        return decision

    def _is_held(self, symbol: str, state: PortfolioView) -> bool:
        dust = self._instruments[symbol].min_notional / UNIT if self._is_spot(symbol) else 0.0
        return state.notional(symbol) > dust

    def _check_open_positions(self, symbol: str, state: PortfolioView, limit: int) -> RiskDecision:
        others = state.open_positions() - (1 if state.steps(symbol) else 0)
        return APPROVED if others < limit else denied("max_open_positions", float(others), float(limit))

    def _check_wish(self, signal: Signal, state: PortfolioView) -> RiskDecision:
        usd, reason, limit = self.room(signal, state)
        if signal.size_usd <= usd:
            return APPROVED
        return RiskDecision(True, usd, reason, signal.size_usd, limit) if usd > 0.0 else denied(reason, usd, limit)

    def _affordable(self, signal: Signal, state: PortfolioView, own: float, others: float) -> float:
        """Notional whose initial margin and fees (to open and to close) the account can pay beside its other positions'.

        Unrealised profit of other positions is not spendable (isolated margin); that of the symbol itself is realised by the flip.
        On spot the wallet is the quote balance: other holdings have left it already.
        """
        symbol = signal.symbol
        share = 1.0 - self._config.margin_reserve_percent / 100.0
        wallet = state.cash / UNIT
        if self._is_spot(symbol):
            return wallet * share
        if own:
            wallet += state.position_qty(symbol) * (state.mark(symbol) - state.entry_price(symbol))
        return min(state.equity, wallet) * share / self._unit_margin(symbol) - others

    def _unit_margin(self, symbol: str) -> float:
        """What one quote coin of notional binds: its initial margin, and the fees to open and to close."""
        margin = self._unit_margins.get(symbol)
        if margin is None:
            instrument = self._instruments.get(symbol)
            fees = 2.0 * max(0, instrument.taker_fee) / UNIT if instrument is not None else 0.0
            margin = self._unit_margins[symbol] = 1.0 / self._config.leverage + fees
        return margin

    def _is_spot(self, symbol: str) -> bool:
        instrument = self._instruments.get(symbol)
        return instrument is not None and instrument.category == "spot"


def _check_collar(limit_price: float, mark: float, collar_percent: float) -> RiskDecision:
    """A no for a limit price further than the collar from the mark; exactly at it is allowed."""
    distance = abs(limit_price - mark)
    if distance * 100.0 <= collar_percent * mark:
        return APPROVED
    return denied("price_collar_percent", 100.0 * distance / mark if mark > 0.0 else math.inf, collar_percent)
