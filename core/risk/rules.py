"""The policies: what is allowed at all, and how large a position may be. Each limit has its own reason, value and limit.

Yes-or-no rules stand in ``check``, in the order in which they are asked; rules that make an order smaller stand in ``room``. FLAT
passes everything but the price collar. Minimum and maximum sizes are the exchange's, not rules: sizing.py keeps to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from keel.core.engine.clock import Clock
from keel.core.model.costs import taker_price
from keel.core.model.dust import sellable_steps
from keel.core.model.messages import Signal
from keel.core.model.money import UNIT
from keel.core.risk.decision import APPROVED, Reason, RiskDecision, denied
from keel.core.risk.gate.gate import Gate
from keel.core.risk.limits import AccountLimits, Cooldown, Throttle
from keel.core.risk.market import Market
from keel.core.risk.snapshot_view import SnapshotView, as_view
from keel.core.risk.view import PortfolioView
from keel.core.system.config import RiskConfig

Room = tuple[float, Reason, float]
"""The largest notional that a position may have, the limit that says so, and that limit as the system file states it."""

_LEVERAGE: Final[Reason] = "leverage"
_NO_LIMIT: Room = (math.inf, _LEVERAGE, math.inf)

Rule = Callable[[Signal, PortfolioView], RiskDecision]


class PolicyState(msgspec.Struct, frozen=True):
    """What a policy remembers: when symbols were left, when orders went out."""

    exits: dict[str, int] = {}
    orders: list[int] = []


class RiskPolicy(Protocol):
    """What screens signals. It may remember (exits, orders); the account it is only shown."""

    def check(self, signal: Signal, state: PortfolioView) -> RiskDecision: ...
    def room(self, signal: Signal, state: PortfolioView) -> Room: ...
    def note_exit(self, symbol: str, ts: int) -> None: ...
    def note_order(self) -> None: ...
    def state(self) -> PolicyState: ...
    def restore(self, state: PolicyState) -> None: ...


class NoPolicy:
    """Nothing is limited but by a Halt from outside and by what the market itself does not know (a short sale on spot)."""

    __slots__ = ("_allow_short", "_gate")

    def __init__(self, gate: Gate, *, allow_short: bool) -> None:
        self._gate = gate
        self._allow_short = allow_short

    def check(self, signal: Signal, state: PortfolioView) -> RiskDecision:
        """Whether the signal may become an order."""
        if signal.direction == "FLAT":
            return APPROVED
        if signal.direction == "SHORT" and not self._allow_short:
            return denied("short_not_allowed")
        return denied("trading_reducing") if self._gate.has("halt") else APPROVED

    def room(self, signal: Signal, state: PortfolioView) -> Room:
        """No limit."""
        return _NO_LIMIT

    def note_exit(self, symbol: str, ts: int) -> None:
        """Nothing depends on it."""

    def note_order(self) -> None:
        """Nothing depends on it."""

    def state(self) -> PolicyState:
        """Nothing is remembered."""
        return PolicyState()

    def restore(self, state: PolicyState) -> None:
        """Nothing is remembered."""


class RulesPolicy:
    """The limits of the system file's ``risk``."""

    __slots__ = (
        "_base",
        "_carry",
        "_clock",
        "_collar",
        "_cooldown",
        "_instruments",
        "_is_cross",
        "_least_margin",
        "_leverage",
        "_limits",
        "_markets",
        "_max_gross_usd",
        "_max_position_usd",
        "_more",
        "_share",
        "_throttle",
        "_unit_margins",
    )

    def __init__(
        self,
        config: RiskConfig,
        base: NoPolicy,
        limits: AccountLimits,
        markets: Mapping[str, Market],
        *,
        clock: Clock,
        timeframe: str,
    ) -> None:
        self._base, self._clock = base, clock
        self._instruments = {symbol: market.instrument for symbol, market in markets.items()}
        self._limits = limits
        self._markets = markets
        self._collar = config.price_collar_percent
        self._cooldown = Cooldown(config.cooldown_bars, timeframe) if config.cooldown_bars else None
        self._throttle = Throttle(config.max_orders_per_minute, clock) if config.max_orders_per_minute is not None else None
        self._more = self._configured(config.max_open_positions)
        self._leverage, self._is_cross = config.leverage, config.margin_mode == "cross"
        self._least_margin = 1.0 / config.leverage
        self._max_position_usd = config.max_position_usd or math.inf
        self._max_gross_usd = config.max_gross_usd or math.inf
        self._share = 1.0 - config.margin_reserve_percent / 100.0
        self._unit_margins = {symbol: _unit_margin(market, config.leverage) for symbol, market in markets.items()}
        self._carry = {symbol: _carry(market, config.leverage) for symbol, market in markets.items()}

    def check(self, signal: Signal, state: Any) -> RiskDecision:
        """Whether the signal may become an order. ``adjusted_size``: its wish, where a limit leaves less room.

        state: a PortfolioView, whose owner has the limits observe each bar; or a plain picture, which they observe here.
        """
        if not hasattr(state, "gross_notional") or isinstance(state, SnapshotView):
            state = as_view(state, self._instruments)
            self._limits.observe_picture(state, signal.ts or self._clock.now_ms)
        if self._collar is not None and signal.order_type == "limit" and signal.limit_price is not None:
            decision = _check_collar(signal.limit_price, state.mark(signal.symbol), self._collar)
            if not decision.allowed:
                return decision
        if signal.direction == "FLAT":
            return APPROVED
        decision = self._base.check(signal, state)
        if decision.allowed:
            decision = self._limits.decision
        for rule in self._more:
            if not decision.allowed:
                return decision
            decision = rule(signal, state)
        if decision.allowed and signal.size_usd > 0.0:
            return self._check_wish(signal, state)
        return decision

    def room(self, signal: Signal, state: PortfolioView) -> Room:
        """The largest notional that the symbol's position may have after the order; what it has now is taken to be closed first.

        That is what the account can pay the initial margin and the fees (to open and to close) of, beside its other positions, unless
        a limit says less. Unrealised profit of other positions is not spendable (isolated margin); that of the symbol itself is realised
        by the flip. On spot the wallet is the quote balance: other holdings have left it already. ``margin_reserve_percent`` of the account
        stays free for what the price moves; what the order itself costs (fees, spread, slippage) it has to carry with all of it.
        """
        symbol = signal.symbol
        own = state.notional(symbol)
        others = state.gross_notional() - own
        wallet, qty = state.cash / 1e8, state.position_qty(symbol)
        entry, mark = (state.entry_price(symbol), state.mark(symbol)) if qty else (0.0, 0.0)
        carried = self._carried(signal, state, wallet, (qty, entry, mark), others)
        margin = self._unit_margins.get(symbol, self._least_margin)
        if not margin:
            usd = wallet * self._share
        else:
            if own:
                wallet += qty * (mark - entry)
            usd = affordable_usd(wallet, state.equity, self._share, margin) - others
        if carried < usd:
            usd = carried
        reason, limit = _LEVERAGE, self._leverage
        if self._max_position_usd < usd:
            usd, reason, limit = self._max_position_usd, "max_position_usd", self._max_position_usd
        if self._max_gross_usd - others < usd:
            usd, reason, limit = self._max_gross_usd - others, "max_gross_usd", self._max_gross_usd
        return usd, reason, limit

    def note_exit(self, symbol: str, ts: int) -> None:
        """The symbol's position was closed at ts."""
        if self._cooldown is not None:
            self._cooldown.note_exit(symbol, ts)

    def note_order(self) -> None:
        """An order goes out."""
        if self._throttle is not None:
            self._throttle.note_order()

    def state(self) -> PolicyState:
        """What is remembered."""
        return PolicyState(
            self._cooldown.exits if self._cooldown is not None else {}, self._throttle.times if self._throttle is not None else []
        )

    def restore(self, state: PolicyState) -> None:
        """Go on from a ``state()``."""
        if self._cooldown is not None:
            self._cooldown.restore(state.exits)
        if self._throttle is not None:
            self._throttle.restore(state.orders)

    def _carried(self, signal: Signal, state: PortfolioView, wallet: float, held: tuple[float, float, float], others: float) -> float:
        """The notional that the whole account carries when the order fills at what a taker pays (a limit order: at its limit).

        held: the symbol's position, (signed quantity, entry price, mark).
        """
        market = self._markets.get(signal.symbol)
        price = state.last(signal.symbol) if market is not None else 0.0
        if market is None or not price > 0.0:
            return math.inf
        side = 1 if signal.direction == "LONG" else -1
        fill = taker_price(price, market.cost_rate, side, market.price_num, market.price_den)
        limit = signal.limit_price if signal.order_type == "limit" else None
        if limit is not None and limit > 0.0:  # one that is none is denied by the sizer
            price, fill = max(price, limit), limit if side > 0 else max(fill, limit)
        long_unit, short_unit, fee, rate = self._carry[signal.symbol]
        unit = long_unit if side > 0 else short_unit
        if market.is_spot:
            return carried_usd(wallet, wallet, 0.0, 0.0, 0.0, 0.0, price, fill, 1.0, 0.0, rate)
        qty, entry, mark = held
        if not self._is_cross:
            return carried_usd(wallet, state.equity, qty, entry, mark, others, price, fill, unit, fee, rate)
        spare = _SPARE_USD + abs(state.equity) * _SPARE  # of the account something must be left
        unit = cross_carry_margin(self._leverage, market.taker_fee, side, state.mark(signal.symbol), fill)
        return carried_usd(wallet - spare, state.equity - spare, qty, entry, mark, others, price, fill, unit, fee, rate)

    # --- one rule each ---

    def _configured(self, max_open_positions: int | None) -> tuple[Rule, ...]:
        """The rules of this system that remember or count, in the order in which they are asked."""
        rules: list[Rule] = []
        if self._cooldown is not None:
            cooldown = self._cooldown
            rules.append(lambda signal, state: cooldown.check(signal.symbol, signal.ts, self._is_leaving(signal, state)))
        if self._throttle is not None:
            throttle = self._throttle
            rules.append(lambda signal, state: throttle.check())
        if max_open_positions is not None:
            rules.append(lambda signal, state: _check_open_positions(signal.symbol, state, max_open_positions))
        return tuple(rules)

    def _is_leaving(self, signal: Signal, state: PortfolioView) -> bool:
        """Whether the entry ends a position of the other side; more of a side that is held already ends none."""
        market, notional = self._markets.get(signal.symbol), state.notional(signal.symbol)
        if market is not None and market.is_spot and notional > 0.0:
            mark, grid = state.mark(signal.symbol), market.instrument.book_grid
            notional = sellable_steps(market.instrument, grid.count(notional / mark), mark)
        if not notional > 0.0:
            return False
        qty = state.position_qty(signal.symbol)  # 0 where the order that closes it is on its way: that ends it, too
        return not (qty > 0.0 if signal.direction == "LONG" else qty < 0.0)

    def _check_wish(self, signal: Signal, state: PortfolioView) -> RiskDecision:
        usd, reason, limit = self.room(signal, state)
        if signal.size_usd <= usd:
            return APPROVED
        return RiskDecision(True, usd, reason, signal.size_usd, limit) if usd > 0.0 else denied(reason, usd, limit)


