"""The robust region: where a good result does not hang on one exact value.

Each setting is judged by its neighbourhood: all measured settings at most one step away in every dimension (dimensions without an
order must be equal; a range without a step has ten). Its robust score is the median of the scores there, itself included; a neighbour
that failed counts as the worst score of the sweep. A setting with fewer than three measured neighbours, itself included, is not judged.

The centre has the best robust score (then the better worst neighbour, then the better own score). The region is what is connected with
it, step by step, among the best tenth of all robust scores.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist, median, stdev

from keel.runners.research.sweep.space import Dimension, Setting, Space

LEAST_NEIGHBOURS = 3
BEST_SHARE = 0.1

Cell = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """A setting's neighbourhood. scores: larger is better."""

    robust: float
    worst: float
    neighbours: int


@dataclass(frozen=True, slots=True)
class Region:
    """Numbers of settings. edges: names of dimensions at whose end it lies, so that the searched range may be too narrow."""

    centre: int
    members: tuple[int, ...]
    edges: tuple[str, ...]


def judge(space: Space, settings: Sequence[Setting], scores: Sequence[float | None], failed: Sequence[bool]) -> list[Judged | None]:
    """Each setting's neighbourhood, in their order; None where too few are measured, or the setting itself is not."""
    known = [score for score in scores if score is not None]
    if not known:
        return [None] * len(settings)
    bottom = min(known)
    values = [bottom if bad else score for score, bad in zip(scores, failed, strict=True)]
    cells = [cell_of(space, setting) for setting in settings]
    members: dict[Cell, list[int]] = {}
    for number, cell in enumerate(cells):
        if values[number] is not None:
            members.setdefault(cell, []).append(number)
    judged: list[Judged | None] = []
    for number, cell in enumerate(cells):
        around = [values[other] for near in _near(space, cell, members) for other in members[near]]
        found = [value for value in around if value is not None]
        is_judged = scores[number] is not None and not failed[number] and len(found) >= LEAST_NEIGHBOURS
        judged.append(Judged(median(found), min(found), len(found)) if is_judged else None)
    return judged


def find_region(
    space: Space, settings: Sequence[Setting], scores: Sequence[float | None], judged: Sequence[Judged | None]
) -> Region | None:
    """The region; None where no setting could be judged."""
    known = {number: entry for number, entry in enumerate(judged) if entry is not None}
    if not known:
        return None
    centre = max(known, key=lambda number: (known[number].robust, known[number].worst, scores[number] or 0.0, -number))
    ranked = sorted((entry.robust for entry in known.values()), reverse=True)
    threshold = ranked[max(0, round(len(ranked) * BEST_SHARE) - 1)]
    cells: dict[Cell, list[int]] = {}
    for number, entry in known.items():
        if entry.robust >= threshold:
            cells.setdefault(cell_of(space, settings[number]), []).append(number)
    start = cell_of(space, settings[centre])
    seen, queue = {start}, deque([start])
    while queue:
        for near in _near(space, queue.popleft(), cells):
            if near not in seen:
                seen.add(near)
                queue.append(near)
    members = tuple(sorted(number for cell in seen for number in cells[cell]))
    return Region(centre, members, tuple(_edges(space, seen)))


def cell_of(space: Space, setting: Setting) -> Cell:
    """A setting's place in each dimension."""
    return tuple(dimension.place(setting[dimension.key]) for dimension in space.dimensions)


def best_by_luck(scores: Sequence[float | None]) -> float | None:
    """What the best of so many independent tries would be expected to reach by chance, with the mean and spread that these have.

    Normal scores: mean + deviation x ((1 - g) z(1 - 1/n) + g z(1 - 1/(n e))), g = 0.5772 (Bailey and López de Prado, "The Deflated Sharpe
    Ratio", 2014). None for fewer than ten.
    """
    known = [score for score in scores if score is not None]
    count = len(known)
    if count < 10 or not (spread := stdev(known)):
        return None
    euler_gamma, e = 0.5772156649, 2.718281828459045
    normal = NormalDist()
    reach = (1 - euler_gamma) * normal.inv_cdf(1 - 1 / count) + euler_gamma * normal.inv_cdf(1 - 1 / (count * e))
    return sum(known) / count + spread * reach


def _near(space: Space, cell: Cell, known: dict[Cell, list[int]]) -> Iterator[Cell]:
    """The known cells at most one step away, itself among them."""
    reaches = [(-1, 0, 1) if _has_steps(dimension) else (0,) for dimension in space.dimensions]
    if 3 ** sum(len(reach) > 1 for reach in reaches) > len(known):
        yield from (other for other in known if _is_near(cell, other, reaches))
        return
    for offsets in product(*reaches):
        near = tuple(place + offset for place, offset in zip(cell, offsets, strict=True))
        if near in known:
            yield near


def _is_near(cell: Cell, other: Cell, reaches: Sequence[tuple[int, ...]]) -> bool:
    return all(there - here in reach for here, there, reach in zip(cell, other, reaches, strict=True))


def _has_steps(dimension: Dimension) -> bool:
    return dimension.is_ordered and dimension.steps > 1


def _edges(space: Space, cells: set[Cell]) -> Iterator[str]:
    for place, dimension in enumerate(space.dimensions):
        if _has_steps(dimension) and dimension.steps > 2:
            places = [cell[place] for cell in cells]
            if min(places) == 0 or max(places) == dimension.steps - 1:
                yield dimension.name
