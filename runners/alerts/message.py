"""One alert, as it goes out."""

from __future__ import annotations

import msgspec

from adapters.bybit.notices import Severity
from core.time_range import to_iso
from runners.alerts.events import EVENTS

LONGEST = 1_800
"""Characters of a body: Discord takes 2,000, Telegram 4,096."""
RANKS: dict[Severity, int] = {"info": 0, "warning": 1, "error": 2}


class Message(msgspec.Struct, frozen=True):
    """ts: ms UTC; about: whose session it is, such as ``live ema_cross``; symbol "": none."""

    ts: int
    code: str
    severity: Severity
    text: str
    symbol: str
    about: str

    @property
    def title(self) -> str:
        """One line: how bad, whose, and what."""
        return f"{self.severity.upper()} keel {self.about}: {self.code}"

    @property
    def body(self) -> str:
        """The words, when, and what to do."""
        event = EVENTS.get(self.code)
        below = [*([f"symbol: {self.symbol}"] if self.symbol else []), f"at {to_iso(self.ts)}"]
        if event is not None and self.severity != "info":
            below.append(f"what to do: {event.todo}")
        rest = "\n".join(below)
        return f"{_short(self.text, LONGEST - len(rest) - 1)}\n{rest}"

    @property
    def plain(self) -> bytes:
        """One JSON object, for a program."""
        return msgspec.json.encode({**msgspec.structs.asdict(self), "title": self.title, "time": to_iso(self.ts)})


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 40]} ... ({len(text):,} characters)"
