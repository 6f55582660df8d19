"""``keel demo --supervised`` in processes of its own: hung, stopped, killed, too large, in a crash loop, and pressed."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from keel.runners.live.supervisor.trader import began
from tests.sim.sandbox.conftest import Sandbox, running, walk_feed, walking

pytestmark = pytest.mark.long
PROJECT = Path(__file__).resolve().parents[3]
STRATEGY = """
import os, time
from pathlib import Path
from keel.core.model.messages import Signal
from keel.strategies.base import BaseStrategy

KEPT = []


class Obeys(BaseStrategy):
    features = {}
    defaults = {}

    def generate_signal(self, snapshot, params):
        if snapshot.position.qty == 0:
            return Signal(snapshot.symbol, "LONG", stop_loss=snapshot.bar_ltf.close * 0.5)
        word = Path("word").read_text() if Path("word").exists() else ""
        if word == "hang":
            while True:
                time.sleep(0.01)
        if word == "die":
            os.kill(os.getpid(), 9)
        if word == "grow":
            KEPT.append(bytearray(os.urandom(1 << 20) * 40))
        return None
"""
SYSTEM = """
system: obeys
strategy: obeys.py:Obeys
symbols: [BTCUSDT]
timeframe: 1m
warmup_bars: 5
sizing: {model: fixed_usd, usd: 1000}
supervision: {silent_s: 3, hang_s: 3%s}
"""


class Supervised:
    """A home, and supervisors that are started in it."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder, self.sandbox = folder, sandbox
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environ = {**os.environ, "PYTHONPATH": str(PROJECT), "KEEL_STATE": str(folder / "state")}
        (folder / "obeys.py").write_text(STRATEGY)

    def command(self, policy: str = "") -> list[str]:
        keys = [*([] if "stop_s" in policy else ["stop_s: 6"]), *([policy] if policy else [])]
        (self.folder / "obeys.yaml").write_text(SYSTEM % "".join(f", {key}" for key in keys))
        return [
            *(sys.executable, "-P", "-m", "keel.runners.cli.main", "--home", str(self.folder), "demo", str(self.folder / "obeys.yaml")),
            *("--sandbox", self.sandbox.url, "--no-report", "--supervised"),
        ]

    def start(self, policy: str = "", **environ: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"told{len(self.processes)}").open("wb") as told:
            process = subprocess.Popen(
                self.command(policy), stdout=told, stderr=told, cwd=self.folder, env={**self.environ, **environ}, start_new_session=True
            )
        self.processes.append(process)
        return process

    def say(self, word: str) -> None:
        (self.folder / "word").write_text(word)

    def told(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("told*")))

    def lines(self, name: str = "supervisor") -> list[dict[str, Any]]:
        path = self.folder / "logs" / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def codes(self, name: str = "supervisor") -> list[str]:
        """In order, without what is over."""
        return [line.get("code", "") for line in self.lines(name) if ": over: " not in line["event"]]

    def card(self) -> dict[str, Any]:
        (path,) = (self.folder / "state" / "supervisors").glob("*.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def until(self, what: Callable[[], object], timeout_s: float = 30.0) -> None:
        until = time.monotonic() + timeout_s
        while not what():
            assert time.monotonic() < until, f"{self.codes()}\n{self.codes('demo')}\n{self.told()}"
            time.sleep(0.05)

    def until_held(self) -> None:
        """A position is held, and its stop rests at the exchange from that moment on."""
        self.until(self.stops)

    def stops(self) -> list[dict[str, Any]]:
        truth = self.sandbox.truth()
        return [row for row in truth["orders"] if row["orderStatus"] == "Untriggered" and row["stopOrderType"] == "StopLoss"]

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for path in (self.folder / "state" / "supervisors").glob("*.json"):
            with suppress(ProcessLookupError):
                os.kill(json.loads(path.read_text())["process"], signal.SIGKILL)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    with running(walking(factor=120.0, limit_factor=120.0), walk_feed()) as sandbox:
        made = Supervised(tmp_path, sandbox)
        yield made
        made.close()


def test_a_hang_in_a_strategy_ends_the_session_in_order(supervised: Supervised) -> None:
    process = supervised.start()
    supervised.until_held()
    supervised.say("hang")
    assert process.wait(40) == 4, supervised.told()
    assert [code for code in supervised.codes() if code in ("trader_hangs", "trader_asked", "trader_killed", "supervisor_ends")] == [
        "trader_hangs", "trader_asked", "supervisor_ends",
    ]  # fmt: skip
    assert "it hung, and was broken off so that the session could end" in supervised.told()
    assert supervised.stops()


def test_a_killed_session_is_started_again_and_systemd_is_told(supervised: Supervised, tmp_path: Path) -> None:
    """It goes on from its journal; a SIGTERM to the supervisor alone reaches the trader once, and its exit code is the trader's."""
    words: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "n"))

        def listen() -> None:
            while word := line.recv(4096).decode():
                words.append(word)

        hearing = threading.Thread(target=listen)
        hearing.start()
        process = supervised.start(NOTIFY_SOCKET=str(tmp_path / "n"), WATCHDOG_USEC="400000")
        supervised.until_held()
        supervised.until(lambda: "READY=1" in words)
        first = supervised.card()
        os.kill(first["process"], signal.SIGKILL)
        supervised.until(lambda: supervised.card()["restarts"] == 1)
        second = supervised.card()
        assert second["run"] == first["run"] and second["process"] != first["process"]
        del words[1:]
        supervised.until(lambda: [word for word in words if word.startswith("STATUS=trading, gate ACTIVE")])
        assert len(supervised.stops()) == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, supervised.told()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(tmp_path / "n"))
        hearing.join()
    assert {word.partition("=")[0] for word in words} >= {"STATUS", "WATCHDOG", "STOPPING"}
    assert "trader_restarted" in supervised.codes() and "difference 0" in supervised.told()


