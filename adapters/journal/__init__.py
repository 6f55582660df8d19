"""The journal: what was heard and what was ordered, on disk before it counts. The system of record; everything else is made from it.

A folder holds segments (``000000000001.journal``, named after their first record), snapshots of state (``000000004711.snapshot``), a
lock, and a disk reserve that is given up for the last words when the disk is full. A record is never changed; a journal never forgets.

``Journal.open`` recovers: a torn tail (a crash in the middle of a write) is cut off and reported, damage before whole records is
refused with its offset. ``read`` and ``inspect`` need no lock and change nothing. ``repair`` copies the whole prefix elsewhere.
"""

from __future__ import annotations

from keel.adapters.journal.codec import SessionStarted, UnknownMessage
from keel.adapters.journal.disk import Disk
from keel.adapters.journal.errors import DamagedJournal, JournalError
from keel.adapters.journal.inspection import Inspection, inspect
from keel.adapters.journal.journal import Journal
from keel.adapters.journal.reading import Record, read
from keel.adapters.journal.recovery import RecoveryReport
from keel.adapters.journal.repair import RepairReport, repair

__all__ = [
    "DamagedJournal",
    "Disk",
    "Inspection",
    "Journal",
    "JournalError",
    "Record",
    "RecoveryReport",
    "RepairReport",
    "SessionStarted",
    "UnknownMessage",
    "inspect",
    "read",
    "repair",
]
