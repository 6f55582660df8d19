"""Closes what is held without asking the actors: they have failed. Reduce-only, journalled, from the exchange's own statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.core.model.instrument import order_parts
from keel.core.model.messages import SubmitOrder
from keel.runners.live.memory.history import session_prefix

if TYPE_CHECKING:
    from keel.runners.live.session.live import Live


async def flatten(live: Live) -> None:
    """One reduce-only market order per position, in parts where the exchange asks for it; waits until they are answered."""
    venue = live.venue
    await venue.read_positions()
    number = 0
    for (symbol, idx), report in list(venue.tracker.stated.positions.items()):
        instrument = live.instruments[symbol]
        held = abs(instrument.qty_grid.count(report.qty))
        for steps in order_parts(instrument.qty_grid, held, instrument.max_market_qty):
            number += 1
            name = f"{session_prefix(live.opened, live.journal.session)}-x{number}"
            side = "SELL" if report.qty > 0 else "BUY"
            venue.submit_order(
                SubmitOrder(
                    name, symbol, "SELL" if side == "SELL" else "BUY", "market", instrument.qty_grid.value(steps),
                    live.books.clock.now_ms, reduce_only=True, position_idx=idx, reason="fault",
                )
            )  # fmt: skip
    await venue.idle()
