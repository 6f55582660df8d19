"""``keel demo`` as a person runs it: in a process of its own, over a sandbox, ended with Ctrl-C, started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sim.sandbox.conftest import Sandbox, running, until, walk_feed, walking

pytestmark = pytest.mark.real_sockets

PROJECT = Path(__file__).resolve().parents[3]
FAST = ("--timeframe", "1m", "--execution-timeframe", "1m", "--set", "params.fast=2", "--set", "params.slow=4", "--set", "warmup_bars=50")


@pytest.fixture
def market() -> Iterator[Sandbox]:
    with running(walking(factor=60.0, limit_factor=60.0), walk_feed()) as sandbox:
        yield sandbox


def keel(home: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "keel.runners.cli.main", "--home", str(home), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)}
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, Any]:
    out, err = process.communicate(timeout=180)
    assert out, err
    return process.returncode, json.loads(out)


@pytest.mark.long
def test_ctrl_c_a_restart_and_a_second_instance(market: Sandbox, tmp_path: Path) -> None:
    arguments = ("demo", "ema_cross", "--sandbox", market.url, *FAST, "--json")
    first = keel(tmp_path, *arguments, "--no-report")
    until(lambda: market.truth()["executions"], "a trade")
    code, answer = ended(keel(tmp_path, *arguments))
    assert code == 4 and "traded already" in answer["error"]["message"]
    until(lambda: ended(keel(tmp_path, "session", "status", "ema_cross", "--json"))[0] == 0, "a session that is ACTIVE")  # not stalled
    first.send_signal(signal.SIGINT)
    code, answer = ended(first)
    assert code == 0 and answer["ended"] == "Ctrl-C" and answer["differences"] == []
    again = keel(tmp_path, *arguments, "--bars", "3")
    code, answer = ended(again)
    assert code == 0 and answer["differences"] == []
    files = {path.name for path in Path(answer["artifacts"]).iterdir()}
    assert {"config.json", "results.json", "summary.json", "trades.csv", "equity.csv", "result.json", "report.html"} <= files
    assert "sandbox-secret" not in "".join(path.read_text() for path in Path(answer["artifacts"]).glob("*.json"))
    assert (tmp_path / "logs" / "demo.jsonl").read_text().count('"code":"gate"') >= 4


@pytest.mark.long
def test_errors_have_their_exit_codes(market: Sandbox, tmp_path: Path) -> None:
    for arguments, expected in (
        (("demo", "ema_cross", "--sandbox", "http://127.0.0.1:9"), 5),
        (("demo", "ema_crss", "--sandbox", market.url), 2),
        (("demo", "ema_cross", "--sandbox", market.url, "--symbol", "NOPEUSDT", *FAST), 2),
        (("demo", "ema_cross", "--sandbox", market.url, "--set", "risk.leverage=900", *FAST), 4),
    ):
        code, answer = ended(keel(tmp_path, *arguments, "--json"))
        assert code == expected, answer
    assert market.truth()["orders"] == []


@pytest.mark.long
@pytest.mark.parametrize("seed", [8, 14])
def test_the_smoke_test_passes_whenever_its_history_trades(seed: int, tmp_path: Path) -> None:
    """These two trade late: the session is stopped among its fills, not after a number of bars, or there is nothing to go on with."""
    code, answer = ended(keel(tmp_path, "smoke", "demo", "--seed", str(seed), "--json"))
    assert code == 0 and answer["ok"], answer


@pytest.mark.long
def test_a_terminal_that_is_closed_ends_it_in_order(market: Sandbox, tmp_path: Path) -> None:
    """SIGHUP: as Ctrl-C, and not on the spot."""
    process = keel(tmp_path, "demo", "ema_cross", "--sandbox", market.url, *FAST, "--json", "--no-report")
    until(lambda: market.truth()["executions"], "a trade")
    process.send_signal(signal.SIGHUP)
    code, answer = ended(process)
    assert code == 0 and answer["ended"] == "SIGHUP" and answer["differences"] == []
