"""The order of things in time: at each moment funding, then commands, then the price point; from moment to moment along the path.

Also when a symbol need be looked at again: a bar that the wake levels let pass would change nothing.
"""

from __future__ import annotations

from core.messages import FundingPayment
from core.money import UNIT
from sim.book import FRESH, INFINITY, Position, SymbolBook
from sim.commands import CommandDesk
from sim.cross import net_of
from sim.events import Outbox
from sim.funding import NEVER, charge_parts, funding_payment
from sim.ledger import FREE, post
from sim.matching import Matching, log_position
from sim.metrics import ExchangeMetrics
from sim.pricing import Path, low_comes_first, points, set_price
from sim.settlement import liquidation_price
from sim.triggers import Level, follow, levels

Ohlc = tuple[float, float, float, float]


class Walk:
    """Goes through one bar."""

    __slots__ = ("_desk", "_matching", "_metrics", "_outbox", "_pessimistic", "_touch")

    def __init__(self, desk: CommandDesk, matching: Matching, outbox: Outbox, metrics: ExchangeMetrics, pessimistic: bool) -> None:
        self._desk, self._matching, self._outbox, self._metrics = desk, matching, outbox, metrics
        self._pessimistic = pessimistic
        self._touch = matching.touch

    def begin(self, book: SymbolBook, ts_open: int) -> None:
        """Stand at the open. Stamps before it found no position, or lie in a hole of the series: those are charged now."""
        book.ts = ts_open
        book.fell = book.rose = book.trailed = book.ambiguous = False
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
            self._desk.handle(book, pending.popleft()[1])
            if len(book.fresh) > known and pending and pending[0][0] <= until:
                self._meet_prices(book)
            known = len(book.fresh)
        self._meet_prices(book)

    def _meet_prices(self, book: SymbolBook) -> None:
        if book.orders:
            self._trail(book)
        self._matching.price_point(book)

    def along(self, book: SymbolBook, ts_open: int, ts_close: int, last: Ohlc, mark: Ohlc, index: Ohlc) -> None:
        """Follow the path from the open to the close. Under cross margin the account is looked at in every corner."""
        exposure = sum(position.steps for position in book.positions)
        low_first = low_comes_first(last[0], last[3], self._pessimistic, exposure)
        path = Path(ts_open, ts_close - ts_open, points(last, low_first), points(mark, low_first), points(index, low_first))
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
        ahead = list(levels(book, self._touch))
        met = [(fraction, level) for level in ahead if (fraction := path.fraction_of(book, leg, level)) is not None]
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
                self._note(book, path, level, ahead)
        is_timed = timed is not None and timed <= place
        book.ts = due if is_timed else max(book.ts, path.time_at(leg, place))
        self.moment(book, due if is_timed else -1)
        return place

    def _note(self, book: SymbolBook, path: Path, level: Level, ahead: list[Level]) -> None:
        """Mark the bar as ambiguous when the other order of its extremes could have given another outcome."""
        rising = level[1]
        if book.fell if rising else book.rose:
            book.ambiguous = True
        if any(other[1] != rising and path.is_reached(other) for other in ahead):
            book.ambiguous = True
        if book.trailed and any(order.distance and order.trigger == level[2] for order in book.orders.values()):
            book.ambiguous = True
        if rising:
            book.rose = True
        else:
            book.fell = True

    def _trail(self, book: SymbolBook) -> None:
        for order in book.orders.values():
            if order.distance and follow(order, book.price(order.source), book.instrument.price_grid):
                book.trailed = True

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
        has_position = steps != 0
        if has_position and price > 0.0:
            if steps > 0:
                low = price
            else:
                high = price
    else:
        has_position = _has_position(book)
        for _, rising, price in levels(book, touch):
            if rising:
                if price < high:
                    high = price
            elif price > low:
                low = price
    book.wake_low, book.wake_high = low, high
    if book.pending or book.waiting or (orders and _is_trailing(book)):
        book.wake_ts = -1
    elif has_position and not book.is_spot:
        book.wake_ts = book.funding.next_stamp if book.account is None else -1  # cross margin: the account needs every mark
    else:
        book.wake_ts = NEVER


def _has_position(book: SymbolBook) -> bool:
    positions = book.positions
    return positions[0].steps != 0 or (len(positions) > 1 and positions[1].steps != 0)


def _is_trailing(book: SymbolBook) -> bool:
    return any(order.distance and order.activation is None for order in book.orders.values())
