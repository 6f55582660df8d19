"""Inspection checks every byte, changes none, and needs no lock."""

from __future__ import annotations

import pytest

from keel.adapters.journal import inspect
from keel.core.errors import DataError


@pytest.fixture
def written(folder, open_journal, message):
    """Two sessions of ten messages, with a snapshot in each."""
    for start in (0, 10):
        with open_journal() as journal:
            for number in range(start, start + 10):
                journal.append(message(number))
                if number % 10 == 4:
                    journal.write_snapshot(b"state %d" % number)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_whole_journal_is_counted(written):
    before = contents(written)
    found = inspect(written)
    assert (found.records, found.sessions, found.segments, found.snapshots) == (22, 2, 4, 2)
    assert not (found.damage or found.torn_bytes or found.held_by or found.snapshots_refused)
    assert contents(written) == before


def test_damage_is_named_with_its_offset_even_where_a_snapshot_stands_for_it(written):
    path = sorted(written.glob("*.journal"))[0]
    content = bytearray(path.read_bytes())
    content[-60] ^= 1
    path.write_bytes(content)
    found = inspect(written)
    assert found.damaged_file == str(path) and 0 < found.damaged_offset < len(content) - 60 and found.damage
    assert found.records == 5


def test_a_torn_tail_is_no_damage_and_stays(written):
    path = sorted(written.glob("*.journal"))[-1]
    path.write_bytes(path.read_bytes()[:-7])
    before = contents(written)
    found = inspect(written)
    assert not found.damage and found.torn_bytes > 0 and path.name in found.torn_at and found.records == 21
    assert contents(written) == before


def test_a_missing_first_segment_is_damage(written):
    sorted(written.glob("*.journal"))[0].unlink()
    assert "missing" in inspect(written).damage


def test_a_damaged_snapshot_is_told_and_can_be_done_without(written):
    path = sorted(written.glob("*.snapshot"))[0]
    path.write_bytes(path.read_bytes()[:-1])
    found = inspect(written)
    assert found.snapshots == 1 and path.name in found.snapshots_refused[0] and not found.damage


def test_an_open_journal_can_be_looked_at_and_says_who_has_it(written, open_journal, message):
    journal = open_journal()
    journal.append_durable(message(20))
    found = inspect(written)
    assert "process" in found.held_by and found.records == 24 and not found.damage


def test_no_journal_there(tmp_path):
    with pytest.raises(DataError, match="there is no journal in"):
        inspect(tmp_path)


def test_all_records_can_be_heard_although_there_is_a_snapshot(written, open_journal):
    with open_journal() as journal:
        assert [record.seq for record in journal.recovered(whole=True)] == list(range(1, 23))
        assert [record.seq for record in journal.recovered()] == list(range(journal.recovery.snapshot_seq + 1, 23))
