"""What was appended is what is read: every message type, any values, in order, with the writer's times."""

from __future__ import annotations

import tempfile
import types
import typing
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from keel.adapters.journal import Journal, SessionStarted, UnknownMessage, read
from keel.adapters.journal.codec import Codec, known_types
from keel.core.engine.bus import Bus
from keel.core.engine.clock import ReplayClock
from keel.core.errors import DataError, FieldError, InvariantError
from keel.core.model.messages import Bar, Bracket, FundingRate, MarkPrice, Message, Signal

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_PLAIN = {
    str: st.text(max_size=20),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    type(None): st.none(),
    dict[str, typing.Any]: st.dictionaries(st.text(max_size=5), _JSON, max_size=3),
}


def _values(kind: typing.Any) -> st.SearchStrategy[typing.Any]:
    if kind in _PLAIN:
        return _PLAIN[kind]
    if typing.get_origin(kind) is typing.Literal:
        return st.sampled_from(typing.get_args(kind))
    if typing.get_origin(kind) is typing.Annotated:
        return st.integers(0, 2)  # the index of a position, the only number that is bounded by its type
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return st.one_of([_values(part) for part in typing.get_args(kind)])
    return st.builds(partial(_made, kind), **{field.name: _values(field.type) for field in msgspec.structs.fields(kind)})


def _made(kind: typing.Any, /, **values: typing.Any) -> typing.Any:
    """A message, if it may be made: numbers and words of it are checked together where it is."""
    try:
        return kind(**values)
    except FieldError:
        reject()


MESSAGES = st.one_of([_values(kind) for kind in known_types() if kind is not SessionStarted])


@given(
    st.lists(st.tuples(MESSAGES, st.integers(0, 10**6), st.sampled_from(["append", "durable", "flush", "snapshot", "reopen"])), max_size=25)
)
def test_reading_gives_back_every_appended_message_in_order(quick_disk, steps):
    with tempfile.TemporaryDirectory() as name:
        clock = ReplayClock(0)

        def start() -> Journal:
            return Journal.open(
                Path(name), clock=clock, session={}, disk_reserve_bytes=0, disk=quick_disk, segment_bytes=4000, buffer_bytes=500
            )

        journal, wanted = start(), []
        for message, pause, then in steps:
            clock.now_ms += pause
            seq = journal.append_durable(message) if then == "durable" else journal.append(message)
            wanted.append((seq, clock.now_ms, type(message).__name__, message))
            if then == "flush":
                journal.flush()
            elif then == "snapshot":
                journal.write_snapshot(b"state")
            elif then == "reopen":
                journal.close()
                journal = start()
        journal.close()
        records = list(read(Path(name)))
        assert [msgspec.structs.astuple(record) for record in records if record.kind != "SessionStarted"] == wanted
        assert [record.seq for record in records] == list(range(1, len(records) + 1))
        assert [record.message.number for record in records if record.kind == "SessionStarted"] == list(range(1, journal.session + 1))


def test_every_type_of_core_can_be_journalled():
    assert {kind.__name__ for kind in known_types()} >= {
        "Bar",
        "Signal",
        "OrderIntent",
        "SubmitOrder",
        "OrderUpdate",
        "Fill",
        "Halt",
        "Fault",
    }


def test_the_same_messages_give_the_same_bytes_however_they_were_synced(tmp_path, open_journal, message):
    for name in ("a", "b"):
        with open_journal(folder=tmp_path / name) as journal:
            for number in range(50):
                put = journal.append_durable if name == "a" and number % 7 == 0 else journal.append
                put(message(number))
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).glob("*.journal")} for name in ("a", "b"))
    assert first == second


def test_a_journal_that_listens_first_has_a_message_before_others_hear_it(folder, open_journal, message):
    journal, bus, heard = open_journal(), Bus(), []
    bus.subscribe(Bar, journal.append)
    bus.subscribe(Bar, lambda bar: heard.append(journal.seq))
    for number in (0, 1, 3):
        bus.deliver(message(number))
    journal.close()
    assert heard == [2, 3, 4]
    assert [record.message for record in read(folder, 2)] == [message(0), message(1), message(3)]


