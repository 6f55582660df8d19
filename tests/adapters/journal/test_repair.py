"""Repair copies what is whole to a new folder, keeps the original, and never lets a session number be used again."""

from __future__ import annotations

import pytest

from keel.adapters.journal import DamagedJournal, read, repair
from keel.core.errors import ConfigError, DataError, SafetyError


@pytest.fixture
def damaged(folder, open_journal, message):
    """Three sessions of ten messages, a snapshot in each; the second segment of the second session has a flipped bit."""
    for start in (0, 10, 20):
        with open_journal() as journal:
            for number in range(start, start + 10):
                journal.append(message(number))
                if number % 10 == 4:
                    journal.write_snapshot(b"state %d" % number)
    path = sorted(folder.glob("*.journal"))[3]
    content = bytearray(path.read_bytes())
    content[-150] ^= 4
    path.write_bytes(content)
    return folder


def test_the_whole_prefix_is_kept_and_the_original_stays(damaged, tmp_path, open_journal):
    with pytest.raises(DamagedJournal) as caught:
        list(read(damaged))
    seen = []
    with pytest.raises(DamagedJournal):
        seen.extend(record for record in read(damaged))
    before = {path.name: path.read_bytes() for path in damaged.iterdir()}
    report = repair(damaged, tmp_path / "out")
    assert before.keys() - {"lock"} == {path.name for path in damaged.iterdir()} - {"lock"}
    assert all(before[path.name] == path.read_bytes() for path in damaged.iterdir() if path.name != "lock")
    kept = list(read(tmp_path / "out"))
    assert report.records == kept[-1].seq == len(kept) and f"byte {caught.value.offset}" in report.damage
    assert report.session == 3 and report.left_bytes > 150 and "were kept" in report.text()
    with open_journal(folder=tmp_path / "out") as journal:
        assert journal.session == 4 and journal.recovery.last_seq == report.records
        assert journal.state == b"state 14"


def test_an_unreadable_head_counts_as_a_session_of_its_own(folder, tmp_path, open_journal):
    for _ in range(3):
        open_journal().close()
    newest = max(folder.glob("*.journal"))
    newest.write_bytes(bytes(100) + newest.read_bytes()[100:])
    assert repair(folder, tmp_path / "out").session == 3
    with open_journal(folder=tmp_path / "out") as journal:
        assert (journal.session, journal.recovery.records) == (4, 2)


def test_refused(damaged, folder, tmp_path, open_journal):
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="exists"):
        repair(damaged, tmp_path / "there")
    with pytest.raises(DataError, match="there is no journal"):
        repair(tmp_path / "there", tmp_path / "out")
    with open_journal(folder=tmp_path / "whole"), pytest.raises(SafetyError, match="open already"):
        repair(tmp_path / "whole", tmp_path / "out")
    with pytest.raises(ConfigError, match="nothing to repair"):
        repair(tmp_path / "whole", tmp_path / "out")
    first = min(damaged.glob("*.journal"))
    first.write_bytes(b"?" + first.read_bytes()[1:])
    with pytest.raises(DataError, match="nothing before it can be kept"):
        repair(damaged, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal", "there", "whole"]


def test_a_torn_tail_can_be_repaired_elsewhere_too(folder, tmp_path, open_journal, message):
    with open_journal() as journal:
        journal.append(message(0))
    [path] = folder.glob("*.journal")
    path.write_bytes(path.read_bytes()[:-1])
    assert repair(folder, tmp_path / "out").records == 1
    assert [record.seq for record in read(tmp_path / "out")] == [1]
