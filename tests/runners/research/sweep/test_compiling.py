"""Where the kernel has to be compiled first, the actors begin, and the kernel goes on; the results do not tell."""

from __future__ import annotations

import fcntl
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest

import keel.runners.research.sweep.workers.compiling as compiling_module
import keel.runners.research.sweep.workers.engines as engines
import keel.sim.kernel.compiled as compiled
from keel.runners.backtest.kernel_run import kernel_fingerprint
from keel.runners.research.sweep.workers.child import last_words, start_child
from keel.runners.research.sweep.workers.compiling import Compiling, is_ready

pytest.importorskip("numba")

Keel = Callable[..., Any]
POINTS = ("--param", "fast=3:8", "--windows", "first", "--workers", "2", "--metric", "net_profit", "--json")


class Done:
    """A compile that is done, or has failed, when it has been looked at so often."""

    def __init__(self, looks: int) -> None:
        self.looks, self.is_unfinished, self.failure = looks, True, ""

    @property
    def is_running(self) -> bool:
        self.looks -= 1
        self.is_unfinished = self.looks > 0
        return self.is_unfinished

    def close(self) -> None:
        pass


@pytest.fixture
def not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has never compiled the kernel."""
    monkeypatch.setattr(compiled, "_loaded", {})


def numba_that(does: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that are started from now on have this numba."""
    (folder / "elsewhere" / "numba").mkdir(parents=True)
    (folder / "elsewhere" / "numba" / "__init__.py").write_text(does)
    monkeypatch.setenv("PYTHONPATH", str(folder / "elsewhere"))


def failure_of(compiling: Compiling) -> str:
    """Wait until it has ended; why it could not."""
    compiling._process.wait()
    assert not compiling.is_running
    compiling.close()
    return compiling.failure


def results(answer: Any) -> bytes:
    return Path(answer.data["results"]).read_bytes()


def test_the_compiled_kernel_is_ready(compiled_kernel: None, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names that numba gives its files."""
    monkeypatch.setattr(compiled, "_loaded", {})
    assert is_ready(str(pytestconfig.cache.mkdir("keel-kernel") / kernel_fingerprint()))


@pytest.mark.usefixtures("compiled_kernel")
def test_the_kernel_takes_over_when_it_is_compiled_and_the_results_are_the_kernel_s(
    keel: Keel, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = keel("sweep", small, *POINTS)
    assert whole.code == 0 and whole.data["engine"] == "kernel" and whole.data["notes"] == [], whole.err
    monkeypatch.setattr(engines, "is_ready", lambda folder: False)
    monkeypatch.setattr(engines, "Compiling", lambda folder: Done(4))
    answer = keel("sweep", small, *POINTS)
    assert answer.code == 0 and answer.data["engine"] == "actors, kernel", answer.err
    assert answer.data["notes"] == ["3 runs by the actors, while the kernel was being compiled"]
    assert results(answer) == results(whole)


@pytest.mark.usefixtures("compiled_kernel")
def test_what_the_kernel_does_not_model_is_said_as_ever(keel: Keel, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("sweep", small, "--param", "execution.latency_ms=0,60000", "--windows", "first", "--metric", "net_profit", "--json")
    whole = keel(*asked)
    monkeypatch.setattr(engines, "is_ready", lambda folder: False)
    monkeypatch.setattr(engines, "Compiling", lambda folder: Done(100))
    answer = keel(*asked)
    assert whole.data["engine"] == "actors, kernel" and answer.data["engine"] == "actors"
    assert any("1 runs by the actors: the kernel does not model latency" in note for note in answer.data["notes"])
    assert any(
        "1 runs by the actors: the kernel was still being compiled, for later sweeps (--engine kernel" in note
        for note in answer.data["notes"]
    )
    assert results(answer) == results(whole)


@pytest.mark.usefixtures("not_compiled")
def test_where_it_cannot_be_compiled_the_actors_run_all_and_the_answer_says_why(
    keel: Keel, small: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numba_that("raise RuntimeError('no compiler here')", home, monkeypatch)
    answer = keel("sweep", small, *POINTS)
    assert answer.code == 0 and (answer.data["done"], answer.data["engine"]) == (6, "actors"), answer.err
    said = "the actors ran, not the kernel, which could not be compiled: exit code 1, RuntimeError: no compiler here"
    assert answer.data["notes"] == [said]


@pytest.fixture
def at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Compiling, Path]]:
    """A process that is compiling, for ever, and its folder."""
    began, folder = tmp_path / "began", tmp_path / "kernel"
    numba_that(f"import pathlib, time; pathlib.Path({str(began)!r}).touch(); time.sleep(600)", tmp_path, monkeypatch)
    compiling = Compiling(str(folder))
    while not began.exists() and compiling.is_running:
        time.sleep(0.01)
    yield compiling, folder
    compiling._process.kill()
    compiling._process.wait()
    compiling.close()


def test_a_compile_that_is_not_done_goes_on_when_the_sweep_is(at_work: tuple[Compiling, Path]) -> None:
    compiling, _ = at_work
    compiling.close()
    assert compiling._process.poll() is None and compiling.is_unfinished and compiling.failure == ""


def test_one_at_a_time_compiles(at_work: tuple[Compiling, Path]) -> None:
    with (at_work[1] / "lock").open("w") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGALRM])
def test_ctrl_c_and_the_bound_end_it_without_a_word(at_work: tuple[Compiling, Path], number: signal.Signals) -> None:
    compiling, _ = at_work
    compiling._process.send_signal(number)
    compiling._process.wait()
    assert not compiling.is_running and compiling.failure == f"signal {number.value}"


def test_a_bound_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    numba_that("import signal; raise RuntimeError(0 < signal.alarm(0) <= 300)", tmp_path, monkeypatch)
    assert failure_of(Compiling(str(tmp_path / "kernel"))) == "exit code 1, RuntimeError: True"


def test_where_it_cannot_be_left_it_says_why_and_a_folder_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "exit code 1, NotADirectoryError" in failure_of(Compiling(str(tmp_path / "file")))
    with (tmp_path / "errors").open("w+b") as errors:
        process = start_child(compiling_module.__name__, str(tmp_path / "gone"), errors=errors, stdin=DEVNULL, stdout=DEVNULL)
        process.wait()
        assert "exit code 1, FileNotFoundError" in last_words(process, errors)
    assert not (tmp_path / "gone").exists()


@pytest.mark.usefixtures("not_compiled")
def test_it_is_ready_where_this_python_has_left_it(tmp_path: Path) -> None:
    assert not is_ready(str(tmp_path / "nowhere")) and not is_ready(str(tmp_path))
    assert is_ready("")  # no other process could leave it there
    (tmp_path / "keel").mkdir()
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    for name in ("py27.1.nbc", f"{version}.nbi"):  # the index is written before the code is
        (tmp_path / "keel" / f"loop.simulate-1.{name}").touch()
        assert not is_ready(str(tmp_path))
    (tmp_path / "keel" / f"loop.simulate-1.{version}.1.nbc").touch()
    assert is_ready(str(tmp_path))
