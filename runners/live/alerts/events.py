"""Everything that a session or its supervisor can tell, in one table: how grave it is, what it means, what to do.

The runbook is printed from this table (docs/runbook.md), an alert carries its row's last column, and a test holds that every code that
is told anywhere has a row. Causes of the gate (core/risk/gate/causes.py) have theirs there; what is told of them is made from it below.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keel.adapters.bybit.notices import Severity
from keel.core.risk.gate.causes import CAUSES, Cause


class Event(msgspec.Struct, frozen=True):
    """One row. severity: the least with which it is sent as an alert; what is told more gravely keeps that."""

    code: str
    severity: Severity
    means: str
    todo: str


_NOTHING: Final = "nothing"

_TABLE: Final = (
    # --- the session itself ---
    Event("started", "info", "a session has read its account and trades", _NOTHING),
    Event("stopped", "info", "a session has ended in order", _NOTHING),
    Event("failed", "error", "a session broke off, or its start was refused",
          "read the words; positions stay at the exchange, with their stops where the system sets any: look there, mend the cause,"
          " start again"),
    Event("refused", "error", "a session was not started (field `reason` of its log); it goes out as the alert `failed`",
          "read the reason: it names the way out"),
    Event("gate", "info", "the state of the gate has changed",
          "`keel session status SYSTEM` says what stands in the way, what ends it, and the command where a person must"),
    Event("cause_ended", "info", "something that stood in the way of orders does not any more", _NOTHING),
    Event("left_out", "warning", "a symbol of the system is not traded in this session", "run without it, or wait until it trades again"),
    Event("stop_slow", "warning", "not everything was answered before the session ended",
          "look at the exchange for entries that still rest; a restart looks again"),
    Event("loop_late", "warning", "the event loop came round late; from 2 s on no order leaves (loop_stalled)",
          "once: a busy machine. Again and again: look for what is slow in the strategy, or for another program on this machine"),
    Event("snapshot", "info", "a snapshot could not be read or written; the journal is heard again from its beginning instead",
          "if it comes again: look at the free space of the disk"),
    Event("no_session_socket", "warning", "`keel session` cannot reach this session; it trades all the same",
          "look at the rights of the state folder (KEEL_STATE)"),
    # --- the journal ---
    Event("journal_recovered", "warning", "the end of the journal was not whole (a crash while writing), and was cut off",
          "nothing, once; after each start: look at the disk. The exchange was asked for what was lost"),
    # --- the lines to the exchange ---
    Event("stream_lost", "info", "a WebSocket was lost, and is being connected again", "if it does not come back: look at the network"),
    Event("stream_behind", "warning", "the private stream kept something to itself that a list showed; it was connected anew",
          "nothing, once; often: look at the network"),
    Event("bad_message", "warning", "the exchange sent what cannot be read; it was left out",
          "often: the exchange may have changed its protocol; stop, and look for a newer keel"),
    Event("handler_error", "error", "something inside broke while a message was handled",
          "stop, keep the log and the journal, and report it"),
    Event("check_failed", "warning", "a regular look at the account failed", "nothing, once; it is repeated. Often: look at the network"),
    Event("look_failed", "info", "an order could not be looked for; it is looked for again", _NOTHING),
    Event("clock_unmeasured", "warning", "the exchange's clock could not be read", "if it goes on: look at the network"),
    # --- market data ---
    Event("bars_late", "warning", "bars did not come in time; their symbols got no decision",
          "often: look at the network, or raise --grace"),
    Event("inputs_late", "warning", "what a feature reads beside the bars did not come in time", "often: look at the network"),
    Event("candle_changed", "warning", "the exchange changed a bar after it had closed; the first was traded on", _NOTHING),
    Event("backfill_failed", "warning", "bars that were missed could not be read; it is tried again", "if it goes on: look at the network"),
    Event("feed_gap", "error", "bars are missing for good, and decisions were made without them",
          "stop, import the missing bars (`keel data import`), then `keel compare-live last`"),
    Event("stand_in", "warning", "the exchange lacks a series that a strategy reads, and another stands in for it (named in the words)",
          "look whether that is meant: decisions rest on it"),
    Event("not_screened", "warning", "a portfolio strategy could not screen a symbol, and left it out",
          "once: data that were missing; again and again: look at the symbol's history"),
    Event("series_incomplete", "warning", "a series that a strategy reads could not be read to its end",
          "once: it is read again; often: look at the network"),
    Event("series_late", "warning", "rows of a series that a portfolio strategy reads did not come in time, and it decided without them",
          "once: they come with a later decision; often: look at the network. The screen counts the decisions that were taken so"),
    Event("series_back", "info", "a series that came late is whole again", _NOTHING),
    Event("funding_unknown", "warning", "a funding rate could not be read", "the daily statement finds what was paid"),
    Event("fees_unknown", "info", "the account's fees could not be read; those of the system file are assumed", _NOTHING),
    # --- orders and positions ---
    Event("exits_not_set", "warning", "a take-profit, stop or trailing stop could not be set; it is tried again",
          "look at the position at the exchange: has it a stop?"),
    Event("exit_sent_again", "warning", "an exit whose fate nobody knew was proven absent, and was sent again", _NOTHING),
    Event("absence_contradicted", "error", "an order that was proven absent turned up",
          "compare the position with the exchange's; report it with the journal"),
    Event("execution_liquidation", "error", "the exchange liquidated a position",
          "stop; look at leverage, margin and stops before you go on"),
    Event("execution_panic", "warning", "a panic closed a position; unless it was over before the last re-arming here, the latch stands",
          "read the report of `keel panic`; then `keel session rearm`"),
    Event("pnl_differs", "warning", "our profit of a fill is not the exchange's", "look at the daily statement; report it if it stays"),
    Event("elsewhere", "warning", "the account holds positions or orders in symbols that this system does not trade",
          "make sure that they are yours; keel does not touch them, and they share the margin"),
    # --- reconciliation ---
    Event("reconcile_failed", "warning", "the account could not be read for comparison; it is read again",
          "if it goes on: look at the network"),
    Event("resolved", "info", "our books and the exchange's agree again", _NOTHING),
    Event("transfer", "info", "money came to the account, or left it, and was taken over", "make sure that it was you"),
    Event("adopted", "warning", "a person adopted the exchange's number where our books had another",
          "note where the difference came from"),
    Event("rounded", "info", "a difference of some 1e-8, no more than rounding explains, was taken over from the exchange",
          "nothing: an exchange keeps more digits than the books"),
    Event("pnl_taken_over", "info",
          "the exchange realised another profit of our executions, by its transaction log; its figure was taken over",
          "some units of 1e-8 are its rounding; more: an execution was heard of out of its order"),
    Event("statement", "info", "the daily statement: the exchange's transaction log against our books", _NOTHING),
    Event("statement_differs", "error", "the statement has an item that our books do not explain",
          "read the item; `keel journal` and the exchange's transaction log show where it comes from"),
    Event("statement_failed", "warning", "the transaction log could not be read; it is read again", "if it goes on: look at the network"),
    # --- the key ---
    Event("armed", "info", "a live session was armed, or armed anew", "if that was not you: keel panic, and change the key"),
    Event("arming_ends", "warning", "the arming of a live session ends soon", "keel live SYSTEM --arm at a terminal renews it"),
    Event("arm_token", "warning", "an arming token that was laid for a running session is not taken",
          "make a new one: keel live SYSTEM --arm"),
    Event("not_armed", "warning", "a dry run found what a live session would be refused for",
          "the text says what is missing, and the way out"),
    Event("key_expires", "warning", "the API key expires soon",
          "make a new one (without withdrawal, bound to this address), and start with it"),
    # --- the supervisor ---
    Event("supervisor_gone", "error", "the supervisor of a session is gone; the session trades on, or ends in half a minute",
          "start it again with the same command: it finds the session and watches it"),
    Event("supervisor_back", "info", "the supervisor is there again", _NOTHING),
    Event("supervisor_adopted", "warning", "a supervisor was started and found its session running", "look why the one before it ended"),
    Event("supervisor_card", "error", "the supervisor could not write down, or read, which process trades",
          "make room where the state folder lies (KEEL_STATE); until then do not end the supervisor: a new one does not find "
          "the session"),
    Event("supervisor_ignored", "warning",
          "something that was no heartbeat of the trader came to the supervisor; it was left out, and is counted",
          "a line that was cut off when a session ended: nothing. Another process: look what it is (ps -p), and end it"),
    Event("supervisor_note", "warning", "what the panic path of the supervisor says, or which of its alerts were not sent before its end",
          "read the words; of a panic: look at the exchange"),
    Event("supervisor_ends", "info", "the supervisor ends, and its session with it",
          "look at the exchange: positions keep their stops, where the system sets any; read logs/supervisor.jsonl, then start again"),
    Event("supervisor_flattens", "error", "the supervisor flattens the account by the panic path",
          "wait for supervisor_flattened; the latch stands until `keel session rearm`"),
    Event("supervisor_flattened", "error", "the panic path has ended", "NOT flat: go to the exchange and close what is left, at once"),
    Event("trader_silent", "error", "a session sends no heartbeats: it is stopped, hangs, or the machine has no time for it",
          "nothing at once: it is asked to end, and ended; then look at the machine and the strategy"),
    Event("trader_hangs", "error", "a session's event loop does not return; no order leaves",
          "nothing at once: it is asked to end, and ended; its last words name the line that hangs"),
    Event("trader_late", "info", "a session's event loop came round late", "again and again: a busy machine, or a slow strategy"),
    Event("trader_slow_start", "error", "a session has been starting for minutes", "look at the network and the exchange's status"),
    Event("trader_data_old", "error", "a session hears no prices", "look at the network; orders of this symbol do not leave meanwhile"),
    Event("trader_memory", "warning", "a session has much more memory than it began with, or than it may have",
          "restart it in a quiet moment; a strategy that keeps all it sees is the usual cause"),
    Event("trader_journal", "error", "a session's journal does not grow, or is not whole", "look at the disk; the session ends in order"),
    Event("clock_jump", "warning", "this computer's clock was set, or the machine slept",
          "look at its time service; orders wait until the exchange's time is measured again"),
    Event("trader_asked", "info", "a session was asked to end", _NOTHING),
    Event("trader_lingers", "warning", "a session has said how it ended, and its process did not go; it was killed",
          "look at the targets of alerts.yaml (`keel alerts test`): one that hangs is the usual cause"),
    Event("trader_killed", "error", "a session did not end when it was asked, and was killed",
          "look at the exchange for entries that rest; a restart looks again"),
    Event("trader_ended", "error", "a session ended, and not in order", "read its log; what is done then is `supervision` of its system"),
    Event("trader_restarted", "warning", "a session was started again after a crash", "read the log of the crash"),
    # --- alerts ---
    Event("daily_summary", "info", "what the day brought", _NOTHING),
    Event("alert_failed", "error", "a target of alerts.yaml does not take alerts; it is tried again",
          "`keel alerts test`; look at the network, the token and the address of this target"),
    Event("alert_delivered", "info", "a target of alerts.yaml takes alerts again", _NOTHING),
    Event("alerts_dropped", "warning", "alerts waited for a target until there was no more room, and the oldest were lost",
          "the log has all of them; mend the target"),
    Event("test", "info", "`keel alerts test`", _NOTHING),
)  # fmt: skip


def _of(cause: Cause) -> Event:
    """A cause of the gate as what is told of it."""
    by = {
        "keel": f"ends by itself when {cause.ends_when}",
        "time": f"ends by itself when {cause.ends_when}",
        "person": f"`keel session release SYSTEM --cause {cause.name}`, once {cause.ends_when.removesuffix(', and a person says so')}",
        "restart": f"ends with {cause.ends_when}",
    }
    todo = by[cause.lifted_by]
    _, other, command = cause.ends_when.partition("a person says so: ")
    if other:  # another command than the release lifts it
        todo = command
    return Event(cause.name, "warning", cause.raised_when, todo)


EVENTS: Final = {event.code: event for event in _TABLE} | {name: _of(cause) for name, cause in CAUSES.items()}
"""Code -> row, in the order of the runbook: what is told by itself, then the causes of the gate."""
