"""Heartbeats in, findings out: a table of series, without a clock."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from keel.core.system.config import SupervisionConfig
from keel.runners.live.supervisor.heartbeat import Beat, Vitals, decode, encode
from keel.runners.live.supervisor.rules import GROWTH_BYTES, JOURNAL_S, SETTLED_S, START_S, Finding, Watch

MB = 1 << 20
POLICY = SupervisionConfig(max_memory_mb=4_000)
VITALS = Vitals("sandbox 1", "/tmp/journal/1.log", "ACTIVE", "", 500.0, 100, 10_000, 5)


def beat(**changes: Any) -> Beat:
    vitals = msgspec.structs.replace(VITALS, **{key: changes.pop(key) for key in list(changes) if key in Vitals.__struct_fields__})
    return msgspec.structs.replace(Beat(1, "trading", 1_700_000_000_000, 1_000, 1.0, 200 * MB, vitals), **changes)


def found(
    series: list[tuple[float, Beat | None]], *, journal_bytes: int | None = None, policy: SupervisionConfig = POLICY
) -> list[Finding]:
    """All findings of a series of (time, beat); None: it is only looked. Beats keep both clocks in step where they do not say."""
    watch, told = Watch(POLICY, 0.0), []
    for now, each in series:
        if each is not None:
            if each.mono_ms == 1_000:
                each = msgspec.structs.replace(each, mono_ms=int(now * 1000), wall_ms=each.wall_ms + int(now * 1000))
            watch.beat(each, now)
        told += watch.look(now, journal_bytes)
    return told


def steady(until_s: float, each: Beat | None = None, since_s: float = 0.0, step: float = 1.0) -> list[tuple[float, Beat | None]]:
    count = int((until_s - since_s) / step)
    return [(since_s + step * number, each or beat(records=100 + number)) for number in range(count + 1)]


CASES: list[tuple[str, list[tuple[float, Beat | None]], list[tuple[str, str, str]]]] = [
    ("all is well", steady(300), []),
    ("nothing was ever heard", [(0, None), (START_S - 1, None), (START_S, None)], [("trader_silent", "error", "hang")]),
    ("a start may take its time", [(1, beat(phase="starting")), *[(float(at), beat(phase="starting")) for at in range(2, 170)]], []),
    (
        "a start that takes too long is told",
        [(float(at), beat(phase="starting")) for at in range(1, 200)],
        [("trader_slow_start", "error", "tell")],
    ),
    ("silence", [*steady(10), (14.9, None), (15, None), (16, None)], [("trader_silent", "error", "hang")]),
    (
        "silence that ends is told, too",
        [*steady(10), (15, None), (16, beat())],
        [("trader_silent", "error", "hang"), ("trader_silent", "info", "tell")],
    ),
    ("a loop that was 90 ms late", [(0, beat()), (1, beat(late_ms=90.0))], []),
    ("100 ms are told", [(0, beat()), (1, beat(late_ms=100.0))], [("trader_late", "info", "tell")]),
    (
        "2 s are grave, 10 s are a hang",
        [(0, beat()), (1, beat(late_ms=150.0)), (2, beat(late_ms=2_000.0)), (3, beat(late_ms=9_999.0)), (4, beat(late_ms=10_000.0))],
        [
            ("trader_late", "info", "tell"),
            ("trader_late", "error", "tell"),
            ("trader_late", "info", "tell"),
            ("trader_hangs", "error", "hang"),
        ],
    ),
    ("in lock-step the market waits", [(0, beat(is_lockstep=True)), (1, beat(is_lockstep=True, late_ms=5_000.0))], []),
    (
        "but it may not hang",
        [(0, beat(is_lockstep=True)), (1, beat(is_lockstep=True, late_ms=11e3))],
        [("trader_hangs", "error", "hang")],
    ),
    ("old prices", [(0, beat()), (1, beat(data_age_ms=59_000.0)), (2, beat(data_age_ms=60_000.0))], [("trader_data_old", "error", "tell")]),
    ("no price has come yet", [(0, beat(data_age_ms=None)), (1, beat(data_age_ms=None))], []),
    (
        "memory that doubled",
        [
            *steady(SETTLED_S + 1),
            (62.0, beat(rss_bytes=200 * MB + GROWTH_BYTES)),
            (63.0, beat(rss_bytes=457 * MB)),
        ],
        [("trader_memory", "warning", "tell")],
    ),
    ("memory that grows while it settles", [*steady(30), (31.0, beat(rss_bytes=900 * MB)), *steady(70, beat(rss_bytes=900 * MB), 32)], []),
    ("more memory than it may have", [(0, beat()), (1, beat(rss_bytes=4_001 * MB))], [("trader_memory", "error", "stop")]),
    (
        "instants close and the journal does not grow",
        [(0, beat()), *[(float(at), beat(instants=5 + at)) for at in range(1, int(JOURNAL_S) + 2)]],
        [("trader_journal", "error", "stop")],
    ),
    ("a quiet market writes nothing", steady(3_600, beat(), step=1.0), []),
    (
        "a clock that was set",
        [(0, beat()), (1, beat(wall_ms=1_700_000_003_000, mono_ms=1_001)), (2, beat(wall_ms=1_700_000_004_000, mono_ms=2_001))],
        [("clock_jump", "warning", "tell"), ("clock_jump", "info", "tell")],
    ),
    ("a clock that is nudged", [(0, beat()), (1, beat(wall_ms=1_700_000_001_900, mono_ms=1_001))], []),
    ("an end needs no more beats", [(0, beat()), (1, beat(phase="ended", late_ms=60_000.0)), (3, None), (90, None)], []),
    (
        "one that has ended is to go",
        [(0, beat()), (1, beat(phase="ended")), (91, None), (92, None)],
        [("trader_lingers", "warning", "kill")],
    ),
]


@pytest.mark.parametrize(("name", "series", "expected"), CASES, ids=[case[0] for case in CASES])
def test_findings(name: str, series: list[tuple[float, Beat | None]], expected: list[tuple[str, str, str]]) -> None:
    assert [(each.code, each.severity, each.act) for each in found(series)] == expected


@pytest.mark.parametrize(("size", "codes"), [(10_000, []), (None, []), (9_999, ["trader_journal"]), (0, ["trader_journal"])])
def test_a_journal_that_is_not_whole_on_the_disk(size: int | None, codes: list[str]) -> None:
    """For half a minute: a moment's difference is none."""
    assert [each.code for each in found(steady(JOURNAL_S - 1), journal_bytes=size)] == []
    assert [each.code for each in found(steady(JOURNAL_S + 2), journal_bytes=size)] == codes


def test_a_supervisor_that_was_stopped_itself_blames_nobody() -> None:
    """Ctrl-Z stops both; what comes after it is looked at anew."""
    watch = Watch(POLICY, 0.0)
    watch.beat(beat(), 1.0)
    watch.slept(600.0)
    assert watch.look(601.0, None) == []
    assert [each.code for each in watch.look(607.0, None)] == ["trader_silent"]


def test_a_beat_goes_over_the_wire_whole_or_not_at_all() -> None:
    line = encode(beat())
    assert decode(line) == beat()
    assert all(decode(line[:cut]) is None for cut in range(len(line) - 2))
    assert decode(b"[" * 100_000) is None
    assert decode(b'{"process": "x"}') is None
    assert decode(line.replace(b'"mono_ms":1000', b'"mono_ms":1' + b"0" * 400)) is None, "no time is so far in the future"
