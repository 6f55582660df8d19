"""A metric that cannot be had says why. Every number leaves this package through ``split``: plain, or None with its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec


class Missing(msgspec.Struct, frozen=True):
    """Stands for a metric that has no value."""

    reason: str


Value = float | int | Missing


def split(values: Mapping[str, Value]) -> tuple[dict[str, float | int | None], dict[str, str]]:
    """(numbers, notes): the metrics as plain numbers or None, and the reason for each None. Never nan or inf."""
    numbers: dict[str, float | int | None] = {}
    notes: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Missing):
            numbers[name], notes[name] = None, value.reason
        elif isinstance(value, int):
            numbers[name] = value
        elif math.isfinite(value):
            numbers[name] = float(value)  # numpy's scalars end here
        else:
            numbers[name], notes[name] = None, "beyond the range of floating-point numbers"
    return numbers, notes
