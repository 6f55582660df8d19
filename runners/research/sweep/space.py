"""What is searched: dimensions, each a key of the system file with its values or its range.

``fast=5:50:5`` is 5, 10, ... 50; ``slow=20,50,100`` these values; ``percent=0.5:4`` a range (for random and tpe; whole numbers at both ends
are all whole numbers between them). A name without a dot is a parameter of the strategy, else a key of the system file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from itertools import product
from typing import Any

from keel.core.errors import ConfigError
from keel.core.system.config import SystemConfig
from keel.core.system.file import apply_overrides
from keel.core.system.suggestions import did_you_mean
from keel.core.system.yaml_source import YamlProblem, parse_yaml

Setting = dict[str, Any]
"""Dotted key -> value: one parameter set."""

BINS = 10
"""What is drawn from a range counts as so many steps, where neighbours are looked for and maps are drawn."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One key. values: in the order in which they were given; empty for a range ``low`` to ``high`` without a step.

    in_bins: its places are bins of neighbouring values, as a range's are.
    """

    key: str
    values: tuple[Any, ...]
    low: float = 0.0
    high: float = 0.0
    in_bins: bool = False

    @property
    def name(self) -> str:
        """The key as people write it: a parameter without ``params.``."""
        return self.key.removeprefix("params.")

    @property
    def is_ordered(self) -> bool:
        """Whether its values are numbers, so that they have neighbours."""
        return not self.values or all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in self.values)

    @property
    def steps(self) -> int:
        """How many places it has on a map."""
        return BINS if self.in_bins or not self.values else len(self.values)

    def place(self, value: Any) -> int:
        """Where a value stands among its places, 0 up; numbers ascending."""
        if not self.values:
            share = (float(value) - self.low) / (self.high - self.low)
            return min(BINS - 1, max(0, math.floor(share * BINS)))
        place = self.ordered.index(value)
        return place * BINS // len(self.values) if self.in_bins else place

    @property
    def ordered(self) -> tuple[Any, ...]:
        """Its values, numbers ascending."""
        return tuple(sorted(self.values)) if self.is_ordered else self.values

    def labels(self) -> list[str]:
        """Its places in words, as on a map's axis; of a bin its middle."""
        if self.in_bins:
            bins = [[value for value in self.ordered if self.place(value) == place] for place in range(BINS)]
            return [f"{(values[0] + values[-1]) / 2:.4g}" for values in bins]
        if self.values:
            return [str(value) for value in self.ordered]
        width = (self.high - self.low) / BINS
        return [f"{self.low + (place + 0.5) * width:.4g}" for place in range(BINS)]


@dataclass(frozen=True, slots=True)
class Space:
    """All dimensions; their product is the grid."""

    dimensions: tuple[Dimension, ...]

    @property
    def count(self) -> int:
        """Points of the grid."""
        return math.prod(len(dimension.values) for dimension in self.dimensions)

    def in_bins(self) -> Space:
        """This space in bins, for a search that tries only some points: of many values two neighbours are hardly ever both tried."""
        return Space(tuple(replace(each, in_bins=each.is_ordered and len(each.values) > 2 * BINS) for each in self.dimensions))

    def grid(self) -> Iterator[Setting]:
        """Every combination, the last dimension fastest."""
        keys = [dimension.key for dimension in self.dimensions]
        for values in product(*(dimension.values for dimension in self.dimensions)):
            yield dict(zip(keys, values, strict=True))

    def corners(self) -> Iterator[Setting]:
        """The combinations of each dimension's extremes (of its values, where they have no order): what needs the most history is here."""
        ends = [
            dict.fromkeys([dimension.ordered[0], dimension.ordered[-1]] if dimension.is_ordered else dimension.values)
            if dimension.values
            else dict.fromkeys([dimension.low, dimension.high])
            for dimension in self.dimensions
        ]
        keys = [dimension.key for dimension in self.dimensions]
        for number, values in enumerate(product(*ends)):
            if number >= _MOST_CORNERS:
                return
            yield dict(zip(keys, values, strict=True))


_MOST_CORNERS = 256


