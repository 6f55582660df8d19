"""The risk manager: one pipeline from a signal to a size, the same for the risk actor and for whoever asks by hand.

policy.check (may it?)  ->  exits (with which?)  ->  sizer, capped by the wish and by policy.room (how much?)  ->  step and minimums
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from keel.core.costs import SetAside
from keel.core.engine.clock import Clock, ReplayClock
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Bracket, Signal
from keel.core.model.words import check_again
from keel.core.risk.decision import Reason, RiskDecision, Sizing, denied, unsized
from keel.core.risk.exits import ExitRules, ReadFeature
from keel.core.risk.gate.gate import Gate
from keel.core.risk.limits import AccountLimits, Breach
from keel.core.risk.market import Market
from keel.core.risk.rules import NoPolicy, RiskPolicy, RulesPolicy
from keel.core.risk.sizing import PRICELESS, build_sizer, floor_to_market, size_without_market
from keel.core.risk.snapshot_view import SnapshotView, as_view
from keel.core.risk.view import PortfolioView
from keel.core.system.config import ExecutionConfig, ExitsConfig, RiskConfig, SizingConfig


def _no_feature(symbol: str, name: str) -> float:
    return math.nan


class RiskManager:
    """Screens and sizes. ``RiskManager()`` has default limits and knows no instruments: sizes are then not floored.

    ``policy``, ``limits`` and ``gate`` hold what is remembered from one signal to the next; the risk actor feeds them. ``markets`` is what
    the instruments were when it was made.
    """

    __slots__ = ("_instruments", "_model", "_sizer", "exits", "gate", "limits", "markets", "policy")

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
        execution: ExecutionConfig | SetAside | None = None,
        gate: Gate | None = None,
    ) -> None:
        """execution: the fees, the spread and the slippage that sizes leave room for (``SetAside``: as cost models say); None: the
        instruments' fees alone. gate: where a Halt and a limit that broke stand as causes; None: one of its own."""
        config = config if config is not None else RiskConfig()
        sizing = sizing if sizing is not None else SizingConfig()
        self._instruments = instruments if instruments is not None else {}
        self.markets = {symbol: Market(instrument, execution) for symbol, instrument in self._instruments.items()}
        self._model = sizing.model
        self._sizer = build_sizer(sizing, self._instruments, read_feature)
        self.exits = ExitRules(exits, read_feature)
        self.gate = Gate(self._instruments) if gate is None else gate
        self.limits = AccountLimits(config, self.gate)
        base = NoPolicy(self.gate, allow_short=allow_short)
        self.policy: RiskPolicy = base
        if config.policy == "rules":
            clock = clock if clock is not None else ReplayClock()
            self.policy = RulesPolicy(config, base, self.limits, self.markets, clock=clock, timeframe=timeframe)

    def check_signal(self, signal: Signal, portfolio_snapshot: Any) -> RiskDecision:
        """The whole pipeline as one answer. ``adjusted_size`` is the notional to trade where it is not the signal's own ``size_usd``.

        portfolio_snapshot: a PortfolioView, or a plain picture of the account (core/risk/snapshot_view.py). Daily loss and drawdown count
        from the pictures that were shown, each at its own ``ts``, else the signal's, else the clock's; a PortfolioView's owner observes it.
        """
        check_again(signal, Signal)
        state = as_view(portfolio_snapshot, self._instruments)
        decision = self.policy.check(signal, state)
        if not decision.allowed or signal.direction == "FLAT":
            return decision
        price = state.last(signal.symbol)
        if not price > 0.0 and self._model in PRICELESS and not self._instruments:
            price = 1.0  # sizes are notional: without a price, a quantity is counted in quote coins
        sizing = self.size(signal, price, state)
        if not sizing.allowed:
            return denied(sizing.reason or "no_equity", sizing.value, sizing.limit)
        if signal.size_usd > 0.0 and math.isclose(sizing.wanted_usd, signal.size_usd, rel_tol=1e-12):
            return decision
        return RiskDecision(True, sizing.wanted_usd, sizing.reason, signal.size_usd, sizing.limit)

    def observe(self, portfolio_snapshot: Any, ts: int = 0) -> Breach | None:
        """Show the account without a signal: daily loss and drawdown are counted from the snapshots that are shown. Returns the limit that
        has just been broken. ts: its time (ms UTC) where the snapshot does not say one; the day is the UTC day."""
        view = as_view(portfolio_snapshot, self._instruments)
        return self.limits.observe(_time_of(view, ts), view.equity) if self.limits.is_limited else None

    def size_position(self, signal: Signal, state: Any) -> Sizing:
        """How large the position is to be that an entry signal asks for; what is held already is not taken off. FLAT sizes to 0."""
        view = as_view(state, self._instruments)
        if signal.direction == "FLAT":
            return Sizing(True)
        return self.size(signal, view.last(signal.symbol), view)

    def size(self, signal: Signal, price: float, state: PortfolioView) -> Sizing:
        """``size_position`` of an entry, for those who have a view and the decision price.

        Every signal that trades comes through here: what the usual one (at market, no wish, no exits) does not need is not called.
        """
        market = self.markets.get(signal.symbol)
        wish, is_limit = signal.size_usd, signal.order_type == "limit"
        if wish or is_limit or market is None or not price > 0.0:
            no = self._malformed(signal, price, market)
            if no is not None:
                return unsized(no)
        bracket: Bracket | None = None
        if self.exits.are_set or signal.stop_loss is not None or signal.take_profit is not None or signal.trailing is not None:
            exits = self.exits.bracket(signal, price, market.instrument.price_grid if market is not None else None)
            if isinstance(exits, RiskDecision):
                return unsized(exits)
            bracket = exits
        qty = self._sizer(signal, price, bracket, state)
        if type(qty) is RiskDecision:
            return unsized(qty)
        asked = qty
        if wish:
            if wish < qty * price:
                asked = qty = wish / price
            elif wish > qty * price * _MORE:
                asked = wish / price
        order_price = dearest = price
        if is_limit and signal.limit_price is not None:
            order_price = signal.limit_price
            dearest = max(price, order_price)
        room, reason, limit = self.policy.room(signal, state)
        limited_by: Reason | Literal[""] = ""
        if room < qty * dearest:
            qty, limited_by = room / dearest, reason
        else:
            limit = 0.0
        if market is None:
            return size_without_market(qty, price, limited_by, limit, bracket)
        most = market.max_qty if is_limit else market.max_market_qty
        sizing = floor_to_market(market, qty, price, order_price, most, limited_by, limit, bracket)
        return msgspec.structs.replace(sizing, asked_usd=asked * price) if sizing.reason or asked > qty else sizing

    def _malformed(self, signal: Signal, price: float, market: Market | None) -> RiskDecision | None:
        """A denial of a signal that cannot be sized."""
        if market is None and self.markets:
            return denied("unknown_symbol")
        if not price > 0.0:
            return denied("no_price", price)
        if not 0.0 <= signal.size_usd < math.inf:
            return denied("invalid_size", signal.size_usd)
        if signal.order_type == "limit" and not (signal.limit_price or 0.0) > 0.0:
            return denied("limit_price_missing")
        return None


_MORE: Final = 1.0 + 1e-9
"""A wish is more than the sizer's answer where no rounding of floats makes it so."""


def _time_of(view: PortfolioView, ts: int) -> int:
    own = view.ts if isinstance(view, SnapshotView) else None
    return ts if own is None else own
