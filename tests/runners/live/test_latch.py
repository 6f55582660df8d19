"""The panic latch, seen by the trader: whatever stands under its name stops what adds, a start included, until a person takes it away."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import pty
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from keel.adapters.bybit.transport.endpoints import Environment
from keel.core.errors import ConfigError, SafetyError
from keel.core.model.messages import OrderDenied
from keel.core.risk.gate.causes import TradingState
from keel.runners import safety
from keel.runners.live.memory.records import CauseRaised
from keel.runners.live.panic.latch import (
    LatchWatch,
    is_latched,
    latch_of,
    latch_path,
    latch_text,
    read_latch,
    rearm_command,
    refuse_latched,
    standing_latches,
)
from keel.runners.live.panic.rearm import rearm
from tests.faults.conftest import BARS, Turns, playing_really

REASON = "the account was looked at and is flat"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own."""
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    (tmp_path / "state" / "panic").mkdir(parents=True, mode=0o700)
    return tmp_path / "state"


def test_one_name_per_environment(state: Path) -> None:
    assert latch_path(Environment.LIVE, "https://api.bybit.com") == state / "panic" / "live.latch"
    assert latch_path(Environment.DEMO, "") == state / "panic" / "demo.latch"
    names = {latch_path(Environment.SANDBOX, f"http://{host}:8686/").name for host in ("127.0.0.1", "localhost", "[::1]")}
    assert names == {"sandbox-127.0.0.1-8686.latch"}
    assert latch_of(Environment.SANDBOX, None).name == "sandbox-127.0.0.1-8686.latch"


def _unreadable(path: Path) -> None:
    path.write_text("{}")
    path.chmod(0)


ODD: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.touch(),
    "damaged": lambda path: path.write_bytes(b'{"version": 1, \xff'),
    "not an object": lambda path: path.write_text("[1, 2]"),
    "nonsense for every field": lambda path: path.write_text('{"version": "x", "made": 5}'),
    "of the future": lambda path: path.write_text('{"version": 99, "made": {"day": 1}, "kind": "soft"}'),
    "of another environment": lambda path: path.write_text('{"version": 1, "environment": "live", "by": "x"}'),
    "that says it is open": lambda path: path.write_text('{"version": 1, "latched": false}'),
    "unreadable": _unreadable,
    "a folder": lambda path: path.mkdir(),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a pipe": lambda path: os.mkfifo(path),
    "of ten megabytes": lambda path: path.write_bytes(b"[" * 10_000_000),
}


@pytest.mark.parametrize("kind", ODD)
def test_whatever_stands_there_latches(kind: str, state: Path) -> None:
    path = latch_path(Environment.DEMO, "")
    assert not is_latched(path) and LatchWatch(path).why() == ""
    ODD[kind](path)
    assert is_latched(path)
    assert "keel session rearm --env demo" in LatchWatch(path).why()
    with pytest.raises(SafetyError, match="nothing is started"):
        refuse_latched(path)
    kept = rearm(path, REASON)
    assert not is_latched(path) and is_latched(kept)


def test_a_folder_that_cannot_be_looked_into_latches(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only "there is no such file" does not: root may look everywhere, so that the system's word is made up here."""
    path = latch_path(Environment.DEMO, "")

    def refuse(name: object) -> os.stat_result:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "lstat", refuse)
    assert is_latched(path)
    monkeypatch.undo()
    (state / "panic").rmdir()
    (state / "panic").write_text("a file in the folder's place")
    assert is_latched(state / "panic" / "demo.latch")


def test_what_it_says_is_told(state: Path) -> None:
    path = latch_path(Environment.SANDBOX, "http://127.0.0.1:9999")
    path.write_text(json.dumps({"version": 1, "made": "2026-11-20T10:00:00Z", "by": "keel panic", "process": 7, "user": "ada"}))
    found = read_latch(path)
    assert found is not None and found.by == "keel panic"
    text = latch_text(path)
    assert "2026-11-20T10:00:00Z" in text and "ada" in text and "--env sandbox --sandbox http://127.0.0.1:9999" in text


def test_once_seen_it_is_always_seen(state: Path) -> None:
    """A session that has seen it does not trade again when somebody tidies the file away."""
    path = latch_path(Environment.DEMO, "")
    watch = LatchWatch(path)
    path.touch()
    assert watch.why()
    path.unlink()
    assert watch.why() and not LatchWatch(path).why()


def test_rearming_keeps_the_latch_the_reason_and_who(state: Path) -> None:
    path = latch_path(Environment.DEMO, "")
    with pytest.raises(ConfigError, match="nothing to re-arm"):
        rearm(path, REASON)
    kepts = []
    for number in range(3):  # within one second
        path.write_text(f"panic {number}")
        with pytest.raises(ConfigError, match="a reason of at least"):
            rearm(path, "   ok   ")
        kepts.append(rearm(path, REASON))
    assert [kept.read_text() for kept in kepts] == ["panic 0", "panic 1", "panic 2"]
    told = json.loads(kepts[0].with_name(f"{kepts[0].name}.reason.json").read_text())
    assert told["reason"] == REASON and told["uid"] == os.getuid() and told["by"]