def test_a_killed_supervisor_is_missed_and_its_successor_finds_the_session(supervised: Supervised) -> None:
    first = supervised.start()
    supervised.until_held()
    card = supervised.card()
    second = supervised.start()
    assert second.wait(20) == 4 and "is supervised already, by process" in supervised.told()
    first.kill()
    first.wait()
    supervised.until(lambda: "supervisor_gone" in supervised.codes("demo"))
    third = supervised.start()
    supervised.until(lambda: "supervisor_adopted" in supervised.codes() and "supervisor_back" in supervised.codes("demo"))
    assert supervised.card() == card
    if sys.platform == "linux":
        memory = int(re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{third.pid}/status").read_text())[0])
        assert 20_000 < memory < 70_000, "docs/supervisor.md says 45 MB"
    third.send_signal(signal.SIGTERM)
    assert third.wait(30) == 0, supervised.told()
    assert supervised.codes()[-1] == "supervisor_ends"
    assert began(card["process"]) == ""


def test_a_session_with_too_much_memory_is_asked_to_end(supervised: Supervised) -> None:
    process = supervised.start("max_memory_mb: 500, stop_s: 60")
    supervised.until_held()
    supervised.say("grow")
    assert process.wait(60) == 4, supervised.told()
    assert [code for code in supervised.codes() if code in ("trader_memory", "trader_killed")] == ["trader_memory"]
    assert supervised.stops()


def test_a_crash_loop_ends(supervised: Supervised) -> None:
    supervised.say("die")
    process = supervised.start("max_restarts: 1")
    assert process.wait(60) == 128 + signal.SIGKILL, supervised.told()
    assert supervised.codes().count("trader_restarted") == 1
    assert "2 crashes in 10 min: it is not started again" in supervised.told()
    assert supervised.stops()


def test_a_session_that_was_refused_is_not_tried_again(supervised: Supervised) -> None:
    """By the trader (the account is traded already), and by the supervisor itself."""
    wrong = supervised.start("nonsense: 2")
    assert wrong.wait(30) == 2 and "nonsense: unknown key" in supervised.told()
    missing = supervised.command()
    missing[missing.index("--sandbox") + 1] = "http://127.0.0.1:1"
    missing += ["--set", "warmup_bars=-1"]
    done = subprocess.run(missing, cwd=supervised.folder, env=supervised.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "warmup_bars" in done.stderr
    assert "trader_restarted" not in supervised.codes()


def test_ctrl_c_on_a_terminal_reaches_the_session_once(supervised: Supervised) -> None:
    """It ends in order, with exit code 0: a second signal would end it on the spot."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(supervised.folder)
        command = supervised.command()
        os.execve(command[0], command, supervised.environ)
    shown = bytearray()

    def drain() -> bool:
        os.set_blocking(terminal, False)
        try:
            while piece := os.read(terminal, 65_536):
                shown.extend(piece)
        except BlockingIOError:
            pass
        except OSError:
            return True
        return False

    supervised.until(lambda: (drain(), supervised.stops())[1])
    os.write(terminal, b"\x03")
    supervised.until(drain)
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    code = os.waitstatus_to_exitcode(status)
    assert code == 0, shown.decode(errors="replace")[-3000:]
    assert "difference 0" in shown.decode(errors="replace")
    assert "trader_asked" not in supervised.codes()


def test_a_stopped_session_is_flattened_by_the_panic_path(supervised: Supervised) -> None:
    """on_hang: flatten: the trader is killed first; then nothing rests, nothing is held, and the latch stands."""
    process = supervised.start("on_hang: flatten")
    supervised.until_held()
    trader = supervised.card()["process"]
    os.kill(trader, signal.SIGSTOP)
    assert process.wait(60) == 4, supervised.told()
    codes = [code for code in supervised.codes() if code.startswith(("trader_s", "trader_a", "trader_k", "supervisor_f"))]
    assert codes == ["trader_silent", "trader_asked", "trader_killed", "supervisor_flattens", "supervisor_flattened"]
    assert began(trader) == ""
    assert not list((supervised.folder / "state" / "supervisors").glob("*.json"))
    truth = supervised.sandbox.truth()
    assert not [row for row in truth["orders"] if row["orderStatus"] in ("New", "Untriggered")]
    assert not [row for row in truth["positions"] if float(row["size"])]
    assert list((supervised.folder / "state" / "panic").glob("sandbox-*.latch"))


def test_sigusr1_to_the_supervisor_is_the_panic_button(supervised: Supervised) -> None:
    process = supervised.start()
    supervised.until_held()
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 4, supervised.told()
    assert not [row for row in supervised.sandbox.truth()["positions"] if float(row["size"])]
    assert "supervisor_flattened" in supervised.codes()
