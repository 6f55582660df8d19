"""Where the kernel has to be compiled first, the actors begin, and the kernel goes on; the results do not tell."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import keel.runners.sweep.engines as engines
import keel.sim.kernel.compiled as compiled
from keel.runners.sweep.compiling import Compiling, is_ready

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


def results(answer: Any) -> bytes:
    return Path(answer.data["results"]).read_bytes()


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
    assert any("1 runs by the actors: the kernel was still being compiled (--engine kernel" in note for note in answer.data["notes"])
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


@pytest.mark.usefixtures("not_compiled")
def test_a_compile_that_is_not_done_is_ended_with_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numba_that("import time; time.sleep(600)", tmp_path, monkeypatch)
    compiling = Compiling(str(tmp_path / "kernel"))
    assert compiling.is_running
    compiling.close()
    assert compiling._process.poll() == -9
    assert compiling.is_unfinished and compiling.failure == ""


@pytest.mark.usefixtures("not_compiled")
def test_it_is_ready_where_this_python_has_left_it(tmp_path: Path) -> None:
    assert not is_ready(str(tmp_path / "nowhere")) and not is_ready(str(tmp_path))
    assert is_ready("")  # no other process could leave it there
    (tmp_path / "keel").mkdir()
    (tmp_path / "keel" / "loop.simulate-1.py27.nbi").touch()
    assert not is_ready(str(tmp_path))
    (tmp_path / "keel" / f"loop.simulate-1.py{sys.version_info.major}{sys.version_info.minor}.nbi").touch()
    assert is_ready(str(tmp_path))
