"""The small parts: heartbeats over a socket, the place where both meet, words to systemd, and a trader that is alone."""

from __future__ import annotations

import errno
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from adapters.bybit.endpoints import Environment
from adapters.bybit.notices import Notice
from core.config import SupervisionConfig
from core.errors import SafetyError
from runners.session_address import connected
from runners.supervisor import sending, systemd
from runners.supervisor.address import Place, TraderCard
from runners.supervisor.flatten import Flattener
from runners.supervisor.heartbeat import SOCKET_NAME
from runners.supervisor.listening import Listener
from runners.supervisor.screen import Screen
from runners.supervisor.sending import heartbeats, rss_bytes
from runners.supervisor.supervisor import Supervisor
from runners.supervisor.trader import Trader, began


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(sending, "EVERY_S", 0.02)
    monkeypatch.setattr(sending, "GONE_S", 0.1)
    return tmp_path / "state"


def place() -> Place:
    return Place("ema", "demo", Path("/home"), None)


def test_heartbeats_come_and_a_supervisor_that_goes_is_missed_and_found_again() -> None:
    told: list[Notice] = []
    first = place()
    listener = Listener(first.take())
    with heartbeats(told.append, stops_alone=False, environ={SOCKET_NAME: str(first.socket_path)}) as beats:
        until(lambda: [beat for beat in listener.beats() if beat.phase == "starting" and beat.process == os.getpid() and beat.rss_bytes])
        listener.close()
        until(lambda: [notice.code for notice in told] == ["supervisor_gone"])
        first.leave()
        second = place()
        listener = Listener(second.take())
        until(lambda: listener.beats() and [notice.code for notice in told] == ["supervisor_gone", "supervisor_back"])
        beats.ended("Ctrl-C", 0, in_order=True)
    last = listener.beats()[-1]
    assert (last.phase, last.reason, last.code, last.in_order) == ("ended", "Ctrl-C", 0, True)
    assert told[0].severity == "error" and "trades on" in told[0].text
    listener.close()
    second.leave()


def test_a_trader_that_is_to_end_alone_is_asked_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sending, "STOP_AFTER_S", 0.2)
    told: list[Notice] = []
    asked = threading.Event()
    with heartbeats(told.append, stops_alone=True, environ={SOCKET_NAME: str(tmp_path / "nobody.sock")}) as beats:
        beats._stop = asked.set
        assert asked.wait(10)
    assert "the session ends in" in told[0].text


def test_nobody_supervises_and_nothing_is_sent() -> None:
    told: list[Notice] = []
    with heartbeats(told.append, stops_alone=True, environ={}) as beats:
        assert not beats._thread.is_alive()
    assert told == []


def test_lines_that_are_cut_off_or_too_long_are_no_beats() -> None:
    ours = place()
    listener = Listener(ours.take())
    for garbage in (b"{}\n[1]\nnonsense\n", b'{"process": 1', b"x" * 200_000):
        with connected(ours.socket_path, 5.0) as line:
            line.setblocking(False)
            with suppress(BlockingIOError):
                line.send(garbage)
            assert listener.beats() == []
    listener.close()
    ours.leave()


def test_one_supervisor_each(state: Path) -> None:
    first = place()
    listening = first.take()
    with pytest.raises(SafetyError, match=f"supervised already, by process {os.getpid()}"):
        place().take()
    assert Place("ema", "demo", Path("/home"), "http://127.0.0.1:1").take().close() is None
    assert first.socket_path.stat().st_mode & 0o077 == 0
    listening.close()
    first.leave()
    assert not list((state / "supervisors").glob(f"{first.socket_path.stem}.sock"))


def test_a_card_names_one_process_and_no_other_of_its_number() -> None:
    ours = place()
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    ours.put_card(TraderCard(sleeper.pid, began(sleeper.pid), "ab" * 16, 3))
    card = ours.read_card()
    assert card == TraderCard(sleeper.pid, began(sleeper.pid), "ab" * 16, 3) and card.began
    found = Trader(card, None)
    assert found.is_alive() and found.exit_code() is None
    os.kill(sleeper.pid, signal.SIGSTOP)
    assert found.is_alive(), "a stopped one runs"
    assert not Trader(TraderCard(sleeper.pid, "1", ""), None).is_alive()
    found.kill()
    until(lambda: not found.is_alive())
    sleeper.wait()
    Path(ours.socket_path).with_suffix(".json").write_text("{")
    assert ours.read_card() is None


