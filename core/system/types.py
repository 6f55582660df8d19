"""Whether plain values have the shape of a Struct: every difference at once, each with its key path and in words for people.

The types themselves (core/system/config.py) say what is allowed; this walks them. msgspec's own conversion stops at the first difference,
names no key inside a dict and knows no nearest name.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import inspect

from keel.core.errors import InvariantError
from keel.core.system.suggestions import did_you_mean, meant_word, nearest_name

if TYPE_CHECKING:  # what checks values needs no YAML
    from keel.core.system.yaml_source import KeyPath

_SHOWN: Final = 60
"""Of a value that is refused so many characters are shown."""


class Problem(NamedTuple):
    """Something wrong at one key path."""

    path: KeyPath
    message: str


def shape_problems(value: Any, kind: inspect.Type, path: KeyPath = ()) -> Iterator[Problem]:
    """Every place where a plain value does not fit a type."""
    kind = bare(kind)
    if isinstance(kind, inspect.AnyType) or (isinstance(kind, inspect.StructType) and value.__class__ is kind.cls):
        return
    if isinstance(kind, inspect.UnionType):
        yield from _union_problems(value, kind, path)
    elif isinstance(kind, inspect.StructType) and isinstance(value, dict):
        yield from _struct_problems(value, kind, path)
    elif isinstance(kind, inspect.DictType) and isinstance(value, dict):
        for key, item in value.items():
            yield from shape_problems(item, kind.value_type, (*path, key))
    elif (isinstance(kind, inspect.ListType) and isinstance(value, list)) or (
        isinstance(kind, inspect.VarTupleType) and isinstance(value, tuple)
    ):
        if len(value) < (kind.min_length or 0):
            yield Problem(path, "must not be an empty list")
        for index, item in enumerate(value):
            yield from shape_problems(item, kind.item_type, (*path, index))
    elif not _fits(value, kind):
        yield Problem(path, mismatch(value, (kind,)))


def _struct_problems(value: dict[str, Any], kind: inspect.StructType, path: KeyPath) -> Iterator[Problem]:
    fields = {field.encode_name: field for field in kind.fields}
    for key, item in value.items():
        if key not in fields:
            yield Problem((*path, key), f"unknown key: {_what_was_meant(key, fields)}")
        else:
            yield from shape_problems(item, fields[key].type, (*path, key))
    for name, field in fields.items():
        if field.required and name not in value:
            yield Problem(path, f"the key {name} is missing")


def _what_was_meant(key: str, fields: dict[str, inspect.Field]) -> str:
    """The key's place where a section has it, else the nearest name of this level or of a section below it."""
    below: dict[str, list[str]] = {}
    for section, field in fields.items():
        for struct in _structs(field.type):
            for inner in struct.fields:
                below.setdefault(inner.encode_name, []).append(f"{section}.{inner.encode_name}")
    if key in below:
        return f"it belongs into a section: {' or '.join(below[key])}"
    near = nearest_name(key, [*fields, *below])
    if near is None or near in fields:
        return did_you_mean(key, fields)
    return f"did you mean {' or '.join(below[near])}?"


def _structs(kind: inspect.Type) -> list[inspect.StructType]:
    """The mappings of known keys that a type allows."""
    whole = bare(kind)
    options = [bare(option) for option in whole.types] if isinstance(whole, inspect.UnionType) else [whole]
    return [option for option in options if isinstance(option, inspect.StructType)]


def _union_problems(value: Any, kind: inspect.UnionType, path: KeyPath) -> Iterator[Problem]:
    options = tuple(bare(option) for option in kind.types)
    structs = _structs(kind)
    if isinstance(value, dict) and structs:
        yield from _struct_problems(value, structs[0], path)
    elif not any(_fits(value, option) or _holds(value, option) for option in options):
        yield Problem(path, mismatch(value, options))


def _holds(value: Any, kind: inspect.Type) -> bool:
    """Whether a value is a mapping, a list or an object of a type that has such."""
    if isinstance(kind, inspect.StructType):
        return value.__class__ is kind.cls
    if not isinstance(value, (dict, list, tuple)) or not isinstance(kind, (inspect.DictType, inspect.ListType, inspect.VarTupleType)):
        return False
    return not any(shape_problems(value, kind))


def bare(kind: inspect.Type) -> inspect.Type:
    """A type without the descriptions that are meant for editors."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    return kind


def _fits(value: Any, kind: inspect.Type) -> bool:
    """Whether a value that holds no others fits a type; a mapping or list never fits by itself."""
    if isinstance(kind, inspect.NoneType):
        return value is None
    if isinstance(kind, inspect.LiteralType):
        return isinstance(value, (str, int)) and not isinstance(value, bool) and value in kind.values
    if isinstance(kind, inspect.StrType):
        return isinstance(value, str)
    if isinstance(kind, inspect.BoolType):
        return isinstance(value, bool)
    if isinstance(kind, inspect.IntType):
        return isinstance(value, int) and not isinstance(value, bool) and _within(value, kind)
    if isinstance(kind, inspect.FloatType):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value) and _within(value, kind)
    if isinstance(kind, (inspect.StructType, inspect.DictType, inspect.ListType, inspect.VarTupleType)):
        return False
    raise InvariantError(f"system files have no values of {type(kind).__name__}")


def _is_finite(value: float) -> bool:
    """Whether a number is one that a float can hold."""
    try:
        return isfinite(value)
    except OverflowError:
        return False


def _within(value: float, kind: inspect.IntType | inspect.FloatType) -> bool:
    return (
        (kind.gt is None or value > kind.gt)
        and (kind.ge is None or value >= kind.ge)
        and (kind.lt is None or value < kind.lt)
        and (kind.le is None or value <= kind.le)
    )


def mismatch(value: Any, kinds: tuple[inspect.Type, ...]) -> str:
    """What is wrong with a value of none of these kinds, for people; with the nearest of the words that it may be."""
    wanted = ", or ".join(describe(kind) for kind in kinds if not isinstance(kind, inspect.NoneType))
    literals = [str(option) for kind in kinds if isinstance(kind, inspect.LiteralType) for option in kind.values]
    advice = ""
    if literals and (meant := meant_word(value, literals)) is not None:
        advice = f": did you mean {meant}?"
    elif isinstance(value, str) and any(isinstance(kind, inspect.ListType) for kind in kinds):
        advice = f": write [{value}]"
    return f"must be {wanted}, not {_show(value)}{advice}"


def describe(kind: inspect.Type) -> str:
    """What a value of this kind is, for people: "a number above 0"."""
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        noun = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
        bounds = (("above", kind.gt), ("at least", kind.ge), ("below", kind.lt), ("at most", kind.le))
        words = [f"{word} {bound:g}" for word, bound in bounds if bound is not None]
        limits = " and ".join(words)
        return f"{noun} {'of ' if limits.startswith('at') else ''}{limits}".strip()
    if isinstance(kind, inspect.LiteralType):
        values = [str(value) for value in kind.values]
        return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
    if isinstance(kind, inspect.StrType):
        return "text"
    if isinstance(kind, inspect.BoolType):
        return "true or false"
    return "a list" if isinstance(kind, (inspect.ListType, inspect.VarTupleType)) else "a mapping"


def _show(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
