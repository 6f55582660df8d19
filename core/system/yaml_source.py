"""YAML text to plain values, with the line of every key, and without YAML's traps.

PyYAML reads YAML 1.1, where ``no`` is false, ``10:30`` is 630, ``012`` is 10 and ``1e-3`` is text. Editors read YAML 1.2, where none of
this holds. What the two read differently is refused here, with a word on how to write it. Dates stay the text that they are written as.
A key that stands twice, anchors, tags, and numbers that are not finite are refused as well.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any, Final

import yaml  # type: ignore[import-untyped]  # PyYAML ships no types

from keel.core.errors import InvariantError

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of a document to one value."""

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
_KINDS: Final = ("map", "seq", "str", "null", "bool", "int", "float", "timestamp", "value")
_EXPONENT: Final = re.compile(r"^([-+]?)(\d*)(?:\.(\d*))?[eE]([-+]?)(\d+)$")
_OCTAL_TEXT: Final = re.compile(r"^[-+]?0o[0-7]+$")
_DEEPEST: Final = 32
_LONGEST_INT: Final = 18  # what stays a whole number in 64 bits, and so in every reader of JSON
_LEADING_ZERO: Final = re.compile(r"^[-+]?0[\d_]+$")


class YamlProblem(Exception):
    """What is wrong with a YAML text: line (from 1), key path, message. Whoever parses makes a ConfigError of it."""

    def __init__(self, line: int, path: KeyPath, message: str) -> None:
        super().__init__(message)
        self.line, self.path, self.message = line, path, message


class YamlSource:
    """A parsed document: its plain ``value`` and the line of each key path."""

    __slots__ = ("lines", "value")

    def __init__(self, value: Any, lines: dict[KeyPath, int]) -> None:
        self.value = value
        self.lines = lines

    def line_of(self, path: KeyPath) -> int:
        """The line of a key (from 1); of the nearest key around it where it is not in the text."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def path_text(path: KeyPath) -> str:
    """A key path as people write it: exits.stop_loss.percent, symbols[0]."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def parse_yaml(text: str) -> YamlSource:
    """The one document of a text. Raises YamlProblem."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line = text[: error.start].count("\n") + 1
        raise YamlProblem(line, (), f"the character {text[error.start]!r} has no place in a YAML file") from None
    try:
        _check_events(text)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise _syntax_problem(text, error) from None
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        raise YamlProblem(line, (), f"the character {chr(error.character)!r} has no place in a YAML file") from None
    if node is None:
        raise YamlProblem(1, (), "the text is empty")
    builder = _Builder()
    return YamlSource(builder.build(node, ()), builder.lines)


def _check_events(text: str) -> None:
    """Refuse deep nesting and aliases before composing, which recurses in C: a hundred thousand brackets would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
            if depth > _DEEPEST:
                raise YamlProblem(_line(event), (), f"values are nested more than {_DEEPEST} deep")
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            raise YamlProblem(_line(event), (), "anchors and aliases are not taken: write the value out")


def _syntax_problem(text: str, error: yaml.MarkedYAMLError) -> YamlProblem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    words = ", ".join(part for part in (error.context, error.problem) if part)
    lines = text.split("\n")
    indent = lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip())] if line <= len(lines) else ""
    hint = " (indent with spaces, not with tabs)" if "\t" in indent else ""
    return YamlProblem(line, (), f"not valid YAML: {words}{hint}")


class _Builder:
    """Turns nodes into values and notes their lines."""

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {(): 1}

    def build(self, node: Any, path: KeyPath) -> Any:
        _check_tag(node, path)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node, path)
        raise InvariantError(f"a YAML node is a mapping, a sequence or a scalar, not {type(node).__name__}")

    def _mapping(self, node: Any, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _key(key_node, path)
            here = (*path, key)
            if key in values:
                raise YamlProblem(_line(key_node), here, f"stands twice, first on line {self.lines[here]}")
            self.lines[here] = _line(key_node)
            values[key] = self.build(value_node, here)
        return values

    def _item(self, node: Any, path: KeyPath) -> Any:
        self.lines[path] = _line(node)
        return self.build(node, path)


def _check_tag(node: Any, path: KeyPath) -> None:
    tag = str(node.tag)
    if tag.removeprefix(_TAG) not in _KINDS:
        raise YamlProblem(_line(node), path, f"tags such as {tag.replace(_TAG, '!!')} are not taken: write the plain value")


def _line(node: Any) -> int:
    """The line, from 1, at which a node or an event begins."""
    line: int = node.start_mark.line
    return line + 1


def _key(node: Any, path: KeyPath) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise YamlProblem(_line(node), path, "a key is text, not a list or a mapping")
    if node.tag != f"{_TAG}str" and not node.style:
        raise YamlProblem(_line(node), path, f"the key {node.value} is not text: put it in quotes, or use another name")
    return str(node.value)


def _scalar(node: Any, path: KeyPath) -> Any:
    text: str = node.value
    kind = str(node.tag).removeprefix(_TAG)

    def problem(message: str) -> YamlProblem:
        return YamlProblem(_line(node), path, message)

    if node.style:
        return text
    if kind == "str":
        if _EXPONENT.match(text) or _OCTAL_TEXT.match(text):
            raise problem(f"YAML reads {text} as text, not as a number: {_number_advice(text)}")
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return _boolean(text, problem)
    if kind in ("int", "float"):
        return _number(text, kind, problem)
    return text


def _boolean(text: str, problem: Any) -> bool:
    if text.lower() not in ("true", "false"):
        value = "true" if text.lower() in ("yes", "on", "y") else "false"
        raise problem(f'YAML reads {text} as {value}: write {value}, or "{text}" in quotes if text is meant')
    return text.lower() == "true"


def _number(text: str, kind: str, problem: Any) -> int | float:
    if ":" in text:
        raise problem(f'YAML reads {text} as a number to the base 60: write "{text}" in quotes')
    if kind == "int" and _LEADING_ZERO.match(text):
        raise problem(f"YAML reads {text} as an octal number: write {text.replace('_', '').lstrip('+-0') or '0'} without the leading zero")
    plain = text.replace("_", "")
    if kind == "int":
        if len(plain) > _LONGEST_INT:
            raise problem(f"a whole number has at most {_LONGEST_INT} characters, this one {len(plain)}")
        return int(plain, 0)
    value = float(plain) if not plain.lower().endswith((".inf", ".nan")) else math.nan
    if not math.isfinite(value):
        raise problem(f"{text} is not a finite number")
    return value


def _number_advice(text: str) -> str:
    match = _EXPONENT.match(text)
    if match is None:
        return f"write {int(text.replace('0o', ''), 8)}"
    sign, whole, fraction, exponent_sign, exponent = match.groups()
    scientific = f"{sign}{whole or '0'}.{fraction or '0'}e{exponent_sign or '+'}{exponent}"
    if len(exponent) > 1 or not (whole or fraction):
        return f"write {scientific}"
    return f"write {Decimal(text):f} or {scientific}"