@pytest.mark.parametrize("abstract", [False, True])
def test_words_to_systemd(tmp_path: Path, abstract: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if abstract and not sys.platform.startswith("linux"):
        pytest.skip("sockets without a file are Linux's")
    name = f"@keel-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind("\0" + name[1:] if abstract else name)
        assert systemd.notify("READY=1", {"NOTIFY_SOCKET": name})
        assert line.recv(100) == b"READY=1"
        while systemd.notify("WATCHDOG=1", {"NOTIFY_SOCKET": name}):
            pass  # until its queue is full: that blocks nobody
    assert not systemd.notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert not systemd.notify("READY=1", {})


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [({"WATCHDOG_USEC": "30000000"}, 15.0), ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
     ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None), ({"WATCHDOG_USEC": "0"}, None), ({"WATCHDOG_USEC": "soon"}, None),
     ({}, None)],
)  # fmt: skip
def test_the_watchdog_is_this_processes_or_nobodys(environ: dict[str, str], seconds: float | None) -> None:
    assert systemd.watchdog_s(environ) == seconds


def test_memory_is_told() -> None:
    assert 10 << 20 < rss_bytes() < 64 << 30


class _Ended:
    """A process of the panic path that has ended, or ends when it is asked to act."""

    def __init__(self, code: int) -> None:
        self.code, self.stdin = code, io.BytesIO()

    def poll(self) -> int | None:
        return None

    def wait(self, timeout: float) -> int:
        return self.code


@pytest.mark.parametrize(
    ("warm", "cold", "is_flat", "told"),
    [
        (0, [], True, []),
        (5, [], False, []),
        (1, [0], True, ["ended with 1"]),
        (-9, [-9, 5], False, ["ended with -9", "ended by signal 9"]),
        (-9, [OSError("no memory"), 0], True, ["ended with -9", "cannot be started (no memory)"]),
        (
            2,
            [OSError("no memory")] * 5,
            False,
            ["ended with 2", *["cannot be started"] * 5, "keel panic --env sandbox --sandbox http://127.0.0.1:9"],
        ),
    ],
)
def test_a_panic_path_that_dies_is_started_anew(
    warm: int, cold: list[int | OSError], is_flat: bool, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    flattener = Flattener(Environment.SANDBOX, "http://127.0.0.1:9", None, said.append)
    coming = [warm, *cold]

    def started(*words: str, stdin: int) -> _Ended:
        found = coming.pop(0)
        if isinstance(found, OSError):
            raise found
        return _Ended(found)

    monkeypatch.setattr(flattener, "_started", started)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    flattener.warm()
    assert flattener.run(lambda: True) is is_flat and not coming
    assert len(said) == len(told) and all(words in line for words, line in zip(told, said, strict=True)), said


def test_a_full_disk_keeps_no_supervisor_from_its_trader(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    place = Place("ema", "demo", Path("/home"), None)
    told: list[tuple[str, str]] = []
    flattener = Flattener(Environment.SANDBOX, "http://127.0.0.1:9", None, lambda text: None)
    supervisor = Supervisor(place, SupervisionConfig(), ["x"], flattener, lambda code, text, severity: told.append((code, text)))
    trader = Trader(TraderCard(os.getpid(), began(os.getpid()), "run"), None)
    monkeypatch.setattr("runners.supervisor.supervisor.start_trader", lambda *given: trader)
    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(place, "put_card", full)
    place.take().close()
    supervisor._start("started")
    assert supervisor._trader is trader and [code for code, _ in told] == ["supervisor_card"] and "would not find it" in told[0][1]
    place.leave()


def test_a_screen_that_is_held_holds_up_nobody() -> None:
    near, far = os.pipe()
    with os.fdopen(near, "rb") as reader, os.fdopen(far, "wb"):
        os.set_blocking(near, False)
        screen = Screen(far)
        for number in range(3_000):
            screen.put(f"{number} {'x' * 200}\n")
        time.sleep(0.05)
        assert screen._thread.is_alive()  # the pipe is full
        until(lambda: reader.read() is None and screen._lines.empty())
        screen.put("the last\n")
        screen.close()
        assert b"the last" in (reader.read() or b"") and not screen._thread.is_alive()
