"""Panic pressed in a trader: by SIGUSR1, by the key, from outside; while it trades, while its strategy hangs, while it is stopped."""

from __future__ import annotations

import errno
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.panic_instants import adds
from keel.adapters.bybit.transport.credentials import load_credentials
from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.runners.live.panic.latch import LatchWatch, is_latched, latch_of
from keel.runners.live.panic.panic_button import PanicButton
from keel.runners.live.panic.panic_key import panic_key
from keel.runners.live.panic.rearm import rearm
from keel.runners.live.supervisor.flatten import Flattener
from tests.runners.fake_exchange import FakeExchange, fake_exchange
from tests.runners.live.test_demo_command import FAST, keel
from tests.runners.live.test_watchdog import HANGS, SYSTEM
from tests.sim.sandbox.conftest import Sandbox, running, until, walk_feed, walking

OPEN = ("New", "PartiallyFilled", "Untriggered")


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))


@pytest.fixture
def market() -> Iterator[Sandbox]:
    with running(walking(factor=60.0, limit_factor=60.0), walk_feed()) as sandbox:
        yield sandbox


@pytest.fixture
def fake() -> Iterator[FakeExchange]:
    with fake_exchange() as made:
        made.contract("BTCUSDT", "linear", "USDT")
        made.hold("BTCUSDT", "linear", "USDT", "Buy", "2.5")
        made.rest("BTCUSDT", "linear", "USDT", 3)
        yield made


def is_flat(sandbox: Sandbox) -> bool:
    truth = sandbox.truth()
    resting = [row for row in truth["orders"] if row["orderStatus"] in OPEN]
    return not resting and all(float(row["size"]) == 0 for row in truth["positions"])


def added_after(sandbox: Sandbox, ms: int) -> list[Any]:
    """Orders that add, as they came in after this time."""
    sent = sandbox.get("/admin/wire")["requests"]
    return [row for row in sent if row["received"] > ms and adds(row)]


def latched_ms(sandbox: Sandbox) -> int:
    path = latch_of(Environment.SANDBOX, sandbox.url)
    until(lambda: is_latched(path), "the latch")
    return time.time_ns() // 1_000_000


# --- the standby ---


def standby(fake: FakeExchange, *bytes_: bytes) -> tuple[int, str]:
    words = [sys.executable, "-P", "-m", "keel.runners.live.panic.standby", "--env", "sandbox", "--sandbox", fake.url]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(json.dumps({"key": "Canary-Key-1", "secret": "Canary-Secret-1"}).encode() + b"\n")
        for each in bytes_:
            process.stdin.write(each)
        process.stdin.close()
        said = process.stderr.read().decode()
        return process.wait(), said


@pytest.mark.parametrize(("word", "code"), [(b"B", 0), (b"", 1), (b"x", 1)])
def test_a_standby_that_is_not_told_to_act_does_nothing(word: bytes, code: int, fake: FakeExchange) -> None:
    """B: its trader ended in order; nothing: its trader was killed; anything else is no word that it knows."""
    assert standby(fake, word)[0] == code
    assert not fake.asked("cancel-all") and len(fake.orders) == 3 and not is_latched(latch_of(Environment.SANDBOX, fake.url))


@pytest.mark.long
def test_a_standby_that_is_told_acts_and_its_traders_end_changes_nothing(fake: FakeExchange) -> None:
    code, said = standby(fake, b"P", b"B")
    assert code == 0 and "FLAT" in said and fake.orders == [] and is_latched(latch_of(Environment.SANDBOX, fake.url))
    assert "Canary" not in said


