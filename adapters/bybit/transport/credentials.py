"""Keys that cannot be printed, and where they come from: the environment, a file that only its owner may read, or a keyring.

Never from a system file, a command line or a database. Each environment has its own names, so that one's key is not taken for another's.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec

from keel.adapters.bybit.transport.endpoints import Endpoints, Environment
from keel.adapters.own_file import cannot_open, not_own
from keel.core.errors import ConfigError, SafetyError

HIDDEN: Final = "***"
_SHORTEST: Final = 6
"""A text shorter than this is found in too much to be taken out of it; no exchange gives such a key."""


class Secret:
    """Text that shows itself as ``***`` in repr, str, format, pickle and copies; ``reveal`` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: for a signature or a header, to take it out of an answer, and for nothing else."""
        return self._text

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return HIDDEN

    def __reduce__(self) -> tuple[Any, ...]:
        return Secret, (HIDDEN,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    __hash__ = None  # type: ignore[assignment]  # a hash of a secret says something about it


class Credentials(msgspec.Struct, frozen=True):
    """The key and the secret of one environment."""

    environment: Environment
    key: Secret
    secret: Secret

    def without(self, answer: bytes) -> bytes:
        """What an exchange sent, with key and secret taken out: it quotes the key where it refuses a signature, and whatever is made of its
        words (errors, notices, reasons of orders) goes to logs and journals."""
        for each in (self.key, self.secret):
            text = each.reveal().encode()
            if len(text) >= _SHORTEST and text in answer:
                answer = answer.replace(text, HIDDEN.encode())
        return answer


def load_credentials(where: Endpoints, *, file: Path | None = None, environ: Mapping[str, str] | None = None) -> Credentials:
    """Look in the environment's variables, then in ``file``, then in the keyring (when the package is installed).

    The file holds lines ``BYBIT_DEMO_KEY=...`` and ``BYBIT_DEMO_SECRET=...`` and must belong to us with mode 0600. The sandbox has a
    key of its own that is no secret. Raises ConfigError when no key is found, SafetyError for a file that others may read.
    """
    variables = os.environ if environ is None else environ
    names = (where.key_name, where.secret_name)
    found = tuple(variables.get(name, "").strip() for name in names)
    if not all(found) and file is not None:
        values = _read_file(file)
        found = tuple(values.get(name, "") for name in names)
    elif not any(found) and where.environment is Environment.SANDBOX:
        found = ("sandbox-key", "sandbox-secret")
    elif not any(found):
        found = _from_keyring(where.environment)
    if not all(found):
        raise ConfigError(
            f"no key for the {where.environment.value} account: set {names[0]} and {names[1]}, or name a file (mode 0600) with these two "
            f'lines, or store "key" and "secret" in the keyring under the service "{_service(where.environment)}"'
        )
    return Credentials(where.environment, Secret(found[0]), Secret(found[1]))


def _read_file(file: Path) -> dict[str, str]:
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise ConfigError(f"the key file {file} {cannot_open(error, file)}") from error
    with os.fdopen(descriptor, "rb") as opened:
        if (why := not_own(os.fstat(opened.fileno()), file)) is not None:
            raise SafetyError(f"the key file {file} {why}")
        text = opened.read(65_536).decode("utf-8", "replace")
    lines = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip().removeprefix("export "): value.strip().strip("\"'") for name, value in lines}


def _service(environment: Environment) -> str:
    return f"keel-bybit-{environment.value}"


def _from_keyring(environment: Environment) -> tuple[str, str]:
    if find_spec("keyring") is None:
        return "", ""
    keyring: Any = __import__("keyring")
    service = _service(environment)
    return keyring.get_password(service, "key") or "", keyring.get_password(service, "secret") or ""
