"""Which comes first, a request's answer or what the private stream tells of it: drawn from a seed, since the exchange promises neither.

The answer of the trade stream takes half to one and a half times ``ack_ms``, a push nothing to twice that. Over REST the answer goes out
when the request has been applied: half of the pushes go before it, the others after it, by up to twice ``ack_ms``. In lock-step nothing is
drawn.
"""

from __future__ import annotations

import numpy as np

from keel.sim.sandbox.settings import SandboxSettings


class Races:
    """Delays in ms."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._ack_ms = settings.ack_ms
        self.is_drawn = settings.ack_ms > 0 and settings.pace != "lockstep"
        """Whether there is chance in it."""
        self._rng = np.random.Generator(np.random.PCG64([settings.seed, 601]))

    def ack_ms(self) -> int:
        """How long the trade stream takes to answer."""
        return (
            int(self._rng.integers(self._ack_ms - self._ack_ms // 2, self._ack_ms + self._ack_ms // 2 + 1))
            if self.is_drawn
            else self._ack_ms
        )

    def push_ms(self) -> int:
        """How long a push takes after a request of the trade stream."""
        return int(self._rng.integers(0, 2 * self._ack_ms + 1)) if self.is_drawn else 0

    def push_after_answer_ms(self) -> int:
        """How long after its answer a REST request's push goes out; 0: before it."""
        return max(0, int(self._rng.integers(1 - 2 * self._ack_ms, 2 * self._ack_ms + 1))) if self.is_drawn else 0
