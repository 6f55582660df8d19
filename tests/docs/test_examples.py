"""The examples run as they stand, from a home folder with a small history, and print what they promise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.docs.page import PROJECT

PROMISED = {
    "engine.py": ("closed trades, net", "does not add up: 0", "synthetic: True"),
    "own_strategy.py": ("wrote systems/band_reversion.yaml", "stop 1.5 %", "stop 4.0 %"),
    "epoch_experiment.py": ("best: ", "passed True, next epoch demo", "config.json, equity.csv, result.json, results.json, summary.json"),
}


@pytest.mark.parametrize("name", PROMISED)
def test_example_runs(name: str, enter_home: Callable[[], Any]) -> None:
    with enter_home():
        done = subprocess.run([sys.executable, str(PROJECT / "examples" / name)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line in PROMISED[name]:
        assert line in done.stdout, done.stdout


def test_every_example_is_run() -> None:
    assert {path.name for path in (PROJECT / "examples").glob("*.py")} == set(PROMISED)
