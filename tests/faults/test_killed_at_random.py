"""kill -9 at fifty random instants of one history, a fifth of them while the session recovers from the kill before: a crash loop, too.

The market moves on while nobody trades. At the end nothing is lost and nothing was done twice, by the checker over the whole history; and
each life was READY soon after it began.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from keel.sim.sandbox.settings import SandboxSettings
from tests.faults.checker import check
from tests.faults.test_killed import FORKS
from tests.faults.victim import live_on
from tests.sim.sandbox.conftest import Sandbox, running, walk_feed

KILLS = 50
FACTOR = 400.0
"""How much faster than life the market moves: a minute in 0.15 s."""
READY_S = 10.0
PATIENCE_S = 60.0
OF_CANDLES = "I-13"
"""Which candle an order is of: minutes pass here while it is on its way, so that this is judged in the matrix, where the market waits."""
LONGEST_S = 0.5
"""A life goes on for at most so long after it was READY; three of four, after it has traded, too."""
TRADES_S = 5.0
"""How long such a one is waited for: on a loaded machine a life may be over before its first order."""


@dataclass
class Crashes:
    """Lives over one sandbox. ``ready``: seconds that each took that came so far."""

    sandbox: Sandbox
    folder: Path
    rng: Random
    ready: list[float] = field(default_factory=list)
    in_recovery: int = 0
    said: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()

    def begin(self, number: int, bars: int | None = None) -> Any:
        self.said = self.folder / f"said{number}"
        process = FORKS.Process(target=live_on, args=(str(self.said), self.sandbox.url, str(self.folder), bars))
        process.start()
        return process

    def words(self) -> str:
        return self.said.read_text() if self.said.exists() else ""

    def until_ready(self, process: Any) -> None:
        end = time.monotonic() + PATIENCE_S
        while "READY" not in self.words():
            assert process.is_alive() and time.monotonic() < end, self.words()
            time.sleep(0.002)
        (line,) = [line for line in self.words().splitlines() if line.startswith("READY")]
        self.ready.append(float(line.split()[1]))

    def until_traded(self) -> None:
        """Or until it has had its time."""
        before, end = len(self.sandbox.truth()["executions"]), time.monotonic() + TRADES_S
        while len(self.sandbox.truth()["executions"]) == before and time.monotonic() < end:
            time.sleep(0.05)

    def kill(self, number: int, *, in_recovery: bool) -> None:
        process = self.begin(number)
        if in_recovery:
            time.sleep(self.rng.uniform(0.0, self.ready[-1] if self.ready else 0.2))
            self.in_recovery += "READY" not in self.words()
        else:
            self.until_ready(process)
            if number % 4:
                self.until_traded()
            time.sleep(self.rng.uniform(0.0, LONGEST_S))
        os.kill(process.pid, signal.SIGKILL)
        process.join(PATIENCE_S)
        assert process.exitcode == -signal.SIGKILL, self.words()


@pytest.mark.long
def test_fifty_kills_of_one_history(tmp_path: Path) -> None:
    rng = Random(20)
    with running(SandboxSettings(factor=FACTOR, tick_ms=20, limit_factor=10 * FACTOR), walk_feed()) as sandbox:
        crashes = Crashes(sandbox, tmp_path / "journals", rng)
        for number in range(KILLS):
            crashes.kill(number, in_recovery=number % 5 == 4)
        process = crashes.begin(KILLS, bars=8)
        crashes.until_ready(process)
        process.join(PATIENCE_S)
        assert process.exitcode == 0, crashes.words()
        truth = sandbox.truth()
    (folder,) = [path.parent for path in crashes.folder.glob("*/*/lock")]
    found = [each for each in check(truth, folder, settled=False) if not each.startswith(OF_CANDLES)]
    assert found == [], "\n".join(found)
    assert len(truth["executions"]) > KILLS / 2 and crashes.in_recovery >= KILLS // 10
    assert max(crashes.ready) < READY_S, sorted(crashes.ready)
    print(f"READY after {sorted(crashes.ready)[len(crashes.ready) // 2]:.2f} s (median), {max(crashes.ready):.2f} s (longest)")
