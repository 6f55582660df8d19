"""A disk that refuses: what was acknowledged is there, what was not is never acknowledged, and the journal stops instead of hoping."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keel.adapters.journal import Disk, JournalError, read

ROOT = Path(__file__).parents[3]


class FaultyDisk(Disk):
    """Takes ``room`` bytes, at most ``most`` of them at once; the numbered syncs fail, and may lose what they should have kept."""

    def __init__(self, room: int = 1 << 40, most: int = 1 << 40, failing_syncs: tuple[int, ...] = (), loses: bool = False) -> None:
        self.room, self.most, self.failing_syncs, self.loses = room, most, failing_syncs, loses
        self.syncs = 0
        self.kept: dict[int, int] = {}

    def write(self, descriptor: int, content: memoryview, offset: int) -> int:
        taken = min(len(content), self.room, self.most)
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= taken
        return super().write(descriptor, content[:taken], offset)

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        if self.syncs in self.failing_syncs:
            if self.loses:
                size = os.fstat(descriptor).st_size
                os.pwrite(descriptor, bytes(60), size - 60)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def sync_names(self, folder: Path) -> None:
        pass


OPENING = 2
"""Syncs of an open: the segment's head, and its first record."""


def test_writes_that_take_a_few_bytes_at_a_time_are_finished(folder, open_journal, message):
    with open_journal(disk=FaultyDisk(most=7)) as journal:
        for number in range(20):
            journal.append_durable(message(number))
    assert [record.message for record in read(folder, 2)] == [message(number) for number in range(20)]


@pytest.mark.parametrize("room", range(2600, 3000, 13))
def test_on_a_full_disk_no_intent_is_acknowledged_that_is_not_there(folder, open_journal, message, room):
    acknowledged = [1]
    with open_journal(disk=FaultyDisk(room)) as journal, pytest.raises(JournalError, match="No space left") as caught:
        for number in range(100):
            acknowledged.append(journal.append_durable(message(number)))
    assert caught.value.exit_code == 3 and "no order may leave" in str(caught.value)
    assert f"records up to {acknowledged[-1]} are safe" in str(caught.value) and journal.failed == str(caught.value)
    assert [record.seq for record in read(folder)] == acknowledged
    with open_journal() as again:
        assert again.recovery.last_seq == acknowledged[-1] and again.session == 2


def test_once_the_disk_has_refused_nothing_more_is_taken_even_when_there_is_room_again(folder, open_journal, message):
    disk = FaultyDisk()
    journal = open_journal(disk=disk)
    disk.room = 50
    with pytest.raises(JournalError):
        journal.append_durable(message(0))
    disk.room = 1 << 40
    for refused in (lambda: journal.append(message(1)), lambda: journal.append_durable(message(1)), journal.sync, journal.flush):
        with pytest.raises(JournalError, match="No space left"):
            refused()
    journal.close()
    assert [record.seq for record in read(folder)] == [1]


def test_a_disk_without_room_for_the_next_segment_ends_the_journal_with_that_reason(folder, open_journal, message):
    disk = FaultyDisk()
    journal = open_journal(disk=disk, segment_bytes=2500)
    disk.room = 1000
    acknowledged = [1]
    with pytest.raises(JournalError, match="could not be created: No space left"):
        for number in range(100):
            acknowledged.append(journal.append_durable(message(number)))
    assert "could not be created: No space left" in str(journal.failed)
    disk.room = 1 << 40
    with pytest.raises(JournalError, match="could not be created"):
        journal.append(message(0))
    journal.close()
    assert [record.seq for record in read(folder)][: len(acknowledged)] == acknowledged
    with open_journal() as again:
        assert again.recovery.cut_bytes == 0


def test_last_words_are_said_with_the_room_of_the_disk_reserve_and_reported_by_the_next_start(folder, open_journal, message, clock):
    disk = FaultyDisk()
    journal = open_journal(disk=disk)
    assert (folder / "ballast").stat().st_size == 1000
    disk.room = 0
    with pytest.raises(JournalError):
        journal.append_durable(message(0))
    journal.last_words("halted: the journal's disk is full; 2 orders rest at the exchange")
    assert not (folder / "ballast").exists()
    journal.close()
    with open_journal() as again:
        assert again.recovery.last_words == ("halted: the journal's disk is full; 2 orders rest at the exchange",)
        assert "last words of session 1: halted" in again.recovery.text()
        assert (folder / "ballast").stat().st_size == 1000
    with open_journal() as third:
        assert third.recovery.last_words == ()


