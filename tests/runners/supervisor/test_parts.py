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
from types import SimpleNamespace

import pytest

from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.endpoints import Environment
from keel.core.errors import SafetyError
from keel.core.system.config import SupervisionConfig
from keel.runners.live.session_address import connected
from keel.runners.live.supervisor import sending, systemd
from keel.runners.live.supervisor.address import Place, TraderCard
from keel.runners.live.supervisor.flatten import Flattener
from keel.runners.live.supervisor.heartbeat import RUN_NAME, SOCKET_NAME, Beat, encode
from keel.runners.live.supervisor.listening import TOLD_EVERY_S, Ignored, Listener, peer_process
from keel.runners.live.supervisor.screen import Screen
from keel.runners.live.supervisor.sending import heartbeats, rss_bytes
from keel.runners.live.supervisor.supervisor import Supervisor
from keel.runners.live.supervisor.trader import Trader, began, process_of


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


ME = TraderCard(os.getpid(), "", "ab" * 16)


def place() -> Place:
    return Place("ema", "demo", Path("/home"), None)


def test_heartbeats_come_and_a_supervisor_that_goes_is_missed_and_found_again() -> None:
    told: list[Notice] = []
    first = place()
    listener = Listener(first.take())
    environ = {SOCKET_NAME: str(first.socket_path), RUN_NAME: ME.run}
    with heartbeats(told.append, stops_alone=False, environ=environ) as beats:
        until(lambda: [beat for beat in listener.beats(ME) if beat.phase == "starting" and beat.process == os.getpid() and beat.rss_bytes])
        listener.close()
        until(lambda: [notice.code for notice in told] == ["supervisor_gone"])
        first.leave()
        second = place()
        listener = Listener(second.take())
        until(lambda: listener.beats(ME) and [notice.code for notice in told] == ["supervisor_gone", "supervisor_back"])
        beats.ended("Ctrl-C", 0, in_order=True)
    last = listener.beats(ME)[-1]
    assert (last.phase, last.reason, last.code, last.in_order, last.run) == ("ended", "Ctrl-C", 0, True, ME.run)
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


def test_lines_that_are_cut_off_or_too_long_are_no_beats_and_are_counted() -> None:
    ours = place()
    listener = Listener(ours.take())
    for garbage in (b"{}\n[1]\nnonsense\n", b'{"process": 1', b"x" * 200_000):
        with connected(ours.socket_path, 5.0) as line:
            line.setblocking(False)
            with suppress(BlockingIOError):
                line.send(garbage)
            assert listener.beats(ME) == []
    assert listener.beats(ME) == []
    assert listener.ignored.told(0.0) == "lines that are no heartbeat: 3; lines that were cut off: 1; lines without an end: 1; in all: 5"
    listener.close()
    ours.leave()


def test_what_is_left_out_is_told_at_once_and_then_once_a_minute() -> None:
    ignored = Ignored()
    assert ignored.told(0.0) is None
    for what in ("a", "a", "b", "c", "d"):
        ignored.add(what)
    assert ignored.told(5.0) == "a: 2; b: 1; c: 1; others: 1; in all: 5"
    ignored.add("a")
    assert ignored.told(5.0 + TOLD_EVERY_S - 1) is None
    assert ignored.told(5.0 + TOLD_EVERY_S) == "a: 1; in all: 6"


WRITES = """
import os, socket, sys
folder, name = os.path.split(sys.argv[1])
os.chdir(folder)  # the whole path may be longer than an address can be
line = socket.socket(socket.AF_UNIX)
line.connect(name)
line.sendall(sys.argv[2].encode() + b"\\n")
line.recv(1)
"""


