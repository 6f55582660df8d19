"""docs/panic.md holds what a whole run of the proof printed, as it was printed, and what was missed in it is said."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from benchmarks import panic_proof

DOCS = Path(__file__).resolve().parents[2] / "docs"
KEPT = "All bars were kept."


def test_the_report_is_that_of_a_whole_run() -> None:
    """On a machine that had nothing else to do, no bar is missed."""
    _, _, text = (DOCS / "panic.md").read_text().partition("As printed by `make panic-proof`:\n\n")
    measured = re.match(r"Measured on (\d{4}-\d\d-\d\d): (\d+) cores, load ([0-9.]+), Python 3\.[0-9.]+\n\n", text)
    assert measured is not None and date(2026, 11, 1) <= date.fromisoformat(measured[1])
    table, _, after = text[measured.end() :].partition("\n\n")
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()[2:]}
    assert tuple(rows) == panic_proof.CASES
    missed = [name for name, line in rows.items() if line.endswith("| **NO** |")]
    assert all(line.endswith(("| yes |", "| **NO** |")) for line in rows.values())
    assert after.startswith(f"A bar was missed: {', '.join(missed)}." if missed else KEPT)
    assert not missed or float(measured[3]) > int(measured[2])
    full = (panic_proof.WARM, panic_proof.COLD, panic_proof.FAILING)
    assert all("1200 orders, 20 closing executions" in rows[name] for name in full)
    instants = rows[panic_proof.INSTANTS]
    assert "200 presses" in instants and (" 0 too late" in instants or panic_proof.INSTANTS in missed)
