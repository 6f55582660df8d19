"""A figure that a busy machine turned red once is measured again; one that is red each time fails."""

from __future__ import annotations

import pytest

from benchmarks.gates import Gate, hold


def measured(*rounds: list[Gate]) -> list[list[Gate]]:
    """The rounds that were left when the gates held."""
    left = list(rounds)
    hold(lambda: left.pop(0))
    return left


def test_each_gate_has_to_hold_once() -> None:
    slow, fast = Gate("rate", 0.7, 0.8), Gate("rate", 0.9, 0.8)
    large, small = Gate("MB", 12.0, 10.0, is_most=True), Gate("MB", 9.0, 10.0, is_most=True)
    assert measured([fast, small], [slow]) == [[slow]]
    assert measured([slow, small], [fast, large], [slow]) == [[slow]]  # each has held once
    assert measured([slow, large], [fast, large], [slow, small]) == []


def test_what_never_holds_is_named_alone() -> None:
    rounds = [Gate("rate", 0.9, 0.8), Gate("MB", float("nan"), 10.0, is_most=True)]
    with pytest.raises(SystemExit, match=r"^below the gate 3 times: MB: nan of at most 10$"):
        measured(rounds, rounds, rounds)
