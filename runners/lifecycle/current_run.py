"""What a run's own code says of the run while it is under way: the engine, of the configuration that it is about to run.

``run_epoch`` listens; where nobody does, nothing happens. The listener is the context's own: runs in other threads do not hear each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Listener = Callable[[Mapping[str, Any]], None]

_listener: ContextVar[Listener | None] = ContextVar("keel_run_listener", default=None)


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Hear what is told inside the block; None: nobody hears, as inside a run whose configuration is known already."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def emit_configuration(effective_config: Mapping[str, Any]) -> None:
    """Tell whoever listens what is about to run."""
    listener = _listener.get()
    if listener is not None:
        listener(effective_config)