@pytest.mark.parametrize("has_peers", [True, False])
def test_a_heartbeat_of_another_process_is_not_the_traders(has_peers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system names the process at the other end no words help; elsewhere it needs the number and the run's id."""
    if not has_peers:
        monkeypatch.setattr("keel.runners.live.supervisor.listening.peer_process", lambda line: None)
    ours = place()
    listener = Listener(ours.take())
    forged = Beat(ME.process, "trading", 1, 1, run=ME.run if has_peers else "guessed")
    with subprocess.Popen([sys.executable, "-c", WRITES, str(ours.socket_path), encode(forged).decode().strip()]) as other:
        until(lambda: listener.beats(ME) or listener.ignored.total)
        assert listener.ignored.told(0.0) == f"{'connections' if has_peers else 'heartbeats'} of process " + (
            f"{other.pid if has_peers else ME.process}, which is not the trader: 1; in all: 1"
        )
        listener.close()
    ours.leave()
    if not has_peers:
        listener = Listener(ours.take())
        with connected(ours.socket_path, 5.0) as line:
            line.send(encode(Beat(ME.process, "trading", 1, 1, run=ME.run)))
            assert [beat.run for beat in listener.beats(ME)] == [ME.run]
            line.send(encode(Beat(ME.process, "trading", 1, 1, run=ME.run)))
            assert listener.beats(None) == [] and listener.ignored.total == 1, "nobody trades, and nobody is heard"
        listener.close()
        ours.leave()
    elif sys.platform == "linux":
        near, far = socket.socketpair()
        assert peer_process(near) == os.getpid()
        near.close()
        far.close()


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
    with pytest.raises(ValueError, match="is damaged"):
        ours.read_card()


def supervisor_of(ours: Place, told: list[tuple[str, str]]) -> Supervisor:
    flattener = Flattener(Environment.SANDBOX, "http://127.0.0.1:9", None, lambda text: None)
    return Supervisor(ours, SupervisionConfig(), ["x"], flattener, lambda code, text, severity: told.append((code, text)))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not show a process's environment")
def test_a_trader_whose_supervisor_died_before_it_wrote_its_number_down_is_found() -> None:
    told: list[tuple[str, str]] = []
    ours = place()
    supervisor = supervisor_of(ours, told)
    assert supervisor._running() is None
    ours.put_card(TraderCard(0, "", ME.run, 2))
    assert supervisor._running() is None, "it died before it started one"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, RUN_NAME: ME.run}) as sleeper:
        until(lambda: process_of(ME.run))
        expected = TraderCard(sleeper.pid, began(sleeper.pid), ME.run, 2)
        assert supervisor._running() == expected == ours.read_card()
        sleeper.kill()
    assert supervisor._running() is None and told == []
    ours.socket_path.with_suffix(".json").write_text("{")
    assert supervisor._running() is None and [code for code, _ in told] == ["supervisor_card"]


def test_a_process_of_before_the_machine_was_started_anew_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = began(os.getpid())
    (tmp_path / "boot").write_text("another-boot")
    monkeypatch.setattr("keel.runners.live.supervisor.trader._BOOT", tmp_path / "boot")
    assert now and (sys.platform != "linux" or began(os.getpid()) not in ("", now))


def test_the_same_end_is_told_once_and_then_counted() -> None:
    told: list[tuple[str, str]] = []
    supervisor, refused = supervisor_of(place(), told), Beat(1, "ended", 1, 1, reason="VenueError: nobody answers\nway out", code=5)
    for number, beat in enumerate([refused, refused, refused, None, refused]):
        supervisor._notify_unordered(Trader(TraderCard(number, "", ""), None), 5, beat)
    assert [text.partition(": process ")[2] for _, text in told] == [
        "0 ended with exit code 5; it said: VenueError: nobody answers",
        "1 ended with exit code 5, and said the same again: 2 times by now",
        "2 ended with exit code 5, and said the same again: 3 times by now",
        "3 ended with exit code 5",
        "4 ended with exit code 5; it said: VenueError: nobody answers",
    ]


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
        (-9, [-9, 5], False, ["ended with -9", "ended with -9"]),
        (1, [1, 0], True, ["ended with 1", "ended with 1"]),
        (-9, [2], False, ["ended with -9"]),
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

    def started(*words: str, stdin: int, module: str = "") -> _Ended:
        found = coming.pop(0)
        if isinstance(found, OSError):
            raise found
        return _Ended(found)

    monkeypatch.setattr(flattener, "_started", started)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    flattener.warm()
    standby, pressed = flattener._standby, list[int]()
    assert isinstance(standby, _Ended)
    assert flattener.run(lambda: True, lambda: pressed.append(standby.stdin.getvalue()[-1])) is is_flat and not coming
    assert pressed == [ord("P")], "what is told of it comes after the word, and once"
    assert len(said) == len(told) and all(words in line for words, line in zip(told, said, strict=True)), said


