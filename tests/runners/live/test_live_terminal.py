"""Arming at a terminal: a person types the account's UID and a phrase; anything else arms nothing. In a process of its own, on a pty."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keel.runners.home import Home
from tests.runners.live.live_account import account_at_sandbox, home_of, private_posts, promoted, uid_of
from tests.sim.sandbox.conftest import Sandbox
from tests.sim.sandbox.raw import Raw

PROJECT = Path(__file__).resolve().parents[3]
PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with account_at_sandbox() as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = home_of(tmp_path)
    promoted(made)
    return made


class Typed:
    """A command on a terminal: stdin and stderr are the pty, stdout is a pipe."""

    def __init__(self, home: Home, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "keel.runners.cli.main", "--home", str(home.root), "live", "armed", *arguments],
            stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True, cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )  # fmt: skip
        os.close(theirs)
        self.shown = ""

    def until(self, words: str) -> None:
        """Read what is shown until these words are."""
        end = time.monotonic() + PATIENCE_S
        while words not in self.shown:
            assert time.monotonic() < end, self.shown
            if select.select([self._ours], [], [], 0.2)[0]:
                try:
                    self.shown += os.read(self._ours, 4096).decode(errors="replace")
                except OSError:
                    raise AssertionError(f"it ended before {words!r}: {self.shown}") from None

    def type(self, text: str) -> None:
        os.write(self._ours, f"{text}\n".encode())

    def close_terminal(self) -> None:
        os.write(self._ours, b"\x04")

    def ended(self) -> tuple[int, str]:
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        while select.select([self._ours], [], [], 0.2)[0]:
            try:
                self.shown += os.read(self._ours, 4096).decode(errors="replace")
            except OSError:
                break
        os.close(self._ours)
        return self.process.returncode, out


def arguments(sandbox: Sandbox, *more: str) -> tuple[str, ...]:
    return ("--sandbox", sandbox.url, "--json", *([] if "--arm" in more else ["--log", "none", "--no-report"]), *more)


@pytest.mark.long
def test_uid_and_phrase_arm_and_it_trades(home: Home, sandbox: Sandbox) -> None:
    typed = Typed(home, *arguments(sandbox, "--bars", "30"))
    typed.until("type the UID of the account")
    assert private_posts(sandbox) == []
    assert "limits: live.max_order_usd 2500" in typed.shown and "SANDBOX: armed on BTCUSDT" in typed.shown
    assert "NO STOP: the system sets no exits.stop_loss" in typed.shown
    assert str(uid_of(sandbox)) in typed.shown
    typed.type(str(uid_of(sandbox)))
    typed.until("type 'trade play money' to arm")
    typed.type("trade play money")
    code, out = typed.ended()
    answer: Any = json.loads(out)
    assert code == 0, typed.shown
    assert answer["compared"] and sandbox.truth()["orders"]


@pytest.mark.long
@pytest.mark.parametrize("answers", [["4711"], ["UID", "trade real money"], None])
def test_anything_else_arms_nothing(home: Home, sandbox: Sandbox, answers: list[str] | None) -> None:
    typed = Typed(home, *arguments(sandbox))
    typed.until("type the UID of the account")
    if answers is None:
        typed.close_terminal()
    else:
        typed.type(answers[0].replace("UID", str(uid_of(sandbox))))
        if len(answers) > 1:
            typed.until("to arm: ")
            typed.type(answers[1])
    code, out = typed.ended()
    assert code == 4 and "nothing was sent" in json.loads(out)["error"]["message"]
    assert private_posts(sandbox) == [] and sandbox.truth()["orders"] == []


@pytest.mark.long
def test_a_token_is_made_at_a_terminal_and_taken_without_one(home: Home, sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "token"
    typed = Typed(home, *arguments(sandbox, "--arm", "--arm-token", str(file), "--arm-hours", "1"))
    typed.until("type the UID of the account")
    typed.type(str(uid_of(sandbox)))
    typed.until("to arm: ")
    typed.type("trade play money")
    code, out = typed.ended()
    assert code == 0 and json.loads(out)["account"] == uid_of(sandbox) and private_posts(sandbox) == []
    done = subprocess.run(
        [sys.executable, "-m", "keel.runners.cli.main", "--home", str(home.root), "live", "armed", *arguments(sandbox), "--bars", "20",
         "--arm-token", str(file)],
        capture_output=True, text=True, cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)}, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "*** SANDBOX" in done.stderr and sandbox.truth()["orders"]


@pytest.mark.long
def test_without_a_terminal_nothing_is_armed(home: Home, sandbox: Sandbox) -> None:
    command = [sys.executable, "-m", "keel.runners.cli.main", "--home", str(home.root), "live", "armed"]
    for more, words in (((), "there is no terminal"), (("--arm",), "arming needs a terminal")):
        done = subprocess.run(
            [*command, *arguments(sandbox, *more)], capture_output=True, text=True, cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT)}, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert done.returncode == 4 and words in json.loads(done.stdout)["error"]["message"]
    assert private_posts(sandbox) == []


@pytest.mark.long
def test_a_token_is_made_only_where_books_and_account_agree(home: Home, sandbox: Sandbox, tmp_path: Path) -> None:
    order = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "20000"}
    Raw(sandbox).post("/v5/order/create", order)
    sandbox.step()
    sent = private_posts(sandbox)
    typed = Typed(home, *arguments(sandbox, "--arm", "--arm-token", str(tmp_path / "token")))
    code, out = typed.ended()
    assert code == 4 and "external_order" in json.loads(out)["error"]["message"] and "type the UID" not in typed.shown
    assert private_posts(sandbox) == sent and not (tmp_path / "token").exists()
