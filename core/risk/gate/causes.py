"""Everything that keeps orders from leaving in a session, in one table: what raises it, what it forbids, what ends it, who may lift it.

A cause that is not here cannot be raised. The table is printed in docs/gate.md, and a test raises and ends each of its rows.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal

import msgspec


class TradingState(IntEnum):
    """What may leave: everything that the controls allow; only what reduces; nothing but cancels. The higher, the stricter."""

    ACTIVE = 0
    REDUCING = 1
    HALTED = 2


Lifter = Literal["keel", "time", "person", "restart"]
"""Who takes a cause back: keel, once it has seen that its condition holds; time; a person, by ``keel session release``; the next start."""
Scope = Literal["symbol", "account"]


class Cause(msgspec.Struct, frozen=True):
    """One row. ``state``: what is left while it stands; ``raised_when`` and ``ends_when`` are for people; ``counts``: it counts orders, and
    those that were allowed are among them, so that it forbids new ones only."""

    name: str
    scope: Scope
    state: TradingState
    raised_when: str
    ends_when: str
    lifted_by: Lifter
    counts: bool = False


_REDUCING, _HALTED = TradingState.REDUCING, TradingState.HALTED

_TABLE: Final = (
    Cause("starting", "account", _HALTED, "a session begins", "the account has been read and compared", "keel"),
    Cause("stopped", "account", _HALTED, "a session ends", "the next start", "restart"),
    Cause("panic", "account", _HALTED, "the panic latch of this environment stands (`keel panic`, its key, SIGUSR1)",
          "a person says so: `keel session rearm`, and the next start", "person"),
    Cause("fault", "account", _REDUCING, "a strategy raised, or something inside broke",
          "the next start; the session is ending", "restart"),
    Cause("journal", "account", _HALTED, "the journal takes no more records", "the next start, on a disk that takes them", "restart"),
    Cause("private_stream", "account", _HALTED, "the private stream is lost", "it is connected again and all lists have been read", "keel"),
    Cause("loop_stalled", "account", _HALTED, "the event loop did not return for 2 s (a strategy that hangs, a busy machine)",
          "it has been on time for 10 s and our books agree with the exchange's", "keel"),
    Cause("lock_lost", "account", _HALTED, "another process holds this account's lock",
          "the lock is ours again (looked at every 10 s)", "keel"),
    Cause("clock_off", "account", _REDUCING, "this computer's clock is more than 0.5 s off the exchange's",
          "a measurement finds it right (every 5 s)", "keel"),
    Cause("banned", "account", _REDUCING, "the exchange refused this address (HTTP 403)", "ten minutes have passed", "time"),
    Cause("denied", "account", _REDUCING, "the exchange denied the key a command",
          "the key is read again and may trade (every 60 s)", "keel"),
    Cause("key", "account", _REDUCING, "the key may move funds, or trade no longer", "it has the right rights again (every 60 s)", "keel"),
    Cause("cash_differs", "account", _REDUCING, "our cash is not the wallet's, in two readings",
          "they agree, the transaction log explains it (every 30 s), or a person adopts the wallet's", "keel"),
    Cause("margin_mode", "account", _REDUCING, "the account's margin mode is not the system's", "it is again (every 30 s)", "keel"),
    Cause("another_writer", "account", _REDUCING, "an order of another keel session came to this account",
          "none of its orders rests, and a person says so", "person"),
    Cause("repeated_execution", "account", _REDUCING, "more than 20 orders to one side of a symbol within a minute",
          "a minute has passed, and a person says so", "person"),
    Cause("cancel_ratio", "account", _REDUCING, "more than 50 cancels for each order", "a person says so; the count begins anew", "person"),
    Cause("max_orders_per_minute", "account", _REDUCING, "120 orders within a minute (live: `live.max_orders_per_minute`)",
          "a minute has passed since the oldest of them", "time", counts=True),
    Cause("max_open_orders", "account", _REDUCING, "200 orders rest (live: `live.max_open_orders`)", "one of them has ended", "keel",
          counts=True),
    Cause("no_equity", "account", _REDUCING, "the equity is 0 or less", "it is above 0 again", "keel"),
    Cause("halt", "account", _REDUCING, "a Halt from outside", "a Resume", "keel"),
    Cause("arming_expired", "account", _REDUCING, "the arming of a live session has ended (12 h at most)",
          "a person says so: `keel live SYSTEM --arm`", "person"),
    Cause("daily_loss_percent", "account", _REDUCING, "risk.daily_loss_percent is lost", "the next UTC day begins", "time"),
    Cause("max_drawdown_percent", "account", _REDUCING, "risk.max_drawdown_percent is lost",
          "a new journal (--fresh): it holds for good", "restart"),
    Cause("being_compared", "symbol", _REDUCING, "a reading found a difference between our books and the exchange's",
          "the next reading decides on it", "keel"),
    Cause("position_differs", "symbol", _REDUCING, "two readings found the same difference",
          "they agree again (every 30 s), or a person adopts the exchange's", "keel"),
    Cause("order_unknown", "symbol", _REDUCING, "nobody knows whether the exchange has an order of ours",
          "it is found, or proven absent by lists, position and wallet", "keel"),
    Cause("external_order", "symbol", _REDUCING, "an order that is not ours", "it rests no more (every 5 s)", "keel"),
    Cause("execution_external", "symbol", _REDUCING, "somebody else traded our position",
          "our books agree with the exchange's, nothing that is not ours rests, and a person says so", "person"),
    Cause("execution_adl", "symbol", _REDUCING, "the exchange reduced our position (auto-deleveraging)",
          "our books agree with the exchange's (every 10 s)", "keel"),
    Cause("unknown_execution", "symbol", _REDUCING, "an execution of a kind that we do not know",
          "our books agree with the exchange's (every 10 s)", "keel"),
    Cause("executions_missing", "symbol", _REDUCING, "the exchange counts executions that none of its lists has",
          "our books agree with the exchange's (every 10 s)", "keel"),
    Cause("overfilled", "symbol", _REDUCING, "more of an order was filled than was ordered",
          "our books agree with the exchange's, and a person says so", "person"),
    Cause("unknown_status", "symbol", _REDUCING, "an order of ours has a status that we do not know",
          "it has one that we know, or rests no more (every 5 s)", "keel"),
    Cause("order_returned", "symbol", _REDUCING, "an order that had ended for us rests at the exchange",
          "it rests no more (every 5 s)", "keel"),
    Cause("cancel_all_failed", "symbol", _REDUCING, "orders rest after ten cancellations of all", "nothing of the symbol rests (every 5 s)",
          "keel"),
    Cause("unprotected", "symbol", _REDUCING, "a position has no stop at the exchange: it was refused, or has ended",
          "the position is flat, or has a stop again (every 5 s)", "keel"),
    Cause("fee_coin", "symbol", _REDUCING, "a fee was taken in another coin than the quote",
          "it is switched off, and a person says so", "person"),
    Cause("leverage", "symbol", _REDUCING, "the symbol's leverage is not the system's", "it is again (every 30 s)", "keel"),
    Cause("position_mode", "symbol", _REDUCING, "the symbol is in hedge mode", "it is in one-way mode again (every 30 s)", "keel"),
    Cause("auto_add_margin", "symbol", _REDUCING, "margin is added to the position by itself", "that is off again (every 30 s)", "keel"),
    Cause("not_trading", "symbol", _REDUCING, "the exchange does not trade the symbol now", "it does again (every 60 s)", "keel"),
    Cause("instrument_changed", "symbol", _REDUCING, "the symbol's tick, step or limits are others",
          "they are those of the start again, or the next start", "keel"),
    Cause("price_stale", "symbol", _REDUCING, "its latest price is older than 15 s", "a price comes", "keel"),
    Cause("reject_breaker", "symbol", _REDUCING, "five rejections in a row", "ten minutes have passed", "time"),
    Cause("max_orders_per_symbol_per_minute", "symbol", _REDUCING, "60 orders of the symbol within a minute",
          "a minute has passed since the oldest of them", "time", counts=True),
    Cause("max_open_orders_per_symbol", "symbol", _REDUCING, "50 orders of the symbol rest", "one of them has ended", "keel", counts=True),
)  # fmt: skip

CAUSES: Final = {cause.name: cause for cause in _TABLE}
"""Name -> row, in the order in which the documents show them. A scope of symbol may be the account's where all symbols are meant."""
