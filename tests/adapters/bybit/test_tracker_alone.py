"""The tracker and the stream's watch, driven without a socket, a task or a clock: a reference of truth plays the exchange, its stream
loses, doubles, delays and reorders rows, its lists lag and fail, and answers to commands are lost. Afterwards every order is decided as it
truly went, every fill is booked once, and the queries are few.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from keel.adapters.bybit.execution.tracking.order_tracker import OrderTracker
from keel.adapters.bybit.execution.tracking.past import Past
from keel.adapters.bybit.execution.tracking.queries import AskExecutions, AskOrder, AskWitness, Moment, OrderView, Output, Query, SendAgain
from keel.adapters.bybit.execution.tracking.stream_watch import StreamWatch
from keel.adapters.bybit.execution.tracking.tracked_order import TrackedOrder
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.wire.shapes import ExecutionRow, OrderRow
from keel.core.model.messages import Fill, OrderUpdate, SubmitOrder
from keel.core.model.orders import OrderLife
from tests.builders import perpetual

T0 = 1_700_000_000_000
BTC = perpetual()
LONG_MS = 150_000
"""So long a story is followed: what was lost is found by lists of every ten and thirty seconds, a proof of absence takes fifteen."""
QUERIES_PER_ORDER = 40


class True_:
    """An order as it really goes: what is told of it, each with the time from which on it is so."""

    def __init__(self, number: int, side: str, qty: int, price: float) -> None:
        self.name, self.order_id, self.side, self.qty, self.price = f"t-{number}", f"o-{number}", side, qty, price
        self.rows: list[tuple[int, OrderRow]] = []
        self.executions: list[tuple[int, ExecutionRow]] = []
        self.filled, self.end = 0, ""

    def at(self, ms: int) -> OrderRow | None:
        return next((row for since, row in reversed(self.rows) if since <= ms), None)

    def tell(self, ms: int, status: str) -> OrderRow:
        row = OrderRow(
            self.order_id, "BTCUSDT", self.side, status, orderType="Limit", price=str(self.price), qty=_text(self.qty),
            cumExecQty=_text(self.filled), updatedTime=str(T0 + ms), orderLinkId=self.name,
            cancelType="CancelByUser" if status == "Cancelled" else "",
        )  # fmt: skip
        self.rows.append((ms, row))
        return row


def _text(steps: int) -> str:
    return f"{steps / 1000:.3f}"


class Exchange:
    """Truth, and what it lets be known: ``hear_order`` and ``hear_execution`` take what the stream brings."""

    def __init__(self, random: Random) -> None:
        self.random, self.now, self._count = random, 0, 0
        self.due: list[tuple[int, int, Callable[[], None]]] = []
        self.orders: list[True_] = []
        self.held, self.cost = 0, Fraction(0)

    def later(self, ms: int, work: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self.due, (self.now + ms, self._count, work))

    def run(self, until: int) -> None:
        while self.due and self.due[0][0] <= until:
            self.now, _, work = heapq.heappop(self.due)
            work()
        self.now = until

    def push(self, hear: Callable[[], None]) -> None:
        """By the stream: at once, late, twice or never."""
        for _ in range(self.random.choice((0, 1, 1, 1, 2))):
            self.later(self.random.choice((0, 0, 5, 200, 2_500, 6_000)), hear)

    def execute(self, order: True_, qty: int) -> ExecutionRow:
        """Fill some of it, and say what was realised, as the exchange does on its stream."""
        order.filled += qty
        signed = qty if order.side == "Buy" else -qty
        price, realized = Fraction(str(order.price)), Fraction(0)
        closing = min(abs(signed), abs(self.held)) if self.held * signed < 0 else 0
        if closing:
            share = self.cost * closing / abs(self.held)
            realized = (price * closing - share) * (1 if self.held > 0 else -1)
            self.cost -= share
        opening = abs(signed) - closing
        self.held += signed
        self.cost += price * opening
        row = ExecutionRow(
            "BTCUSDT", f"e-{order.name}-{order.filled}", "Trade", order.side, str(order.price), _text(qty), str(T0 + self.now),
            orderId=order.order_id, orderLinkId=order.name, execFee="0", orderQty=_text(order.qty), feeRate="0",
            execPnl=f"{float(round(realized / 1000, 8)):.8f}",
        )  # fmt: skip
        order.executions.append((self.now, row))
        return row


class World:
    """An exchange, and a tracker beside it whose queries are made."""

    def __init__(self, random: Random) -> None:
        self.random, self.exchange = random, Exchange(random)
        self.out: list[Output] = []
        self.asked: Counter[str] = Counter()
        self.failures = 0
        self.tracker = OrderTracker({"BTCUSDT": BTC}, self.take, Past(since_ms=T0), self.moment())
        self.watch = StreamWatch(self.tracker)

    def moment(self) -> Moment:
        now = self.exchange.now
        return Moment(now + 7, T0 + now, T0 + now)

    def take(self, output: Output) -> None:
        self.out.append(output)
        if isinstance(output, (AskOrder, AskExecutions)):
            self.exchange.later(output.after_ms, lambda: self.make(output))
        elif isinstance(output, SendAgain):
            name = output.command.client_order_id
            order = self.tracker.orders.get(name)
            assert order is not None and order.is_exit
            again = next(each for each in self.exchange.orders if each.name == name)
            self.exchange.later(0, lambda: self.send(again, order))
        elif isinstance(output, AskWitness):  # position and wallet agree with our books exactly where the order has done nothing unheard
            name = output.client_order_id
            true = next(each for each in self.exchange.orders if each.name == name)
            self.exchange.later(50, lambda: self.tracker.witnessed(name, "it holds more" if true.filled else "", self.moment()))

    # --- queries ---

    def make(self, query: Query) -> None:
        if not self.tracker.is_still_wanted(query):
            return
        if isinstance(query, AskOrder):
            self.read_order(query, lambda view: None)
        else:
            self.exchange.later(20, lambda: (self.read_executions(), self.tracker.earlier_read()))

    def read_order(self, query: AskOrder, then: Callable[[OrderView | None], None]) -> None:
        self.asked[query.client_order_id or query.order_id or ""] += 1
        asked = self.moment().monotonic_ms

        def answer() -> None:
            view = None if self.fails() else self.view(query)
            self.tracker.order_read(query, view, asked, self.moment())
            then(view)

        self.exchange.later(self.random.choice((10, 300)), answer)

    def fails(self) -> bool:
        """Whether a list cannot be read now: four times in a story."""
        is_failing = self.failures < 4 and self.random.random() < 0.2
        self.failures += is_failing
        return is_failing

    def lag(self) -> int:
        """Up to which time a list knows."""
        return self.exchange.now - self.random.choice((0, 0, 100, 1_000, 4_000))

    def view(self, query: AskOrder) -> OrderView:
        true = next(each for each in self.exchange.orders if query.client_order_id == each.name or query.order_id == each.order_id)
        row, until = true.at(self.lag()), self.lag()
        executions = [_listed(each) for since, each in true.executions if since <= until]
        return OrderView(row, [] if row is not None and row.cumExecQty == "0.000" else executions)

    def read_executions(self) -> None:
        if self.fails():
            return
        since, until = self.tracker.execution_window(self.moment(), follows_stream=False)
        known = self.lag()
        rows = [(ms, _listed(row)) for order in self.exchange.orders for ms, row in order.executions if ms <= known]
        rows = [(ms, row) for ms, row in rows if since <= T0 + ms <= until]
        self.tracker.on_execution_list([row for _, row in sorted(rows, key=lambda each: (each[0], each[1].execId))], self.moment())

    def read_open_orders(self) -> None:
        resting, known = self.watch.resting(), self.lag()
        rows = [row for order in self.exchange.orders if (row := order.at(known)) is not None and _rests(row)]

        def answer() -> None:
            for query in self.watch.unlisted(resting, rows, self.moment()):
                if self.tracker.is_still_wanted(query):
                    read = lambda view, query=query: self.watch.unlisted_read(query, view, self.moment(), is_resync=False)  # noqa: E731
                    self.read_order(query, read)

        self.exchange.later(20, answer)

    def look(self) -> None:
        """Once a second."""
        for query in self.watch.late(self.moment()):
            if self.tracker.is_still_wanted(query):
                read = lambda view, query=query: self.watch.late_read(query, view, self.moment())  # noqa: E731
                self.read_order(query, read)
            else:
                self.watch.late_read(query, None, self.moment())
        if self.watch.behind:
            self.watch.forget()

    # --- the story ---

    def submit(self, number: int) -> None:
        random, exchange = self.random, self.exchange
        true = True_(number, random.choice(("Buy", "Sell")), random.randint(1, 9), random.choice((99.0, 100.0, 101.5)))
        exchange.orders.append(true)
        side = "BUY" if true.side == "Buy" else "SELL"
        qty = BTC.qty_grid.value(true.qty)
        command = SubmitOrder(true.name, "BTCUSDT", side, "limit", qty, T0 + exchange.now, true.price, reduce_only=random.random() < 0.2)
        order = self.tracker.submitted(command)
        self.send(true, order)

    def send(self, true: True_, order: TrackedOrder) -> None:
        """It leaves, and is taken, refused, or not answered and there, or not answered and lost."""
        random, exchange = self.random, self.exchange
        fate = random.choice(("taken", "taken", "refused", "lost", "never"))
        if fate in ("taken", "lost"):
            exchange.later(random.choice((20, 900, 4_900)) if fate == "lost" else 20, lambda: self.arrive(true))
        if fate == "taken":

            def taken() -> None:
                self.tracker.acknowledged(order, true.order_id, self.moment())
                self.watch.await_news(order, self.moment())

            exchange.later(40, taken)
        elif fate == "refused":
            exchange.later(40, lambda: self.tracker.end(order, "rejected", "110007 no", self.moment()))
        else:
            sent = self.moment().monotonic_ms
            exchange.later(
                random.choice((500, 5_000)),
                lambda: self.tracker.answer_lost(order, "create: no answer", sent + 5_000, self.moment()),
            )

    def arrive(self, true: True_) -> None:
        random, exchange = self.random, self.exchange
        self.push_order(true, "New")
        wait = 0
        for _ in range(random.randint(0, 3)):
            wait += random.choice((0, 1, 400, 7_000, 20_000))
            exchange.later(wait, lambda: self.fill(true))
        if random.random() < 0.6:
            exchange.later(wait + random.choice((0, 3_000, 30_000)), lambda: self.cancel(true))

    def fill(self, true: True_) -> None:
        if true.end:
            return
        row = self.exchange.execute(true, self.random.randint(1, true.qty - true.filled))
        true.end = "filled" if true.filled == true.qty else ""
        self.exchange.push(lambda: self.tracker.on_execution(row, self.moment(), is_pushed=True))
        self.push_order(true, "Filled" if true.end else "PartiallyFilled")

    def cancel(self, true: True_) -> None:
        if true.end:
            return
        order = self.tracker.orders.get(true.name)
        if order is not None:
            order.life.cancelling()
        true.end = "cancelled"
        self.push_order(true, "Cancelled")

    def push_order(self, true: True_, status: str) -> None:
        row = true.tell(self.exchange.now, status)
        self.exchange.push(lambda: self.tracker.on_order(row, self.moment(), is_pushed=True))


def _listed(row: ExecutionRow) -> ExecutionRow:
    """Lists do not state what was realised."""
    return ExecutionRow(**({name: getattr(row, name) for name in row.__struct_fields__} | {"execPnl": None}))


def _rests(row: OrderRow) -> bool:
    return row.orderStatus in ("New", "PartiallyFilled")


def played(random: Random) -> World:
    world = World(random)
    for number in range(1, random.randint(1, 4) + 1):
        world.exchange.later(random.choice((0, 100, 3_000, 12_000)), lambda number=number: world.submit(number))
    for second in range(1, LONG_MS // 1000):
        world.exchange.later(second * 1000, world.look)
        if second % 10 == 0:
            world.exchange.later(second * 1000, world.read_open_orders)
        if second % 30 == 0:
            world.exchange.later(second * 1000, world.read_executions)
    world.exchange.run(LONG_MS)
    return world


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False))
def test_whatever_is_lost_late_or_told_twice_every_order_ends_as_it_truly_went(random: Random) -> None:
    world = played(random)
    tracker, exchange = world.tracker, world.exchange
    assert tracker.unknown == {} and not tracker.is_waiting and not tracker.is_catching_up and tracker.orphans == []
    fills = [one for one in world.out if isinstance(one, Fill)]
    true_fills = {row.execId: row for order in exchange.orders for _, row in order.executions}
    assert Counter(fill.fill_id for fill in fills) == Counter(dict.fromkeys(true_fills, 1))
    assert tracker.books.held("BTCUSDT") == exchange.held
    for true in exchange.orders:
        order = tracker.orders.get(true.name)
        assert order is not None
        assert order.filled == true.filled == sum(BTC.qty_grid.count(fill.qty) for fill in fills if fill.client_order_id == true.name)
        resting = "partially_filled" if true.filled else "accepted"
        assert order.life.told == ((true.end or resting) if true.rows else "rejected"), true.name
        assert not order.life.is_unknown
        life, filled = OrderLife(), 0.0
        for update in (one for one in world.out if isinstance(one, OrderUpdate) and one.client_order_id == true.name):
            life.follow(update.status)  # raises for what the table does not allow
            assert update.filled_qty >= filled
            filled = update.filled_qty
        assert life.told == order.life.told
    assert all(world.asked[order.name] <= QUERIES_PER_ORDER for order in exchange.orders), world.asked
    codes = {one.code for one in world.out if isinstance(one, Notice)}
    assert not codes & {"order_returned", "overfilled", "external_order", "execution_external"}, codes


def test_an_exit_that_never_arrived_is_sent_again_once_and_only_after_the_proof() -> None:
    world = World(Random(1))
    world.send = lambda true, order: None  # type: ignore[method-assign]  # this test answers by itself
    world.view = lambda query: OrderView(None, [])  # type: ignore[method-assign]  # nobody has heard of it
    world.tracker.books.seed("BTCUSDT", 10, 10**9)
    true = True_(1, "Sell", 10, 100.0)
    world.exchange.orders.append(true)
    command = SubmitOrder("t-1", "BTCUSDT", "SELL", "market", 0.01, T0, reduce_only=True)
    order = world.tracker.submitted(command)
    world.tracker.answer_lost(order, "create: no answer", 0, world.moment())
    assert order.state == "unknown"
    world.exchange.run(9_000)
    assert order.state == "unknown" and not [one for one in world.out if isinstance(one, SendAgain)]
    world.exchange.run(40_000)
    assert [one.command for one in world.out if isinstance(one, SendAgain)] == [command] and order.state == "pending_submit"
    world.tracker.answer_lost(order, "create: no answer", 40_000, world.moment())
    world.exchange.run(80_000)
    assert len([one for one in world.out if isinstance(one, SendAgain)]) == 1 and order.state == "rejected"