def parse_space(texts: Sequence[str], timeframes: Sequence[str], system: SystemConfig, defaults: Mapping[str, Any]) -> Space:
    """The space of ``--param`` texts. defaults: the strategy's parameters. Raises ConfigError naming the text."""
    dimensions = [_dimension(text, system, defaults) for text in texts]
    if timeframes:
        dimensions.append(Dimension("timeframe", tuple(dict.fromkeys(timeframes))))
    keys = [dimension.key for dimension in dimensions]
    twice = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
    if twice is not None:
        raise ConfigError(f"{twice} is searched twice: give one --param for each key")
    if not dimensions:
        raise ConfigError("nothing is searched: give --param KEY=VALUES, such as --param fast=5:50:5 or --param risk.leverage=1,2,3")
    return Space(tuple(dimensions))


def _dimension(text: str, system: SystemConfig, defaults: Mapping[str, Any]) -> Dimension:
    name, equals, values = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"--param {text!r}: write KEY=VALUES, such as fast=5:50:5 or fast=5,10,20")
    key = _full_key(name.strip(), text, system, defaults)
    if not values.strip():
        raise ConfigError(f"--param {text!r}: there are no values after the =, so there would be no points; write such as {name}=5,10,20")
    if ":" in values and not any(mark in values for mark in "{['\""):
        return _range(key, values, text)
    return Dimension(key, _listed(values, text))


def _full_key(name: str, text: str, system: SystemConfig, defaults: Mapping[str, Any]) -> str:
    top = type(system).__struct_fields__
    if "." not in name:
        if name in defaults:
            return f"params.{name}"
        if name in top:
            return name
        raise ConfigError(f"--param {text!r}: {system.strategy} has no parameter {name!r}: {did_you_mean(name, [*defaults, *top])}")
    section, _, rest = name.partition(".")
    if section == "params" and rest.partition(".")[0] not in defaults:
        raise ConfigError(f"--param {text!r}: {system.strategy} has no parameter {rest!r}: {did_you_mean(rest, defaults)}")
    if section not in top:
        raise ConfigError(f"--param {text!r}: the system file has no key {section!r}: {did_you_mean(section, top)}")
    try:
        apply_overrides(system, [f"{name}=null"])
    except ConfigError as error:
        if "unknown key" in str(error):  # what is wrong with a value is said of the points that have it
            raise ConfigError(f"--param {text!r}: {str(error).partition(': ')[2]}") from None
    return name


def _range(key: str, values: str, text: str) -> Dimension:
    """low:high:step, both ends included, worked out in decimals; low:high is a range."""
    parts = [part.strip() for part in values.split(":")]
    try:
        numbers = [Decimal(part) for part in parts]
        if len(numbers) not in (2, 3) or not all(number.is_finite() for number in numbers):
            raise InvalidOperation
    except InvalidOperation:
        raise ConfigError(f"--param {text!r}: a range is LOW:HIGH:STEP in numbers, such as 5:50:5") from None
    low, high = numbers[:2]
    whole = all(number == number.to_integral_value() and "." not in part for number, part in zip(numbers, parts, strict=True))
    if len(numbers) == 2 and not whole:
        if low >= high:
            raise ConfigError(f"--param {text!r}: there are no points from {low} to {high}: write the smaller number first")
        return Dimension(key, (), float(low), float(high))
    step = numbers[2] if len(numbers) == 3 else Decimal(1)
    if step <= 0:
        raise ConfigError(f"--param {text!r}: the step must be above 0, not {step}")
    count = int((high - low) / step) + 1 if high >= low else 0
    if count < 1:
        raise ConfigError(f"--param {text!r}: there are no points from {low} to {high}: write the smaller number first")
    if count > _MOST_VALUES:
        raise ConfigError(f"--param {text!r}: {count:,} values of one key: take a larger step")
    found = [low + step * place for place in range(count)]
    return Dimension(key, tuple(int(number) if whole else float(number) for number in found))


_MOST_VALUES = 100_000


def _listed(values: str, text: str) -> tuple[Any, ...]:
    try:
        found = parse_yaml(f"[{values}]").value
    except YamlProblem as problem:
        raise ConfigError(f"--param {text!r}: {problem.message}") from None
    if not isinstance(found, list) or not found:
        raise ConfigError(f"--param {text!r}: there are no values in it; write such as 5,10,20")
    unique: list[Any] = []
    for value in found:
        if not any(value == other and type(value) is type(other) for other in unique):
            unique.append(value)
    if {type(value) for value in unique} == {int, float}:
        unique = list(dict.fromkeys(float(value) for value in unique))
    return tuple(unique)
