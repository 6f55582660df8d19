"""What follows from readings: the gate alone knows what is frozen or in doubt, so that nothing is forgotten that could not be done."""

from __future__ import annotations

from keel.core.risk.gate.gate import Gate
from keel.runners.live.checks.comparison import AccountDifference, Comparison, ComparisonOver, Doubt, Freeze, Release, cause_of

S = "BTCUSDT"
ONE, TWO = AccountDifference(S, 1, 2), AccountDifference(S, 1, 3)


def done(gate: Gate, actions: list[object]) -> list[str]:
    """What the reconciler does with them; their names."""
    for action in actions:
        if isinstance(action, Doubt):
            gate.close("being_compared", "x", action.difference.symbol)
        elif isinstance(action, ComparisonOver):
            gate.open("being_compared", action.symbol)
        elif isinstance(action, Freeze):
            gate.close(cause_of(action.difference.symbol), action.difference.text, action.difference.symbol)
        elif isinstance(action, Release):
            gate.open(cause_of(action.symbol), action.symbol)
    return [type(action).__name__ for action in actions]


def test_two_readings_freeze_other_numbers_are_told_once_and_agreeing_releases() -> None:
    gate = Gate([S])
    comparison = Comparison(gate)
    told = [done(gate, comparison.read(found, {})) for found in ([ONE], [ONE], [ONE], [TWO], [TWO], [], [])]
    assert told == [["Doubt"], ["Freeze", "ComparisonOver"], [], ["Freeze"], [], ["Release"], []]
    assert not gate.entries()


def test_a_freeze_that_was_not_done_is_asked_for_again_until_the_gate_has_it() -> None:
    """What was to be done before it may have failed (the exchange did not answer): the books still differ, and nothing may be added."""
    gate = Gate([S])
    comparison = Comparison(gate)
    done(gate, comparison.read([ONE], {}))
    for _ in range(2):
        assert [type(action) for action in comparison.read([ONE], {})] == [Freeze, ComparisonOver]
    assert done(gate, comparison.read([ONE], {})) == ["Freeze", "ComparisonOver"] and gate.has("position_differs", S)


def test_a_release_that_was_not_done_is_asked_for_again() -> None:
    gate = Gate([S])
    comparison = Comparison(gate)
    done(gate, comparison.read([AccountDifference(None, 1, 2)], {}, at_once=True))
    assert gate.has("cash_differs")
    for _ in range(2):
        assert [type(action) for action in comparison.read([], {})] == [Release]
    assert done(gate, comparison.read([], {})) == ["Release"] and not gate.entries()