@pytest.mark.long
def test_a_button_pressed_five_times_acts_once_and_survives_its_standby(fake: FakeExchange) -> None:
    where = endpoints(Environment.SANDBOX, fake.url)
    said: list[str] = []
    button = PanicButton(where, load_credentials(where, environ={}), owner="a test", say=said.append)
    button.stand_by()
    assert button.path.with_suffix(".ready").exists() and button._process is not None
    assert "sandbox-secret" not in Path(f"/proc/{button._process.pid}/cmdline").read_text()
    button._process.kill()
    button._process.wait()  # it is started anew when it is needed
    threads = [threading.Thread(target=button.press, args=(f"hand {number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    button.close()
    until(lambda: button.finished() is not None, "the end of the panic")
    assert button.finished() == 0 and fake.orders == [] and "hand" in button.path.read_text()
    assert len(list(button.path.parent.glob("*.report.json"))) == 1 and len(said) == 5


def test_a_press_that_cannot_be_latched_halts_its_own_session(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any, **more: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    where = endpoints(Environment.SANDBOX, "http://127.0.0.1:9")
    said: list[str] = []
    button = PanicButton(where, load_credentials(where, environ={}), owner="a test", say=said.append)
    monkeypatch.setattr(subprocess, "Popen", full)
    early, late = LatchWatch(button.path), LatchWatch(button.path)
    button.halts(early.press)
    with monkeypatch.context() as small:
        small.setattr(os, "open", full)
        small.setattr(os, "rename", full)
        assert early.why() == ""
        button.press("SIGUSR1")
    button.halts(late.press)  # a session that was still starting
    assert "no latch could be made" in early.why() and early.why() == late.why()
    assert "NOT LATCHED" in said[0] and "could not be started" in said[1] and len(said) == 2


@pytest.mark.parametrize("by_supervisor", [False, True])
def test_the_command_that_is_told_to_whom_must_press_by_hand_works_when_it_is_pasted(
    by_supervisor: bool, fake: FakeExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a terminal with another PATH, folder and environment: the same account, key and latch."""
    keys, said = tmp_path / "my keys", list[str]()
    keys.write_text("BYBIT_SANDBOX_KEY=Canary-Key-1\nBYBIT_SANDBOX_SECRET=Canary-Secret-1\n")
    keys.chmod(0o600)
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "a state"))
    where = endpoints(Environment.SANDBOX, fake.url)

    def none(*given: Any, **more: Any) -> Any:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as small:
        small.setattr(subprocess, "Popen", none)
        small.setattr(time, "sleep", lambda seconds: None)
        if by_supervisor:
            assert not Flattener(Environment.SANDBOX, fake.url, keys, said.append).run(lambda: False)
        else:
            PanicButton(where, load_credentials(where, file=keys), owner="a test", key_file=keys, say=said.append).press("SIGUSR1")
    command = said[-1].partition("in another terminal, ")[2]
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        ["sh", "-c", command], cwd="/", env=bare, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False, timeout=60
    )
    assert done.returncode == 2 and f"the latch stands: {latch_of(Environment.SANDBOX, fake.url)}" in done.stdout, done.stdout
    assert is_latched(latch_of(Environment.SANDBOX, fake.url)) and "without a yes" in done.stdout
    assert f"--key-file '{keys}'" in command and "Canary" not in command


def test_a_screen_that_is_gone_does_not_keep_a_press_from_acting(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(text: str) -> None:
        assert acted == [b"P"]
        told.append(text)
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    acted: list[bytes] = []
    told: list[str] = []
    where = endpoints(Environment.SANDBOX, "http://127.0.0.1:9")
    button = PanicButton(where, load_credentials(where, environ={}), owner="a test", say=gone)
    monkeypatch.setattr(button, "_start", lambda: None)
    monkeypatch.setattr(button, "_send", acted.append)
    button.press("SIGUSR1")
    assert acted == [b"P"] and is_latched(button.path) and len(told) == 1


def test_a_session_that_is_pressed_while_it_starts_has_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    where = endpoints(Environment.SANDBOX, "http://127.0.0.1:9")
    button, started = PanicButton(where, load_credentials(where, environ={}), owner="a test"), list[str]()

    def start() -> None:
        started.append("process")
        button._process = SimpleNamespace(poll=lambda: None)  # type: ignore[assignment]  # one that runs

    monkeypatch.setattr(button, "_start", start)
    monkeypatch.setattr(button, "_send", lambda data: None)
    button.press("SIGUSR1")
    button.stand_by()
    assert started == ["process"] and button._acting is button._process


# --- the key ---


@pytest.mark.parametrize(("typed", "pressed"), [("PP", 1), ("P", 0), ("pp", 0), ("PxP", 0), ("PPPP", 2), ("xPP", 1)])
def test_the_key_is_pressed_twice(typed: str, pressed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.tcgetpgrp", lambda descriptor: os.getpgrp())
    near, far = pty.openpty()
    presses: list[str] = []
    asked: list[str] = []
    with panic_key(presses.append, asked.append, far):
        for key in typed:
            os.write(near, key.encode())
        os.write(near, b"!")
        until(lambda: len(presses) == pressed and len(asked) >= pressed, "the presses")
        time.sleep(0.05 if pressed == 0 else 0.0)
    assert len(presses) == pressed and all("once more" in text for text in asked)
    os.close(near)
    os.close(far)


def test_without_a_terminal_of_its_own_there_is_no_key() -> None:
    with panic_key(lambda by: None, lambda text: None, os.open(os.devnull, os.O_RDONLY)):
        assert "keel-panic-key" not in {thread.name for thread in threading.enumerate()}


# --- sessions ---


@pytest.mark.long
def test_sigusr1_while_the_strategy_hangs(market: Sandbox, tmp_path: Path) -> None:
    """The position with its stop is closed though nothing in the trader goes on; and it can still be ended."""
    (tmp_path / "hangs.py").write_text(HANGS)
    (tmp_path / "hangs.yaml").write_text(SYSTEM)
    process = keel(tmp_path, "demo", str(tmp_path / "hangs.yaml"), "--sandbox", market.url, "--no-report")
    assert process.stdout is not None
    for line in process.stdout:
        if "HANGS" in line:
            break
    assert not is_flat(market)
    process.send_signal(signal.SIGUSR1)
    since = latched_ms(market)
    until(lambda: is_flat(market), "a flat account")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert "PANIC by SIGUSR1: nothing that adds leaves any more" in err and process.returncode != 0
    assert added_after(market, since + 50) == []


@pytest.mark.long
def test_a_session_ends_in_order_and_trades_again_once_it_is_rearmed(market: Sandbox, tmp_path: Path) -> None:
    """Its books take what the panic closed without freezing anything."""
    arguments = ("demo", "ema_cross", "--sandbox", market.url, *FAST, "--no-report", "--json")
    process = keel(tmp_path, *arguments)
    until(lambda: market.truth()["executions"], "a trade")
    process.send_signal(signal.SIGUSR1)
    since = latched_ms(market)
    out, err = process.communicate(timeout=60)
    answer = json.loads(out)
    assert (process.returncode, answer["ended"], answer["state"], answer["differences"]) == (4, "panic", "HALTED", []), (answer, err)
    assert {row["cause"] for row in answer["restrictions"]} == {"panic"}
    assert is_flat(market) and added_after(market, since + 50) == []
    refused = keel(tmp_path, *arguments)
    out, _ = refused.communicate(timeout=60)
    assert refused.returncode == 4 and "keel session rearm --env sandbox --sandbox" in json.loads(out)["error"]["message"]
    rearm(latch_of(Environment.SANDBOX, market.url), "the test has looked at the account")
    again = keel(tmp_path, *arguments, "--bars", "5")
    out, err = again.communicate(timeout=60)
    answer = json.loads(out)
    assert (again.returncode, answer["state"], answer["differences"], answer["restrictions"]) == (0, "ACTIVE", [], []), (answer, err)


@pytest.mark.long
def test_a_trader_that_is_stopped_is_closed_from_outside_and_sends_nothing_when_it_goes_on(market: Sandbox, tmp_path: Path) -> None:
    process = keel(tmp_path, "demo", "ema_cross", "--sandbox", market.url, *FAST, "--no-report", "--json")
    until(lambda: market.truth()["executions"], "a trade")
    process.send_signal(signal.SIGSTOP)
    done = keel(tmp_path, "panic", "--yes", "--json")  # whose account: the running session's
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0 and json.loads(out)["left"] == {}, err
    assert is_flat(market)
    since = time.time_ns() // 1_000_000
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=60)
    assert json.loads(out)["ended"] == "panic" and added_after(market, since) == [] and is_flat(market)


@pytest.mark.long
def test_two_machines_at_once_both_come_to_an_end_and_say_so(tmp_path: Path, fake: FakeExchange) -> None:
    fake.rest("BTCUSDT", "linear", "USDT", 900)
    words = [sys.executable, "-m", "keel.runners.safety", "--env", "sandbox", "--sandbox", fake.url, "--yes"]
    hands = [
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "KEEL_STATE": str(tmp_path / name)})
        for name in ("one", "two")
    ]
    told = [hand.communicate(timeout=60)[0] for hand in hands]
    assert [hand.returncode for hand in hands] == [0, 0] and all("FLAT" in text for text in told)
    assert fake.orders == [] and float(fake.positions[0]["size"]) == 0
