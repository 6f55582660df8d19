"""Whatever is ordered and whatever the market does: postings sum to zero, nobody owes what it has not, and fills tell the whole story."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from keel.core.actors.portfolio import Portfolio
from keel.core.costs import CostModels
from keel.core.engine.clock import ReplayClock
from keel.core.model.instrument import Grid, Instrument, generic_tiers
from keel.core.model.messages import (
    AmendOrder,
    Bracket,
    CancelAll,
    CancelOrder,
    Fill,
    FundingPayment,
    Liquidation,
    OrderUpdate,
    SetTradingStop,
    SubmitOrder,
)
from keel.core.model.money import UNIT, to_units
from keel.core.model.orders import OrderState, advance
from keel.core.system.config import ExecutionConfig, ImpactConfig
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange

HOUR = 3_600_000
SYMBOL = "XUSDT"
LADDER = st.integers(80, 120).map(float)
QTY = st.sampled_from([0.01, 0.5, 1.0, 2.5, 7.0, 40.0])
SIDE = st.sampled_from(["BUY", "SELL"])
SOURCE = st.sampled_from(["last", "mark", "index"])


@st.composite
def candles(draw: st.DrawFn) -> tuple[float, float, float, float]:
    """open, high, low, close."""
    values = sorted(draw(st.lists(LADDER, min_size=4, max_size=4)))
    opened, closed = draw(st.permutations(values[1:3]))
    return opened, values[3], values[0], closed


@st.composite
def brackets(draw: st.DrawFn, side: str) -> Bracket | None:
    """Exits, mostly on their right sides."""
    if draw(st.booleans()):
        return None
    out = 1 if side == "BUY" else -1
    stop = draw(st.none() | st.integers(1, 25).map(lambda d: 100.0 - out * d))
    profit = draw(st.none() | st.integers(1, 25).map(lambda d: 100.0 + out * d))
    trailing = draw(st.none() | st.sampled_from([3.0, 8.0]))
    mode = draw(st.sampled_from(["full", "partial"]))
    limit = profit if profit is not None and mode == "partial" and draw(st.booleans()) else None
    return Bracket(stop, profit, trailing, draw(st.none() | LADDER), draw(SOURCE), mode, limit)


@st.composite
def orders(draw: st.DrawFn, name: str, ts: int, hedge: bool) -> SubmitOrder:
    """Any order of any kind."""
    side = draw(SIDE)
    kind = draw(st.sampled_from(["market", "market", "limit", "stop_market", "stop_limit"]))
    reduce_only = draw(st.sampled_from([False, False, True]))
    return SubmitOrder(
        name, SYMBOL, side, kind, draw(QTY), ts,
        price=draw(LADDER) if kind in ("limit", "stop_limit") else None,
        trigger_price=draw(LADDER) if kind.startswith("stop") else None,
        trigger_by=draw(SOURCE),
        time_in_force=draw(st.sampled_from(["GTC", "GTC", "IOC", "FOK", "POST_ONLY"])),
        reduce_only=reduce_only,
        position_idx=draw(st.sampled_from([1, 2])) if hedge else 0,
        bracket=None if reduce_only else draw(brackets(side)),
    )  # fmt: skip


CONFIGS = st.builds(
    ExecutionConfig,
    latency_ms=st.sampled_from([0, 0, 900_000, HOUR]),
    half_spread_bps=st.sampled_from([0.0, 0.5, 40.0]),
    slippage_bps=st.sampled_from([0.0, 1.0]),
    impact=st.sampled_from(["none", ImpactConfig(base_bps=1.0, coefficient=0.3)]),
    max_volume_share=st.sampled_from(["none", 0.05]),
    limit_fill=st.sampled_from(["through", "touch"]),
    path=st.sampled_from(["ohlc", "pessimistic"]),
)


def make(
    category: str,
    hedge: bool,
    leverage: float,
    config: ExecutionConfig,
    emit: Any,
    clock: ReplayClock,
    interval: int = HOUR * 3 // 2,
    costs: CostModels | None = None,
) -> SimulatedExchange:
    """An exchange with one symbol and funding at every ``interval``."""
    grid = Grid.from_text
    instrument = Instrument(
        SYMBOL, category, "X", "USDT", grid("1"), grid("0.01"), 0.01, 1e6, 1e6, to_units("1"), 55_000, 20_000,
        tiers=generic_tiers(), price_limit_y=to_units("0.15"), price_limit_x=to_units("0.1"),
    )  # fmt: skip
    exchange = SimulatedExchange(
        SYMBOL,
        1000.0,
        config,
        RiskProfileConfig(leverage=leverage),
        instruments={SYMBOL: instrument},
        clock=clock,
        emit=emit,
        hedge_mode=hedge,
        costs=costs,
    )
    stamps = list(range(0, 200 * HOUR, interval))
    rates = [((n * 37) % 21 - 10) * 50_000 for n in range(len(stamps))]
    exchange.set_funding(SYMBOL, stamps, rates, [100 * UNIT + n * 12345 for n in range(len(stamps))])
    return exchange


class ExchangeMachine(RuleBasedStateMachine):
    """Random orders, bars and funding against one exchange."""

    @initialize(
        category=st.sampled_from(["linear", "linear", "linear", "spot"]),
        hedge=st.booleans(),
        leverage=st.sampled_from([1.0, 5.0, 25.0]),
        config=CONFIGS,
    )
    def begin(self, category: str, hedge: bool, leverage: float, config: ExecutionConfig) -> None:
        self.is_spot = category == "spot"
        self.hedge = hedge and not self.is_spot
        self.clock = ReplayClock()
        self.events: list[Any] = []
        self.exchange = make(category, self.hedge, 1.0 if self.is_spot else leverage, config, self.on_event, self.clock)
        self.book = self.exchange.books[SYMBOL]
        self.states: dict[str, OrderState] = {}
        self.leaves: dict[str, float] = {}
        self.portfolio = Portfolio([self.book.instrument], to_units("1000"))
        self.hour = self.count = 0
        self.last_ts = 0

    def on_event(self, event: Any) -> None:
        self.check_accounts()
        assert event.ts >= self.last_ts
        self.last_ts = event.ts
        if isinstance(event, OrderUpdate):
            if event.client_order_id.endswith("trading-stop"):
                return
            state = self.states.get(event.client_order_id, "pending_submit")
            if event.status not in ("cancel_rejected", "amend_rejected"):
                self.states[event.client_order_id] = advance(state, event.status)
        elif isinstance(event, Fill) and not self.hedge:
            self.portfolio.on_fill(event)
        elif isinstance(event, FundingPayment) and not self.hedge:
            self.portfolio.on_funding(event)
        elif isinstance(event, Liquidation):
            assert event.loss >= 0 and event.insurance >= 0

    @rule(data=st.data())
    def submit(self, data: st.DataObject) -> None:
        self.count += 1
        self.exchange.submit_order(data.draw(orders(f"k-{self.count}", self.clock.now_ms, self.hedge)))

    @rule(number=st.integers(1, 12), suffix=st.sampled_from(["", "-sl", "-tp", "-ts"]))
    def cancel(self, number: int, suffix: str) -> None:
        self.exchange.cancel_order(CancelOrder(f"k-{number}{suffix}", SYMBOL, self.clock.now_ms))

    @rule()
    def cancel_all(self) -> None:
        self.exchange.cancel_all(CancelAll(self.clock.now_ms))

    @rule(number=st.integers(1, 12), qty=st.none() | QTY, price=st.none() | LADDER, trigger=st.none() | LADDER)
    def amend(self, number: int, qty: float | None, price: float | None, trigger: float | None) -> None:
        self.exchange.amend_order(AmendOrder(f"k-{number}", SYMBOL, self.clock.now_ms, qty, price, trigger))

    @rule(data=st.data(), side=SIDE, idx=st.sampled_from([0, 1, 2]))
    def exits(self, data: st.DataObject, side: str, idx: int) -> None:
        bracket = data.draw(brackets(side)) or Bracket()
        self.exchange.set_trading_stop(SetTradingStop(SYMBOL, self.clock.now_ms, bracket, idx))

    @rule(last=candles(), mark=st.none() | candles(), volume=st.sampled_from([0.0, 10.0, 200.0]))
    def bar(self, last: Any, mark: Any, volume: float) -> None:
        mark = mark or last
        start = self.hour * HOUR
        self.exchange.step(self.book, start, start + HOUR, *last, volume, *mark, *last, 30.0)
        self.hour += 1
        self.clock.now_ms = self.hour * HOUR

    @invariant()
    def check_accounts(self) -> None:
        if not hasattr(self, "book"):
            return
        for accounts in self.exchange.ledger.coins.values():
            assert sum(accounts) == 0
            assert min(accounts[:3]) >= 0

    @invariant()
    def check_positions(self) -> None:
        if not hasattr(self, "book"):
            return
        book = self.book
        assert sum(position.margin for position in book.positions) == book.accounts[2]
        quote = sum(order.reserve for order in book.orders.values() if not self.is_spot or order.side > 0)
        assert quote == book.accounts[1]
        for position in book.positions:
            assert position.cost >= 0
            if not position.steps:
                assert position.cost == 0 and position.margin == 0
            if not position.steps // book.lot:
                assert position.children == []
            for child in position.children:
                assert book.orders[child.client_order_id] is child
        if self.is_spot:
            assert book.positions[0].steps == book.base_accounts[0] + book.base_accounts[1]
        for name, order in book.orders.items():
            assert order.leaves > 0 and self.states.get(name, "pending_submit") in ("accepted", "triggered", "partially_filled")

    @invariant()
    def check_the_portfolio_made_from_fills(self) -> None:
        if hasattr(self, "book") and not self.hedge:
            line = self.portfolio.lines[SYMBOL].book
            assert self.portfolio.cash == self.exchange.balance("USDT")
            assert (line.steps, line.cost) == (self.book.positions[0].steps, self.book.positions[0].cost)


TestExchange = ExchangeMachine.TestCase
TestExchange.settings = settings(
    max_examples=min(60, settings().max_examples), stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


@st.composite
def walks(draw: st.DrawFn) -> list[tuple[Any, Any, bool]]:
    """Bars that move a little from one to the next, with a mark beside them and now and then an order: (last, mark, has_order)."""
    bars = []
    price = 100.0
    moves = st.tuples(st.integers(-2, 2), st.integers(0, 2), st.integers(0, 2), st.integers(-1, 1), st.integers(0, 5))
    for number, (move, up, down, basis, dice) in enumerate(draw(st.lists(moves, min_size=5, max_size=60))):
        close = max(60.0, price + move)
        last = (price, max(price, close) + up, min(price, close) - down, close)
        bars.append((last, tuple(value + 0.25 * basis for value in last), number == 0 or dice == 0))
        price = close
    return bars


@settings(max_examples=min(150, 2 * settings().max_examples), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), hedge=st.booleans(), leverage=st.sampled_from([1.0, 25.0, 50.0]), config=CONFIGS, bars=walks())
def test_a_bar_that_the_wake_levels_let_pass_changes_nothing(data, hedge, leverage, config, bars) -> None:
    """The same orders and bars, once with every bar stepped, once with those only that the contract asks for."""
    sides = []
    for _ in range(2):
        events: list[Any] = []
        clock = ReplayClock()
        sides.append((make("linear", hedge, leverage, config, events.append, clock, 20 * HOUR + 1), events, clock))
    for hour, (last, mark, has_order) in enumerate(bars):
        start, close = hour * HOUR, (hour + 1) * HOUR
        order = data.draw(orders(f"k-{hour}", start, hedge)) if has_order else None
        for number, (exchange, _, clock) in enumerate(sides):
            clock.now_ms = start
            if order is not None:
                exchange.submit_order(order)
            book = exchange.books[SYMBOL]
            low, high = min(last[2], mark[2]), max(last[1], mark[1])
            if number == 0 or close > book.wake_ts or low <= book.wake_low or high >= book.wake_high:
                exchange.step(book, start, close, *last, 50.0, *mark, *last, 30.0)
    (every, all_events, _), (lean, lean_events, _) = sides
    assert lean_events == all_events
    assert lean.ledger.coins == every.ledger.coins
    assert lean.position_log == every.position_log
    assert lean.metrics.trust() == every.metrics.trust()
