"""``keel sandbox``: one line when it serves, a clean end by signal, errors that say what to do; stored bars as a backtest has them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest

from keel.adapters.replay.history import SymbolHistory
from keel.adapters.replay.loader import ReplayPlan, load_histories
from keel.core.errors import DataError
from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import tf_ms
from keel.core.system.config import ExecutionConfig
from keel.runners.cli.main import run
from keel.runners.sandbox.assembly import stored_bars
from tests.builders import DAY, START, grow, sample_store

WINDOW = TimeRange(START + 2 * DAY, START + 4 * DAY)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, None, *(pytest.param(each, marks=pytest.mark.long) for each in (signal.SIGINT, signal.SIGHUP))]
)
def test_it_serves_says_where_and_ends_cleanly(tmp_path: Path, number: signal.Signals | None) -> None:
    command = [sys.executable, "-m", "keel.runners.cli.main", "sandbox", "--account", "a:b:50", "--profile", "demo"]
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env={"PYTHONPATH": root, "HOME": str(tmp_path)})
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("sandbox listening on http://127.0.0.1:")
    url = line.split()[-1]
    with urlopen(f"{url}/admin/truth") as answer:
        assert list(json.load(answer)["accounts"]) == ["a"]
    if number is not None:
        process.send_signal(number)
    else:
        urlopen(Request(f"{url}/admin/stop", b"", method="POST")).close()
    assert process.wait(10) == 0 and process.stdout.read() == ""
    process.stdout.close()


BAD = [
    (["--speed", "fast"], "--speed fast: use real"),
    (["--speed", "x0"], "--speed x0"),
    (["--account", "a:b"], "KEY:SECRET:USDT"),
    (["--account", "a:b:-5"], "KEY:SECRET:USDT"),
    (["--account", "a:b:5", "--account", "a:c:5"], "given twice"),
    (["--feed", "store"], "--start and --end"),
    (["--start", "2024-01-01"], "belong to --feed store"),
    (["--timeframe", "2m"], "unknown timeframe '2m': use one of"),
    (["--timeframe", "12h"], "use 1m to 4h"),
    (["--profile", "demo", "--margin-mode", "isolated"], "add --demo-isolated"),
    (["--demo-isolated"], "belongs to --profile demo"),
    (["--symbols", ","], "at least one symbol"),
    (["--faults", "no_such_file"], "no_such_file"),
    (["--shift-to-now"], "belongs to --feed store"),
    (["--feed", "store", "--start", "2024-01-01", "--end", "2024-02-01", "--shift-to-now", "--speed", "x60"], "goes with --speed real"),
    (["--tick", "50", "--speed", "lockstep"], "--tick belongs to --speed real and xN"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD)
def test_bad_options_say_what_to_do(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sandbox", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_bad_fault_rules_are_refused_before_anything_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "faults.json"
    file.write_text('{"rules": [{"action": "explode"}]}')
    assert run(["sandbox", "--faults", str(file)]) == 2
    answered = capsys.readouterr()
    assert "explode" in answered.err and answered.out == ""


def test_stored_bars_are_those_of_a_backtest_with_the_past_before_them() -> None:
    store = sample_store(("BTCUSDT", "ETHUSDT"), days=5)
    bars = stored_bars(store, ["BTCUSDT", "ETHUSDT"], WINDOW, ExecutionConfig())
    plan = ReplayPlan(("BTCUSDT", "ETHUSDT"), "linear", "5m", "5m", {"5m": 0}, WINDOW, ExecutionConfig())
    assert bars.duration_ms == tf_ms("5m")
    for series, history in zip(bars.series(), load_histories(store, plan), strict=True):
        assert series.first == 2 * DAY // tf_ms("5m") and int(series.ts[0]) == START
        _equal_from(series.first, series, history)
        assert history.funding is not None and series.funding[0] == history.funding.stamps.tolist()


def test_stored_bars_of_a_chosen_timeframe() -> None:
    store = sample_store(days=5, until=START + 5 * DAY)
    grow(store, ("BTCUSDT",), 5, START, START + 5 * DAY, minutes=30)
    halves = stored_bars(store, ["BTCUSDT"], WINDOW, ExecutionConfig(), timeframe="30m")
    assert halves.duration_ms == tf_ms("30m") and len(halves.series()[0].ts) - halves.series()[0].first == 96
    with pytest.raises(DataError, match="BTCUSDT: the store has no bars of 1m, it has 5m, 30m"):
        stored_bars(store, ["BTCUSDT"], WINDOW, ExecutionConfig(), timeframe="1m")


def _equal_from(first: int, series: object, history: SymbolHistory) -> None:
    names = ("open", "high", "low", "close")
    for mine, theirs in (("last", history.execution), ("mark", history.mark), ("index", history.index)):
        columns = getattr(series, mine)
        for place, name in enumerate(names):
            expected = theirs[name] if mine == "last" else getattr(theirs, name)  # type: ignore[index]  # a frame
            assert np.array_equal(columns[place][first:], expected), (mine, name)


def test_a_symbol_that_is_not_stored_is_named() -> None:
    with pytest.raises(DataError, match="NOPEUSDT"):
        stored_bars(sample_store(days=5), ["NOPEUSDT"], WINDOW, ExecutionConfig())
