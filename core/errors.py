"""The kinds of trouble, and who they are for.

A rejection by the market or a denial by our own rules is an event with a reason, never an exception. What is raised is either an error
for a person (a ``KeelError``: the command line prints its text and exits with its code) or a mistake of ours (an
``InvariantError``: nobody catches it, trading stops).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class KeelError(Exception):
    """An error for a person: what is wrong, where (file, line, key, symbol, time), and what to do.

    ``evidence``: what else is known of it, as plain data that a failed run keeps (core/strategy/raised.py); empty for most.
    """

    exit_code = 2
    evidence: Mapping[str, Any] = MappingProxyType({})


class ConfigError(KeelError):
    """A system file, an option or an argument that cannot be used as it stands."""

    exit_code = 2


class FieldError(ConfigError):
    """A field of a message, an order or a configuration, or an argument, with a value that it does not take."""


class DataError(KeelError):
    """History that is missing, damaged or contradicts itself."""

    exit_code = 3


class SafetyError(KeelError):
    """Refused for safety: not armed, locked, halted."""

    exit_code = 4


class VenueError(KeelError):
    """The exchange could not be reached, or refused."""

    exit_code = 5


class StrategyError(KeelError):
    """A strategy raised, or returned what is not a decision."""

    exit_code = 1


class InvariantError(Exception):
    """Something that must be true is not: our mistake. Trading stops, and nobody swallows this."""
