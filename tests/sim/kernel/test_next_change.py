"""The compiled search for the next other target finds what the plain one finds."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keel.sim.kernel import load, loop


@cache
def compiled() -> Any:
    """``loop.next_change`` as the compiled kernel has it."""
    import numba

    load()

    def search(signals: Any, count: int, point: int, acted: int) -> int:
        return loop.next_change(loop.bare(signals), count, point, acted)

    return numba.njit(search)


@given(st.lists(st.tuples(st.sampled_from([-1, 0, 1, 2]), st.integers(1, 80)), max_size=6), st.data())
def test_the_next_other_target_is_found_wherever_it_stands(runs, data):
    signals = np.repeat(np.array([value for value, _ in runs], dtype=np.int8), [length for _, length in runs])
    count = len(signals)
    point, acted = data.draw(st.integers(0, count)), data.draw(st.sampled_from([-1, 0, 1]))
    assert compiled()(signals, count, point, acted) == loop.next_change(signals, count, point, acted)
