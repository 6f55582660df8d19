"""The risk actor of portfolio strategies: what they want goes through the position manager, and becomes orders for what is missing.

A target is a notional: quantity = value / current price (the mark; on spot the last price), floored to the step. What is held of the same
side is moved up or down to it; the other side is closed and opened anew, by one order. A value of 0 and CLOSE close. A target without a
value is a signal of its side, sized by the system's sizer. What makes a position smaller always passes; the rest meets the same rules as
any signal does, and is made smaller by the same limits.

Each order of the strategy is one signal of the funnel. One that the position manager left out, or whose value it made 0, is denied: by the
reason that its ``refusals`` name (symbol -> RiskDecision), if it has any; what a value of 0 closes is closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from keel.core.actors.risk import RiskActor
from keel.core.errors import KeelError, StrategyError
from keel.core.model.instrument import Category, order_parts, size_count
from keel.core.model.messages import Bracket, OrderIntent, Signal
from keel.core.model.money import UNIT
from keel.core.model.time_range import to_iso
from keel.core.model.words import check_again
from keel.core.results.funnel import HELD_ALREADY, ORDERED, Outcome
from keel.core.risk.decision import APPROVED, MALFORMED, Reason, RiskDecision, denied
from keel.core.risk.market import Market
from keel.core.risk.position_manager import as_order
from keel.core.risk.view import PortfolioView
from keel.core.strategy.portfolio_order import DataView, OMSView, Order, PortfolioOrders, TargetPosition, market_symbol
from keel.core.strategy.raised import user_error


class OrderFilter(Protocol):
    """Screens and sizes the orders of a step (core/risk/position_manager.py has the usual one)."""

    def filter_orders(self, orders: Sequence[Order], oms_client: OMSView, data_manager: DataView) -> Sequence[Order]: ...


class PortfolioRiskActor(RiskActor):
    """``RiskActor`` that takes targets, too. ``screen_with`` has to be called before the first orders come."""

    __slots__ = ("_category", "_data", "_filter", "_left_out", "_oms")

    def screen_with(
        self, position_manager: OrderFilter | None, oms: OMSView, data: DataView, category: Category, left_out: frozenset[str] = frozenset()
    ) -> None:
        """What the orders of a step go through, and what it is shown. None: every order passes as it is.

        left_out: symbols that are not traded now; an order for one is denied, and shares no budget.
        """
        self._filter, self._oms, self._data, self._category, self._left_out = position_manager, oms, data, category, left_out

    @property
    def position_manager(self) -> OrderFilter | None:
        """What the orders of a step go through."""
        return self._filter

    def on_portfolio_orders(self, wanted: PortfolioOrders) -> None:
        """Screen and size the orders of a step, then move each position. Raises StrategyError for what the position manager raises."""
        if self._left_out:
            wanted = self._of_the_traded(wanted)
        passed = self._screened(wanted)
        waiting = list(wanted.orders)
        for order in passed:
            target = self._target(order, wanted)
            asked = next((each for each in waiting if (each.symbol, each.side) == (order.symbol, order.side)), None)
            if asked is not None:
                waiting.remove(asked)
            if asked is not None and order.side != "CLOSE" and order.value == 0.0 and asked.value != 0.0:
                self._screen_out(target, asked, closes=True)
            else:
                self.on_target(target)
        for order in waiting:
            self._screen_out(self._target(order, wanted), order, closes=False)

    def _of_the_traded(self, wanted: PortfolioOrders) -> PortfolioOrders:
        """The orders for symbols that are traded; the others are denied."""
        kept = []
        for order in wanted.orders:
            target = self._target(order, wanted)
            if target.symbol in self._left_out:
                self.memory.counts.note(target.ts, target.symbol, self._deny(_signal(target, closes=False), denied("left_out")))
            else:
                kept.append(order)
        return msgspec.structs.replace(wanted, orders=tuple(kept))

    def on_target(self, target: TargetPosition) -> None:
        """Move one position to its target, or say why not; and count what became of it.

        Raises FieldError for what is no TargetPosition as it was made.
        """
        check_again(target, TargetPosition)
        self.memory.counts.note(target.ts, target.symbol, self._take_target(target))

    def _take_target(self, target: TargetPosition) -> Outcome:
        symbol = target.symbol
        market = self._markets.get(symbol)
        closes = target.side == "CLOSE" or (target.value == 0.0 and not self._is_short_on_spot(target))
        if closes or market is None or target.value is None:
            return self._take(_signal(target, closes=closes))
        signal = Signal(symbol, "LONG" if target.side == "LONG" else "SHORT", target.value, target.strategy, ts=target.ts)
        state = self._expected(symbol)
        held, price = state.steps(symbol), state.mark(symbol)
        if not price > 0.0:
            return self._deny(signal, denied("no_price", price))
        if held and (held > 0) == (target.side == "LONG"):
            return self._adjust(signal, held, price, state, market)
        return self._open(signal, held, price, state, market)

    def _is_short_on_spot(self, target: TargetPosition) -> bool:
        market = self._markets.get(target.symbol)
        return target.side == "SHORT" and market is not None and market.is_spot

    def _target(self, order: Order, wanted: PortfolioOrders) -> TargetPosition:
        return TargetPosition(market_symbol(order.symbol, self._category), wanted.ts, order.side, order.value, wanted.strategy)

    def _screen_out(self, target: TargetPosition, order: Order, *, closes: bool) -> None:
        """The position manager's no to an order; ``closes``: it wants nothing to be held."""
        done = self._take(_signal(target, closes=True)) if closes and not self._is_short_on_spot(target) else None
        if done is None or done.what != "denied":
            refusals: Mapping[str, RiskDecision] = getattr(self._filter, "refusals", {})
            no = refusals.get(order.symbol) or denied("position_manager")
            done = self._deny(_signal(target, closes=False), no, closed=done is ORDERED)
        self.memory.counts.note(target.ts, target.symbol, done)

    def _screened(self, wanted: PortfolioOrders) -> list[Order]:
        if self._filter is None:
            return list(wanted.orders)
        try:
            return [as_order(order) for order in self._filter.filter_orders(wanted.orders, self._oms, self._data)]
        except KeelError as error:
            raise StrategyError(f"position manager at {to_iso(wanted.ts)}: {error}") from error
        except (Exception, SystemExit) as error:
            told = f"the position manager raised {type(error).__name__} at {to_iso(wanted.ts)}: {error}"
            prices = {order.symbol: self._oms.get_current_price(order.symbol) for order in wanted.orders}
            raise user_error(told, error, {"step": to_iso(wanted.ts), "prices": prices}) from error

    def _adjust(self, signal: Signal, held: int, price: float, state: PortfolioView, market: Market) -> Outcome:
        """The side is held already: sell what is too much, add what is missing."""
        more = _steps(signal.size_usd, price, market) - abs(held)
        if more < 0:
            no = _too_small(-more, price, market, APPROVED) if market.is_spot else None  # a perpetual takes any reduction
            if no is not None:
                return self._deny(signal, no)
            self._send_parts(signal, -more, price, market, is_buy=held < 0, reduce_only=True)
            return ORDERED
        if more == 0:
            return self._reached(signal) or HELD_ALREADY
        usd, answer = self._allowed_usd(signal, state)
        more = _steps(usd, price, market) - abs(held) if answer.allowed else 0
        no = self._send_entry_of(signal, more, price, market, answer)
        return ORDERED if no is None else self._deny(signal, no)

    def _open(self, signal: Signal, held: int, price: float, state: PortfolioView, market: Market) -> Outcome:
        """Nothing is held, or the other side: one order of (target - position)."""
        usd, answer = self._allowed_usd(signal, state)
        steps = _steps(usd, price, market) if answer.allowed else 0
        no = self._send_entry_of(signal, steps, price, market, answer, closing=abs(held))
        if no is None:
            self.memory.wishes.pop(signal.symbol, None)
            return ORDERED
        closes = held != 0 and answer.reason not in MALFORMED
        outcome = self._deny(signal, no, closed=closes)
        if closes:
            self._send_close(signal.symbol, held, signal.ts, signal)
        return outcome

    def _allowed_usd(self, signal: Signal, state: PortfolioView) -> tuple[float, RiskDecision]:
        """How much of the value the rules allow."""
        answer = self.manager.policy.check(signal, state)
        if answer.allowed and answer.adjusted_size is not None:
            return answer.adjusted_size, answer
        return (signal.size_usd if answer.allowed else 0.0), answer

    def _send_entry_of(
        self, signal: Signal, steps: int, price: float, market: Market, answer: RiskDecision, *, closing: int = 0
    ) -> RiskDecision | None:
        """Send what opens ``steps`` (and closes ``closing``), unless a rule or the exchange's minimum forbids it: the no, or None."""
        no = answer if not answer.allowed else _too_small(steps, price, market, answer)
        bracket: Bracket | RiskDecision | None = None
        if no is None and self.manager.exits.are_set:
            bracket = self.manager.exits.bracket(signal, price, market.instrument.price_grid)
            no = bracket if isinstance(bracket, RiskDecision) else None
        if no is not None:
            return no
        exits = bracket if isinstance(bracket, Bracket) else None
        if answer.adjusted_size is not None:
            self.memory.counts.note_capped(signal.ts, signal.symbol, answer.reason, signal.size_usd, answer.adjusted_size)
        self._send_parts(signal, steps + closing, price, market, is_buy=signal.direction == "LONG", bracket=exits)
        return None

    def _send_parts(
        self, signal: Signal, steps: int, price: float, market: Market, *, is_buy: bool, reduce_only: bool = False,
        bracket: Bracket | None = None,
    ) -> None:  # fmt: skip
        """Market orders for so many steps, as few as the exchange's maximum allows and as equal as steps allow: a small rest would be less
        than the exchange takes."""
        grid = market.instrument.qty_grid
        for number, part in enumerate(order_parts(grid, steps, market.max_market_qty, equal=True)):
            self._send(
                OrderIntent(
                    signal.symbol, "BUY" if is_buy else "SELL", grid.value(part), signal.ts, reduce_only=reduce_only, bracket=bracket,
                    cancel_first=not number, strategy=signal.strategy, decision_price=price,
                )
            )  # fmt: skip


def _signal(target: TargetPosition, *, closes: bool) -> Signal:
    """A target without a value as the signal that it is."""
    return Signal(target.symbol, "FLAT" if closes or target.side == "CLOSE" else target.side, 0.0, target.strategy, ts=target.ts)


def _steps(value: float, price: float, market: Market) -> int:
    """value / price in steps, rounded down."""
    return max(0, size_count(value / price, market.qty_num, market.qty_den))


def _too_small(steps: int, price: float, market: Market, answer: RiskDecision) -> RiskDecision | None:
    """A denial of what the exchange would not take; a limit that made it so small is the reason."""
    limited: Reason | None = answer.reason or None
    instrument = market.instrument
    qty = instrument.qty_grid.value(steps)
    if steps < 1 or qty < market.min_qty:
        return denied(limited or "below_min_qty", max(0.0, qty), answer.limit if limited else market.min_qty)
    notional = instrument.notional(instrument.price_grid.count(price), steps)
    if notional < market.min_notional:
        return denied(limited or "below_min_notional", notional / UNIT, answer.limit if limited else market.min_notional / UNIT)
    return None
