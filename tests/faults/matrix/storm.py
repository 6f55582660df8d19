"""Several faults at once, drawn by a seed; and the fewest of them that still break a rule."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.faults.matrix.faults import FAULTS
from tests.faults.matrix.judge import Cell, Report, play
from tests.faults.matrix.moments import MOMENTS

ALONE: Final = (29,)
"""Faults after which no session goes on, so that nothing else could be seen."""
PANIC: Final = 12


def drawn(seed: int) -> tuple[Cell, ...]:
    """Two to four faults, each at a moment of its own choice. A panic ends what others wait for, so that it is rare, and comes alone in
    its moment."""
    rng = random.Random(f"storm {seed}")
    faults = rng.sample([number for number in FAULTS if number not in ALONE], rng.randint(2, 4))
    moments = [number for number in MOMENTS if number != PANIC]
    cells = [Cell(fault, rng.choice(moments)) for fault in faults]
    if rng.random() < 0.1:
        cells[-1] = Cell(cells[-1].fault, PANIC)
    return tuple(cells)


def shrunk(cells: Sequence[Cell], seed: int, *, plays: Callable[[Sequence[Cell], int], Report]) -> tuple[tuple[Cell, ...], Report]:
    """The fewest of these faults that still break something (of those that leaving out one at a time leads to), and what they break."""
    kept, report = tuple(cells), plays(cells, seed)
    place = 0
    while place < len(kept) and len(kept) > 1:
        fewer = kept[:place] + kept[place + 1 :]
        tried = plays(fewer, seed)
        if tried.problems:
            kept, report = fewer, tried
        else:
            place += 1
    return kept, report


def in_a_folder(cells: Sequence[Cell], seed: int) -> Report:
    """Play it in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        return play(cells, seed, Path(folder))
