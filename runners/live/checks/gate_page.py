"""docs/gate.md's table of causes, out of core/risk/gate/causes.py: ``python -m keel.runners.live.checks.gate_page`` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from keel.core.risk.gate.causes import CAUSES, Cause, TradingState

PAGE: Final = Path(__file__).resolve().parents[3] / "docs" / "gate.md"
HEAD: Final = "| cause | of | raised when | forbids | ends when | lifted by |\n|---|---|---|---|---|---|\n"
FORBIDS: Final = {TradingState.REDUCING: "entries", TradingState.HALTED: "all but cancels"}
_LIFTED_BY: Final = {"keel": "keel", "time": "time", "person": "a person", "restart": "the next start"}


def table() -> str:
    """The causes, a row each, in their order."""
    return HEAD + "".join(map(_row, CAUSES.values()))


def renewed(page: str) -> str:
    """The page with the table as it is now: it ends with the first empty line."""
    before, _, after = page.partition(HEAD)
    return before + table() + after[after.index("\n\n") + 1 :]


def _row(cause: Cause) -> str:
    cells = (cause.raised_when, FORBIDS[cause.state], cause.ends_when, _LIFTED_BY[cause.lifted_by])
    return f"| `{cause.name}` | {cause.scope} | {' | '.join(cells)} |\n"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
