"""Messages to payloads and back: msgpack arrays ``[type, field, field, ...]``, in the order of the type's fields.

core's messages are maps on the wire (readable, 140 to 260 bytes); as arrays they take half of that. Each type has a twin here that
differs in nothing but ``array_like``. A payload is decoded by its segment's table: where a type's fields are what they were, or have
grown at their end by fields with defaults, at once; else field by field; a type that nobody here knows is kept as it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np

from keel.adapters.journal.layout import KindTable
from keel.core.errors import InvariantError
from keel.core.model import messages
from keel.core.model.messages import Message

Decode = Callable[[bytes | memoryview], Any]


class UnknownMessage(msgspec.Struct, frozen=True, gc=False):
    """A message of a type that this program does not know, or whose fields no longer suffice for it."""

    kind: str
    fields: dict[str, Any]


class SessionStarted(Message, frozen=True):
    """The first record of every session: its number, when it began, and what the caller says of it (plain JSON data)."""

    number: int
    ts: int
    about: dict[str, Any]


def known_types(types: Sequence[type[Message]] = ()) -> list[type[Message]]:
    """The journal's own message type, those of core.model.messages in the order of its text, and ``types``."""
    found = [value for value in vars(messages).values() if isinstance(value, type) and issubclass(value, Message)]
    return [SessionStarted, *(kind for kind in found if kind is not Message), *types]


class Codec:
    """Encodes and decodes messages of given types; each type is known by its name."""

    def __init__(self, types: Sequence[type[Message]]) -> None:
        """Raises InvariantError where two types have one name."""
        self._types = {kind.__name__: kind for kind in types}
        if len(self._types) != len(types):
            raise InvariantError(f"two message types share a name: {sorted(kind.__name__ for kind in types)}")
        self.kinds = {kind: (number, kind.__name__) for number, kind in enumerate(types)}
        self.table: KindTable = [(kind.__name__, list(kind.__struct_fields__)) for kind in types]
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_plain_number)

    def encode(self, message: Message) -> tuple[int, bytes]:
        """The kind's number and the payload. Raises InvariantError for a type or a value that no journal can hold."""
        found = self.kinds.get(message.__class__)
        if found is None:
            raise InvariantError(f"{type(message).__name__} is not a message type of this journal: name it in Journal.open(types=...)")
        try:
            return found[0], self._encoder.encode((found[1], *msgspec.structs.astuple(message)))
        except (TypeError, OverflowError, RecursionError) as error:
            raise InvariantError(f"{found[1]} cannot be written: {error}: {message!r}") from error

    def decoders(self, table: KindTable) -> list[Decode]:
        """For each kind of a segment: what makes a message of a payload. They raise msgspec.DecodeError."""
        return [_decoder(self._types[name], tuple(fields)) if name in self._types else _keep(name, fields) for name, fields in table]


@cache
def _decoder(kind: type[Message], stored: tuple[str, ...]) -> Decode:
    if any(field.required and field.name not in stored for field in msgspec.structs.fields(kind)):
        return _keep(kind.__name__, stored)
    twin = _twin(kind)
    if kind.__struct_fields__[: len(stored)] == stored:
        return _restore(kind, msgspec.msgpack.Decoder(twin).decode)
    return _restore(kind, _by_name(twin, stored))


def _twin(kind: type[Message]) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for field in msgspec.structs.fields(kind):
        if field.default is not msgspec.NODEFAULT:
            fields.append((field.name, field.type, field.default))
        elif field.default_factory is not msgspec.NODEFAULT:
            fields.append((field.name, field.type, msgspec.field(default_factory=field.default_factory)))
        else:
            fields.append((field.name, field.type))
    return msgspec.defstruct(kind.__name__, fields, tag=kind.__name__, array_like=True, frozen=True, gc=False)


def _restore(kind: type[Message], decode: Callable[..., Any]) -> Decode:
    astuple = msgspec.structs.astuple

    def restore(payload: bytes | memoryview) -> Message:
        return kind(*astuple(decode(payload)))

    return restore


def _by_name(twin: type[msgspec.Struct], stored: Sequence[str]) -> Callable[[bytes | memoryview], Any]:
    known = [name for name in stored if name in twin.__struct_fields__]
    named = msgspec.defstruct(
        twin.__name__,
        [(field.name, field.type) for field in msgspec.structs.fields(twin) if field.name in known],
    )

    def decode(payload: bytes | memoryview) -> Any:
        values = dict(zip(stored, msgspec.msgpack.decode(payload)[1:], strict=False))
        found = msgspec.convert({name: values[name] for name in known}, named)
        return twin(**msgspec.structs.asdict(found))

    return decode


def _keep(name: str, stored: Sequence[str]) -> Decode:
    def keep(payload: bytes | memoryview) -> UnknownMessage:
        return UnknownMessage(name, dict(zip(stored, msgspec.msgpack.decode(payload)[1:], strict=False)))

    return keep


def _plain_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not plain data")
