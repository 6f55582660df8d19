"""What an account's session writes is for its owner alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def private_files() -> Iterator[None]:
    """Inside of it every file and folder that this process makes can be read by this user alone (modes 0600 and 0700)."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
