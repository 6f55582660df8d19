"""Mutated system files and command lines: one clear error or an answer, never a traceback, an "unforeseen", or a hang.

Seeded: a number that fails is run again alone by its seed. A hundred or so are quick; the 2,000 files and 1,500 lines are long.
"""

from __future__ import annotations

import io
import json
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError, KeelError
from keel.runners.epoch import StrategyEpochTracker
from keel.runners.lifecycle.registry import find_run
from keel.strategies.registry import load_strategy
from tests.runners.mutated import LONG, mutated_line, mutated_system

Keel = Callable[..., Any]
PATIENCE_S = 60
OUTCOMES = (0, 1, 2, 3, 4, 5, 130)
OURS = ("unforeseen", "an invariant does not hold", "Traceback (most recent call last)")


class Hangs(BaseException):
    """It took too long; not an Exception, so that no last door takes it for an error of the program's."""


@contextmanager
def in_time() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def told(keel: Keel, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command line in an empty folder, and holds that it ends as a command line may; a sandbox that would serve ends at once."""

    async def serve_nothing(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr("keel.runners.sandbox.assembly._serve", serve_nothing)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff no text")))  # what a request "-" reads
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("bars.csv").write_text("timestamp,open,high,low,close,volume\n2024-02-01,1,2,0.5,1.5,10\n")

    def call(seed: int, *arguments: str) -> int:
        with in_time():
            answer = keel(*arguments)
        where = f"seed {seed}: {[word[:100] for word in arguments]}\n{answer.err[:2000]}"
        assert answer.code in OUTCOMES, where
        assert not any(word in answer.err or word in answer.out for word in OURS), where
        if answer.code not in (0, 1):
            told_it = any(line.startswith("error: ") for line in answer.err.splitlines())  # a session's log lines may stand before it
            assert told_it or (arguments[:2] == ("tools", "call") and '"ok":false' in answer.out), where
        assert len(answer.err) < 20_000, where
        if "--json" in arguments and answer.code != 0:
            assert all(isinstance(json.loads(line), dict) for line in answer.out.splitlines() if line.startswith("{")), where
        return int(answer.code)

    return call


def try_system(told: Callable[..., int], seed: int) -> None:
    """Validated; and what is valid runs, or says why not."""
    rng = random.Random(seed)
    Path("mutated.yaml").write_bytes(mutated_system(rng))
    if told(seed, "systems", "validate", "mutated.yaml") == 0 and rng.random() < 0.1:
        told(seed, "backtest", "mutated.yaml", "--start", "2024-01-24", "--end", "2024-01-25", "--no-report")


def try_line(told: Callable[..., int], seed: int) -> None:
    told(seed, *mutated_line(random.Random(seed)))


def test_some_mutated_system_files(told: Callable[..., int]) -> None:
    for seed in range(25):
        try_system(told, seed)


def test_some_mutated_command_lines(told: Callable[..., int]) -> None:
    for seed in range(20):
        try_line(told, seed)


@pytest.mark.long
@pytest.mark.parametrize("hundred", range(20))
def test_two_thousand_mutated_system_files(told: Callable[..., int], hundred: int) -> None:
    for seed in range(1_000 + 100 * hundred, 1_100 + 100 * hundred):
        try_system(told, seed)


@pytest.mark.long
@pytest.mark.parametrize("hundred", range(15))
def test_fifteen_hundred_mutated_command_lines(told: Callable[..., int], hundred: int) -> None:
    told(0, "backtest", "hold", "--window", "1d", "--no-report")  # so that "last" is a run
    for seed in range(10_000 + 100 * hundred, 10_100 + 100 * hundred):
        try_line(told, seed)


# --- what was found: names that no file can have, at every place that takes one -------------------------------------------------------

NAMES = {"too long": LONG, "far too long": LONG * 40, "half a character": "a\ud800", "nobody's home": "~no-such-user/x", "a NUL": "a\x00b"}
PLACES: dict[str, tuple[str, ...]] = {
    "a run": ("runs", "show", "{}"),
    "a run's report": ("runs", "report", "{}"),
    "a run to compare": ("runs", "compare", "{}", "last"),
    "a run's folder": ("runs", "show", "x/{}"),
    "a journal": ("journal", "verify", "{}"),
    "a system": ("systems", "show", "{}"),
    "a system file": ("systems", "validate", "{}.yaml"),
    "a new system": ("systems", "new", "{}"),
    "a strategy": ("systems", "validate", "ema_cross", "--set", 'strategy="{}"'),
    "a strategy's file": ("systems", "validate", "ema_cross", "--set", 'strategy="{}.py:Class"'),
    "a feature's file": ("systems", "validate", "ema_cross", "--set", 'features={{z: {{fn: "{}.py:f"}}}}'),
    "a session": ("session", "status", "{}"),
    "a file to import": ("data", "import", "{}.csv"),
    "instruments": ("data", "import-instruments", "{}.json"),
    "an export": ("data", "export", "BTCUSDT", "--timeframe", "5m", "--out", "{}.csv"),
    "a key file": ("demo", "hold", "--sandbox", "http://127.0.0.1:1", "--key-file", "{}"),
    "fault rules": ("sandbox", "--faults", "{}"),
    "a home": ("runs", "list", "--home", "{}/x"),
    "a sweep to resume": ("sweep", "--resume", "{}"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_name_that_no_file_can_have_is_an_error_for_people(told: Callable[..., int], place: str) -> None:
    for number, name in enumerate(NAMES.values()):
        words = [word.format(name) for word in PLACES[place]]
        code = told(number, *words)
        assert code in (1, 2, 3, 4, 5) or (place == "a home" and "~" in name), (place, name[:20])


@pytest.mark.parametrize("name", NAMES)
def test_tools_refuse_such_names_too(told: Callable[..., int], name: str) -> None:
    calls = {"runs_show": "run", "data_export": "out", "systems_show": "system_id", "journal_verify": "journal"}
    for number, (tool, field) in enumerate(calls.items()):
        asked = {field: NAMES[name]} | ({"symbol": "BTCUSDT", "timeframe": "5m"} if tool == "data_export" else {})
        assert told(number, "tools", "call", tool, json.dumps(asked)) in (1, 2, 3)


@pytest.mark.parametrize("out", [".", "..", "sub/.."])
def test_an_export_wants_a_file_not_a_folder(told: Callable[..., int], out: str) -> None:
    assert told(0, "data", "export", "BTCUSDT", "--timeframe", "5m", "--out", out, "--format", "csv") == 2


def test_a_long_word_is_told_by_its_beginning(keel: Keel) -> None:
    answer = keel("runs", "show", "x" * 10_000)
    assert answer.code == 2 and len(answer.err) < 400 and "10,000 characters" in answer.err


@pytest.mark.parametrize("arguments", ['{"a": ' * 100_000, "\udcff", "[]", "{", '{"symbol": 1}', '{"symbol": "\\ud800"}', "1" * 5000, "-"])
def test_a_tool_call_that_is_no_json_object_of_its_kind(told: Callable[..., int], arguments: str) -> None:
    assert told(0, "tools", "call", "data_list", arguments) == 2


def test_a_systems_name_is_short_enough_to_name_files_after(told: Callable[..., int], home: Path) -> None:
    assert told(0, "systems", "new", "n" * 100) == 0
    assert told(1, "systems", "new", "n" * 101) == 2
    Path("long.yaml").write_text(f"system: {'n' * 101}\nstrategy: hold\nsymbols: [BTCUSDT]\ntimeframe: 1h\n")
    assert told(2, "systems", "validate", "long.yaml") == 2


@pytest.mark.parametrize("name", NAMES)
def test_python_calls_refuse_such_names_too(name: str, tmp_path: Path) -> None:
    """A store, a folder of history, a home, a run's id: a KeelError each, wherever the text comes from."""
    text = NAMES[name]
    calls: list[Callable[[], Any]] = [
        lambda: HistoricalDataStore(text + "/keel.duckdb", read_only=True),
        lambda: HistoricalDataStore.from_parquet(text),
        lambda: find_run(text, tmp_path),
        lambda: StrategyEpochTracker("s", home=tmp_path).epoch_complete(text, "backtest", "BTCUSDT", {}),
        lambda: load_strategy(text + ".py:Class"),
    ]
    for call in calls:
        with pytest.raises(KeelError):
            call()


@pytest.mark.parametrize("run_id", ["", "**", "[", "*", "../..", "run-*", "/", "run-0"])
def test_a_run_id_is_no_pattern(run_id: str, tmp_path: Path) -> None:
    tracker = StrategyEpochTracker("s", home=tmp_path)
    begun = tracker.epoch_start("backtest", "BTCUSDT")
    with pytest.raises(ConfigError, match="there is no run"):
        StrategyEpochTracker("s", home=tmp_path).log_trade(run_id, "BTCUSDT", "LONG", 1.0, 1.0, 1.0)
    assert tracker.epoch_complete(begun, "backtest", "BTCUSDT", {}).status == "completed"
