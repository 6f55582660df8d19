"""One writer per journal, sessions that count up, snapshots that bound recovery, and syncs that do not block the event loop."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from keel.adapters.journal import DamagedJournal, Disk, Journal, JournalError, SessionStarted, read
from keel.core.errors import InvariantError, SafetyError

ROOT = Path(__file__).parents[3]


def test_a_journal_that_is_open_is_refused_and_its_holder_named(folder, open_journal):
    journal = open_journal(session={"system": "ema_cross", "account": "demo 12345"})
    script = (
        "import sys; from pathlib import Path; from keel.adapters.journal import Journal; from keel.core.engine.clock import ReplayClock\n"
        "from keel.core.errors import SafetyError\n"
        "try: Journal.open(Path(sys.argv[1]), clock=ReplayClock(1), session={}, disk_reserve_bytes=0)\n"
        "except SafetyError as error: print(error); sys.exit(error.exit_code)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    with pytest.raises(SafetyError) as caught:
        open_journal()
    for text in (done.stdout, str(caught.value)):
        assert "is open already, by process" in text and "ema_cross" in text and "demo 12345" in text
    journal.close()
    open_journal().close()


def test_closing_twice_is_harmless_and_a_closed_journal_takes_nothing(open_journal, message):
    journal = open_journal()
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="is closed"):
        journal.append(message(0))


def test_sessions_count_up_and_are_recorded_with_what_was_said_of_them(folder, open_journal, clock):
    for number in range(1, 5):
        clock.now_ms += 1
        with open_journal(session={"system": "ema_cross", "run": number}) as journal:
            assert journal.session == number and journal.durable_seq == number
    told = [record.message for record in read(folder)]
    assert told == [SessionStarted(number, clock.now_ms - 4 + number, {"system": "ema_cross", "run": number}) for number in range(1, 5)]


def test_a_session_whose_every_record_was_cut_keeps_its_number(folder, open_journal, message):
    with open_journal() as journal:
        journal.append(message(0))
    open_journal().close()
    newest = max(folder.glob("*.journal"))
    newest.write_bytes(newest.read_bytes()[:-3])
    with open_journal() as journal:
        assert (journal.session, journal.recovery.last_seq, journal.recovery.cut_records) == (3, 2, 1)


def test_recovery_loads_the_newest_snapshot_and_gives_the_records_after_it(folder, open_journal, message):
    with open_journal(segment_bytes=900) as journal:
        for number in range(60):
            journal.append(message(number))
            if number % 15 == 14:
                assert journal.write_snapshot(b"state %d" % number) == journal.seq
        journal.append_durable(message(60))
    with open_journal() as journal:
        assert journal.state == b"state 59" and journal.recovery.snapshot_seq == 61
        assert [record.message for record in journal.recovered()] == [message(60)]
    with open_journal() as journal:
        assert [record.kind for record in journal.recovered()] == ["Bar", "SessionStarted"]
    assert len(list(folder.glob("*.snapshot"))) == 3


def test_recovery_does_not_read_what_the_snapshot_stands_for(folder, open_journal, message):
    with open_journal() as journal:
        for number in range(20):
            journal.append(message(number))
        journal.write_snapshot(b"state")
        journal.append(message(20))
    oldest = min(folder.glob("*.journal"))
    content = bytearray(oldest.read_bytes())
    content[-100] ^= 1
    oldest.write_bytes(content)
    with open_journal() as journal:
        assert journal.recovery.records == 1
    with pytest.raises(DamagedJournal):
        list(read(folder))


def test_each_damaged_snapshot_is_passed_over_for_the_one_before_and_reported(folder, open_journal, message):
    with open_journal() as journal:
        for number in range(9):
            journal.append(message(number))
            if number % 3 == 2:
                journal.write_snapshot(b"state %d" % number)
    left = sorted(folder.glob("*.snapshot"), reverse=True)
    states = [b"state 5", b"state 2", None]
    for broken, (path, state) in enumerate(zip(left, states, strict=True), 1):
        content = bytearray(path.read_bytes())
        content[7 * broken] ^= 16
        path.write_bytes(content if broken != 2 else content[:-1])
        with open_journal() as journal:
            assert journal.state == state and len(journal.recovery.snapshots_refused) == broken
            assert str(path) in journal.recovery.text()
            assert [record.seq for record in journal.recovered()] == list(range(journal.recovery.snapshot_seq + 1, journal.seq))


def test_a_snapshot_of_another_journal_is_refused(tmp_path, open_journal, message):
    for name, number in (("a", 0), ("b", 1)):
        with open_journal(folder=tmp_path / name) as journal:
            journal.append(message(number))
            journal.write_snapshot(b"state")
            journal.append(message(3))
    [snapshot] = (tmp_path / "a").glob("*.snapshot")
    (tmp_path / "b" / snapshot.name).write_bytes(snapshot.read_bytes())
    with pytest.raises(DamagedJournal, match="another journal"):
        open_journal(folder=tmp_path / "b")


def test_a_snapshot_of_records_that_are_gone_is_refused(folder, open_journal, message):
    with open_journal() as journal:
        journal.append(message(0))
        journal.write_snapshot(b"state")
    first, second = sorted(folder.glob("*.journal"))
    second.unlink()
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(DamagedJournal, match="there is a snapshot of record 2, but the journal ends with 1"):
        open_journal()


class GatedDisk(Disk):
    """Syncs wait for a gate, and count."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.syncs = 0
        self.error: OSError | None = None

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        self.gate.wait()
        if self.error:
            raise self.error


