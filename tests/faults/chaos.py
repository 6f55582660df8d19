"""``make chaos SEEDS=200 FROM=0``: several faults at once, seed after seed, until one breaks a rule; then the fewest that still do.

``python -m tests.faults.chaos --seeds N --from S``; ``--seed S`` plays one seed and says everything; with ``--cell F1.M2`` (again for more)
these faults at these moments. Exit 1 when a rule was broken.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.matrix.judge import Cell, Report
from tests.faults.matrix.storm import drawn, in_a_folder, shrunk


def main(argv: Sequence[str] | None = None) -> int:
    """0 when every rule held."""
    asked = _arguments().parse_args(argv)
    with tempfile.TemporaryDirectory() as state:
        os.environ["KEEL_STATE"] = state  # locks and latches of these sessions are nobody else's
        if asked.cell:
            cells = tuple(_cell(text) for text in asked.cell)
            return _one(cells, asked.seed or 0)
        if asked.seed is not None:
            return _one(drawn(asked.seed), asked.seed)
        return _many(range(asked.first, asked.first + asked.seeds))


def _many(seeds: range) -> int:
    begun = time.monotonic()
    for seed in seeds:
        cells = drawn(seed)
        report = in_a_folder(cells, seed)
        if report.problems:
            return _broken(cells, seed, report)
        if (seed - seeds.start + 1) % 10 == 0 or seed == seeds[-1]:
            print(f"{seed - seeds.start + 1} of {len(seeds)} seeds, no rule broken, {time.monotonic() - begun:.0f} s", flush=True)
    return 0


def _broken(cells: Sequence[Cell], seed: int, report: Report) -> int:
    print(f"seed {seed} (commit {_commit()}): {report.problems[0]}")
    print(f"  with {' + '.join(cell.text for cell in cells)}; looking for the fewest of them ...", flush=True)
    fewest, report = shrunk(cells, seed, plays=in_a_folder)
    print(report.text)
    asked = " ".join(f"--cell F{cell.fault}.M{cell.moment}" for cell in fewest)
    print(f"to see it again: python -m tests.faults.chaos --seed {seed} {asked}")
    return 1


def _one(cells: Sequence[Cell], seed: int) -> int:
    report = in_a_folder(cells, seed)
    print(report.text)
    print(f"journal {report.digest}")
    return 1 if report.problems else 0


def _cell(text: str) -> Cell:
    fault, _, moment = text.upper().partition(".")
    try:
        return Cell(int(fault.removeprefix("F")), int(moment.removeprefix("M")))
    except ValueError:
        raise SystemExit(f"{text!r} is no cell: write F1.M2") from None


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return found.stdout.strip() or "unknown"


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one only, with everything that was said")
    parser.add_argument("--cell", action="append", help="these faults at these moments in place of those drawn, e.g. F1.M2")
    return parser


if __name__ == "__main__":
    sys.exit(main())
