"""Ids that look like the exchange's: counted, never drawn."""

from __future__ import annotations

from hashlib import blake2b


class IdSource:
    """Makes ids of several kinds, which follow from the seed and the start. ``start``: names a start of the sandbox, so that a client's
    database never meets an id twice; "": the same ids at every start."""

    def __init__(self, seed: int, scope: str, start: str = "") -> None:
        self._prefix = f"{seed}:{scope}" if not start else f"{seed}:{start}:{scope}"
        self._counts: dict[str, int] = {}

    def next(self, kind: str) -> str:
        """The next id of a kind, in the shape of a UUID."""
        number = self._counts[kind] = self._counts.get(kind, 0) + 1
        text = blake2b(f"{self._prefix}:{kind}:{number}".encode(), digest_size=16).hexdigest()
        return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-8{text[17:20]}-{text[20:]}"
