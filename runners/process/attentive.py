"""What Python itself may do to a session that trades: two waits of its own, made short.

A thread that is done (the journal's, which waits for the disk) gets the interpreter back only when the loop lets go of it, or after the
switch interval: 5 ms by default, which every order pays whose record it wrote. And a full garbage collection goes through all objects of
the process, the modules too: a pause of a tenth of a second that comes when it likes.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH_S = 0.0005
"""How long a thread that has something to say waits for the loop, in seconds."""


@contextmanager
def attentive() -> Iterator[None]:
    """Within the block threads wait for half a millisecond at most, and collections leave out what was there before it."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval)
