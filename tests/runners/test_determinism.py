"""The same inputs give the same bytes: in another process, with another hash seed, a second time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adapters.artifacts import write_result
from tests.builders import DAY, START, builtin, run, sample_store

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = ("ema_cross", "atr_breakout", "rsi_reversion")
PAIR = ("ETHUSDT", "BTCUSDT")
DAYS = 24
FILES = ("trades.jsonl", "trades.csv", "equity.csv", "results.json")


def write_runs(root: Path) -> dict[str, str]:
    """Three systems over two symbols: their artifacts, and the hash of each."""
    hashes = {}
    with sample_store(PAIR, DAYS) as store:
        for name in SYSTEMS:
            system, strategy = builtin(name, "warmup_bars=60", f"symbols=[{', '.join(PAIR)}]")
            result = run(store, system, START + 11 * DAY, START + DAYS * DAY, strategy())
            (root / name).mkdir(parents=True)
            result.timing = {}  # what the clock on the wall said
            write_result(root / name, result)
            hashes[name] = result.message_hash
    return hashes


SCRIPT = """
import json, pathlib, sys
sys.path.insert(0, sys.argv[1])
from tests.runners.test_determinism import write_runs
print(json.dumps(write_runs(pathlib.Path(sys.argv[2]))))
"""


def in_a_process(folder: Path, hash_seed: str) -> dict[str, str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", SCRIPT, str(ROOT), str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    hashes: dict[str, str] = json.loads(done.stdout)
    return hashes


def test_two_processes_with_different_hash_seeds_give_the_same_bytes(tmp_path: Path) -> None:
    """Message hashes, trades and equity, byte for byte; and this process gives them, too."""
    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(in_a_process, (tmp_path / "1", tmp_path / "4242"), ("1", "4242")))
    assert hashes[0] == hashes[1] == write_runs(tmp_path / "here")
    for name in SYSTEMS:
        for file in FILES:
            first, second, here = ((tmp_path / place / name / file).read_bytes() for place in ("1", "4242", "here"))
            assert first == second == here, (name, file)
        assert len((tmp_path / "here" / name / "trades.jsonl").read_text().splitlines()) > 2


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_same_run_twice_in_one_process(name: str) -> None:
    """Nothing is left over from one run that another could see."""
    system, strategy = builtin(name, "warmup_bars=60")
    with sample_store(days=DAYS) as store:
        hashes = {run(store, system, START + 11 * DAY, START + DAYS * DAY, strategy()).message_hash for _ in range(2)}
    assert len(hashes) == 1
