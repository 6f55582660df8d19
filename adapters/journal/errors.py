"""The journal's two errors: it cannot take any more, and it was found damaged."""

from __future__ import annotations

from pathlib import Path

from keel.core.errors import DataError, KeelError


class JournalError(KeelError):
    """The disk did not take it. What was to be journalled must not happen: no order leaves without its intent on disk."""

    exit_code = 3


class DamagedJournal(DataError):
    """A journal whose bytes are not what was written. Nothing was changed."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        """path, offset: the file and its first byte that cannot be trusted."""
        super().__init__(
            f"{path}, byte {offset}: {reason}. The journal is refused and nothing was changed: put back an undamaged copy, "
            f"or keep what is whole: keel journal repair {path.parent}"
        )
        self.path = path
        self.offset = offset
        self.reason = reason
