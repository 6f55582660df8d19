"""The table of causes in docs/gate.md is printed from core/risk/gate/causes.py, and the controls' table has every code in its order."""

from __future__ import annotations

from pathlib import Path

from keel.core.risk.controls.table import TABLE
from keel.runners.live.checks.gate_page import PAGE, renewed


def test_the_gates_page_has_every_cause_as_it_is() -> None:
    """``python -m keel.runners.live.checks.gate_page`` writes it anew."""
    page = PAGE.read_text(encoding="utf-8")
    assert renewed(page) == page


def test_the_controls_page_has_every_code_in_the_order_in_which_they_are_asked() -> None:
    page = Path(PAGE).with_name("life-of-a-live-order.md").read_text(encoding="utf-8")
    table = page.split("## Controls")[1].split("## When it breaks")[0]
    named = [code for line in table.splitlines() if line.startswith("| `") for code in line.split("|")[1].replace("`", "").split()]
    assert named == [code for row in TABLE for code in row.codes]
