"""Whether the fields of a message, an order or a configuration hold what they may: one of the words that they take, a finite number, text.

The annotation of a field is the rule; it is looked at when a Struct is made (``__post_init__``), and again where one crosses into an actor
or a venue, since an object can be altered after it was made. Messages that are made often say first in one expression that they are as
they should be; only what is not comes here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

import msgspec
import numpy as np
from msgspec import inspect

from keel.core.errors import FieldError, InvariantError
from keel.core.system.types import bare, describe, mismatch, shape_problems


def check_fields(struct: msgspec.Struct) -> None:
    """Raises FieldError for every field that does not hold what its annotation says: what it holds, what it may, and what may be meant.

    A number of numpy's becomes Python's own, and a whole number a float where a float belongs: the same value in the field's own type.
    """
    problems: list[str] = []
    for field, kind, words in _fields(type(struct)):
        value = getattr(struct, field.name)
        if value is not field.default and (value.__class__ is not kind or (words is not None and value not in words)):
            problems += _problems(struct, field, value)
    if problems:
        raise FieldError("\n".join(problems))


def check_again(message: msgspec.Struct, cls: type[msgspec.Struct]) -> None:
    """At the edge of an actor or a venue: raises FieldError unless the message is of this class, and still as it was when it was made."""
    if message.__class__ is not cls:
        raise FieldError(f"a {cls.__name__} is needed here, not {type(message).__name__} ({message!r})")
    message.__post_init__()  # type: ignore[attr-defined]  # every message that crosses an edge has one
    bracket: Any = getattr(message, "bracket", None)
    if bracket is not None:
        bracket.__post_init__()


def check_word(value: Any, words: Collection[str], name: str) -> None:
    """Raises FieldError unless the value is one of the words. name: of the argument, for the error."""
    if value.__class__ is not str or value not in words:
        raise FieldError(f"{name}: {mismatch(value, (inspect.LiteralType(tuple(words)),))}")


def check_number(value: Any, name: str, *, above: float | None = None, at_least: float | None = None) -> float:
    """The value as a float. Raises FieldError unless it is a finite number within its bound. name: of the argument, for the error."""
    kind = inspect.FloatType(gt=above, ge=at_least)
    plain = _plain(value, kind)
    for problem in shape_problems(plain, kind):
        raise FieldError(f"{name}: {problem.message}")
    return float(plain)


@cache
def _fields(cls: type[msgspec.Struct]) -> tuple[tuple[inspect.Field, type | None, frozenset[Any] | None], ...]:
    """Each field with a class and words: a value that is the default, or of this class and one of the words, is right at first sight."""
    info = inspect.type_info(cls)
    if not isinstance(info, inspect.StructType):
        raise InvariantError(f"{cls.__name__} has no fields")
    return tuple((field, *_plain_kind(bare(field.type))) for field in info.fields)


def _plain_kind(kind: inspect.Type) -> tuple[type | None, frozenset[Any] | None]:
    if isinstance(kind, inspect.LiteralType):
        return type(kind.values[0]), frozenset(kind.values)
    if isinstance(kind, inspect.StructType):
        return kind.cls, None
    return {inspect.StrType: str, inspect.BoolType: bool}.get(type(kind)), None


def _problems(struct: msgspec.Struct, field: inspect.Field, given: Any) -> list[str]:
    """What is wrong with one field; nothing: then it holds the value in its own type from here on."""
    value = _plain(given, field.type)
    found = [f"{type(struct).__name__}: {field.name} {problem}" for problem in _field_problems(value, field.type)]
    if not found and value is not given:
        msgspec.structs.force_setattr(struct, field.name, value)
    return found


def _field_problems(value: Any, kind: inspect.Type) -> Iterator[str]:
    options = _options(kind)
    structs = [option.cls for option in options if isinstance(option, inspect.StructType)]
    if value.__class__ in structs:
        return  # it was looked at when it was made
    if structs and isinstance(value, (dict, msgspec.Struct)):
        wanted = " or ".join(f"{'an' if cls.__name__[0] in 'AEIOU' else 'a'} {cls.__name__}" for cls in structs)
        others = [option for option in options if not isinstance(option, (inspect.StructType, inspect.NoneType))]
        yield f"must be {', or '.join([wanted, *map(describe, others)])}, not {value!r}"
    else:
        for problem in shape_problems(value, kind):
            yield "".join(f"[{part!r}] " for part in problem.path) + problem.message


def _plain(value: Any, kind: inspect.Type) -> Any:
    """The value in the types that everything after this works with."""
    options = _options(kind)
    if isinstance(value, np.generic):
        value = value.item()
    elif isinstance(value, str) and value.__class__ is not str:
        value = str.__str__(value)
    takes_floats = any(isinstance(option, inspect.FloatType) for option in options)
    takes_ints = any(isinstance(option, inspect.IntType) for option in options)
    if value.__class__ is int and takes_floats and not takes_ints and abs(value) < 2**63:
        return float(value)
    return value


def _options(kind: inspect.Type) -> list[inspect.Type]:
    """The types that a type allows."""
    kind = bare(kind)
    return [bare(option) for option in kind.types] if isinstance(kind, inspect.UnionType) else [kind]
