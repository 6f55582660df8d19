"""The examples run as they stand, from a home folder with a small history, and print what they promise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docs.page import PROJECT

PROMISED = {
    "engine.py": ("closed trades, net", "does not add up: 0", "synthetic: True"),
    "own_strategy.py": ("wrote systems/band_reversion.yaml", "stop 1.5 %", "stop 4.0 %"),
    "epoch_experiment.py": (
        "best: ",
        "passed True, next epoch demo",
        "config.json, equity.csv, equity.parquet, result.json, results.json, summary.json",
    ),
    "hold_backtest.py": ("open LONG", "BTC-USDT", "does not add up: 0", "p_value: ", "spot: there is no history of both symbols"),
}
ARGUMENTS = {"hold_backtest.py": ("--permutations", "3", "--days", "10")}
"""Of an example that would take longer than a moment without."""


@pytest.mark.parametrize("name", PROMISED)
def test_example_runs(name: str, enter_home: Callable[[], Any]) -> None:
    command = [sys.executable, str(PROJECT / "examples" / name), *ARGUMENTS.get(name, ())]
    with enter_home():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line in PROMISED[name]:
        assert line in done.stdout, done.stdout


def test_every_example_is_run() -> None:
    assert {path.name for path in (PROJECT / "examples").glob("*.py")} == set(PROMISED)


@pytest.mark.real_data
def test_the_hold_example_over_real_history(real_data: Path) -> None:
    """BTC and ETH, futures and spot, each with the p-value of 100 permutations."""
    command = [sys.executable, str(PROJECT / "examples" / "hold_backtest.py"), str(real_data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("does not add up: 0") == done.stdout.count("p_value: ") == 2, done.stdout
    assert "futures: total return" in done.stdout and "spot: total return" in done.stdout
