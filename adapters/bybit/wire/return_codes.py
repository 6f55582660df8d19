"""What an answer of the exchange means for the request that asked. Codes decide, words never do.

Source: Bybit API documentation v5, "Error Codes".

The whole of order safety hangs on one distinction: *refused* is positive evidence that nothing happened, *unknown* is the lack of it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from keel.core.errors import VenueError


class Outcome(Enum):
    """The classes of answers."""

    OK = "ok"
    UNCHANGED = "unchanged"
    """It was so already: a success."""
    REFUSED = "refused"
    """A definite refusal; nothing was executed."""
    NOT_SENT = "not_sent"
    """No connection could be made, or our own limits held it back: nothing left."""
    UNKNOWN = "unknown"
    """It may have been executed or not: look."""
    DUPLICATE = "duplicate"
    """This client id exists already: the first attempt arrived. Look."""
    GONE = "gone"
    """The order has ended or never was: look."""
    LIMITED = "limited"
    """Rate limit: not executed, may be sent again after the reset."""
    CLOCK = "clock"
    """The timestamp was outside the window: not executed."""
    BUSY = "busy"
    """Not executed; the same request may pass a little later."""
    DENIED = "denied"
    """The key or the account may not: trading stops."""
    BANNED = "banned"
    """The address is banned: all HTTP stops for ten minutes."""


_UNCHANGED: Final = {110025, 110026, 110027, 110043, 34040}
_DUPLICATE: Final = {110072, 170141}
_GONE: Final = {110001, 110008, 110010, 170213, 170139, 170142, 170143}
_UNKNOWN: Final = {-1, 10000, 10014, 10016, 10019, 20006, 40004, 170146, 170147, 170007}
_BUSY: Final = {429, 10429, 20003, 110063, 110079}
_LIMITED: Final = {10006, 10403}
_DENIED: Final = {10003, 10004, 10005, 10007, 10008, 10009, 10010, 10024, 10027, 10028, 10029, 33004, -2015}

_TABLE: Final[dict[int, Outcome]] = {
    0: Outcome.OK,
    10002: Outcome.CLOCK,
    10018: Outcome.BANNED,
    **dict.fromkeys(_UNCHANGED, Outcome.UNCHANGED),
    **dict.fromkeys(_DUPLICATE, Outcome.DUPLICATE),
    **dict.fromkeys(_GONE, Outcome.GONE),
    **dict.fromkeys(_UNKNOWN, Outcome.UNKNOWN),
    **dict.fromkeys(_BUSY, Outcome.BUSY),
    **dict.fromkeys(_LIMITED, Outcome.LIMITED),
    **dict.fromkeys(_DENIED, Outcome.DENIED),
}

NOT_EXECUTED: Final = frozenset(
    {Outcome.REFUSED, Outcome.NOT_SENT, Outcome.LIMITED, Outcome.CLOCK, Outcome.BUSY, Outcome.DENIED, Outcome.BANNED}
)
"""Answers after which it is certain that nothing happened."""
SUCCESS: Final = frozenset({Outcome.OK, Outcome.UNCHANGED})
MAY_BE_SENT_AGAIN: Final = frozenset({Outcome.LIMITED, Outcome.CLOCK, Outcome.BUSY})
"""Not executed, and the same request (with the same client id) may pass later."""
READ_AGAIN: Final = MAY_BE_SENT_AGAIN | {Outcome.UNKNOWN, Outcome.NOT_SENT}
"""Reads change nothing: they are asked again after all of these."""


def of_code(code: int) -> Outcome:
    """The class of a retCode; a code that nobody documents is a refusal, as every business error has been so far."""
    return _TABLE.get(code, Outcome.REFUSED)


def of_status(status: int) -> Outcome | None:
    """The class of an HTTP status alone; None: the body decides."""
    if status == 200:
        return None
    if status == 403:
        return Outcome.BANNED
    if status == 401:
        return Outcome.DENIED
    if status == 429:
        return Outcome.BUSY
    if status >= 500 or status < 400:
        return Outcome.UNKNOWN
    return Outcome.REFUSED


def words_of_status(status: int, location: str = "") -> str:
    """What an HTTP status that is no answer of the API means, for people, after ``HTTP <status>``. location: where it redirects to."""
    if status == 403:
        return (
            "HTTP 403: the exchange refuses this address, for ten minutes at least (too many requests, or a place that it does not serve):"
            " wait so long before the next try"
        )
    if status == 401:
        return "HTTP 401: the exchange refuses the key: is it one of this account and environment, whole, and not expired?"
    if 300 <= status < 400:
        return f"HTTP {status}: a redirect to {location[:100]!r}, which is not followed: is the address right, is a proxy in between?"
    if status == 404:
        return f"HTTP {status}: there is no such page: is the address right?"
    if status >= 500:
        return f"HTTP {status}: the exchange does not serve now (maintenance, overload): try again later"
    return f"HTTP {status}"


def words_of_page(content_type: str, raw: bytes) -> str:
    """What a body says that should be the API's JSON and is not, for people."""
    if not raw.strip():
        return "an empty answer"
    begin = " ".join(raw[:400].decode(errors="replace").split())[:80]
    text = f"an answer that is not the API's JSON, but {content_type or 'without a type'} {begin!r}"
    if "html" in content_type or begin.startswith("<"):
        text += ": a page for people (maintenance, or a proxy or log-in in between): open the address in a browser, try again later"
    return text


class ExchangeRefusal(VenueError):
    """A read or a setting that failed for good; ``outcome`` and ``code`` tell how."""

    def __init__(self, text: str, outcome: Outcome, code: int = 0) -> None:
        super().__init__(text)
        self.outcome = outcome
        self.code = code


class PayloadError(ValueError):
    """A message of the exchange that cannot be understood: quarantined and counted, never acted on."""
