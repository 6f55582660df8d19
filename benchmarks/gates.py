"""Gates that a busy machine does not turn red by chance: what falls below one is measured again before it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

TRIES = 3


class Gate(msgspec.Struct, frozen=True):
    """A figure and what is asked of it: at least ``bound``, or with ``is_most`` at most."""

    name: str
    value: float
    bound: float
    is_most: bool = False

    @property
    def holds(self) -> bool:
        """Whether the figure is on the right side; one that is no number is not."""
        return self.value <= self.bound if self.is_most else self.value >= self.bound

    def __str__(self) -> str:
        return f"{self.name}: {self.value:.4g} of {'at most' if self.is_most else 'at least'} {self.bound:g}"


def hold(measure: Callable[[], Sequence[Gate]], tries: int = TRIES) -> None:
    """Measure until every gate has held once, at most ``tries`` times. Exits 1, naming those that never did."""
    left: dict[str, Gate] = {}
    for number in range(1, tries + 1):
        gates = measure()
        print("; ".join(map(str, gates)), flush=True)
        left = {gate.name: gate for gate in gates if not gate.holds and (number == 1 or gate.name in left)}
        if not left:
            return
        if number < tries:
            print(f"measured again ({number + 1} of {tries}), since below the gate: {'; '.join(map(str, left.values()))}", flush=True)
    raise SystemExit(f"below the gate {tries} times: {'; '.join(map(str, left.values()))}")
