"""A journal that is written sees that its files are deleted, replaced, cut short or damaged, and takes nothing more from then on."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from keel.adapters.journal import DamagedJournal, Disk, Journal, JournalError
from keel.runners.live.checks.journal_watch import verify_next, watch_journal


def grown(open_journal: Callable[..., Journal], message: Callable[[int], object], **changes: object) -> Journal:
    """Three segments and a bit."""
    journal = open_journal(segment_bytes=2_000, buffer_bytes=200, **changes)
    for number in range(60):
        journal.append(message(number))  # type: ignore[arg-type]
    journal.sync()
    assert len(list(journal.folder.glob("*.journal"))) > 3
    return journal


def newest(folder: Path) -> Path:
    return max(folder.glob("*.journal"))


def oldest(folder: Path) -> Path:
    return min(folder.glob("*.journal"))


def replaced(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)


CHANGES: dict[str, Callable[[Path], None]] = {
    "the folder is deleted": shutil.rmtree,
    "the folder is moved": lambda folder: folder.rename(folder.with_name("elsewhere")) and None,
    "the segment is deleted": lambda folder: newest(folder).unlink(),
    "the segment is replaced": lambda folder: replaced(newest(folder)),
    "the segment is cut": lambda folder: os.truncate(newest(folder), 100),
    "an older segment is deleted": lambda folder: oldest(folder).unlink(),
    "an older segment is replaced": lambda folder: replaced(oldest(folder)),
    "the lock is deleted": lambda folder: (folder / "lock").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_somebody_else_did_to_its_files_is_seen(change, folder, open_journal, message):
    journal = grown(open_journal, message)
    journal.check()
    CHANGES[change](folder)
    with pytest.raises(JournalError, match="somebody else has changed the journal") as caught:
        journal.check()
    assert " are safe" not in str(caught.value) and "replace the disk" not in str(caught.value)  # nobody knows, and no disk is full
    assert journal.failed is not None
    with pytest.raises(JournalError):
        journal.append_durable(message(61))


def test_a_journal_that_goes_on_is_no_trouble(open_journal, message):
    """After a snapshot a segment without a record is left, which the next session replaces by its own."""
    for _ in range(4):
        journal = grown(open_journal, message)
        journal.check()
        journal.write_snapshot(b"state")
        journal.check()
        journal.close()
        open_journal(segment_bytes=2_000).close()
    journal = open_journal()
    journal.check()
    assert sum(journal.next_verification()() for _ in range(len(journal._older) + 1)) == journal.seq


async def test_a_watch_ends_with_the_trouble(folder, open_journal, message):
    journal = grown(open_journal, message)
    watch = asyncio.create_task(watch_journal(journal, look_s=0.01))
    await asyncio.sleep(0.05)
    assert not watch.done()
    newest(folder).unlink()
    with pytest.raises(JournalError, match="is gone"):
        async with asyncio.timeout(5):
            await watch


async def test_a_disk_that_keeps_nothing_is_a_trouble(open_journal, message):
    """A sync that does not come back: the bytes are nowhere but in memory."""
    let_go = threading.Event()

    class Stuck(Disk):
        def sync(self, descriptor: int) -> None:
            if threading.current_thread() is not threading.main_thread():
                let_go.wait()

    journal = open_journal(disk=Stuck())
    journal.append(message(1))
    try:
        with pytest.raises(JournalError, match="does not grow"):
            await watch_journal(journal, look_s=0.01, patience_s=0.1)
        assert "does not grow" in (journal.failed or "")
    finally:
        let_go.set()


async def test_every_segment_is_read_again_in_its_turn(folder, open_journal, message):
    journal = grown(open_journal, message)
    count = len(list(folder.glob("*.journal")))
    assert sum([journal.next_verification()() for _ in range(count)]) == journal.seq
    path = sorted(folder.glob("*.journal"))[1]
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    with path.open("r+b") as file:  # the same file, of the same length
        file.write(content)
    journal.check()
    with pytest.raises(DamagedJournal, match=path.name):
        for _ in range(count):
            await verify_next(journal)
    assert journal.failed is not None