def test_a_user_whom_nobody_has_given_a_name_can_rearm_and_paste(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a bare number."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(uid: int) -> object:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", nobody)
    path = latch_path(Environment.DEMO, "")
    assert safety.latch(path, "demo", "a test") == ""
    assert rearm_command(path) == f"KEEL_STATE={state} keel session rearm --env demo"
    kept = rearm(path, REASON)
    assert json.loads(kept.with_name(f"{kept.name}.reason.json").read_text())["by"] == f"uid {os.getuid()}"


def test_a_fresh_login_finds_the_usual_folder_without_being_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    for name in ("KEEL_STATE", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    assert rearm_command(latch_path(Environment.DEMO, "")) == "keel session rearm --env demo"
    monkeypatch.setenv("HOME", str(tmp_path / "a b"))  # as of a service
    assert rearm_command(latch_path(Environment.DEMO, "")).startswith(f"KEEL_STATE='{tmp_path}/a b/.local/state/keel' keel")


def test_a_reason_that_cannot_be_kept_leaves_the_latch(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = latch_path(Environment.DEMO, "")
    path.touch()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SafetyError, match="stays"):
        rearm(path, REASON)
    assert is_latched(path)


def test_a_session_halts_sends_nothing_more_and_is_not_started_again(state: Path, tmp_path: Path) -> None:
    with playing_really(tmp_path) as stage:
        sandbox = stage.sandbox
        path = latch_of(Environment.SANDBOX, sandbox.url)
        orders: list[int] = []

        async def beat(number: int, live: object) -> None:
            if number == 6:
                path.touch()
                orders.append(len((await asyncio.to_thread(sandbox.truth))["orders"]))

        played = stage.play(beat=beat, bars=BARS, patience_s=0.0, plan=stage.plan(Turns))
        assert played.ending.state == TradingState.HALTED.name, (repr(played.ending.failure), played.story())
        assert "panic" in {message.cause for message in played.of(CauseRaised)}
        assert {denial.reason for denial in played.of(OrderDenied)} == {"trading_halted"}
        own = [row for row in sandbox.truth()["orders"][orders[0] :] if row["orderLinkId"] and not row.get("reduceOnly")]
        assert own == []
        assert "keel session rearm --env sandbox" in "".join(each.line for each in played.ending.restrictions)
        with pytest.raises(SafetyError, match="panic latch"):
            stage.play(bars=2, plan=stage.plan(Turns))
        rearm(path, REASON)
        again = stage.play(bars=8, patience_s=0.0, plan=stage.plan(Turns))
        assert [message.cause for message in again.of(CauseRaised)].count("panic") == 1 and again.ending.state == "ACTIVE"


def keel(*words: str, answers: str | None = None) -> tuple[int, str]:
    """The command; with ``answers`` on a terminal, where they are typed."""
    command = [sys.executable, "-m", "keel.runners.cli.main", *words]
    if answers is None:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return done.returncode, done.stdout
    near, far = pty.openpty()
    with subprocess.Popen(command, stdin=far, stdout=far, stderr=far, close_fds=True) as process:
        os.close(far)
        os.write(near, answers.encode())
        said = b""
        while True:
            try:
                piece = os.read(near, 65_536)
            except OSError:
                break
            if not piece:
                break
            said += piece
        code = process.wait()
    os.close(near)
    return code, said.decode()


def test_rearming_needs_a_person_at_a_terminal(state: Path) -> None:
    path = latch_path(Environment.DEMO, "")
    path.touch()
    code, said = keel("session", "rearm", "--env", "demo", "--reason", REASON)
    assert code == 4 and "needs a person" in said and is_latched(path)
    code, said = keel("session", "rearm", "--env", "demo", answers=f"{REASON}\nlive\n")
    assert code == 4 and "is not 'demo'" in said and is_latched(path)
    code, said = keel("session", "rearm", "--env", "demo", answers=f"{REASON}\ndemo\n")
    assert code == 0 and "demo may trade again" in said and not is_latched(path)
    assert keel("session", "rearm", "--env", "demo")[0] == 2


def test_rearming_without_a_name_takes_the_one_that_stands(state: Path) -> None:
    """What every text says, `keel session rearm`, can be typed as it is."""
    from keel.runners.cli.trading.sessions import _only_latch

    with pytest.raises(ConfigError, match="no panic latch stands"):
        _only_latch()
    path = latch_of(Environment.SANDBOX, "http://127.0.0.1:38611")
    path.with_suffix(".ready").touch()
    path.with_name(f"{path.name}.20260101T000000Z").touch()
    path.mkdir()
    assert standing_latches() == [path] and _only_latch() == path
    (path.parent / "demo.latch").symlink_to("nowhere")
    with pytest.raises(ConfigError) as told:
        _only_latch()
    variable = f"KEEL_STATE={state}"  # the commands work in another terminal, too
    both = f"{variable} keel session rearm --env demo; {variable} keel session rearm --env sandbox --sandbox http://127.0.0.1:38611"
    assert both in str(told.value)


@pytest.mark.parametrize(
    ("name", "commands"), [("demo", {"keel demo"}), ("live", {"keel live"}), ("sandbox-127.0.0.1-8686", {"keel demo", "keel live"})]
)
def test_after_a_re_arming_the_command_that_starts_again_is_that_of_the_environment(name: str, commands: set[str]) -> None:
    from keel.runners.cli.trading.sessions import _start_again

    said = _start_again(Path(f"{name}.latch"))
    assert {command for command in ("keel demo", "keel live") if command in said} == commands
