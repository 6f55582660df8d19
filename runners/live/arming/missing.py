"""What is missing before a session may trade live: all of it in one list, each with its way out."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from keel.core.errors import SafetyError, VenueError


class Missing(msgspec.Struct, frozen=True):
    """One thing. code: a short name, such as ``mode`` or ``key_rights``; way_out: what to do."""

    code: str
    text: str
    way_out: str = ""
    """Empty where the text says it."""

    @property
    def line(self) -> str:
        """One line for people."""
        return f"{self.code}: {self.text}" + (f"; {self.way_out}" if self.way_out else "")


UNREAD = "unread"


class NotArmedError(SafetyError):
    """Something is missing: nothing was sent. ``missing`` lists it. Where the exchange only did not answer, the exit code is that of an
    exchange that cannot be reached, after which a supervisor tries again."""

    def __init__(self, missing: Sequence[Missing]) -> None:
        self.missing = list(missing)
        what = "1 thing is missing" if len(missing) == 1 else f"{len(missing)} things are missing"
        lines = [f"{number}. {each.line}" for number, each in enumerate(missing, start=1)]
        if all(each.code == UNREAD for each in missing):
            self.exit_code = VenueError.exit_code
        super().__init__("\n".join([f"not armed: {what}, and nothing was sent", *lines]))
