"""A journal that is deleted while a session trades halts it within 30 seconds, and the end is told."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from keel.adapters.journal import JournalError
from keel.adapters.machine import monotonic_ms
from keel.runners.live.session.live import Live
from keel.runners.live.session.session import Session
from tests.faults.conftest import Stage, _with

BREAKS: dict[str, Callable[[Path], object]] = {
    "deleted": shutil.rmtree,
    "replaced": lambda folder: shutil.copytree(folder, folder.with_name("copy")) and (
        folder.rename(folder.with_name("old")), folder.with_name("copy").rename(folder),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_trading_halts(name: str, stage: Stage) -> None:
    began: list[int] = []

    async def before(number: int, live: Live) -> None:
        await asyncio.sleep(1.0)
        if number == 3:
            BREAKS[name](live.journal.folder)
            began.append(monotonic_ms())

    session = Session(stage.plan(), lambda notice: None, max_bars=1_000)

    async def run() -> tuple[Live, int]:
        live, ending = await session.run(_with(before))
        assert isinstance(ending.failure, JournalError) and "somebody else has changed the journal" in str(ending.failure)
        assert ending.positions or not live.books.portfolio.open_positions()
        return live, monotonic_ms() - began[0]

    live, took_ms = stage.run(run())
    assert took_ms < 30_000, took_ms
    assert live.journal.failed is not None