def affordable_usd(wallet: float, equity: float, share: float, unit_margin: float) -> float:
    """The notional that an account can pay the margin and the fees of: ``unit_margin`` for each quote coin of it, out of ``share`` of the
    account."""
    return (wallet if wallet < equity else equity) * share / unit_margin


_SPARE_USD: Final = 2e-8
_SPARE: Final = 2e-12
"""What fees round up beside the margin, and a part for what floats round off."""


def carried_usd(
    wallet: float, equity: float, qty: float, entry: float, mark: float, others: float, price: float, fill: float, unit: float, fee: float,
    rate: float,
) -> float:  # fmt: skip
    """The notional, counted at ``price``, of the largest position that an account carries when it is filled at ``fill``.

    qty, entry, mark: the position (signed) that the same order closes first.  others: notional of all other positions.  unit: what one
    quote coin of the filled notional binds and pays (``carry_margin``).  fee, rate: of a taker, as fractions.
    """
    if qty:
        closing = abs(qty) * fill * fee
        wallet += qty * (fill - entry) - closing
        equity += qty * (fill - mark) - closing
    least = wallet if wallet < equity else equity
    spare = _SPARE_USD + abs(least) * _SPARE if fee > 0.0 else 0.0
    return ((least - spare) / unit - others * (1.0 + rate)) * (price / fill)


