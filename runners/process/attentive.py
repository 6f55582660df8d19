"""What Python itself may do to a session that trades: waits of its own, made short, or had while nothing waits.

A thread that is done (the journal's, which waits for the disk) gets the interpreter back only when the loop lets go of it, or after the
switch interval: 5 ms by default, which every order pays whose record it wrote. And a full garbage collection goes through all objects of
the process, the modules too: a pause of a tenth of a second that comes when it likes. Smaller ones (a ms or two) come while an instant
makes objects, that is between a decision and its order: they are made in quiet moments instead (``collect_quietly``).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH_S = 0.0005
"""How long a thread that has something to say waits for the loop, in seconds."""
YOUNG = 500
"""From so many new objects on a quiet moment is used."""
MOST_YOUNG = 10_000
"""At so many new objects Python collects whatever is going on: far more than an instant makes."""
OLD = 20
"""After so many collections of the young the old are collected, too."""


@contextmanager
def attentive() -> Iterator[None]:
    """Within the block threads wait for half a millisecond at most, and collections leave out what was there before it, and wait for
    ``collect_quietly`` as far as they can."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(MOST_YOUNG, *thresholds[1:])
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)


def collect_quietly() -> None:
    """Collect, if there is something to collect, in a moment in which nothing waits."""
    young, _, old = gc.get_count()
    if young >= YOUNG:
        gc.collect(2 if old >= OLD else 1)
