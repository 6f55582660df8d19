"""The cells of the matrix, and the few that mean nothing."""

from __future__ import annotations

from typing import Final

from tests.faults.matrix.faults import FAULTS
from tests.faults.matrix.judge import Cell
from tests.faults.matrix.moments import MOMENTS

MEANINGLESS: Final[dict[Cell, str]] = {
    Cell(5, 12): "after a panic nothing is created whose name could be called used",
    Cell(6, 12): "a panic's cancels are the second client's: the session sends none that could be refused",
}
"""Cell -> why nothing can be seen there."""

CELLS: Final = [cell for fault in FAULTS for moment in MOMENTS if (cell := Cell(fault, moment)) not in MEANINGLESS]


def lines() -> list[str]:
    """The table in Markdown: a row for each fault, a column for each moment."""
    rows = ["| fault | " + " | ".join(f"M{number}" for number in MOMENTS) + " |", "|---|" + "---|" * len(MOMENTS)]
    for number, fault in FAULTS.items():
        cells = ["–" if Cell(number, moment) in MEANINGLESS else "held" for moment in MOMENTS]
        rows.append(f"| F{number} {fault.name} | " + " | ".join(cells) + " |")
    return rows
