"""Bad input through the command line: one clear error, the right exit code, the store and the artifacts whole."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.store import HistoricalDataStore
from keel.runners.home import Home

WINDOW = ("--start", "2024-01-15", "--end", "2024-01-22")
SHORT_WARMUP = ("--set", "warmup_bars=250")
"""The history begins on 2024-01-01: 14 days are 336 bars of 1h."""
Keel = Callable[..., Any]
RAISING = """
class Raising(BaseStrategy):
    def on_start(self, params):
        self.calls = 0
    def generate_signal(self, snapshot, params):
        self.calls += 1
        if self.calls == 100:
            raise ValueError("no idea")
        return None
"""


def system_file(home: Path, *lines: str) -> str:
    (home / "systems").mkdir(exist_ok=True)
    head = ["system: mine", "strategy: ema_cross", "symbols: [BTCUSDT]", "timeframe: 1h", "execution_timeframe: 5m", "warmup_bars: 250"]
    (home / "systems" / "mine.yaml").write_text("\n".join([*head, *lines]) + "\n")
    return "mine"


def store_bytes(home: Path) -> bytes:
    return Home(home).store.read_bytes()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("initial_equty: 5000", ("mine.yaml:7", "initial_equty", "initial_equity")),
        ("risk: {levrage: 3}", ("mine.yaml:7", "risk.levrage", "leverage")),
        ("initial_equity: -5000", ("mine.yaml:7", "initial_equity")),
        ("params: {fst: 3}", ("mine.yaml:7", "fst", "did you mean fast?")),
        ("params: {fast: 2.5}", ("mine.yaml:7", "fast", "whole number")),
        ("params: {fast: 50}", ("mine.yaml:7", "must be below slow")),
        ("features: {trend: {fn: EMMA, timeperiod: 3}}", ("EMMA",)),
        ("execution: {taker_fee: 0.055}", ("fractions",)),
    ],
)
def test_a_mistake_in_a_system_file_is_told_with_its_place_and_nothing_runs(
    line: str, words: tuple[str, ...], keel: Keel, home: Path
) -> None:
    answer = keel("backtest", system_file(home, line), *WINDOW)
    assert answer.code == 2
    assert answer.err.startswith("error: ") and answer.err.count("\n") == 1 and all(word in answer.err for word in words)
    assert not (home / "backtests").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--symbol", "SOLUSDT", *WINDOW), 3, ("SOLUSDT",)),
        (("--start", "2024-01-02", "--end", "2024-01-09"), 3, ("BTCUSDT", "warm-up", "2024-01-02")),
        (("--start", "2024-01-25", "--end", "2024-02-05"), 3, ("BTCUSDT", "missing", "2024-01-29")),
        (("--start", "2024-01-22", "--end", "2024-01-15"), 2, ("end must be later",)),
        (("--start", "2024-01-15T00:30", "--end", "2024-01-16"), 2, ("not the start of a 1h bar",)),
        (("--window", "sample"), 3, ("BTCUSDT",)),
        ((*WINDOW, "--set", "initial_equity=-1"), 2, ("initial_equity", "override")),
    ],
)
def test_a_window_or_symbol_that_the_store_cannot_serve(
    arguments: tuple[str, ...], code: int, words: tuple[str, ...], keel: Keel, home: Path
) -> None:
    before = store_bytes(home)
    answer = keel("backtest", "ema_cross", *SHORT_WARMUP, *arguments)
    assert answer.code == code, answer.err
    assert answer.err.startswith("error: ") and answer.err.count("\n") == 1 and all(word in answer.err for word in words), answer.err
    assert not (home / "backtests").exists() and store_bytes(home) == before


def test_a_gap_inside_the_window_is_an_error_that_names_it(keel: Keel, home: Path, tmp_path: Path) -> None:
    with HistoricalDataStore(Home(home).store, read_only=True) as store:
        frame = store.get_ohlcv("BTCUSDT", "5m")
    keep = (frame.ts < 1_705_500_000_000) | (frame.ts >= 1_705_500_900_000)  # 2024-01-17T14:00, three bars
    holed = Home(tmp_path / "holed")
    with HistoricalDataStore(holed.store) as store:
        columns = {name: frame[name][keep] for name in frame.columns}
        store.upsert_bars("BTCUSDT", "5m", {"ts": frame.ts[keep], **columns}, source="test")
        with HistoricalDataStore(Home(home).store, read_only=True) as whole:
            store.upsert_bars("BTCUSDT", "1h", whole.get_ohlcv("BTCUSDT", "1h").to_dict(), source="test")
    answer = keel("backtest", "ema_cross", *WINDOW, *SHORT_WARMUP, "--home", str(holed.root))
    assert answer.code == 3 and "BTCUSDT 5m: 3 bars are missing" in answer.err and "from 2024-01-17 14:00 to 2024-01-17 14:15" in answer.err
    skipping = ("--set", "execution.gaps=skip", "--set", "execution.funding=none")
    skipped = keel("backtest", "ema_cross", *WINDOW, *SHORT_WARMUP, *skipping, "--home", str(holed.root), "--json", "--no-report")
    assert skipped.code == 0 and skipped.data["trust"]["skipped_bars"] == 3


def failed_run(home: Path) -> Path:
    (folder,) = (home / "backtests").glob("*/run-*")
    return folder


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("raising", RAISING, ("ValueError", "no idea", "BTCUSDT at 2024-01-19T04:00:00Z")),
        ("odd", "class Odd(BaseStrategy):\n    def generate_signal(self, s, p): return 'LONG'\n", ("returned str", "Signal or None")),
        ("short", "class Short(VectorStrategy):\n    def signals(self, frame, p): return [1]\n", ("one per bar",)),
        ("array", "class Array(VectorStrategy):\n    def signals(self, frame, p): return 1 / 0\n", ("ZeroDivisionError", "BTCUSDT")),
    ],
)
def test_a_strategy_that_fails_leaves_a_run_marked_failed(
    name: str, body: str, words: tuple[str, ...], keel: Keel, home: Path, strategy: Callable[[str, str], str]
) -> None:
    answer = keel("backtest", strategy(name, body))
    lines = answer.err.splitlines()
    first, note = next(line for line in lines if line.startswith("error: ")), lines[-1]
    assert answer.code == 1 and first.startswith("error: ") and all(word in first for word in words), answer.err
    folder = failed_run(home)
    assert folder.name in note and "Traceback" not in answer.err
    summary, results = (json.loads((folder / file).read_text()) for file in ("summary.json", "results.json"))
    assert summary["status"] == "failed" and results["passed"] is False and all(word in results["error"]["message"] for word in words)
    assert json.loads((folder / "config.json").read_text())["strategy_id"] == name
    assert [run["status"] for run in keel("runs", "list", "--json").data["runs"]] == ["failed"]
    assert keel("runs", "show", "last").code == 0
    report = keel("runs", "report", "last")
    assert report.code == 3 and "failed" in report.err


def test_a_run_that_is_interrupted_says_so(keel: Keel, strategy: Callable[[str, str], str]) -> None:
    body = "class Halting(BaseStrategy):\n    def generate_signal(self, s, p): os.kill(os.getpid(), signal.SIGINT)\n"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs deaf to interrupts
    try:
        answer = keel("backtest", strategy("halting", body))
    finally:
        signal.signal(signal.SIGINT, before)
    assert answer.code == 130 and answer.err.rstrip().endswith("error: interrupted")
    (run,) = keel("runs", "list", "--json").data["runs"]
    assert run["status"] == "interrupted" and keel("runs", "show", "last").code == 0
    assert "interrupted" in keel("runs", "list").out


def test_a_full_disk_is_told_with_the_folder_and_the_way_out(home: Path) -> None:
    """Files that may not grow beyond 100 kB: the equity curve does not fit, what says so does."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY));"
        " from keel.runners.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "--home", str(home), "backtest", "ema_cross", *WINDOW, *SHORT_WARMUP, "--no-report"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    first, note = done.stderr.splitlines()[-2:]
    folder = failed_run(home)
    assert done.returncode == 3 and first.startswith("error: the run was computed, and could not be kept: "), done.stderr
    assert str(folder) in first and "--home DIR" in first and "is marked failed" in note
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "failed" and "could not be kept" in summary["error"]
    assert {path.name for path in folder.iterdir()} == {"config.json", "results.json", "summary.json"}


