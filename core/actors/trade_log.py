"""Round trips out of fills: opens a trade when a position leaves flat, closes it when it returns or flips. Owned by the portfolio actor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from keel.core.model.instrument import Instrument
from keel.core.model.messages import Fill
from keel.core.model.money import UNIT, mul_div_floor
from keel.core.model.trade import Trade


class RoundTrip(msgspec.Struct, gc=False, eq=False):
    """The running sums of one trade; quantities in the book's steps, money in 1e-8. ``exit_order`` is None while it is open."""

    number: int
    instrument: Instrument
    is_long: bool
    entry_ts: int
    entry_order: int
    strategy: str
    entry_steps: int
    entry_notional: int
    entry_fees: int
    entry_slippage: int
    peak_steps: int
    last_ts: int
    fills: int = 1
    closed_steps: int = 0
    closed_notional: int = 0
    exit_fees: int = 0
    exit_slippage: int = 0
    gross: int = 0
    funding: int = 0
    exit_order: int | None = None
    exit_reason: str = ""

    def open_part(self, ts: int, steps: int, notional: int, fee: int, slippage: int, held: int) -> None:
        """Book a fill (or the part of one) that opened; ``held`` steps are open after it."""
        self.entry_steps += steps
        self.entry_notional += notional
        self.entry_fees += fee
        self.entry_slippage += slippage
        self.fills += 1
        if ts > self.last_ts:  # a fill may be told late
            self.last_ts = ts
        if held > self.peak_steps:
            self.peak_steps = held

    def close_part(self, ts: int, steps: int, notional: int, pnl: int, fee: int, slippage: int) -> None:
        """Book a fill (or the part of one) that closed."""
        self.closed_steps += steps
        self.closed_notional += notional
        self.gross += pnl
        self.exit_fees += fee
        self.exit_slippage += slippage
        self.fills += 1
        if ts > self.last_ts:  # a fill may be told late
            self.last_ts = ts

    def to_trade(self) -> Trade:
        """The trade as a record."""
        value = self.instrument.book_grid.value
        return Trade(
            number=self.number,
            symbol=self.instrument.symbol,
            side="LONG" if self.is_long else "SHORT",
            entry_ts=self.entry_ts,
            entry_price=self._price(self.entry_notional, self.entry_steps),
            qty=value(self.peak_steps),
            entry_notional=self.entry_notional,
            exit_ts=None if self.exit_order is None else self.last_ts,
            exit_price=self._price(self.closed_notional, self.closed_steps) if self.closed_steps else None,
            exit_notional=self.closed_notional,
            gross_pnl=self.gross,
            fees=self.entry_fees + self.exit_fees,
            funding=self.funding,
            slippage=self.entry_slippage + self.exit_slippage,
            entry_fees=self.entry_fees,
            entry_slippage=self.entry_slippage,
            entry_order=self.entry_order,
            exit_order=self.exit_order or 0,
            fills=self.fills,
            exit_reason=self.exit_reason,
            strategy=self.strategy,
        )

    def _price(self, notional: int, steps: int) -> float:
        """notional / quantity, divided once: fills of one price average to that very price."""
        grid = self.instrument.book_grid
        return notional * grid.den / (steps * grid.num * UNIT)


_SUMS = tuple(name for name in RoundTrip.__struct_fields__ if name != "instrument")


class TradeLogState(msgspec.Struct, frozen=True):
    """A trade log as plain data; ``open``: (symbol, the running sums) of each open trade."""

    closed: list[Trade]
    open: list[tuple[str, dict[str, Any]]]
    count: int


class TradeLog:
    """Trades by exit time, and the one that each symbol has open."""

    def __init__(self, strategy: str = "") -> None:
        self._ended: list[RoundTrip] = []
        self._closed: list[Trade] = []
        self._open: dict[str, RoundTrip] = {}
        self._count = 0
        self._strategy = strategy

    def on_fill(
        self, fill: Fill, order: int, instrument: Instrument, closing: int, opening: int, held_after: int, notional: int,
        closing_notional: int, pnl: int, fee: int, slippage: int,
    ) -> None:  # fmt: skip
        """Book one fill: ``closing`` and ``opening`` steps of it (unsigned), its money, and the signed steps held after it.

        Fee and slippage of a fill that flips are shared by notional; the rest of the division goes to the opening part.
        """
        symbol, ts = fill.symbol, fill.ts
        current = self._open.get(symbol)
        if closing and current is not None:
            closing_fee, closing_slippage = fee, slippage
            if opening:
                closing_fee = mul_div_floor(fee, closing_notional, notional)
                closing_slippage = mul_div_floor(slippage, closing_notional, notional) if slippage else 0
            current.close_part(ts, closing, closing_notional, pnl, closing_fee, closing_slippage)
            fee -= closing_fee
            slippage -= closing_slippage
            if opening or not held_after:
                current.exit_order, current.exit_reason = order, fill.reason
                self._ended.append(current)
                del self._open[symbol]
                current = None
        if not opening:
            return
        notional -= closing_notional
        if current is not None:
            current.open_part(ts, opening, notional, fee, slippage, abs(held_after))
        else:
            self._count = number = self._count + 1
            self._open[symbol] = current = RoundTrip(
                number, instrument, held_after > 0, ts, order, self._strategy, opening, notional, fee, slippage, abs(held_after), ts
            )
        if not closing:
            current.gross += pnl  # of the base coin that went for a spot fee

    def on_funding(self, symbol: str, amount: int) -> None:
        """Book a funding payment (positive: paid) on the symbol's open trade."""
        current = self._open.get(symbol)
        if current is not None:
            current.funding += amount

    @property
    def closed(self) -> list[Trade]:
        """The trades that have ended, by exit time. Made into records when they are asked for, which the loop of a backtest does not."""
        self._closed += [trip.to_trade() for trip in self._ended]
        self._ended.clear()
        return self._closed

    def state(self) -> TradeLogState:
        """What it holds, to be written at once."""
        sums = [(symbol, {name: getattr(trip, name) for name in _SUMS}) for symbol, trip in self._open.items()]
        return TradeLogState(self.closed, sums, self._count)

    def restore(self, state: TradeLogState, instruments: Mapping[str, Instrument]) -> None:
        """Go on from a ``state()``."""
        self._ended, self._closed, self._count = [], list(state.closed), state.count
        self._open = {symbol: RoundTrip(instrument=instruments[symbol], **sums) for symbol, sums in state.open}

    @property
    def open(self) -> list[Trade]:
        """What is still open, by trade number, as trades without an exit."""
        return [trip.to_trade() for trip in sorted(self._open.values(), key=lambda trip: trip.number)]
