"""Asks the cost models of a user about what a book is about to do. Without such models nobody comes here.

What a model is told is read from the book as it stands; nothing is remembered that going back along a path would have to undo.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Final

from keel.core.costs import CostModels, FillInputs, FundingInputs
from keel.core.model.costs import MAX_COST_RATE
from keel.core.model.messages import Fill
from keel.core.model.money import BPS, UNIT
from keel.core.model.timeframe import DAY_MS
from keel.core.system.config import ExecutionConfig
from keel.sim.exchange.book import Position, SymbolBook, WorkingOrder
from keel.sim.matching.execution import impact_rate

THIRTY_DAYS_MS: Final = 30 * DAY_MS


class BookCosts:
    """The models of one exchange. Rates are integers of 1e-8."""

    __slots__ = ("_base_bps", "_coefficient", "_half_spread", "_has_impact", "_slippage", "_taker_fees", "_turnover", "models")

    def __init__(self, models: CostModels, config: ExecutionConfig, fills: list[Fill], taker_fees: Mapping[str, int]) -> None:
        """fills: the account's, as the outbox keeps them. taker_fees: what the file or the instrument says, by symbol."""
        self.models = models
        self._half_spread, self._slippage = config.half_spread_rate, config.slippage_rate
        impact = config.impact
        self._has_impact = impact != "none"
        self._base_bps, self._coefficient = (0.0, 0.0) if impact == "none" else (impact.base_bps, impact.coefficient)
        self._turnover = Turnover(fills)
        self._taker_fees = taker_fees

    def fee_rate(self, book: SymbolBook, order: WorkingOrder, steps: int, ticks: int, total: int, maker: bool) -> int:
        """The fee of ``steps`` at ``ticks``, which are worth ``total``."""
        built_in = book.maker_fee if maker else self._taker_fees[book.symbol]
        price = ticks * book.price_num / book.price_den
        return self.models.fee_rate(self._inputs(book, order, steps, price, total, maker, built_in / UNIT))

    def taker_rate(self, book: SymbolBook, order: WorkingOrder, steps: int, reference: int) -> int:
        """Half the spread, slippage and impact of ``steps`` where the path stands at ``reference`` ticks."""
        models, price = self.models, reference * book.price_num / book.price_den
        total = book.instrument.notional(reference, steps)
        rate = self._half_spread
        if models.has_slippage:
            rate += models.slippage_rate(self._inputs(book, order, steps, price, total, False, self._slippage / BPS))
        else:
            rate += self._slippage
        moved = self._impact(book, steps)
        if models.has_impact:
            moved = models.impact_rate(self._inputs(book, order, steps, price, total, False, moved / BPS))
        return min(rate + moved, MAX_COST_RATE)

    def funding_rate(self, book: SymbolBook, position: Position, stamp: int, rate: int, mark: int) -> int:
        """The rate that a position pays or receives at a funding time; mark: in 1e-8."""
        price, qty = mark / UNIT, position.qty
        inputs = FundingInputs(
            symbol=book.symbol, ts=stamp, qty=qty, mark_price=price, notional=abs(qty) * price, built_in=rate / UNIT
        )  # fmt: skip
        return self.models.funding_rate(inputs)

    def _impact(self, book: SymbolBook, steps: int) -> int:
        if not self._has_impact:
            return 0
        return impact_rate(self._base_bps, self._coefficient, book.volatility_bps, book.instrument.qty_grid.value(steps), book.volume)

    def _inputs(
        self, book: SymbolBook, order: WorkingOrder, steps: int, price: float, total: int, maker: bool, built_in: float
    ) -> FillInputs:
        return FillInputs(
            symbol=book.symbol, ts=book.ts, side=order.side_name, qty=steps * book.qty_num / book.qty_den, price=price,
            notional=total / UNIT, is_maker=maker, order_type=order.order_type, volume=book.volume, volatility_bps=book.volatility_bps,
            traded_30d=self._turnover.since(book.ts - THIRTY_DAYS_MS) / UNIT, built_in=built_in,
        )  # fmt: skip


class Turnover:
    """What was traded since a time, out of the list of fills, which going back along a path may have made shorter, or other."""

    __slots__ = ("_counted", "_fills", "_sums", "_times")

    def __init__(self, fills: Sequence[Fill]) -> None:
        self._fills, self._counted = fills, list[Fill]()
        self._sums, self._times = [0], list[int]()

    def since(self, ts: int) -> int:
        """Notional of the fills after a time (ms UTC), in 1e-8 of the quote coin."""
        self._follow()
        return self._sums[-1] - self._sums[bisect_right(self._times, ts)]

    def _follow(self) -> None:
        fills, counted = self._fills, self._counted
        while counted and (len(counted) > len(fills) or counted[-1] is not fills[len(counted) - 1]):
            counted.pop()
            self._sums.pop()
            self._times.pop()
        for fill in fills[len(counted) :]:
            counted.append(fill)
            self._sums.append(self._sums[-1] + round(fill.qty * fill.price * UNIT))
            self._times.append(max(fill.ts, self._times[-1] if self._times else 0))