async def test_waiters_share_a_sync_which_runs_beside_the_event_loop(folder, open_journal, message):
    disk = GatedDisk()
    journal = open_journal(disk=disk)
    disk.gate.clear()
    before = disk.syncs
    waiting = []
    for number in range(50):
        seq = journal.append(message(number))
        waiting.append(asyncio.create_task(journal.wait_durable(seq)))
        await asyncio.sleep(0)  # the loop runs on while the first sync waits at the gate
    assert journal.durable_seq == 1 and not any(task.done() for task in waiting)
    disk.gate.set()
    assert all(durable >= seq for seq, durable in enumerate(await asyncio.gather(*waiting), 2))
    assert disk.syncs - before == 2
    assert journal.durable_seq == journal.seq == 51
    assert await journal.wait_durable(3) == 51 and disk.syncs - before == 2


async def test_a_waiter_that_gives_up_takes_nobody_with_it(open_journal, message):
    disk = GatedDisk()
    journal = open_journal(disk=disk)
    disk.gate.clear()
    seq = journal.append(message(0))
    first, second = (asyncio.create_task(journal.wait_durable(seq)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    disk.gate.set()
    assert await second == seq


async def test_every_waiter_hears_of_a_failed_sync_and_no_later_one_is_tried(open_journal, message):
    disk = GatedDisk()
    journal = open_journal(disk=disk)
    disk.error = OSError(errno.EIO, "Input/output error")
    waiting = [asyncio.create_task(journal.wait_durable(journal.append(message(number)))) for number in range(3)]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [JournalError] * 3
    syncs = disk.syncs
    with pytest.raises(JournalError, match="Input/output error"):
        await journal.wait_durable()
    assert disk.syncs == syncs


async def test_the_loop_and_a_thread_may_sync_at_once_while_segments_change(folder, open_journal, message):
    journal: Journal = open_journal(segment_bytes=600, buffer_bytes=200)
    waiting = []
    for number in range(200):
        seq = journal.append_durable(message(number)) if number % 9 == 0 else journal.append(message(number))
        waiting.append(asyncio.create_task(journal.wait_durable(seq)))
        if number % 5 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    journal.close()
    assert [record.message for record in read(folder, 2)] == [message(number) for number in range(200)]


async def test_a_waiter_is_served_by_the_close_that_comes_first(open_journal, message):
    journal = open_journal()
    journal.append(message(0))
    waiter = asyncio.create_task(journal.wait_durable())
    await asyncio.sleep(0)  # the waiter has asked for a sync that has not begun
    journal.close()
    assert await waiter == 2


class OrderingDisk(Disk):
    """Knows how much of each file was synced, and refuses to place a file while a segment before it is not durable."""

    def __init__(self) -> None:
        self.synced: dict[int, int] = {}

    def sync(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self.synced[status.st_ino] = status.st_size

    def place(self, path: Path, content: bytes) -> int:
        for segment in path.parent.glob("*.journal"):
            status = segment.stat()
            assert self.synced.get(status.st_ino) == status.st_size, f"{segment} is not durable before {path}"
        return super().place(path, content)


def test_a_segment_is_durable_whole_before_the_next_one_or_a_snapshot_is_there(folder, open_journal, message):
    with open_journal(disk=OrderingDisk(), segment_bytes=800, buffer_bytes=100) as journal:
        for number in range(50):
            journal.append(message(number))
        journal.write_snapshot(b"state")
    assert len(list(folder.glob("*.journal"))) > 3


async def test_waiting_for_a_record_that_was_never_appended_is_our_mistake(open_journal):
    with pytest.raises(InvariantError, match="record 9 was never appended"):
        await open_journal().wait_durable(9)