@pytest.mark.parametrize("from_seq", [0, 1, 2, 17, 40, 41, 99])
def test_reading_from_a_number_skips_what_is_before_it(folder, open_journal, message, from_seq):
    with open_journal(segment_bytes=700, buffer_bytes=0) as journal:
        for number in range(39):
            journal.append(message(number))
    assert len(list(folder.glob("*.journal"))) > 3
    assert [record.seq for record in read(folder, from_seq)] == list(range(max(from_seq, 1), 41))


def test_numpy_numbers_are_written_as_the_numbers_they_are(folder, open_journal):
    with open_journal() as journal:
        journal.append(MarkPrice("BTCUSDT", np.int64(5), np.float64(1.5)))
    assert next(read(folder, 2)).message == MarkPrice("BTCUSDT", 5, 1.5)


@pytest.mark.parametrize("bad", [Signal("BTCUSDT", "LONG", metadata={"f": object()}), FundingRate("BTCUSDT", 1 << 70, 0.1)])
def test_a_message_that_cannot_be_written_leaves_no_trace(folder, open_journal, message, bad):
    with open_journal() as journal:
        journal.append(message(0))
        with pytest.raises(InvariantError, match="cannot be written"):
            journal.append(bad)
        journal.append(message(1))
    assert [record.message for record in read(folder, 2)] == [message(0), message(1)]


class Ping(Message, frozen=True):
    """A message type of an adapter."""

    ts: int
    bracket: Bracket | None = None


def test_types_of_adapters_are_named_when_opening_and_kept_raw_by_readers_who_do_not_know_them(folder, open_journal):
    ping = Ping(3, Bracket(stop_loss=1.0))
    with open_journal() as journal, pytest.raises(InvariantError, match="Ping is not a message type of this journal"):
        journal.append(ping)
    with open_journal(types=[Ping]) as journal:
        journal.append(ping)
    assert list(read(folder, types=[Ping]))[-1].message == ping
    [kept] = [record for record in read(folder) if record.kind == "Ping"]
    assert isinstance(kept.message, UnknownMessage)
    assert kept.message.fields["ts"] == 3 and kept.message.fields["bracket"]["stop_loss"] == 1.0


def _ping(*fields: tuple) -> type[Message]:
    return msgspec.defstruct("Ping", fields, bases=(Message,), frozen=True)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ([("ts", int), ("bracket", Bracket | None, None), ("more", int, 7)], {"ts": 3, "bracket": None, "more": 7}),
        ([("ts", int)], {"ts": 3}),
        ([("bracket", Bracket | None), ("ts", int)], {"bracket": None, "ts": 3}),
        ([("ts", int), ("needed", int)], None),
    ],
    ids=["a field added at the end", "a field dropped", "fields reordered", "a required field that was never written"],
)
def test_a_message_type_that_has_changed_is_read_by_its_fields_names(folder, open_journal, now, expected):
    with open_journal(types=[Ping]) as journal:
        journal.append(Ping(3))
    kind = _ping(*now)
    [record] = [record for record in read(folder, types=[kind]) if record.kind == "Ping"]
    if expected is None:
        assert record.message == UnknownMessage("Ping", {"ts": 3, "bracket": None})
    else:
        assert type(record.message) is kind and msgspec.structs.asdict(record.message) == expected


def test_a_field_whose_type_no_longer_fits_is_an_error_that_names_the_record(folder, open_journal):
    with open_journal(types=[Ping]) as journal:
        journal.append(Ping(3))
    with pytest.raises(DataError, match=r"byte \d+: record 2 is whole, but this version cannot read it"):
        list(read(folder, types=[_ping(("ts", str), ("bracket", Bracket | None, None))]))


def test_two_types_of_one_name_are_refused():
    with pytest.raises(InvariantError, match="share a name"):
        Codec(known_types([Ping, _ping(("ts", int))]))


def test_reading_where_there_is_no_journal_says_so(tmp_path):
    with pytest.raises(DataError, match="there is no journal in"):
        read(tmp_path)
