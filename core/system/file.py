"""System files as text: decoding, overriding, and writing out again. Reading and writing files is the runners' business.

Every way in goes through one function: the shape by core/system/types.py, the rules between keys by core/system/checks.py, and only then
the Struct. All problems are told at once, each with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from inspect import cleandoc
from typing import Any

import msgspec

from keel.core.errors import ConfigError
from keel.core.system.checks import cross_problems
from keel.core.system.config import SystemConfig
from keel.core.system.types import Problem, shape_problems
from keel.core.system.yaml_source import KeyPath, YamlProblem, YamlSource, parse_yaml, path_text

SCHEMA_ID = "system.schema.json"
"""The file name under which the schema is shipped beside the built-in systems."""


def decode_system(text: str, filename: str) -> SystemConfig:
    """A system from its YAML text. Raises ConfigError: one line for each problem, "file:line: key: what is wrong"."""
    source = _parse(text, filename)
    if not isinstance(source.value, dict):
        raise ConfigError(f"{filename}:1: a system file is a mapping of keys (system, strategy, symbols, timeframe, ...)")
    return _build(source.value, lambda path: f"{filename}:{source.line_of(path)}", source.lines)


def system_from_dict(data: Mapping[str, Any], where: str) -> SystemConfig:
    """A system from plain values, such as a config.json holds. where: what errors name as their place. Raises ConfigError."""
    return _build(dict(data), lambda _: where)


def locate_key(text: str, filename: str, path: Sequence[str | int]) -> str:
    """ "file:line" of a key in a system file's text, for errors that are found after decoding. Raises ConfigError on bad YAML."""
    return f"{filename}:{_parse(text, filename).line_of(tuple(path))}"


def apply_overrides(config: SystemConfig, overrides: Sequence[str]) -> SystemConfig:
    """The system with keys set by "key.path=VALUE" texts, in their order; VALUE is YAML. Raises ConfigError naming the override.

    Any key of the system file may be set; a mapping is set whole (``exits.stop_loss={percent: 2}``) or by key. Whether the strategy knows
    a parameter is for the registry to say. A key that is no longer read because an override chose another sizing model stays, unread.
    """
    data = msgspec.to_builtins(config)
    paths: list[tuple[KeyPath, str]] = []
    for text in overrides:
        path, value = _parse_override(text)
        _set_path(data, path, value)
        paths.append((path, text))
    return _build(data, lambda path: _override_place(path, paths), _written(data, paths)) if paths else config


def effective_dict(config: SystemConfig) -> dict[str, Any]:
    """Every key with the value that holds, defaults filled in: what config.json records. Plain JSON data."""
    data: dict[str, Any] = msgspec.to_builtins(config)
    data["execution_timeframe"] = config.execution_timeframe or config.timeframe
    if not data["execution"]["costs"]:
        del data["execution"]["costs"]  # a system without models of its own is what it was before there were such
    return data


def system_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a system file, for editors: the same in every Python (3.13 dedents docstrings itself)."""
    schema = _with_clean_descriptions(msgspec.json.schema(SystemConfig))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, "title": "keel system file", **schema}


def _with_clean_descriptions(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: cleandoc(value) if key == "description" and isinstance(value, str) else _with_clean_descriptions(value)
            for key, value in node.items()
        }
    return [_with_clean_descriptions(value) for value in node] if isinstance(node, list) else node


def _parse(text: str, filename: str) -> YamlSource:
    try:
        return parse_yaml(text)
    except YamlProblem as problem:
        key = f"{path_text(problem.path)}: " if problem.path else ""
        raise ConfigError(f"{filename}:{problem.line}: {key}{problem.message}") from None


def _build(data: dict[str, Any], place: Callable[[KeyPath], str], written: Collection[KeyPath] = ()) -> SystemConfig:
    """written: the keys that somebody wrote down, of those in ``data``."""
    if data.get("execution_timeframe") == "none":
        data = {**data, "execution_timeframe": None}  # as other keys are unset: YAML's own word for it is null
    _refuse(list(shape_problems(data, msgspec.inspect.type_info(SystemConfig))), place)
    config = msgspec.convert(data, SystemConfig)
    _refuse(list(cross_problems(config, written)), place)
    return config


def _refuse(problems: list[Problem], place: Callable[[KeyPath], str]) -> None:
    if problems:
        lines = [f"{place(path)}: {path_text(path)}: {message}" if path else f"{place(path)}: {message}" for path, message in problems]
        raise ConfigError("\n".join(lines))


def _parse_override(text: str) -> tuple[KeyPath, Any]:
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise ConfigError(f"override {text!r}: write KEY=VALUE, such as params.fast=10")
    if not value.strip():
        raise ConfigError(f"override {text!r}: there is no value after the =; write null to unset a key")
    try:
        return path, parse_yaml(value).value
    except YamlProblem as problem:
        raise ConfigError(f"override {text!r}: {problem.message}") from None


def _set_path(data: dict[str, Any], path: KeyPath, value: Any) -> None:
    """Set one key; what is not yet a mapping on the way becomes one (impact: none, exits that there were not)."""
    *parents, last = path
    for key in parents:
        inner = data.get(str(key))
        if not isinstance(inner, dict):
            inner = data[str(key)] = {}
        data = inner
    data[str(last)] = value


def _written(data: dict[str, Any], paths: list[tuple[KeyPath, str]]) -> set[KeyPath]:
    """The keys that overrides have set, those inside a mapping that was set whole included."""
    found: set[KeyPath] = set()
    for path, _ in paths:
        value: Any = data
        for key in path:
            value = value.get(str(key)) if isinstance(value, dict) else None
        found |= {path, *((*path, name) for name in value)} if isinstance(value, dict) else {path}
    return found


def _override_place(path: KeyPath, paths: list[tuple[KeyPath, str]]) -> str:
    """The last override that touches a key, or all of them where only their sum breaks a rule."""
    for override_path, text in reversed(paths):
        shared = min(len(path), len(override_path))
        if path and path[:shared] == override_path[:shared]:
            return f"override {text!r}"
    return "with " + ", ".join(text for _, text in paths)
