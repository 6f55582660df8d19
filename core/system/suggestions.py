"""Which known name somebody may have meant."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Final

_MEANT: Final[Mapping[str, tuple[str, ...]]] = {
    "BUY": ("LONG",), "SELL": ("SHORT",), "LONG": ("BUY",), "SHORT": ("SELL",), "1": ("LONG",), "-1": ("SHORT",), "0": ("FLAT", "CLOSE"),
    "CLOSE": ("FLAT",), "EXIT": ("FLAT", "CLOSE"), "FLAT": ("CLOSE",), "STOP": ("stop_market",), "PERP": ("linear", "futures", "future"),
    "FUTURES": ("linear",), "LINEAR": ("futures", "future"), "WORST": ("pessimistic",), "OFF": ("none",), "NO": ("none",),
}  # fmt: skip
"""Words that mean the same elsewhere, in capitals."""


def meant_word(value: object, known: Collection[str]) -> str | None:
    """The allowed word that somebody may have meant by a value: the nearest one, or what others call it."""
    options = [word for word in _MEANT.get(str(value).upper(), ()) if word in known]
    if not options and isinstance(value, str):
        return nearest_name(value, known)
    return options[0] if options else None


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to this one (capitals do not count), or None when none is close."""
    by_lower = {option.lower(): option for option in known}
    matches = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error's sentence: "did you mean X?", or, where nothing is close, all that is known."""
    options = list(known)
    match = nearest_name(name, options)
    return f"did you mean {match}?" if match else f"known are {', '.join(options) or 'none'}"