class _Unheard(_Ended):
    """It acts for longer than it may be silent."""

    def __init__(self) -> None:
        super().__init__(0)
        self.stdout, self.turns = io.BytesIO(), 3

    def wait(self, timeout: float) -> int:
        self.turns -= 1
        if self.turns > 0:
            raise subprocess.TimeoutExpired("panic", timeout)
        return self.code

    def kill(self) -> None:
        self.code = -9


def test_a_panic_path_that_nobody_can_hear_is_not_taken_for_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be had that reads what it says, it acts all the same, and nothing that it says holds it up."""

    def none(**given: object) -> None:
        raise RuntimeError("can't start new thread")

    said: list[str] = []
    flattener, acting = Flattener(Environment.SANDBOX, "http://127.0.0.1:9", None, said.append), _Unheard()
    monkeypatch.setattr("keel.runners.live.supervisor.flatten.threading", SimpleNamespace(Thread=none, Event=threading.Event))
    monkeypatch.setattr("keel.runners.live.supervisor.flatten.WARM_S", 0.0)
    monkeypatch.setattr(subprocess, "Popen", lambda *given, **more: acting)
    flattener.warm()
    assert flattener.run(lambda: True) and acting.stdout.closed and acting.stdin.closed
    assert said == ["what the panic path says is not heard: can't start new thread"]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGSTOP")
def test_a_panic_path_that_is_stopped_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """By one that speaks; and one that does not break off when it is asked is killed."""
    said: list[str] = []
    flattener = Flattener(Environment.SANDBOX, "http://127.0.0.1:9", None, said.append)
    monkeypatch.setattr("keel.runners.live.supervisor.flatten.WARM_S", 0.3)
    monkeypatch.setattr("keel.runners.live.supervisor.flatten.BREAK_S", 0.3)
    flattener.warm()
    stopped = flattener._standby
    assert stopped is not None
    os.kill(stopped.pid, signal.SIGSTOP)
    started = flattener._started

    def deaf(*words: str, stdin: int) -> subprocess.Popen[bytes]:
        made = started(*words, stdin=stdin)
        os.kill(made.pid, signal.SIGSTOP)
        return made

    monkeypatch.setattr(flattener, "_started", deaf)
    going = iter([True] * 5)
    assert flattener.run(lambda: next(going, False)) is False
    assert stopped.poll() == -signal.SIGKILL and "the warm panic path ended with -9: a new one is started" in said


def test_a_place_whose_files_cannot_be_had_is_refused_in_words(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = place()
    monkeypatch.setattr(
        "keel.runners.live.supervisor.address.bound", lambda path: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left"))
    )
    with pytest.raises(SafetyError, match=r"cannot be made \(No space left\).*set KEEL_STATE"):
        ours.take()
    monkeypatch.undo()
    monkeypatch.setenv("KEEL_STATE", str(state))
    ours.take().close()
    ours.leave()
    (lock,) = (state / "supervisors").glob("*.lock")
    lock.unlink()
    lock.symlink_to("elsewhere")
    with pytest.raises(SafetyError, match=r"the lock .* cannot be opened"):
        ours.take()


def test_a_full_disk_keeps_no_supervisor_from_its_trader(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    place = Place("ema", "demo", Path("/home"), None)
    told: list[tuple[str, str]] = []
    supervisor = supervisor_of(place, told)
    trader = Trader(TraderCard(os.getpid(), began(os.getpid()), "run"), None)
    monkeypatch.setattr("keel.runners.live.supervisor.supervisor.start_trader", lambda *given: trader)
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
