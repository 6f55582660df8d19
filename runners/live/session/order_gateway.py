"""The only way to the exchange: commands of the executor come here, are asked by the controls, and go to the venue.

While a journal is heard again nothing leaves: the commands that the actors give are compared with those that were written down.
"""

from __future__ import annotations

from collections.abc import Callable

from keel.core.engine.ports import Venue
from keel.core.model.messages import AmendOrder, CancelAll, CancelOrder, Message, OrderDenied, OrderUpdate, SetTradingStop, SubmitOrder
from keel.core.risk.controls.controls import REPLACED_RESTS, Controls
from keel.core.risk.controls.table import Denial
from keel.runners.live.session.decisions import Decisions
from keel.runners.live.startup.dry_run import DryRun


class OrderGateway:
    """Implements ``keel.core.engine.ports.Venue``. ``say`` takes what is to be told instead of the venue's answer, after the present
    message; ``dry`` takes what would be sent, and then nothing is."""

    def __init__(self, controls: Controls, say: Callable[[Message], None], decisions: Decisions, dry: DryRun | None = None) -> None:
        self._controls, self._emit, self._decisions, self._dry = controls, say, decisions, dry
        self._venue: Venue | None = None
        self.muted: dict[str, SubmitOrder] = {}

    def open(self, venue: Venue) -> None:
        """The journal has been heard again: from now on orders go there. Before that they are only noted (``muted``)."""
        self._venue = venue

    def submit_order(self, command: SubmitOrder) -> None:
        """Send an order that every control allows; else emit the denial, and the order's end."""
        self._decisions.note(command)
        if self._venue is None:
            self.muted[command.client_order_id] = command
            self._controls.counts.note_sent(command)
            return
        denial = self._controls.check(command)
        if self._dry is not None:
            self._dry.order(command, denial)
            denial = denial or Denial("dry_run", why="nothing is sent")
        if denial is not None:
            self._emit(OrderDenied(command.symbol, command.ts, denial.code, denial.value, denial.limit))
            self._emit(
                OrderUpdate(
                    command.client_order_id, command.symbol, command.ts, "rejected", reason=_words(denial),
                    order_type=command.order_type, price=command.price, trigger_price=command.trigger_price, side=command.side,
                )
            )  # fmt: skip
            return
        self._controls.counts.note_sent(command)
        self._venue.submit_order(command)

    def amend_order(self, command: AmendOrder) -> None:
        """Change a resting order as far as every control would allow what it becomes; else emit the denial, and the order stays as it
        is."""
        self._decisions.note(command)
        if self._venue is None:
            return
        denial = self._controls.check_amend(command)
        if self._dry is not None:
            self._dry.other(command)
        elif denial is not None:
            self._emit(OrderDenied(command.symbol, command.ts, denial.code, denial.value, denial.limit))
            self._emit(OrderUpdate(command.client_order_id, command.symbol, command.ts, "amend_rejected", reason=_words(denial)))
        else:
            self._venue.amend_order(command)

    def last_look(self, command: SubmitOrder, fate: Callable[[str], float | None]) -> str | None:
        """Whether an order that was allowed may leave now: "" yes, None not yet; else why it may not at all."""
        denial = self._controls.last_look(command, fate)
        if denial is None:
            return ""
        if denial.code == REPLACED_RESTS:
            return None
        self._emit(OrderDenied(command.symbol, command.ts, denial.code, denial.value, denial.limit))
        return f"{_words(denial)} (an order that it replaces was filled)"

    def cancel_order(self, command: CancelOrder) -> None:
        """Cancels always pass."""
        self._decisions.note(command)
        self._controls.counts.note_cancel()
        if self._venue is not None and self._dry is not None:
            self._dry.other(command)
        elif self._venue is not None:
            self._venue.cancel_order(command)

    def cancel_all(self, command: CancelAll) -> None:
        """Cancels always pass."""
        self._decisions.note(command)
        self._controls.counts.note_cancel()
        if self._venue is not None and self._dry is not None:
            self._dry.other(command)
        elif self._venue is not None:
            self._venue.cancel_all(command)

    def set_trading_stop(self, command: SetTradingStop) -> None:
        """Exits of a position."""
        self._decisions.note(command)
        if self._venue is not None and self._dry is not None:
            self._dry.other(command)
        elif self._venue is not None:
            self._venue.set_trading_stop(command)

    def on_update(self, update: OrderUpdate) -> None:
        """What became of an order, for the controls that count."""
        if update.reason.startswith("denied:"):
            self._controls.counts.note_unsent(update.client_order_id)
        else:
            self._controls.counts.note_end(update.symbol, update.status, update.ts)
        if update.status in ("filled", "cancelled", "rejected", "expired"):
            self._controls.counts.note_gone(update.client_order_id)


def _words(denial: Denial) -> str:
    return f"denied: {denial.code}" + (f" ({denial.why})" if denial.why else "")
