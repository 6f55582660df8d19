"""Whether our books and the account are one before a session is armed: what differs, or needs a person, is listed."""

from __future__ import annotations

from keel.core.risk.gate.gate import STARTING, Gate
from keel.runners.live.arming.missing import Missing
from keel.runners.live.checks.reconcile import Reconciler

_OURS = (STARTING, "arming_expired", "panic")
"""Causes that arming itself ends, or lists by itself."""
_DIFFERENCES = ("position_differs", "cash_differs")
"""Causes that say the same as the comparison."""
_WAY_OUT = (
    "look at the account; where it is as it should be (a panic has closed what was held), start with --fresh: a new journal takes it over"
)


def unclean(gate: Gate, reconciler: Reconciler) -> list[Missing]:
    """What the first comparison found, and what stands in the way of orders for another reason than the start."""
    found = [Missing("reconciliation", each.text, _WAY_OUT) for each in reconciler.last]
    if not reconciler.was_read:
        found.append(Missing("reconciliation", "the account could not be read to compare it with our books", "start again"))
    for entry in gate.entries():
        if entry.cause not in (*_OURS, *(_DIFFERENCES if reconciler.last else ())):
            text = f"{entry.symbol or 'the account'}: {entry.label} ({entry.text})"
            found.append(Missing("reconciliation", text, f"it ends when {entry.row.ends_when}"))
    return found
