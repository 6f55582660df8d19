"""The journal is watched while a session trades: deleted, replaced, cut short or damaged, and trading stops, for no restart would know.

Every few seconds the files' names are looked at, and what is written is brought to the disk. Now and then one segment after the other
is read again, every byte of it, in a thread of its own.
"""

from __future__ import annotations

import asyncio
from typing import Final

from keel.adapters.journal import Journal, JournalError

LOOK_S: Final = 5.0
PATIENCE_S: Final = 15.0
"""A disk that takes longer to keep what is written stands still."""
VERIFY_EVERY: Final = 60
"""Looks between two segments that are read again: five minutes."""


async def watch_journal(
    journal: Journal, *, look_s: float = LOOK_S, patience_s: float = PATIENCE_S, verify_every: int = VERIFY_EVERY
) -> None:
    """Look until cancelled. Raises JournalError or DamagedJournal, after which the journal takes nothing more."""
    looks = 0
    while True:
        await asyncio.sleep(look_s)
        journal.check()
        try:
            async with asyncio.timeout(patience_s):
                await journal.wait_durable()
        except TimeoutError:
            raise journal.refuse(f"{journal.folder} does not grow: the disk has kept nothing for {patience_s:.0f} s") from None
        looks += 1
        if looks % verify_every == 0:
            await verify_next(journal)


async def verify_next(journal: Journal) -> None:
    """Read the next segment again, off the loop. Raises DamagedJournal."""
    work = journal.next_verification()
    try:
        await asyncio.get_running_loop().run_in_executor(None, work)
    except JournalError:
        raise
    except Exception as error:
        journal.refuse(str(error))
        raise
