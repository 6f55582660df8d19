"""A home with a small synthetic history, and the command line as a function."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keel.runners.cli.main import run
from keel.runners.home import Home
from keel.runners.sample import write_sample


@dataclass(frozen=True)
class Answer:
    """What a command line gave."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The one JSON object on stdout."""
        assert self.out.count("\n") == 1, self.out
        return msgspec.json.decode(self.out)


@pytest.fixture(scope="session")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of four weeks of BTCUSDT; to be copied, not written to."""
    home = Home(tmp_path_factory.mktemp("sample"))
    write_sample(home, ["BTCUSDT"], "2024-01-01", "2024-01-29")
    return home.store


@pytest.fixture
def home(tmp_path: Path, sample_store: Path) -> Path:
    """A home folder of the test's own with the sample in it."""
    place = Home(tmp_path / "home")
    place.store.parent.mkdir(parents=True)
    shutil.copy(sample_store, place.store)
    return place.root


Keel = Callable[..., Answer]


@pytest.fixture
def keel(home: Path, capsys: pytest.CaptureFixture[str]) -> Keel:
    """Runs a command line in this process, in the home."""

    def call(*arguments: str) -> Answer:
        capsys.readouterr()
        code = run(["--home", str(home), *arguments])
        text = capsys.readouterr()
        return Answer(code, text.out, text.err)

    return call


@pytest.fixture
def keel_process(home: Path) -> Keel:
    """Runs a command line in a process of its own, in the home."""

    def call(*arguments: str, **environment: str) -> Answer:
        command = [sys.executable, "-m", "keel.runners.cli.main", "--home", str(home), *arguments]
        # A shell starts its background jobs deaf to interrupts, and children inherit that.
        heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False, preexec_fn=heard)
        return Answer(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def strategy(home: Path) -> Callable[[str, str], str]:
    """Writes a strategy and a system of the user's own; gives the system's name."""

    def write(name: str, body: str) -> str:
        (home / "strategies").mkdir(exist_ok=True)
        (home / "systems").mkdir(exist_ok=True)
        (home / "strategies" / f"{name}.py").write_text(_STRATEGY_HEAD + body)
        system = f"system: {name}\nstrategy: {name}\nsymbols: [BTCUSDT]\ntimeframe: 1h\nexecution_timeframe: 5m\nwarmup_bars: 50\n"
        windows = "windows: {week: {start: 2024-01-15, end: 2024-01-22}}\nsizing: {model: percent_equity, percent: 20}\n"
        (home / "systems" / f"{name}.yaml").write_text(system + windows)
        return name

    return write


_STRATEGY_HEAD = """
import os, signal
from keel.core.errors import InvariantError
from keel.core.model.messages import Signal
from keel.strategies.base import BaseStrategy, VectorStrategy

"""
