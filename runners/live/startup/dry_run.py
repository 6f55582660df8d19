"""A dry run: a session that reads the account and decides on the market as it comes, and says of each order what it would be.

Nothing is sent: the connection holds every command back (``CommandHold``), and what the actors order is told here and ended as denied, so
that each decision is made on the account as it is. It works on a copy of the journal, which goes with it; the real one stays as it was.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from keel.core.model.messages import AmendOrder, CancelAll, CancelOrder, SetTradingStop, SubmitOrder
from keel.core.risk.controls.table import Denial


class DryRun:
    """Takes what would be sent. say: is told each in words, as it comes. Made once for a run; ``close`` removes its copy."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.lines: list[str] = []
        """Everything that was told."""
        self.orders = 0
        self._folder = Path(tempfile.mkdtemp(prefix="keel-dry-"))

    def copy_of(self, journal: Path, *, fresh: bool) -> Path:
        """A copy of a journal's folder to go on in; an empty place where there is no journal yet, or a new one is to begin (fresh)."""
        place = self._folder / journal.name
        if journal.is_dir() and not fresh:
            shutil.copytree(journal, place, ignore=shutil.ignore_patterns("ballast", "*.lock", "lock"))
        return place

    def close(self) -> None:
        """Remove the copy."""
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- what would be sent ---

    def order(self, order: SubmitOrder, denial: Denial | None) -> None:
        """A new order, or the control that would keep it back."""
        if denial is None:
            self.orders += 1
        kept = (
            "" if denial is None else f"; it would be DENIED: {denial.code} {denial.value:g} (limit {denial.limit:g}) {denial.why}".rstrip()
        )
        self._tell(f"would {_order(order)}{kept}")

    def other(self, command: AmendOrder | CancelOrder | CancelAll | SetTradingStop) -> None:
        """Any other command."""
        self._tell(f"would {_OTHERS[type(command)]} {getattr(command, 'client_order_id', '') or command.symbol or 'all'}")

    def _tell(self, line: str) -> None:
        self.lines.append(line)
        self._say(line)


_OTHERS = {AmendOrder: "amend", CancelOrder: "cancel", CancelAll: "cancel all of", SetTradingStop: "set the exits of"}


def _order(order: SubmitOrder) -> str:
    at = "" if order.price is None else f" at {order.price:g}"
    trigger = "" if order.trigger_price is None else f" when {order.trigger_price:g} is reached"
    bracket = order.bracket
    exits = [] if bracket is None else [("stop-loss", bracket.stop_loss), ("take-profit", bracket.take_profit)]
    told = "".join(f", {name} {price:g}" for name, price in exits if price is not None)
    trailing = ", with a trailing stop" if bracket is not None and bracket.trailing is not None else ""
    reduces = " (reduce only)" if order.reduce_only else ""
    return f"{order.side.lower()} {order.qty:g} {order.symbol} {order.order_type}{at}{trigger}{reduces}{told}{trailing}"
