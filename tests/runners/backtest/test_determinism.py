"""The same inputs give the same bytes: in another process, with another hash seed, a second time, and in every Python.

After a change that is meant to change fills, ``python -m tests.runners.backtest.test_determinism`` prints DIGESTS anew: first read the
difference.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keel.adapters.artifacts import write_result
from tests.builders import DAY, START, builtin, run, sample_store

ROOT = Path(__file__).resolve().parents[3]
SYSTEMS = ("ema_cross", "atr_breakout", "rsi_reversion", "momentum")
PAIR = ("ETHUSDT", "BTCUSDT")
DAYS = 24
FILES = ("trades.jsonl", "trades.csv", "equity.csv", "results.json")
DIGESTS = {
    "ema_cross": "15b0adab1708717a5c1b191c59118ea2a607f18ab4ed9bd1c23e62bcfe7f9762",
    "atr_breakout": "b6c605937764378da124bf92c25849d526d0ee5a20bf2d59c4eeec70f401e8fb",
    "rsi_reversion": "65f9192fecdb7b46711215a016bce5e7cbfd13118690e10ba008909f7f3caeaf",
    "momentum": "3067d378e25798d0843725be23923ee213590aa237686bf2a8f69a0c2beac293",
}
"""SHA-256 of trades.jsonl, trades.csv and equity.csv, one after the other: the same with Python 3.11, 3.12 and 3.13."""


def write_runs(root: Path) -> dict[str, str]:
    """Four systems over two symbols: their artifacts, and the hash of each."""
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


def digest(folder: Path) -> str:
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in FILES[:3])).hexdigest()


SCRIPT = """
import json, pathlib, sys
sys.path.insert(0, sys.argv[1])
from tests.runners.backtest.test_determinism import write_runs
print(json.dumps(write_runs(pathlib.Path(sys.argv[2]))))
"""


def in_a_process(folder: Path, hash_seed: str) -> dict[str, str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", SCRIPT, str(ROOT), str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    hashes: dict[str, str] = json.loads(done.stdout)
    return hashes


@pytest.mark.long
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
    assert {name: digest(tmp_path / "here" / name) for name in SYSTEMS} == DIGESTS


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_same_run_twice_in_one_process(name: str) -> None:
    """Nothing is left over from one run that another could see."""
    system, strategy = builtin(name, "warmup_bars=60")
    with sample_store(days=DAYS) as store:
        hashes = {run(store, system, START + 11 * DAY, START + DAYS * DAY, strategy()).message_hash for _ in range(2)}
    assert len(hashes) == 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write_runs(Path(folder))
        for each in SYSTEMS:
            print(f'    "{each}": "{digest(Path(folder) / each)}",')
