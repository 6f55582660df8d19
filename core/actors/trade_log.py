"""Round trips out of fills: opens a trade when a position leaves flat, closes it when it returns or flips. Owned by the portfolio actor."""

from __future__ import annotations

from core.instrument import Instrument
from core.messages import Fill
from core.money import mul_div_floor
from core.trade import Trade


class OpenTrade:
    """The running sums of one open trade; quantities in the book's steps, money in 1e-8."""

    __slots__ = (
        "closed_notional",
        "closed_steps",
        "entry_fees",
        "entry_notional",
        "entry_order",
        "entry_slippage",
        "entry_steps",
        "entry_ts",
        "fees",
        "fills",
        "funding",
        "gross",
        "instrument",
        "is_long",
        "last_ts",
        "number",
        "peak_steps",
        "slippage",
        "strategy",
    )

    def __init__(self, number: int, instrument: Instrument, is_long: bool, ts: int, order: int, strategy: str) -> None:
        self.number, self.instrument, self.is_long, self.entry_ts, self.entry_order, self.strategy = (
            number,
            instrument,
            is_long,
            ts,
            order,
            strategy,
        )
        self.entry_steps = self.entry_notional = self.closed_steps = self.closed_notional = self.peak_steps = 0
        self.gross = self.fees = self.funding = self.slippage = self.entry_fees = self.entry_slippage = self.fills = 0
        self.last_ts = ts

    def to_trade(self, *, exit_order: int = 0, exit_reason: str = "", closed: bool = True) -> Trade:
        """The trade as a record; with ``closed`` False as one that is still open."""
        value = self.instrument.book_grid.value
        entry_qty = value(self.entry_steps)
        exit_qty = value(self.closed_steps)
        return Trade(
            number=self.number,
            symbol=self.instrument.symbol,
            side="LONG" if self.is_long else "SHORT",
            entry_ts=self.entry_ts,
            entry_price=self.entry_notional / 1e8 / entry_qty,
            qty=value(self.peak_steps),
            entry_notional=self.entry_notional,
            exit_ts=self.last_ts if closed else None,
            exit_price=self.closed_notional / 1e8 / exit_qty if exit_qty else None,
            exit_notional=self.closed_notional,
            gross_pnl=self.gross,
            fees=self.fees,
            funding=self.funding,
            slippage=self.slippage,
            entry_fees=self.entry_fees,
            entry_slippage=self.entry_slippage,
            entry_order=self.entry_order,
            exit_order=exit_order,
            fills=self.fills,
            exit_reason=exit_reason,
            strategy=self.strategy,
        )


class TradeLog:
    """Closed trades by exit time, and the one that each symbol has open."""

    def __init__(self, strategy: str = "") -> None:
        self.closed: list[Trade] = []
        self._open: dict[str, OpenTrade] = {}
        self._count = 0
        self._strategy = strategy

    def on_parts(
        self, fill: Fill, order: int, instrument: Instrument, *, closing: int, opening: int, held_after: int,
        notional: int, closing_notional: int, pnl: int, fee: int, slippage: int,
    ) -> None:  # fmt: skip
        """Book one fill: ``closing`` and ``opening`` steps of it (unsigned), its money, and the signed steps held after it.

        Fee and slippage of a fill that flips are shared by notional; the rest of the division goes to the opening part.
        """
        current = self._open.get(fill.symbol)
        part_fee, part_slippage = fee, slippage
        if closing and current is not None:
            if opening:
                part_fee = mul_div_floor(fee, closing_notional, notional)
                part_slippage = mul_div_floor(slippage, closing_notional, notional)
            current.closed_steps += closing
            current.closed_notional += closing_notional
            current.gross += pnl
            current.fees += part_fee
            current.slippage += part_slippage
            current.fills += 1
            current.last_ts = fill.ts
            if opening or not held_after:
                self.closed.append(current.to_trade(exit_order=order, exit_reason=fill.reason))
                del self._open[fill.symbol]
                current = None
            part_fee, part_slippage = fee - part_fee, slippage - part_slippage
        if opening:
            if current is None:
                self._count += 1
                current = OpenTrade(self._count, instrument, held_after > 0, fill.ts, order, self._strategy)
                self._open[fill.symbol] = current
            current.entry_steps += opening
            current.entry_notional += notional - closing_notional
            current.fees += part_fee
            current.entry_fees += part_fee
            current.slippage += part_slippage
            current.entry_slippage += part_slippage
            current.fills += 1
            current.last_ts = fill.ts
            held = abs(held_after)
            if held > current.peak_steps:
                current.peak_steps = held

    def on_funding(self, symbol: str, amount: int) -> None:
        """Book a funding payment (positive: paid) on the symbol's open trade."""
        current = self._open.get(symbol)
        if current is not None:
            current.funding += amount

    @property
    def open(self) -> list[Trade]:
        """What is still open, by trade number, as trades without an exit."""
        return [trade.to_trade(closed=False) for trade in sorted(self._open.values(), key=lambda trade: trade.number)]
