"""I-12: one state, whichever way it was come to."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.checker.seen import Seen


def memories(seen: Seen) -> Iterator[str]:
    """Every way gives the hash of the first."""
    ways = list(seen.memories.items())
    for name, digest in ways[1:]:
        if digest != ways[0][1]:
            yield f"I-12: the state of {name} is not that of {ways[0][0]} ({digest[:12]}, {ways[0][1][:12]})"
