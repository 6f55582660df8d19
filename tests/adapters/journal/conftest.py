"""A journal to write, and messages to put in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.journal import Disk, Journal
from keel.core.engine.clock import ReplayClock
from keel.core.model.messages import Bar, Message, SubmitOrder

START = 1_735_689_600_000


class QuickDisk(Disk):
    """The real one, but for the waiting: for tests that end no process."""

    def sync(self, descriptor: int) -> None:
        pass

    def sync_names(self, folder: Path) -> None:
        pass


@pytest.fixture(scope="session")
def quick_disk() -> Disk:
    return QuickDisk()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def clock() -> ReplayClock:
    return ReplayClock(START)


@pytest.fixture
def open_journal(folder: Path, clock: ReplayClock, quick_disk: Disk) -> Iterator[Callable[..., Journal]]:
    """Opens the test's journal (a disk reserve of 1 kB unless told); what a test leaves open is closed after it."""
    opened: list[Journal] = []

    def make(**changes: Any) -> Journal:
        usual = {"clock": clock, "session": {"system": "test"}, "disk_reserve_bytes": 1000, "disk": quick_disk}
        journal = Journal.open(changes.pop("folder", folder), **(usual | changes))
        opened.append(journal)
        return journal

    yield make
    for journal in opened:
        journal._release()


@pytest.fixture
def message() -> Callable[[int], Message]:
    """The n-th message: bars, with an order every third time."""

    def make(number: int) -> Message:
        ts = START + number * 60_000
        if number % 3 == 2:
            return SubmitOrder(f"a1b2c3d4-1-{number}", "BTCUSDT", "BUY", "limit", 0.001 * number, ts, 94_000.1)
        return Bar("BTCUSDT", "1m", ts - 60_000, ts, 94_000.1, 94_010.5 + number, 93_990.0, 94_001.2, 12.345)

    return make
