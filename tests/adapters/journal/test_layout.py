"""The bytes are the documented ones, read here by a reader of their own; and what version 1 wrote stays readable."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import msgspec

from keel.adapters.journal import Record, SessionStarted, read
from keel.core.model.messages import Bar, Bracket, Fill, Halt, Signal, SubmitOrder

GOLDEN = Path(__file__).with_name("golden_v1")
"""Written once by version 1 and never again: a folder like it is added with each version of the format."""

TS = 1_735_689_600_000
WRITTEN = [
    SessionStarted(1, TS + 1, {"system": "ema_cross"}),
    Bar("BTCUSDT", "1h", TS - 3_600_000, TS, 94_000.1, 94_100.0, 93_900.5, 94_050.0, 12.5),
    Signal("BTCUSDT", "LONG", 1000.0, "ema_cross", 0.5, {"fast": [1, 2.5, None]}, ts=TS),
    SubmitOrder("a1b2c3d4-1-1", "BTCUSDT", "BUY", "market", 0.01, TS, bracket=Bracket(stop_loss=93_000.0)),
    Fill("x-1", "a1b2c3d4-1-1", "BTCUSDT", TS, "BUY", 0.01, 94_055.0, 51_730_250, 0, False, 94_050.0),
    Halt(TS, "operator", flatten=True),
]


def _check(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=8).digest()


def test_the_bytes_are_the_documented_ones(folder, open_journal, message):
    with open_journal() as journal:
        journal.append(message(0))
        journal.append(message(2))
    [path] = folder.glob("*.journal")
    content = path.read_bytes()
    magic, version, zero, rows, session, first, ts, previous = struct.unpack_from("<8sHHIIQq8s", content)
    assert (magic, version, zero, session, first, ts, previous) == (b"KEELJRNL", 1, 0, 1, 1, TS, bytes(8))
    table = msgspec.msgpack.decode(content[44 : 44 + rows])
    offset = 44 + rows + 8
    assert content[offset - 8 : offset] == _check(content[: offset - 8])
    found = []
    while offset < len(content):
        check, mark, kind, length, seq, ts, before = struct.unpack_from("<8s2sHIQq8s", content, offset)
        payload = content[offset + 40 : offset + 40 + length]
        assert (mark, seq, ts, before) == (b"\xa5K", len(found) + 1, TS, previous)
        assert check == _check(content[offset + 8 : offset + 40 + length])
        name, *values = msgspec.msgpack.decode(payload)
        assert table[kind][0] == name
        found.append((name, dict(zip(table[kind][1], values, strict=True))))
        previous, offset = check, offset + 40 + length
    assert found[1:] == [(type(message(n)).__name__, msgspec.structs.asdict(message(n))) for n in (0, 2)]
    assert journal.digest == previous.hex()


def test_what_version_1_wrote_is_read():
    assert list(read(GOLDEN)) == [Record(seq, TS + seq, type(message).__name__, message) for seq, message in enumerate(WRITTEN, 1)]
