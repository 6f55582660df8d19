"""Which known name somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


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
