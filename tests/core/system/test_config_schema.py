"""The JSON schema says to editors what decoding holds files to."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import msgspec

from keel.core.model.timeframe import TIMEFRAMES
from keel.core.system.config import SystemConfig
from keel.core.system.file import SCHEMA_ID, system_schema


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_resolves_and_every_part_is_closed() -> None:
    schema = system_schema()
    assert set(references(schema)) == {f"#/$defs/{name}" for name in schema["$defs"]}
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())


def test_keys_bounds_and_choices_are_those_of_the_types() -> None:
    system = system_schema()["$defs"]["SystemConfig"]
    assert list(system["properties"]) == list(SystemConfig.__struct_fields__)
    assert set(system["required"]) == {"system", "strategy", "symbols", "timeframe"}
    assert system["properties"]["timeframe"]["enum"] == list(TIMEFRAMES)
    assert system["properties"]["symbols"]["items"]["pattern"] == "^[A-Z0-9]+$"
    assert system["properties"]["initial_equity"]["exclusiveMinimum"] == 0


def test_the_shipped_schema_is_the_present_one() -> None:
    """Renew it by writing msgspec.json.format(msgspec.json.encode(system_schema(), order="sorted"), indent=2) into the file."""
    shipped = files("keel.strategies").joinpath("systems", SCHEMA_ID).read_bytes()
    assert msgspec.json.decode(shipped) == msgspec.json.decode(msgspec.json.encode(system_schema()))
