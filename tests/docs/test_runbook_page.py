"""docs/runbook.md is printed from the table of events."""

from __future__ import annotations

from keel.runners.live.alerts.runbook import PAGE, renewed


def test_the_page_is_as_the_table_says() -> None:
    """``python -m keel.runners.live.alerts.runbook`` writes it anew."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == renewed(page)
