"""The order of things in time: at each moment funding, then commands, then the price point; from moment to moment along the path.

Also when a symbol need be looked at again: a bar that the wake levels let pass would change nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from keel.core.model.messages import FundingPayment
from keel.core.model.money import UNIT
from keel.core.model.timeframe import NEVER
from keel.sim.exchange.book import FRESH, INFINITY, Position, SymbolBook
from keel.sim.exchange.book_costs import BookCosts
from keel.sim.exchange.order_entry import OrderEntry
from keel.sim.exchange.rewind import Checkpoint, Shared
from keel.sim.margin.cross import net_of
from keel.sim.margin.funding import charge_parts, funding_payment
from keel.sim.margin.ledger import FREE, post
from keel.sim.margin.settlement import liquidation_price
from keel.sim.matching.ambiguity import DEPENDS, NOTHING, Ohlc, let_trail, outlook
from keel.sim.matching.intrabar_path import Path, low_comes_first, points, set_price
from keel.sim.matching.matching import Matching, log_position
from keel.sim.matching.triggers import follow, levels


class Walk:
    """Goes through one bar."""

    __slots__ = ("_costs", "_matching", "_metrics", "_order_entry", "_outbox", "_pessimistic", "_shared", "_touch")

    def __init__(
        self, order_entry: OrderEntry, matching: Matching, shared: Shared, pessimistic: bool, costs: BookCosts | None = None
    ) -> None:
        """costs: where a user's own model says the funding rate; None: the schedule's holds."""
        self._costs = costs
        self._order_entry, self._matching, self._shared = order_entry, matching, shared
        self._outbox, self._metrics = shared.outbox, shared.metrics
        self._pessimistic = pessimistic
        self._touch = matching.touch

    def begin(self, book: SymbolBook, ts_open: int) -> None:
        """Stand at the open. Stamps before it found no position, or lie in a hole of the series: those are charged now."""
        book.ts = ts_open
        book.ambiguous = False
        funding = book.funding
        if funding.next_stamp < ts_open:
            if book.is_spot or not _has_position(book):
                funding.seek(ts_open)
            while funding.next_stamp < ts_open:
                self._settle_funding(book)
        if book.waiting:
            book.fresh, book.waiting = book.waiting, []
            for order in book.fresh:
                order.state = FRESH

    def moment(self, book: SymbolBook, until: int) -> None:
        """Everything at one time and place: funding and commands that are due ``until`` then, and what the prices cause.

        Commands are taken one after the other: what one of them brings to the market meets it before the next one is judged.
        """
        funding = book.funding
        while funding.next_stamp <= until:
            self._settle_funding(book)
        pending, known = book.pending, len(book.fresh)
        while pending and pending[0][0] <= until:
            self._order_entry.handle(book, pending.popleft()[1])
            if len(book.fresh) > known and pending and pending[0][0] <= until:
                self._meet_prices(book)
            known = len(book.fresh)
        self._meet_prices(book)

    def _meet_prices(self, book: SymbolBook) -> None:
        if book.orders:
            self._trail(book)
        self._matching.price_point(book)

    def along(self, book: SymbolBook, ts_open: int, ts_close: int, last: Ohlc, mark: Ohlc, index: Ohlc) -> None:
        """Follow the path from the open to the close, in the order of its extremes that the option ``path`` wants."""
        bars = (last, mark, index)
        expected = outlook(book, self._touch, ts_close, bars)
        if expected == NOTHING:
            let_trail(book, bars)
            return

        def go(low_first: bool) -> None:
            path = Path(ts_open, ts_close - ts_open, points(last, low_first), points(mark, low_first), points(index, low_first))
            self.follow(book, path, ts_close)

        usual = low_comes_first(last[0], last[3])
        if expected == DEPENDS:
            self._go_both_ways(book, go, usual)
        else:
            go(usual)

    def _go_both_ways(self, book: SymbolBook, go: Callable[[bool], None], usual: bool) -> None:
        """See what the other order of the extremes gives, go back, and go the usual one; the bar is ambiguous where they differ.

        ``pessimistic``: stay with the one of less equity at the close, with the usual one where they are equal.
        """
        outbox, checkpoint = self._outbox, Checkpoint(self._shared, book)
        with outbox.held():
            go(not usual)
        other = checkpoint.outcome()
        checkpoint.restore()
        if not self._pessimistic:
            go(usual)
            book.ambiguous = book.ambiguous or checkpoint.outcome() != other
            return
        with outbox.held() as events:
            go(usual)
        own = checkpoint.outcome()
        if other.equity < own.equity:
            checkpoint.restore()
            go(not usual)
        else:
            for event in events:
                outbox.emit(event)
        book.ambiguous = book.ambiguous or own != other

    def follow(self, book: SymbolBook, path: Path, ts_close: int) -> None:
        """Go along one path. Under cross margin the account is looked at in every corner."""
        for leg in range(3):
            here = 0.0
            while (place := self._next_moment(book, path, leg, here, ts_close)) is not None:
                here = place
            path.move(book, leg, 1.0)
            self._trail(book)
            if book.account is not None:
                book.ts = max(book.ts, path.time_at(leg, 1.0))
                self._matching.check_account(book)

    def _next_moment(self, book: SymbolBook, path: Path, leg: int, here: float, ts_close: int) -> float | None:
        """Go to the next moment of this leg and let it happen. Returns its place; None when the rest of the leg is empty."""
        met = [(fraction, level) for level in levels(book, self._touch) if (fraction := path.fraction_of(book, leg, level)) is not None]
        due = min(book.funding.next_stamp, book.pending[0][0] if book.pending else NEVER)
        timed = path.fraction_of_time(due, leg) if due < ts_close else None
        places = [fraction for fraction, _ in met]
        if timed is not None:
            places.append(timed)
        if not places:
            return None
        place = max(min(places), here)
        path.move(book, leg, place)
        for fraction, level in met:
            if fraction <= place:
                set_price(book, level[0], level[2])
        is_timed = timed is not None and timed <= place
        book.ts = due if is_timed else max(book.ts, path.time_at(leg, place))
        self.moment(book, due if is_timed else -1)
        return place

    def _trail(self, book: SymbolBook) -> None:
        for order in book.orders.values():
            if order.distance:
                follow(order, book.price(order.source), book.instrument.price_grid)

    def _settle_funding(self, book: SymbolBook) -> None:
        """Charge the stamp at the cursor to what is open, and go past it."""
        funding = book.funding
        stamp, rate, mark = funding.next_stamp, funding.rates[funding.cursor], funding.marks[funding.cursor]
        funding.advance()
        if book.is_spot:
            return
        for position in book.positions:
            if position.steps:
                self._charge(book, position, stamp, rate, mark)

    def _charge(self, book: SymbolBook, position: Position, stamp: int, rate: int, mark: int) -> None:
        """From free cash, then from the margin (which moves the liquidation price); what neither can pay comes from insurance.

        Under cross margin all of it goes against the wallet, and the account is looked at next.
        """
        grid = book.instrument.qty_grid
        if self._costs is not None:
            rate = self._costs.funding_rate(book, position, stamp, rate, mark)
        owed = funding_payment(mark, position.steps, grid.num, grid.den, rate)
        free = owed if book.account is not None else book.accounts[FREE]
        from_free, from_margin, missing = charge_parts(owed, free, position.margin)
        post(book.accounts, free=-from_free, position=-from_margin, funding=owed, insurance=-missing)
        self._metrics.insurance_paid += missing
        payment = FundingPayment(book.symbol, stamp, owed - missing, rate, mark / UNIT, position.qty, position.idx)
        self._outbox.funding_payments.append(payment)
        self._outbox.emit(payment)
        if from_margin:
            position.margin -= from_margin
            position.liquidation_price = liquidation_price(book, position, position.margin)
            log_position(book, position)
            if not position.margin:
                self._matching.liquidate(book, position)


def must_walk(book: SymbolBook, ts_close: int, low: float, high: float, mark_low: float, mark_high: float) -> bool:
    """Cross margin: whether anything can happen in the rest of a bar; low and high are those of all its paths.

    A position alone needs no walk where the account could margin it at the worst mark of the bar: from there on each mark is better.
    """
    if low <= book.wake_low or high >= book.wake_high or ts_close > book.funding.next_stamp:
        return True
    if book.pending or book.waiting or book.account is None or _is_trailing(book):
        return True
    mark = book.mark
    book.mark = mark_low if net_of(book)[0] > 0 else mark_high
    is_due = book.account.is_due()
    book.mark = mark
    return is_due


def refresh_wake(book: SymbolBook, touch: bool) -> None:
    """Set when the symbol must be looked at: after a time, or at a price of any of the paths."""
    low, high = -INFINITY, INFINITY
    positions, orders = book.positions, book.orders
    if not orders and len(positions) == 1:  # what ``levels`` would say of one position alone
        position = positions[0]
        steps, price = position.steps, position.liquidation_price
        if steps and price > 0.0:
            if steps > 0:
                low = price
            else:
                high = price
    else:
        for _, rising, price in levels(book, touch):
            if rising:
                if price < high:
                    high = price
            elif price > low:
                low = price
    book.wake_low, book.wake_high = low, high
    book.is_trailing = bool(orders) and _is_trailing(book)
    book.wake_ts = wake_time(book)


def wake_time(book: SymbolBook) -> int:
    """After which time the symbol must be looked at whatever its prices are. ``is_trailing`` is set already."""
    if book.pending or book.waiting or book.is_trailing:
        return -1
    if book.is_spot or not _has_position(book):
        return NEVER
    return book.funding.next_stamp if book.account is None else -1  # cross margin: the account needs every mark


def _has_position(book: SymbolBook) -> bool:
    positions = book.positions
    return positions[0].steps != 0 or (len(positions) > 1 and positions[1].steps != 0)


def _is_trailing(book: SymbolBook) -> bool:
    return any(order.distance and order.activation is None for order in book.orders.values())
