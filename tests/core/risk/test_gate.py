"""One answer to whether a symbol may trade now, and what becomes of it when causes come and go."""

from __future__ import annotations

import pytest

from keel.core.errors import InvariantError
from keel.core.risk.gate.causes import CAUSES, TradingState
from keel.core.risk.gate.gate import Entry, Gate

A, B = "BTCUSDT", "ETHUSDT"


def gate_of(*symbols: str) -> tuple[Gate, list[str], list[tuple[str, str | None]]]:
    states: list[str] = []
    entries: list[tuple[str, str | None]] = []

    def on_entry(entry: Entry, by: str | None) -> None:
        entries.append((entry.label, by))

    gate = Gate(symbols, now_ms=lambda: 7)
    gate.listen(on_state=lambda state, why: states.append(f"{state.name} {why}".strip()), on_entry=on_entry)
    return gate, states, entries


def test_the_strictest_cause_rules_and_each_is_taken_back_by_its_name() -> None:
    gate, states, entries = gate_of(A)
    gate.close("clock_off", "first")
    gate.close("lock_lost", "second")
    gate.open("clock_off")
    assert gate.state is TradingState.HALTED and gate.why == "lock_lost: second"
    gate.open("lock_lost", by="anna")
    gate.open("banned")  # never given
    assert states == ["REDUCING clock_off: first", "HALTED lock_lost: second", "ACTIVE"]
    assert entries == [("clock_off", None), ("lock_lost", None), ("clock_off", "keel"), ("lock_lost", "anna")]


def test_active_means_that_some_symbol_could_take_an_entry_now() -> None:
    gate, states, _ = gate_of(A, B)
    gate.close("external_order", "x", A, "1")
    assert gate.state is TradingState.ACTIVE and gate.why == "" and gate.against(A) and not gate.against(B)
    gate.close("price_stale", "y", B)
    assert gate.state is TradingState.REDUCING and gate.account_state is TradingState.ACTIVE
    gate.open("external_order", A, "1")
    assert states == ["REDUCING external_order: x; price_stale: y", "ACTIVE"]


def test_who_listens_later_is_told_what_stands_already() -> None:
    gate = Gate([A], now_ms=lambda: 7)
    gate.close("starting", "reading")
    gate.close("halt", "by hand")
    told: list[str] = []
    gate.listen(on_state=lambda state, why: told.append(f"{state.name} {why}"), on_entry=lambda entry, by: told.append(entry.label))
    gate.open("starting")
    assert told == ["starting", "halt", "HALTED starting: reading", "starting", "REDUCING halt: by hand"]


def test_a_cause_may_stand_several_times_and_keeps_its_time() -> None:
    gate, _, entries = gate_of(A)
    assert gate.close("external_order", "one", A, "1") and gate.close("external_order", "two", A, "2")
    assert not gate.close("external_order", "one, changed", A, "1")
    assert [(entry.key, entry.text, entry.since_ms) for entry in gate.entries()] == [("1", "one, changed", 7), ("2", "two", 7)]
    assert gate.close("overfilled", "before", A, since_ms=3) and gate.entries("overfilled")[0].since_ms == 3 and gate.open("overfilled", A)
    assert gate.open("external_order", A, "1") and gate.has("external_order", A)
    assert gate.open("external_order", A, None) and not gate.open("external_order", A, None)
    assert len(entries) == 6


def test_a_cause_that_the_table_does_not_have_cannot_be_raised() -> None:
    with pytest.raises(InvariantError, match="no cause of core/risk/gate/causes"):
        Gate().close("because", "I say so")


def test_every_row_says_what_raises_it_and_what_ends_it() -> None:
    for cause in CAUSES.values():
        assert cause.raised_when and cause.ends_when and cause.state is not TradingState.ACTIVE
        assert ("a person says so" in cause.ends_when) == (cause.lifted_by == "person")


@pytest.mark.parametrize("name", CAUSES)
def test_each_row_raised_forbids_what_it_says_ends_and_lets_trade_again(name: str) -> None:
    """The table by itself; tests/faults/test_causes.py raises and ends each in a session."""
    row = CAUSES[name]
    gate, states, entries = gate_of(A, B)
    for symbol in (None,) if row.scope == "account" else (A, B):
        assert gate.close(name, "made by the test", symbol)
        (entry,) = gate.against(A) if symbol in (None, A) else gate.against(B)
        assert entry.row is row and bool(gate.against(A, is_allowed=True)) == (not row.counts)
    assert gate.state is row.state and gate.why.startswith(f"{name}: made by the test")
    lifter = "anna" if row.lifted_by == "person" else "keel"
    for symbol in (None,) if row.scope == "account" else (A, B):
        assert gate.open(name, symbol, by=lifter)
    assert gate.state is TradingState.ACTIVE and gate.why == "" and not gate.against(A) and not gate.against(B)
    assert [state.partition(" ")[0] for state in states] == [row.state.name, "ACTIVE"]
    assert {by for _, by in entries} == {None, lifter}
