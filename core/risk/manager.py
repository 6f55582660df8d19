"""The risk manager: one pipeline from a signal to a size, the same for the risk actor and for whoever asks by hand.

policy.check (may it?)  ->  exits (with which?)  ->  sizer, capped by the wish and by policy.room (how much?)  ->  step and minimums
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from core.clock import Clock, ReplayClock
from core.config import ExitsConfig, RiskConfig, SizingConfig
from core.instrument import Instrument
from core.messages import Bracket, Signal
from core.risk.decision import Reason, RiskDecision, Sizing, denied, unsized
from core.risk.exits import ExitRules, ReadFeature
from core.risk.limits import AccountLimits
from core.risk.rules import Gate, NoPolicy, RiskPolicy, RulesPolicy
from core.risk.sizing import PRICELESS, build_sizer, floor_to_market, size_without_market
from core.risk.snapshot_view import as_view
from core.risk.view import PortfolioView


def _no_feature(symbol: str, name: str) -> float:
    return math.nan


class RiskManager:
    """Screens and sizes. ``RiskManager()`` has default limits and knows no instruments: sizes are then not floored.

    ``policy``, ``limits`` and ``gate`` hold what is remembered from one signal to the next; the risk actor feeds them.
    """

    __slots__ = ("_instruments", "_model", "_sizer", "exits", "gate", "limits", "policy")

    def __init__(
        self,
        config: RiskConfig | None = None,
        sizing: SizingConfig | None = None,
        *,
        exits: ExitsConfig | None = None,
        instruments: Mapping[str, Instrument] | None = None,
        clock: Clock | None = None,
        timeframe: str = "1m",
        read_feature: ReadFeature = _no_feature,
        allow_short: bool = True,
    ) -> None:
        config = config if config is not None else RiskConfig()
        sizing = sizing if sizing is not None else SizingConfig()
        self._instruments = instruments if instruments is not None else {}
        self._model = sizing.model
        self._sizer = build_sizer(sizing, self._instruments, read_feature)
        self.exits = ExitRules(exits, read_feature)
        self.gate = Gate()
        self.limits = AccountLimits(config)
        base = NoPolicy(self.gate, allow_short=allow_short)
        self.policy: RiskPolicy = base
        if config.policy == "rules":
            clock = clock if clock is not None else ReplayClock()
            self.policy = RulesPolicy(config, base, self.limits, self._instruments, clock=clock, timeframe=timeframe)

    def check_signal(self, signal: Signal, portfolio_snapshot: Any) -> RiskDecision:
        """The whole pipeline as one answer. ``adjusted_size`` is the notional to trade where it is not the signal's own ``size_usd``.

        portfolio_snapshot: a PortfolioView, or a plain picture of the account (core/risk/snapshot_view.py).
        """
        state = as_view(portfolio_snapshot, self._instruments)
        decision = self.policy.check(signal, state)
        if not decision.allowed or signal.direction == "FLAT":
            return decision
        price = state.last(signal.symbol)
        if not price > 0.0 and self._model in PRICELESS and not self._instruments:
            price = 1.0  # sizes are notional: without a price, a quantity is counted in quote coins
        sizing = self._size(signal, price, state)
        if not sizing.allowed:
            return denied(sizing.reason or "no_equity", sizing.value, sizing.limit)
        if signal.size_usd > 0.0 and math.isclose(sizing.wanted_usd, signal.size_usd, rel_tol=1e-12):
            return decision
        return RiskDecision(True, sizing.wanted_usd, sizing.reason, signal.size_usd, sizing.limit)

    def size_position(self, signal: Signal, state: Any) -> Sizing:
        """How large the position is to be that an entry signal asks for; what is held already is not taken off. FLAT sizes to 0."""
        view = as_view(state, self._instruments)
        if signal.direction == "FLAT":
            return Sizing(True)
        return self._size(signal, view.last(signal.symbol), view)

    def _size(self, signal: Signal, price: float, state: PortfolioView) -> Sizing:
        instrument = self._instruments.get(signal.symbol)
        no = self._malformed(signal, price, instrument)
        if no is not None:
            return unsized(no)
        bracket = self.exits.bracket(signal, price, instrument.price_grid if instrument is not None else None)
        if isinstance(bracket, RiskDecision):
            return unsized(bracket)
        qty = self._sizer(signal, price, bracket, state)
        if isinstance(qty, RiskDecision):
            return unsized(qty)
        return self._capped(signal, price, qty, bracket, instrument, state)

    def _capped(
        self, signal: Signal, price: float, qty: float, bracket: Bracket | None, instrument: Instrument | None, state: PortfolioView
    ) -> Sizing:
        """The sizer's quantity, capped by the signal's wish and by the policy's room."""
        wish = signal.size_usd
        if wish > 0.0 and wish < qty * price:
            qty = wish / price
        room, reason, limit = self.policy.room(signal, state)
        order_price = price
        if signal.order_type == "limit" and signal.limit_price is not None:
            order_price = signal.limit_price
        dearest = max(price, order_price)
        limited_by: Reason | None = None
        if room < qty * dearest:
            qty, limited_by = room / dearest, reason
        else:
            limit = 0.0
        if instrument is None:
            return size_without_market(qty, price, limited_by, limit, bracket)
        return floor_to_market(signal, qty, price, order_price, limited_by, limit, instrument, bracket)

    def _malformed(self, signal: Signal, price: float, instrument: Instrument | None) -> RiskDecision | None:
        """A no for what cannot be worked with."""
        if instrument is None and self._instruments:
            return denied("unknown_symbol")
        if not price > 0.0:
            return denied("no_price", price)
        if not 0.0 <= signal.size_usd < math.inf:
            return denied("invalid_size", signal.size_usd)
        if signal.order_type == "limit" and not (signal.limit_price or 0.0) > 0.0:
            return denied("limit_price_missing")
        return None
