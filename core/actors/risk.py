"""The risk actor: the only way to an order. It screens and sizes signals, attaches exits, watches the day and the peak; what it
forbids altogether is a cause of the gate (core/risk/gate/gate.py).

A signal is a target. In the direction that is held already it changes nothing (no pyramiding); in the other it is a flip, one order of
(target - position); FLAT closes. A reduction always passes: where the entry of a flip is denied, its closing half is still done, unless
the signal itself is malformed or a SHORT on spot, which sells nothing. Dust (core/model/dust.py) is flat. Orders in flight count: positions
by what is certain to come, exposure by the worst that may.
``counts`` says what became of every signal (core/results/funnel.py).

Portfolio hears fills before risk does (so that ``steps`` is the position after the fill), and risk hears Halt and Resume from the bus,
its own included. ``needs_fills`` tells whether fills have to be told at all; ``limits`` and ``next_due`` are public
so that the loop can compare by itself and call ``on_instant`` only when it has something to do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Final

import msgspec

from keel.core.costs import SetAside
from keel.core.engine.clock import Clock
from keel.core.model.dust import sellable_steps
from keel.core.model.instrument import Instrument, order_parts
from keel.core.model.messages import Fill, Halt, Message, OrderIntent, OrderType, Resume, Signal, SignalDenied
from keel.core.model.money import UNIT
from keel.core.model.timeframe import floor_ts, tf_ms
from keel.core.model.words import check_again
from keel.core.results.funnel import BY_SIZER, FLAT_ALREADY, HELD_ALREADY, ORDERED, WITHDRAWN, Outcome, SignalCounts
from keel.core.risk.decision import MALFORMED, RiskDecision, Sizing, denied
from keel.core.risk.exits import ReadFeature
from keel.core.risk.gate.gate import Gate
from keel.core.risk.limits import LimitsState
from keel.core.risk.manager import RiskManager
from keel.core.risk.market import Market
from keel.core.risk.rules import PolicyState
from keel.core.risk.view import ExpectedView, Flights, PortfolioView, WorkingOrders
from keel.core.system.config import ExecutionConfig, ExitsConfig, RiskConfig, SizingConfig

Wish = tuple[float, float | None, float | None, float | None]
"""What a signal asks for beside its direction: size_usd, stop_loss, take_profit, trailing."""

_OWN_HALTS = ("daily_loss_percent", "max_drawdown_percent")


class RiskMemory(msgspec.Struct):
    """What the actor itself remembers, by symbol."""

    sides: dict[str, int] = {}
    """Of the position: 1, -1; 0 where it was left."""
    due: dict[str, int] = {}
    """When a position has run its bars (ms)."""
    wishes: dict[str, Wish] = {}
    """Of the signal by which what is held was opened."""
    dust: dict[str, int] = {}
    """The steps of a spot rest for which a FLAT was denied already."""
    flattening: str = ""
    """Why everything is being closed; "" where it is not."""
    counts: SignalCounts = msgspec.field(default_factory=SignalCounts)


class RiskState(msgspec.Struct, frozen=True):
    """Everything that risk remembers, as plain data."""

    memory: RiskMemory
    halted: str
    """Why a Halt from outside lets nothing in; "" where none does."""
    limits: LimitsState
    policy: PolicyState


class RiskActor:
    """Signals in, OrderIntents and denials out. ``working`` is the executor, seen read-only."""

    __slots__ = (
        "_emit",
        "_flatten_on_limit",
        "_flights",
        "_instruments",
        "_markets",
        "_max_bars",
        "_portfolio",
        "_timeframe",
        "limits",
        "manager",
        "memory",
        "needs_fills",
        "next_due",
    )

    def __init__(
        self,
        config: RiskConfig,
        sizing: SizingConfig,
        exits: ExitsConfig | None,
        instruments: Mapping[str, Instrument],
        portfolio: PortfolioView,
        clock: Clock,
        emit: Callable[[Message], None],
        *,
        timeframe: str,
        read_feature: ReadFeature,
        allow_short: bool,
        working: WorkingOrders,
        execution: ExecutionConfig | SetAside | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.manager = RiskManager(
            config, sizing, exits=exits, instruments=instruments, clock=clock, timeframe=timeframe, read_feature=read_feature,
            allow_short=allow_short, execution=execution, gate=gate,
        )  # fmt: skip
        self._instruments = instruments
        self._markets = self.manager.markets
        self._portfolio = portfolio
        self._emit = emit
        self._timeframe = timeframe
        self._flights = Flights(working, instruments)
        self.limits = self.manager.limits
        self._flatten_on_limit = config.on_limit == "flatten"
        self._max_bars = self.manager.exits.max_bars
        self.memory = RiskMemory()
        self.next_due: float = math.inf
        self.needs_fills = self._max_bars is not None or (config.policy == "rules" and config.cooldown_bars > 0)

    @property
    def counts(self) -> SignalCounts:
        """What became of the signals so far."""
        return self.memory.counts

    # --- signals ---

    def on_signal(self, signal: Signal) -> None:
        """Turn a decision into orders, or say why not; and count what became of it.

        Raises FieldError for what is no Signal, or holds what a Signal does not take.
        """
        check_again(signal, Signal)
        self.on_stamped(signal)

    def on_stamped(self, signal: Signal) -> None:
        """``on_signal`` for a signal that the strategy's actor has just made, and so checked."""
        self.memory.counts.note(signal.ts, signal.symbol, self._take(signal))

    def _take(self, signal: Signal) -> Outcome:
        symbol, direction = signal.symbol, signal.direction
        market = self._markets.get(symbol)
        if market is None:
            return self._deny(signal, denied("unknown_symbol"))
        is_free = self._flights.is_empty()
        state = self._portfolio if is_free else self._expected(symbol)
        held = state.steps(symbol)
        if held and market.is_spot:
            held = _sellable(held, market, state)
        if direction == "FLAT":
            return self._exit(signal, held, state)
        if held and (held > 0) == (direction == "LONG"):
            return (None if is_free else self._reached(signal)) or self._unheeded(signal)
        return self._enter(signal, held, state, market)

    def _enter(self, signal: Signal, held: int, state: PortfolioView, market: Market) -> Outcome:
        manager = self.manager
        answer: RiskDecision | Sizing = _LIMITLESS if _lacks_limit(signal) else manager.policy.check(signal, state)
        if answer.allowed:
            price = state.last(signal.symbol)
            answer = sizing = manager.size(signal, price, state)
            if sizing.allowed:
                self._send_entry(signal, sizing, held, price, market)
                self.memory.wishes[signal.symbol] = _wish(signal)
                if self.memory.dust:
                    self.memory.dust.pop(signal.symbol, None)
                if sizing.reason or sizing.asked_usd:
                    self.memory.counts.note_capped(signal.ts, signal.symbol, sizing.reason or BY_SIZER, sizing.asked_usd, sizing.size_usd)
                return ORDERED
        return self._deny_but_close(signal, answer, held)

    def _deny_but_close(self, signal: Signal, answer: RiskDecision | Sizing, held: int) -> Outcome:
        """Deny; of a flip (``held`` is of the other side) the closing half is done, unless the signal itself is malformed."""
        closes = held != 0 and answer.reason not in MALFORMED
        outcome = self._deny(signal, answer, closed=closes)
        if closes:
            self._send_close(signal.symbol, held, signal.ts, signal)
        return outcome

    def _exit(self, signal: Signal, held: int, state: PortfolioView) -> Outcome:
        answer = _LIMITLESS if _lacks_limit(signal) else self.manager.policy.check(signal, state)
        if not answer.allowed:
            return self._deny(signal, answer)
        if held:
            self._send_close(signal.symbol, held, signal.ts, signal)
            return ORDERED
        return self._reached(signal) or self._dust_kept(signal, state) or FLAT_ALREADY

    def _dust_kept(self, signal: Signal, state: PortfolioView) -> Outcome | None:
        """A denial, once for each remainder: a spot holding of whole steps that the exchange does not take. It counts as flat."""
        symbol = signal.symbol
        market = self._markets[symbol]
        instrument = market.instrument
        steps = instrument.qty_grid.floor(self._portfolio.position_qty(symbol)) if market.is_spot and self._flights.is_empty() else 0
        if steps <= 0 or self.memory.dust.get(symbol) == steps:
            return None
        self.memory.dust[symbol] = steps
        qty = instrument.qty_grid.value(steps)
        if qty < market.min_qty:
            return self._deny(signal, denied("below_min_qty", qty, market.min_qty))
        worth = instrument.notional(instrument.price_grid.count(state.last(symbol)), steps)
        return self._deny(signal, denied("below_min_notional", worth / UNIT, market.min_notional / UNIT))

    def _reached(self, signal: Signal) -> Outcome | None:
        """The target is reached; an order that waits to lead away from it is cancelled. An intent of 0 does only that.

        None where there was no order that could still be called back.
        """
        if not self._flights.has_against(signal.symbol, signal.direction):
            return None
        outcome = WITHDRAWN if self._flights.can_withdraw(signal.symbol, signal.direction) else None
        self._send(OrderIntent(signal.symbol, "BUY", 0.0, signal.ts, cancel_first=True, strategy=signal.strategy))
        return outcome

    def _unheeded(self, signal: Signal) -> Outcome:
        """The direction is held already: what else the signal asks for, compared with the one that opened, is not done."""
        asked = _wish(signal)
        before = self.memory.wishes.get(signal.symbol, asked)
        if asked == before:
            return HELD_ALREADY
        of_size, of_exits = asked[0] != before[0], asked[1:] != before[1:]
        reason = "other_size_and_exits" if of_size and of_exits else "other_size" if of_size else "other_exits"
        new, old = next((new, old) for new, old in zip(asked, before, strict=True) if new != old)
        return Outcome("ignored", reason, new or 0.0, old or 0.0)

    def _deny(self, signal: Signal, answer: RiskDecision | Sizing, *, closed: bool = False) -> Outcome:
        self._emit(SignalDenied(signal.symbol, signal.ts, answer.reason, answer.value, answer.limit))
        return Outcome("denied", answer.reason, answer.value, answer.limit, closed)

    # --- orders ---

    def _send_entry(self, signal: Signal, sizing: Sizing, held: int, price: float, market: Market) -> None:
        """One order of (target - position); where that is more than the exchange takes at once, the closing half goes first."""
        qty, cancel_first = sizing.quantity, True
        is_market = signal.order_type == "market"
        if held:
            qty = (sizing.steps + abs(held)) * market.qty_num / market.qty_den
            if qty > (market.max_market_qty if is_market else market.max_qty):
                self._send_close(signal.symbol, held, signal.ts, signal)
                qty, cancel_first = sizing.quantity, False
        is_buy = signal.direction == "LONG"
        self._send(
            OrderIntent(
                signal.symbol,
                "BUY" if is_buy else "SELL",
                qty,
                signal.ts,
                signal.order_type,
                None if is_market else self._limit_price(signal, is_buy),
                None,
                "last",
                "GTC",
                False,
                sizing.bracket,
                cancel_first,
                "signal",
                signal.strategy,
                price,
            )
        )

    def _send_close(self, symbol: str, held: int, ts: int, signal: Signal | None = None, reason: str = "signal") -> None:
        """Reduce-only orders for all that is held, each within the exchange's maximum; at the signal's limit price, if it has one."""
        is_buy = held < 0
        order_type: OrderType = signal.order_type if signal is not None else "market"
        price = self._limit_price(signal, is_buy) if signal is not None else None
        strategy = signal.strategy if signal is not None else ""
        market = self._markets[symbol]
        grid, most = market.instrument.qty_grid, market.max_market_qty if order_type == "market" else market.max_qty
        for number, steps in enumerate(order_parts(grid, abs(held), most)):
            self._send(
                OrderIntent(
                    symbol, "BUY" if is_buy else "SELL", grid.value(steps), ts, order_type, price, reduce_only=True,
                    cancel_first=not number, reason=reason, strategy=strategy, decision_price=self._portfolio.last(symbol),
                )
            )  # fmt: skip

    def _send(self, intent: OrderIntent) -> None:
        self._flights.note(intent)
        if intent.qty:
            self.manager.policy.note_order()
        self._emit(intent)

    def _limit_price(self, signal: Signal, is_buy: bool) -> float | None:
        """The signal's limit on the grid, never worse than asked for."""
        if signal.order_type == "market" or signal.limit_price is None:
            return None
        grid = self._instruments[signal.symbol].price_grid
        return grid.value(grid.floor(signal.limit_price) if is_buy else grid.ceil(signal.limit_price))

    # --- the account, with what is on its way ---

    def _expected(self, symbol: str) -> PortfolioView:
        """The account as it will be when this symbol's waiting orders are cancelled, which every order of ours does first."""
        if self._flights.is_empty():
            return self._portfolio
        flights = [flight for flight in self._flights.listed() if flight.certain or flight.symbol != symbol]
        return ExpectedView(self._portfolio, self._instruments, flights, self._markets)

    def _held(self, symbol: str, state: PortfolioView) -> int:
        """The position in steps, as far as it can be sold."""
        steps, market = state.steps(symbol), self._markets[symbol]
        return _sellable(steps, market, state) if steps and market.is_spot else steps

    # --- time ---

    def on_instant(self, ts: int) -> None:
        """All bars that close at ts are in, the account is marked: roll the day, watch loss and drawdown, close what has run its bars."""
        limits, equity = self.limits, self._portfolio.equity
        if equity <= limits.floor or equity > limits.peak or ts >= limits.day_end:
            self._observe(ts, equity)
        if ts >= self.next_due:
            self._close_due(ts)

    def _observe(self, ts: int, equity: float) -> None:
        was_locked = self.limits.is_day_locked
        breach = self.limits.observe(ts, equity)
        if breach is not None:
            self._emit(Halt(ts, breach, self._flatten_on_limit))
        elif was_locked and not self.limits.is_day_locked:
            self._emit(Resume(ts, "daily_loss_percent"))

    def _close_due(self, ts: int) -> None:
        if self.memory.flattening:
            self._flatten(ts)
            return
        for symbol, due in self.memory.due.items():
            if ts >= due:
                self._close_at_market(symbol, ts, "max_bars")
                self.memory.due[symbol] = floor_ts(ts, self._timeframe) + tf_ms(self._timeframe)  # again, should this one not be filled
        self._set_next_due()

    def close_position(self, symbol: str, ts: int, reason: str) -> None:
        """Close what is held of a symbol, at market, whatever the strategy wants."""
        self._close_at_market(symbol, ts, reason)

    # --- what happened ---

    def on_fill(self, fill: Fill) -> None:
        """Remember entries (for max_bars) and exits (for the cooldown). The portfolio has booked the fill already."""
        symbol = fill.symbol
        steps = self._held(symbol, self._portfolio)
        side = (steps > 0) - (steps < 0)
        before = self.memory.sides.get(symbol, 0)
        if side == before:
            return
        self.memory.sides[symbol] = side
        if before:
            self.manager.policy.note_exit(symbol, fill.ts)
            self.memory.due.pop(symbol, None)
        if side and self._max_bars is not None:
            self.memory.due[symbol] = floor_ts(fill.ts, self._timeframe) + self._max_bars * tf_ms(self._timeframe)
        self._set_next_due()

    # --- memory ---

    def state(self) -> RiskState:
        """What is remembered, between two messages (every intent has been taken by the executor then); to be written at once."""
        return RiskState(self.memory, self._halted(), self.limits.state(), self.manager.policy.state())

    def restore(self, state: RiskState) -> None:
        """Go on from a ``state()``, after the executor did."""
        self.memory = deepcopy(state.memory)
        self.manager.gate.hold("halt", not state.halted, state.halted)
        self.limits.restore(state.limits)
        self.manager.policy.restore(state.policy)
        self._flights.begin()
        self._set_next_due()

    # --- the gate ---

    def on_halt(self, halt: Halt) -> None:
        """Close the gate, and close what is open when told to. A limit's own halt is held by the limit, not by the gate."""
        if halt.reason not in _OWN_HALTS:
            self.manager.gate.close("halt", halt.reason or "halt")
        if halt.flatten:
            self.memory.flattening = "limit" if halt.reason in _OWN_HALTS else "halt"
            self._flatten(halt.ts)

    def on_resume(self, resume: Resume) -> None:
        """Open the gate. What a limit holds stays held until its time: the next UTC day, or never."""
        if resume.reason not in _OWN_HALTS:
            self.manager.gate.open("halt")
        self._end_flattening()

    def _halted(self) -> str:
        return next((entry.text for entry in self.manager.gate.entries("halt")), "")

    def _flatten(self, ts: int) -> None:
        """Close every position; come back at each instant until nothing is held and nothing is on its way."""
        reason = self.memory.flattening
        is_done = True
        for symbol in self._instruments:
            is_done = not self._close_at_market(symbol, ts, reason) and is_done
        if is_done and self._flights.is_empty():
            self._end_flattening()
        else:
            self._set_next_due()

    def _set_next_due(self) -> None:
        """While everything is being closed, each instant is due."""
        self.next_due = -math.inf if self.memory.flattening else min(self.memory.due.values(), default=math.inf)

    def _end_flattening(self) -> None:
        self.memory.flattening = ""
        self._set_next_due()

    def _close_at_market(self, symbol: str, ts: int, reason: str) -> bool:
        held = self._held(symbol, self._expected(symbol))
        if held:
            self._send_close(symbol, held, ts, reason=reason)
        return held != 0


def _wish(signal: Signal) -> Wish:
    return signal.size_usd, signal.stop_loss, signal.take_profit, signal.trailing


_LIMITLESS: Final = denied("limit_price_missing")


def _lacks_limit(signal: Signal) -> bool:
    """Whether a limit order came without a price: it cannot be worked with, and is not what an order that closes may be made of."""
    return signal.order_type == "limit" and not (signal.limit_price or 0.0) > 0.0


def _sellable(steps: int, market: Market, state: PortfolioView) -> int:
    """A spot holding of so many whole steps, without dust."""
    instrument = market.instrument
    return sellable_steps(instrument, instrument.book_grid.count(instrument.qty_grid.value(steps)), state.last(instrument.symbol))
