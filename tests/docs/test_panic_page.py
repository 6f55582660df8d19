"""docs/panic.md holds the report of a whole run of the proof, with its date, and what was missed in it is said."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from benchmarks import panic_proof

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_report_is_that_of_a_whole_run() -> None:
    text = (DOCS / "panic.md").read_text()
    measured = re.search(r"Measured on (\d{4}-\d\d-\d\d): \d+ cores, load [0-9.]+, Python 3\.", text)
    assert measured is not None and date(2026, 11, 1) <= date.fromisoformat(measured[1])
    cases = [panic_proof.COLD, *re.findall(r'proof\.(?:big|broken|trader)\(\s*"([^"]+)"', Path(panic_proof.__file__).read_text())]
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in text[measured.end() :].splitlines() if line.startswith("| ")}
    assert len(cases) == 8 and {*cases, "random instants"} == {*rows} - {"case"}
    missed = [name for name, line in rows.items() if line.endswith("| **NO** |")]
    assert all(line.endswith(("| yes |", "| **NO** |", "| within the bar |")) for line in rows.values())
    assert not {*cases[:3], "random instants"} & {*missed}
    assert all(f"missed: {name}" in text for name in missed)
    assert all("1200 orders, 20 closing executions" in rows[name] for name in (panic_proof.COLD, *cases[1:3]))
    assert "200 presses" in rows["random instants"] and " 0 too late" in rows["random instants"]