def test_a_strategy_file_that_cannot_be_run_is_told_with_its_line(keel: Keel, strategy: Callable[[str, str], str], home: Path) -> None:
    answer = keel("backtest", strategy("torn", "class Torn(BaseStrategy:\n"))
    assert answer.code == 1 and "torn.py:7" in answer.err and "SyntaxError" in answer.err
    assert not (home / "backtests").exists()


def test_a_store_that_another_process_writes_to_is_in_use(keel: Keel, home: Path) -> None:
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.readline()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(Home(home).store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        other.stdout.readline()
        for command in (("backtest", "ema_cross", *WINDOW), ("data", "list"), ("data", "synth")):
            answer = keel(*command)
            assert answer.code == 3 and "in use" in answer.err and answer.err.count("\n") == 1, answer.err
        assert keel("doctor").code == 1
        other.stdin.write("\n")
        other.stdin.flush()
    assert keel("data", "list").code == 0


def test_a_home_without_history_says_how_to_get_some(keel: Keel, tmp_path: Path) -> None:
    for command in (("backtest", "ema_cross"), ("data", "list"), ("data", "verify")):
        answer = keel(*command, "--home", str(tmp_path / "empty"))
        assert answer.code == 3 and "keel data import" in answer.err
    assert not (tmp_path / "empty").exists()


def test_a_damaged_store_is_told_and_left_alone(keel: Keel, home: Path) -> None:
    store = Home(home).store
    store.write_bytes(b"not a database at all" * 1000)
    for command in (("data", "list"), ("run",), ("backtest", "ema_cross")):
        answer = keel(*command)
        assert answer.code == 3 and str(store) in answer.err and answer.err.count("\n") == 1, answer.err
    assert store.read_bytes() == b"not a database at all" * 1000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize(
    ("arguments", "full", "code", "words"),
    [
        (["backtest", "nosuch"], "stderr", 2, "error: there is no system"),
        (["systems", "list"], "stdout", 1, "No space left on device: the output"),
    ],
)
def test_a_full_disk_behind_the_output_hides_neither_the_reason_nor_the_exit_code(
    arguments: list[str], full: str, code: int, words: str, tmp_path: Path
) -> None:
    """A process of its own: what is full is its own stderr or stdout."""
    with Path("/dev/full").open("wb") as nowhere:
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, full: nowhere}
        done = subprocess.run(
            [sys.executable, "-m", "keel.runners.cli.main", "--home", str(tmp_path), *arguments], text=True, check=False, **streams
        )
    told = done.stdout if full == "stderr" else done.stderr
    assert done.returncode == code and words in told and "mistake of ours" not in told
