"""A small system of the user's own, and strategies that misbehave in known ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from keel.runners.home import Home
from keel.runners.sample import write_sample

SYSTEM = """
system: {name}
strategy: {strategy}
symbols: [BTCUSDT]
timeframe: 1h
execution_timeframe: 1h
warmup_bars: 40
sizing: {{model: percent_equity, percent: 50}}
windows: {{first: {{start: 2024-01-08, end: 2024-01-15}}, second: {{start: 2024-01-15, end: 2024-01-22}}}}
"""

COUNTED = """
import os, signal
from pathlib import Path
import numpy as np
from keel.strategies.base import VectorStrategy

FOLDER = Path({folder!r})

class Counted(VectorStrategy):
    features = {{"average": {{"fn": "SMA", "timeperiod": "$period"}}}}
    defaults = {{"period": 5, "other": 0}}

    @classmethod
    def params_problem(cls, params):
        return "period must not be 13" if params["period"] == 13 else ""

    def on_start(self, params):
        super().on_start(params)
        with (FOLDER / "calls").open("a") as file:
            file.write(f"{{params['period']}}\\n")
        self.misbehave(params["period"])

    def signals(self, frame, params):
        return np.where(frame.close > frame["average"], 1, -1).astype(np.int8)

    def misbehave(self, period):
        once = FOLDER / f"once-{{period}}"
{misbehave}
"""


@pytest.fixture
def small(home: Path) -> str:
    """An EMA cross on 1h bars; gives its name."""
    return write_system(home, "small", "ema_cross")


@pytest.fixture
def counted(home: Path) -> Callable[[str], str]:
    """A system whose strategy notes each run, and does something besides; its body sees ``period`` and a path ``once``."""

    def write(misbehave: str = "pass") -> str:
        (home / "strategies").mkdir(exist_ok=True)
        body = "".join(f"        {line}\n" for line in misbehave.splitlines())
        (home / "strategies" / "counted.py").write_text(COUNTED.format(folder=str(home), misbehave=body))
        return write_system(home, "counted", "counted")

    return write


def write_system(home: Path, name: str, strategy: str) -> str:
    (home / "systems").mkdir(exist_ok=True)
    (home / "systems" / f"{name}.yaml").write_text(SYSTEM.format(name=name, strategy=strategy))
    return name


def calls(home: Path) -> list[int]:
    """The runs that the counted strategy noted, in order."""
    path = home / "calls"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.fixture(scope="session")
def two_symbols_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which ETHUSDT begins twelve days after BTCUSDT."""
    home = Home(tmp_path_factory.mktemp("two"))
    write_sample(home, ["BTCUSDT"], "2024-01-01", "2024-01-29")
    write_sample(home, ["ETHUSDT"], "2024-01-13", "2024-01-29")
    return home.store