def carry_margin(leverage: float, taker_fee: int, side: int) -> float:
    """What one quote coin of a perpetual's notional takes out of free cash when it is filled: the initial margin, the fee to open, and the
    fee to close at the bankruptcy price (which lies above the entry of a short, side -1)."""
    fee = max(0, taker_fee) / UNIT
    return 1.0 / leverage + fee + fee * (1.0 - side / leverage)


def cross_carry_margin(leverage: float, taker_fee: int, side: int, mark: float, fill: float) -> float:
    """``carry_margin`` under cross margin, which counts the position at its mark: the margin and the fee to close of its value there, and
    at once what the fill lies beyond the mark (spread and slippage), which the whole account has to bear."""
    fee, lost = max(0, taker_fee) / UNIT, max(0.0, side * (fill - mark)) / fill
    return (1.0 / leverage + fee * (1.0 - side / leverage)) * max(1.0, mark / fill) + fee + lost


def unit_margin(leverage: float, taker_fee: int) -> float:
    """What one quote coin of a perpetual's notional binds: its initial margin, and the fees to open and to close."""
    return 1.0 / leverage + 2.0 * max(0, taker_fee) / UNIT


def _unit_margin(market: Market, leverage: float) -> float:
    """What one quote coin of notional binds: its initial margin, and the fees to open and to close; 0 on spot, which knows no margin."""
    return 0.0 if market.is_spot else unit_margin(leverage, market.taker_fee)


def _carry(market: Market, leverage: float) -> tuple[float, float, float, float]:
    """``carry_margin`` of a long and of a short, a taker's fee, its spread and slippage: the same at every signal."""
    fee = market.taker_fee
    return carry_margin(leverage, fee, 1), carry_margin(leverage, fee, -1), max(0, fee) / UNIT, market.cost_rate / UNIT


def _check_open_positions(symbol: str, state: PortfolioView, limit: int) -> RiskDecision:
    others = state.open_positions() - (1 if state.steps(symbol) else 0)
    return APPROVED if others < limit else denied("max_open_positions", float(others), float(limit))


def _check_collar(limit_price: float, mark: float, collar_percent: float) -> RiskDecision:
    """A denial of a limit price further than the collar from the mark; exactly at it is allowed."""
    distance = abs(limit_price - mark)
    if distance * 100.0 <= collar_percent * mark:
        return APPROVED
    return denied("price_collar_percent", 100.0 * distance / mark if mark > 0.0 else math.inf, collar_percent)
