"""The runbook's table, printed from the events: ``python -m keel.runners.live.alerts.runbook`` writes docs/runbook.md anew."""

from __future__ import annotations

from pathlib import Path

from keel.core.risk.gate.causes import CAUSES
from keel.runners.live.alerts.events import EVENTS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "runbook.md"
_HEAD = "| code | severity | what it means | what to do |\n|---|---|---|---|\n"


def tables() -> str:
    """Both tables: what is told by itself, and the causes of the gate."""
    rows = {code: f"| `{code}` | {event.severity} | {event.means} | {event.todo} |\n" for code, event in EVENTS.items()}
    told = "".join(row for code, row in rows.items() if code not in CAUSES)
    causes = "".join(rows[code] for code in CAUSES)
    return f"{_HEAD}{told}\n## What stands in the way of orders\n\n{_CAUSES_TEXT}\n\n{_HEAD}{causes}"


_CAUSES_TEXT = (
    "Causes of [the gate](gate.md). `keel session status SYSTEM` shows which stand now, and `keel session release` lifts those that need a"
    " person."
)


def renewed(page: str) -> str:
    """The page with the tables as they are now: they stand between its first table's head and its end."""
    return page[: page.index(_HEAD)] + tables()


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
