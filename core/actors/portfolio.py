"""The account as our own fills tell it: positions, cash, fees, funding, realised and unrealised PnL, equity.

It books every fill by itself and compares the realised PnL with what the venue states: the same truth by two paths. Cash (the wallet:
free balance and position margin together) and costs are integers of 1e-8; valuation is float: mark price where there is one, else last.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from keel.core.actors.trade_log import TradeLog, TradeLogState
from keel.core.engine.equity_rows import FEW, EquityRows
from keel.core.engine.known_prices import Floats, KnownPrices
from keel.core.errors import InvariantError
from keel.core.model.dust import sellable_steps
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Bar, Fill, FundingPayment, FundingRate, MarkPrice
from keel.core.model.money import UNIT, check_bound
from keel.core.model.position import PositionBook, base_fee_value
from keel.core.strategy.snapshot import PositionView


class Line:
    """One symbol's line of the account. Its prices are those that it heard, or (``follow``) those of a history as far as it is told.

    ``value`` is what it adds to cash in the account's equity: qty x mark - offset. A perpetual's offset is its signed cost (so that the
    value is the unrealised PnL); what spot holds was paid for out of cash, and its offset is 0.
    """

    __slots__ = (
        "_last", "_lasts", "_mark", "_marks", "_prices", "book", "funding_rate", "has_mark", "instrument", "is_linear", "offset", "place",
        "qty", "size",
    )  # fmt: skip

    def __init__(self, instrument: Instrument, place: int = 0) -> None:
        """place: among the account's lines."""
        self.instrument, self.place = instrument, place
        self.book = PositionBook(instrument)
        self.is_linear = instrument.category == "linear"
        self._last = self._mark = self.qty = self.size = self.offset = 0.0
        self.has_mark = False
        self.funding_rate: float | None = None
        self._prices: KnownPrices | None = None
        self._lasts: Any = None
        self._marks: Any = None

    @property
    def last(self) -> float:
        """The latest last price; 0 before the first."""
        prices = self._prices
        if prices is None or prices.row < 0:
            return self._last
        last: float = self._lasts[prices.row]
        return last

    @property
    def mark(self) -> float:
        """The latest mark price; the last price where there is no mark."""
        prices = self._prices
        if prices is None or prices.row < 0:
            return self._mark
        mark: float = self._marks[prices.row]
        return mark

    @property
    def value(self) -> float:
        """What it adds to cash, in quote coins."""
        return self.qty * self.mark - self.offset if self.qty else 0.0

    def revalue(self) -> None:
        """Take over the book's state after a change of it."""
        book = self.book
        self.qty = qty = book.qty
        self.size = abs(qty)
        if self.is_linear:
            self.offset = book.signed_cost / 1e8

    @property
    def worth(self) -> int:
        """What is held, at its mark: 1e-8 of the quote coin, negative when short."""
        return round(self.qty * self.mark * UNIT)

    def on_mark(self, mark: MarkPrice) -> None:
        """The mark price: it values the position from now on."""
        self.has_mark = True
        self._mark = mark.price

    def on_funding_rate(self, rate: FundingRate) -> None:
        """The rate that was settled last."""
        self.funding_rate = rate.rate

    def on_bar(self, bar: Bar) -> None:
        """The last price; without a mark it is the mark, too."""
        self._last = close = bar.close
        if not self.has_mark:
            self._mark = close

    def follow(self, prices: KnownPrices) -> None:
        """Read prices out of a history's columns from now on."""
        self._prices = prices
        self._lasts, self._marks = prices.readers(self.place)

    def stop_following(self) -> None:
        """Keep the prices that are known now, and hear bars and marks from now on."""
        prices = self._prices
        if prices is not None:
            self._last, self._mark = self.last, self.mark
            self.has_mark = self.has_mark or prices.marks[self.place] is not prices.lasts[self.place]
            self._prices = self._lasts = self._marks = None

    def restore(self, last: float, mark: float, *, has_mark: bool) -> None:
        """Go on from prices that were kept."""
        self._last, self._mark, self.has_mark = last, mark, has_mark


class LineState(msgspec.Struct, frozen=True):
    """A line of the account as plain data."""

    symbol: str
    steps: int
    cost: int
    last: float
    mark: float
    has_mark: bool
    funding_rate: float | None


