"""One alert, as it goes out."""

from __future__ import annotations

import re

import msgspec

from keel.adapters.bybit.notices import Severity
from keel.core.model.time_range import to_iso
from keel.runners.live.alerts.events import EVENTS

LONGEST = 1_800
"""Characters of a body: Discord takes 2,000, Telegram 4,096."""
RANKS: dict[Severity, int] = {"info": 0, "warning": 1, "error": 2}


LONGEST_WHOLE = 20_000
"""Characters of a text as a command gets it; an exchange's answer may have more."""
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def cleaned(text: str) -> str:
    """Words from outside, so that every target takes them: no control characters (they paint terminals, and end a program's environment),
    no halves of characters that no encoding has, none that turn a line round; each is shown by its number. No text without an end."""
    text = text if len(text) <= LONGEST_WHOLE else f"{text[:LONGEST_WHOLE]} ... ({len(text):,} characters)"
    return _UNSAFE.sub(lambda found: f"<{ord(found[0]):x}>", text)


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
