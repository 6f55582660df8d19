"""Whether a stored series says the same as the bars built out of a finer one."""

from __future__ import annotations

import numpy as np

from keel.adapters.store.records import Disagreement
from keel.core.model.frame import Frame
from keel.core.model.instrument import Instrument


def first_disagreement(stored: Frame, built: Frame, instrument: Instrument) -> Disagreement | None:
    """The first bar that both have and that differs, and how many do: prices exactly, volume by the count of quantity steps."""
    _, ours, theirs = np.intersect1d(stored.ts, built.ts, assume_unique=True, return_indices=True)
    step = instrument.qty_grid
    worst: tuple[int, str] | None = None
    wrong = np.zeros(len(ours), dtype=bool)
    for name in ("open", "high", "low", "close", "volume"):
        left, right = stored[name][ours], built[name][theirs]
        if name == "volume":
            left, right = (np.rint(volume * step.den / step.num) for volume in (left, right))
        differs = left != right
        wrong |= differs
        if differs.any() and (worst is None or int(np.argmax(differs)) < worst[0]):
            worst = int(np.argmax(differs)), name
    if worst is None:
        return None
    row, name = worst
    there, made = float(stored[name][ours[row]]), float(built[name][theirs[row]])
    return Disagreement(int(stored.ts[ours[row]]), name, there, made, int(wrong.sum()))
