"""The table of causes in docs/gate.md is that of core/risk/causes.py."""

from __future__ import annotations

from core.risk.causes import CAUSES, TradingState
from tests.docs.test_reference_pages import page, rows

FORBIDS = {TradingState.REDUCING: "entries", TradingState.HALTED: "all but cancels"}
LIFTED_BY = {"keel": "keel", "time": "time", "person": "a person", "restart": "the next start"}


def test_every_cause_stands_there_with_its_end() -> None:
    told = [
        [cause.name, cause.scope, cause.raised_when, FORBIDS[cause.state], cause.ends_when, LIFTED_BY[cause.lifted_by]]
        for cause in CAUSES.values()
    ]
    assert list(rows(page("gate.md"))) == told
