"""The kernel's ledger, and the bounds within which 64 bits count what Python counts."""

from __future__ import annotations

from keel.core.model.money import LIMIT
from keel.sim.kernel import layout as at
from keel.sim.kernel.logs import Ints


def post(state: Ints, free: int, margin: int, fees: int, funding: int, pnl: int, insurance: int) -> None:
    """A posting of the ledger; what it would refuse ends the run."""
    state[at.FREE] += free
    state[at.MARGIN] += margin
    state[at.FEES] += fees
    state[at.FUNDING] += funding
    state[at.PNL] += pnl
    state[at.INSURANCE] += insurance
    if (
        not 0 <= state[at.FREE] < LIMIT
        or not 0 <= state[at.MARGIN] < LIMIT
        or not -LIMIT < state[at.FEES] < LIMIT
        or not -LIMIT < state[at.FUNDING] < LIMIT
        or not -LIMIT < state[at.PNL] < LIMIT
        or not -LIMIT < state[at.INSURANCE] < LIMIT
    ):
        state[at.STATUS] = at.OUT_OF_BOUNDS


def within_bounds(state: Ints, rules: Ints, ticks: int, steps: int) -> bool:
    """Whether an amount of ``steps`` at ``ticks`` can be counted in 64 bits; otherwise the run ends here."""
    value = float(ticks) * float(steps)
    if (
        value * rules[at.VALUE_NUM] < float(LIMIT) * rules[at.VALUE_DEN]
        and value < LIMIT
        and steps < at.MOST_STEPS
        and float(steps) * rules[at.QTY_NUM] < at.FAR
        and float(ticks) * rules[at.PRICE_NUM] < at.FAR
    ):
        return True
    state[at.STATUS] = at.OUT_OF_BOUNDS
    return False
