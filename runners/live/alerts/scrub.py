"""Takes secrets out of texts: what the configuration names as one, the keys of accounts, and what has the name of a secret around us.

A long one is taken out wherever it stands, a short one only where it stands as a word of its own: "pw" must not reach a phone, and "pwd" is
no secret. What a target is given beside its secrets (a chat, a user, an address) is taken out if it is long; short it may be any word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from keel.adapters.logging import is_secret
from keel.runners.live.alerts.config import AlertsConfig, named_in

SHORT: Final = 6
"""Characters from which on a secret is taken out of the middle of a word, too."""
_HIDDEN: Final = "***"
_OWN_KEYS: Final = re.compile(r"BYBIT_\w*(KEY|SECRET)")
_SWITCHES: Final = frozenset({"0", "1", "true", "false", "yes", "no", "on", "off", "none", "null"})
"""What a variable with the name of a secret may hold that is none: it says whether, not what."""

Scrub = Callable[[str], str]


def scrubber(secrets: Iterable[str]) -> Scrub:
    """A function that takes these texts out of another, longest first."""
    known = sorted({each for each in secrets if each}, key=lambda each: (-len(each), each))
    if not known:
        return lambda text: text
    any_of = re.compile("|".join(re.escape(each) if len(each) >= SHORT else rf"(?<!\w){re.escape(each)}(?!\w)" for each in known))
    return lambda text: any_of.sub(_HIDDEN, text)


def secrets_for(config: AlertsConfig, environ: Mapping[str, str]) -> list[str]:
    """Every text that must be in no alert and no log."""
    secret, plain = named_in(config)
    named = [environ[name] for name in sorted(secret) if environ.get(name)]
    beside = [environ[name] for name in sorted(plain) if len(environ.get(name, "")) >= SHORT]
    return [*named, *beside, *secrets_around(environ)]


def secrets_around(environ: Mapping[str, str]) -> list[str]:
    """Keys of accounts, and whatever else in the environment has the name of a secret."""
    own = [value for name, value in environ.items() if is_own_key(name)]
    return [*own, *(value for name, value in environ.items() if is_secret(name) and value.strip().lower() not in _SWITCHES)]


def is_own_key(name: str) -> bool:
    """Whether a variable of this name holds an account's key or secret."""
    return _OWN_KEYS.fullmatch(name) is not None