class PortfolioState(msgspec.Struct, frozen=True):
    """The account as plain data; ``equity_values`` as the bytes of its floats."""

    lines: list[LineState]
    cash: int
    initial_equity: int
    fees: int
    funding: int
    realized: int
    slippage: int
    liquidation_loss: int
    equity: float
    equity_values: bytes
    trades: TradeLogState


class Portfolio:
    """Owner of the account's state; others read it. ``equity`` is that of the latest closed instant, or after the latest fill.

    It hears bars and marks and closes each instant by ``on_instant``; or it follows the columns of a history (``follow``), where only its
    fills and payments are told, equity is added up when it is asked for, and ``keep_until`` writes the points of many instants at once.
    """

    def __init__(
        self,
        instruments: Iterable[Instrument],
        initial_equity: int,
        *,
        order_number: Callable[[str], int] = lambda client_order_id: 0,
        strategy: str = "",
    ) -> None:
        self.lines = {instrument.symbol: Line(instrument, place) for place, instrument in enumerate(instruments)}
        self.cash = self.initial_equity = initial_equity
        self.fees = self.funding = self.realized = self.slippage = self.liquidation_loss = 0
        self._equity = self.cash_value = initial_equity / UNIT
        self._is_due = False
        self._prices: KnownPrices | None = None
        self._rows: EquityRows | None = None
        self._valued_row = -1
        self.trade_log = TradeLog(strategy)
        self._order_number = order_number
        self._open: list[Line] = []
        self.equity_values = array("d")
        """Equity at each closed instant; of those that are followed, at each that is kept."""

    @property
    def equity(self) -> float:
        """In quote coins."""
        prices = self._prices
        if self._is_due or (prices is not None and prices.row != self._valued_row):
            self._value()
        return self._equity

    # --- market ---

    def on_instant(self, ts: int) -> float:
        """All bars of this instant are in: mark the account to market, keep the point of the equity curve, and return it."""
        if self._open:
            self._value()
        equity = self.equity
        self.equity_values.append(equity)
        return equity

    # --- a history in columns ---

    def follow(self, prices: KnownPrices, *, is_bounded: bool) -> EquityRows:
        """Read prices from these columns until ``stop_following``, instead of hearing bars and marks. Returns equity in rows, to be asked.

        is_bounded: whether its bounds will be asked for. Raises InvariantError where there are other columns than lines.
        """
        if len(prices.marks) != len(self.lines):
            raise InvariantError(f"prices of {len(prices.marks)} symbols for an account of {len(self.lines)}")
        self._prices, self._valued_row = prices, prices.row
        held = [(line.qty, line.offset) for line in self.lines.values()]
        self._rows = rows = EquityRows(prices, self.cash_value, held, is_bounded=is_bounded)
        for line in self.lines.values():
            line.follow(prices)
        return rows

    def keep_until(self, row: int) -> Floats:
        """Keep the equity of the followed rows before this one that are not kept yet, and return it."""
        if self._rows is None:
            raise InvariantError("the account follows no columns")
        equity = self._rows.write(row)
        self.equity_values.frombytes(equity.tobytes())
        return equity

    def stop_following(self) -> None:
        """Keep the equity of what is known, and hear bars and marks from now on."""
        if self._prices is not None:
            self.keep_until(self._prices.row + 1)
            self._value()
            for line in self.lines.values():
                line.stop_following()
            self._prices = self._rows = None

    # --- an account that is older than we are ---

    def seed(self, symbol: str, steps: int, cost: int) -> None:
        """Take over a position as it is: signed steps of the book's grid and their cost in 1e-8. No cash moves, and no trade is opened."""
        line = self.lines[symbol]
        line.book.steps, line.book.cost = steps, cost
        line.revalue()
        self._note_open()
        self._changed(line)

    def transfer(self, amount: int) -> None:
        """Cash that came from outside, or (negative) went there, in 1e-8."""
        self.cash = check_bound(self.cash + amount, "cash")
        self._changed()

    def state(self) -> PortfolioState:
        """Everything that the account remembers, to be written at once."""
        lines = [
            LineState(symbol, line.book.steps, line.book.cost, line.last, line.mark, line.has_mark, line.funding_rate)
            for symbol, line in self.lines.items()
        ]
        return PortfolioState(
            lines, self.cash, self.initial_equity, self.fees, self.funding, self.realized, self.slippage, self.liquidation_loss,
            self.equity, self.equity_values.tobytes(), self.trade_log.state(),
        )  # fmt: skip

    def restore(self, state: PortfolioState) -> None:
        """Go on from a ``state()`` of the same symbols."""
        for kept in state.lines:
            line = self.lines[kept.symbol]
            line.book.steps, line.book.cost = kept.steps, kept.cost
            line.restore(kept.last, kept.mark, has_mark=kept.has_mark)
            line.funding_rate = kept.funding_rate
            line.revalue()
        self.cash, self.initial_equity = state.cash, state.initial_equity
        self.fees, self.funding, self.realized = state.fees, state.funding, state.realized
        self.slippage, self.liquidation_loss = state.slippage, state.liquidation_loss
        self.trade_log.restore(state.trades, {symbol: line.instrument for symbol, line in self.lines.items()})
        del self.equity_values[:]
        self.equity_values.frombytes(state.equity_values)
        self._note_open()
        self._value()
        self._equity = state.equity

    # --- venue ---

    def on_fill(self, fill: Fill) -> None:
        """Book a fill: position, cash, fees, slippage, trade. Raises InvariantError where the venue's realised PnL differs from ours."""
        line = self.lines[fill.symbol]
        was_flat = not line.book.steps
        if line.is_linear:
            self._book_linear(line, fill)
        else:
            self._book_spot(line, fill)
        line.revalue()
        if was_flat or not line.book.steps:
            self._note_open()
        self._changed(line)

    def on_funding(self, payment: FundingPayment) -> None:
        """Book a funding payment; positive is paid."""
        self.funding += payment.amount
        self.cash = check_bound(self.cash - payment.amount, "cash")
        self.trade_log.on_funding(payment.symbol, payment.amount)
        self._changed()

    def _book_linear(self, line: Line, fill: Fill) -> None:
        instrument, book, fee = line.instrument, line.book, fill.fee
        price_grid, slippage = instrument.price_grid, 0
        ticks, steps = price_grid.count(fill.price), instrument.qty_grid.count(fill.qty)
        total = instrument.notional(ticks, steps)
        closing, opening, closed, pnl = book.fill(1 if fill.side == "BUY" else -1, steps, ticks, total)
        if pnl != fill.realized_pnl:
            if fill.kind != "bust":
                raise InvariantError(f"{fill.symbol} {fill.fill_id}: the venue realised {fill.realized_pnl}, our book {pnl} (in 1e-8)")
            self.liquidation_loss += pnl - fill.realized_pnl
            pnl = fill.realized_pnl
        if fill.reference != fill.price:
            slippage = abs(total - instrument.notional(price_grid.count(fill.reference), steps))  # exact with rests, too
        self.cash = check_bound(self.cash + pnl - fee, "cash")
        self.realized += pnl
        self.fees += fee
        self.slippage += slippage
        order = self._order_number(fill.client_order_id)
        self.trade_log.on_fill(fill, order, instrument, closing, opening, book.steps, total, closed, pnl, fee, slippage)

    def _book_spot(self, line: Line, fill: Fill) -> None:
        """A spot fill moves quote against base; a fee in base counts as base sold at the fill's price to pay it."""
        instrument, book = line.instrument, line.book
        ticks, lots = instrument.price_grid.count(fill.price), instrument.qty_grid.count(fill.qty)
        units = instrument.book_grid.count(fill.qty)
        is_buy = fill.side == "BUY"
        total = instrument.notional(ticks, lots, up=is_buy)
        slippage = abs(total - instrument.notional(instrument.price_grid.count(fill.reference), lots, up=is_buy))  # exact with rests, too
        pnl, fee = 0, fill.fee
        if is_buy:
            book.increase(units, total)
            self.cash -= total
            if fill.fee_coin == instrument.base and fill.fee:
                fee = base_fee_value(total, fill.fee, units)
                pnl = book.reduce(fill.fee, fee)
            else:
                self.cash -= fee
        else:
            pnl = book.reduce(units, total)
            self.cash += total - fee
        check_bound(self.cash, "cash")
        self.realized += pnl
        self.fees += fee
        self.slippage += slippage
        closing, opening = (0, units) if is_buy else (units, 0)
        order, closing_notional = self._order_number(fill.client_order_id), 0 if is_buy else total
        held = book.steps if is_buy or sellable_steps(instrument, book.steps, fill.price) else 0  # dust is flat
        self.trade_log.on_fill(fill, order, instrument, closing, opening, held, total, closing_notional, pnl, fee, slippage)

    def _note_open(self) -> None:
        self._open = [line for line in self.lines.values() if line.book.steps]

    def _changed(self, line: Line | None = None) -> None:
        """Cash is another, and this line. Where columns are followed, equity is added up when somebody asks."""
        self.cash_value = cash = self.cash / 1e8
        rows = self._rows
        if rows is None:
            self._value()
            return
        self._is_due = True
        rows.note_cash(cash)
        if line is not None:
            rows.note_line(line.place, line.qty, line.offset)

    def _value(self) -> None:
        self.cash_value = equity = self.cash / 1e8
        if self._rows is not None and len(self._open) > FEW:
            equity = self._rows.value(equity)
        else:
            for line in self._open:
                equity += line.qty * line.mark - line.offset
        self._equity, self._is_due = equity, False
        if self._prices is not None:
            self._valued_row = self._prices.row

    # --- what others read ---

    def steps(self, symbol: str) -> int:
        """Signed position in quantity steps (spot: what of the holding can be sold at the last price; dust is none)."""
        line = self.lines[symbol]
        return line.book.steps if line.is_linear else sellable_steps(line.instrument, line.book.steps, line.last)

    def dust(self, symbol: str) -> int:
        """The whole steps of a spot holding that is too small to be sold; 0 where it can be, or is not even one step."""
        line = self.lines[symbol]
        return 0 if line.is_linear or self.steps(symbol) else line.instrument.qty_grid.floor(line.qty)

    def position_qty(self, symbol: str) -> float:
        """Signed position in base units."""
        return self.lines[symbol].qty

    def entry_price(self, symbol: str) -> float:
        """Average entry price; 0 when flat."""
        line = self.lines[symbol]
        return line.book.cost / 1e8 / abs(line.qty) if line.qty else 0.0

    def mark(self, symbol: str) -> float:
        """The latest mark price (last price where there is no mark)."""
        return self.lines[symbol].mark

    def last(self, symbol: str) -> float:
        """The latest last price."""
        return self.lines[symbol].last

    def funding_rate(self, symbol: str) -> float | None:
        """The rate that was settled last."""
        return self.lines[symbol].funding_rate

    def notional(self, symbol: str) -> float:
        """|position| at mark, in quote coins."""
        line = self.lines[symbol]
        return abs(line.qty) * line.mark

    def gross_notional(self) -> float:
        """Sum of all positions' notionals, in quote coins."""
        if self._rows is not None and len(self._open) > FEW:
            return self._rows.gross()
        gross = 0.0
        for line in self._open:
            gross += line.size * line.mark
        return gross

    def open_positions(self) -> int:
        """How many symbols have a position (dust is none)."""
        return sum(1 for line in self._open if self.steps(line.instrument.symbol))

    def position_view(self, symbol: str) -> PositionView:
        """The position as strategies see it; dust is flat."""
        line = self.lines[symbol]
        mark, book = line.mark, line.book
        if not book.steps or not (line.is_linear or self.steps(symbol)):
            return PositionView(symbol, 0.0, 0.0, mark, 0.0)
        return PositionView(symbol, line.qty, book.entry_price, mark, book.unrealized(mark))


def spot_fee_value(fill: Fill, instrument: Instrument) -> int:
    """A spot buy's fee, taken in base, at the fill's own price: 1e-8 of the quote coin."""
    ticks, lots = instrument.price_grid.count(fill.price), instrument.qty_grid.count(fill.qty)
    return base_fee_value(instrument.notional(ticks, lots, up=True), fill.fee, instrument.book_grid.count(fill.qty))