def test_a_failed_sync_is_made_good_by_reopening_reading_back_and_writing_anew(folder, open_journal, message):
    disk = FaultyDisk(failing_syncs=(OPENING + 2,))
    with open_journal(disk=disk) as journal:
        journal.append_durable(message(0))
        journal.append(message(1))
        assert journal.append_durable(message(2)) == journal.durable_seq == 4
        assert journal.rewrites == 1 and disk.syncs == OPENING + 3
    assert [record.message for record in read(folder, 2)] == [message(number) for number in range(3)]


@pytest.mark.parametrize(
    ("disk", "reason"),
    [
        (FaultyDisk(failing_syncs=(OPENING + 2, OPENING + 3)), "could not be made good: Input/output error"),
        (FaultyDisk(failing_syncs=(OPENING + 2,), loses=True), "reads back differently"),
    ],
    ids=["it fails again", "it has lost pages"],
)
def test_a_failed_sync_that_cannot_be_made_good_ends_the_journal(folder, open_journal, message, disk, reason):
    journal = open_journal(disk=disk)
    journal.append_durable(message(0))
    with pytest.raises(JournalError, match=reason):
        journal.append_durable(message(1))
    assert journal.durable_seq == 2
    syncs = disk.syncs
    with pytest.raises(JournalError, match=reason):
        journal.sync()
    assert disk.syncs == syncs
    journal.close()
    assert [record.seq for record in read(folder)][:2] == [1, 2]


@pytest.mark.parametrize("fault", [FaultyDisk(room=100), FaultyDisk(failing_syncs=(1,)), FaultyDisk(failing_syncs=(2, 3))])
def test_a_disk_that_refuses_the_first_record_refuses_the_session_and_frees_the_lock(folder, open_journal, fault):
    with pytest.raises(JournalError):
        open_journal(disk=fault)
    with open_journal() as journal:
        assert journal.seq >= 1


def test_a_failed_snapshot_leaves_the_journal_going(folder, open_journal, message):
    disk = FaultyDisk()
    with open_journal(disk=disk) as journal:
        journal.append_durable(message(0))
        disk.room = 300
        with pytest.raises(JournalError, match="no snapshot of record 2"):
            journal.write_snapshot(bytes(5000))
        disk.room = 1 << 40
        journal.append_durable(message(1))
    assert not list(folder.glob("*snapshot*"))
    assert [record.seq for record in read(folder)] == [1, 2, 3]


def test_what_the_buffer_holds_is_durable_before_close_returns_or_close_says_so(folder, open_journal, message):
    disk = FaultyDisk()
    journal = open_journal(disk=disk)
    journal.append(message(0))
    disk.room = 0
    with pytest.raises(JournalError):
        journal.close()
    with open_journal():
        pass


_FULL = """
import resource, sys
from pathlib import Path
from keel.adapters.journal import Journal, JournalError
from keel.core.engine.clock import ReplayClock
from keel.core.model.messages import MarkPrice
journal = Journal.open(Path(sys.argv[1]), clock=ReplayClock(1), session={}, disk_reserve_bytes=1000)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
acknowledged = 0
try:
    while True:
        acknowledged = journal.append_durable(MarkPrice("BTCUSDT", acknowledged, 1.5))
except JournalError as error:
    print(acknowledged)
    journal.last_words(str(error))
    journal.close()
    sys.exit(error.exit_code)
"""


def test_when_files_cannot_grow_every_acknowledged_record_is_there(folder, open_journal):
    done = subprocess.run([sys.executable, "-c", _FULL, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    acknowledged = int(done.stdout)
    assert acknowledged > 100
    assert [record.seq for record in read(folder)] == list(range(1, acknowledged + 1))
    with open_journal() as journal:
        assert journal.recovery.last_seq == acknowledged and "File too large" in journal.recovery.last_words[0]


def test_without_room_for_the_disk_reserve_no_session_begins(folder, tmp_path):
    script = _FULL.replace("disk_reserve_bytes=1000", "disk_reserve_bytes=50_000")
    script = script.replace("journal = ", "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\njournal = ", 1)
    done = subprocess.run([sys.executable, "-c", script, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "no room for 50000 bytes of disk reserve" in done.stderr
    assert not list(folder.glob("*.journal")) and not (folder / "ballast").exists()
