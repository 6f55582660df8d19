"""``keel replay`` and ``keel compare-live`` of a run, as a person asks for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.model.time_range import to_ms
from keel.runners.cli.main import run
from keel.runners.home import Home
from keel.runners.sample import write_sample
from keel.runners.tools.registry import ToolContext
from keel.runners.tools.research.backtest import BacktestRequest, backtest_run_tool
from tests.builders import builtin
from tests.runners.live.conftest import stored_sandbox
from tests.sim.sandbox.conftest import running

pytestmark = pytest.mark.real_sockets

SYSTEM = ("params.fast=2", "params.slow=5", "warmup_bars=50", "execution_timeframe=1h")
SPAN = ("2024-01-08", "2024-01-11")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a sample history, a backtest, and a session over a sandbox that fills at worse prices."""
    folder = tmp_path_factory.mktemp("home")
    place = Home(folder)
    write_sample(place, ["BTCUSDT"], "2024-01-01", "2024-01-12")
    with HistoricalDataStore(place.store) as store:
        hours = store.get_ohlcv("BTCUSDT", "1h", "2024-01-01", "2024-01-12")
        store.upsert_bars("BTCUSDT", "1h", hours.to_dict(), source="test")
    sets = [word for text in SYSTEM for word in ("--set", text)]
    system, _ = builtin("ema_cross", *SYSTEM, "execution.slippage_bps=4")
    backtest_run_tool.run(BacktestRequest("ema_cross", overrides=list(SYSTEM), start=SPAN[0], end=SPAN[1]), ToolContext(place))
    with (
        HistoricalDataStore(place.store, read_only=True) as store,
        stored_sandbox(store, system, *map(to_ms, SPAN), served=running) as sandbox,
    ):
        assert run(["--home", str(folder), "demo", "ema_cross", "--sandbox", sandbox.url, *sets, "--quiet", "--log", "none"]) == 0
    yield folder


def asked(capsys: pytest.CaptureFixture[str], home: Path, *words: str) -> tuple[int, Any]:
    code = run(["--home", str(home), *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_last_session_is_meant_though_a_backtest_came_after_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = asked(capsys, home, "replay", "last")
    assert code == 0 and answer["identical"] and answer["sessions"] == 1 and answer["compared"]["SubmitOrder"] > 2
    assert run(["--home", str(home), "replay", answer["run_id"]]) == 0
    shown = capsys.readouterr().out
    assert "SubmitOrder" in shown and "identical (Python" in shown
    assert run(["--home", str(home), "replay", answer["journal"]]) == 0


def test_a_session_beside_its_backtest_with_a_page(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = asked(capsys, home, "compare-live", "last")
    assert code == 0 and answer["note"] == ""
    units = {name: round(float(amount) * 1e8) for name, amount in answer["parts"].items()}
    assert sum(units.values()) == round(float(answer["difference"]) * 1e8)
    assert units["slippage"] < 0 and units["timing"] == units["missed"] == units["extra"] == units["outside"] == 0
    page, report = Path(answer["page"]), Path(answer["page"]).with_name("report.html")
    text = page.read_text(encoding="utf-8")
    assert page.stat().st_mode & 0o077 == 0 and report.stat().st_mode & 0o077 == 0
    assert "What the difference is made of" in text and "slippage" in text and len(text) < 100_000
    assert report.read_text(encoding="utf-8").count('href="compare-live.html"') == 1
    assert run(["--home", str(home), "compare-live", "last"]) == 0
    assert report.read_text(encoding="utf-8").count('href="compare-live.html"') == 1  # once, however often it is asked
    shown = capsys.readouterr().out
    assert "difference" in shown and "the sum of the parts, exactly" in shown and "slippage" in shown


@pytest.mark.parametrize("command", ["replay", "compare-live"])
def test_what_is_no_session_is_refused_with_the_way_out(home: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    backtest = next(path.name for path in (home / "backtests").glob("*/run-*"))
    code, answer = asked(capsys, home, command, backtest)
    assert code == 3 and "is a backtest run: it has no journal" in answer["error"]["message"]
    code, answer = asked(capsys, home, command, "run-000")
    assert code == 2 and "keel runs list" in answer["error"]["message"]


def test_a_run_that_is_still_going_is_refused_and_one_that_was_killed_is_not(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = next((home / "runs" / "demo").glob("*/run-*"))
    mine = tmp_path / "runs" / "demo" / "20240101_000000" / folder.name
    mine.mkdir(parents=True)
    config = json.loads((folder / "config.json").read_text())
    journal = config["run"]["journal"]
    (mine / "config.json").write_text(json.dumps(config))  # this process runs it, and there is no summary yet
    code, answer = asked(capsys, tmp_path, "replay", "last")
    assert code == 3 and "still running" in answer["error"]["message"] and f"give the folder {journal} for" in answer["error"]["message"]
    config["run"]["pid"] = 2**22 + 1  # it was killed: what it heard is there all the same
    (mine / "config.json").write_text(json.dumps(config))
    code, answer = asked(capsys, tmp_path, "replay", "last")
    assert code == 0 and answer["identical"] and answer["journal"] == journal
    code, answer = asked(capsys, tmp_path, "compare-live", "last", "--no-page")
    assert code == 0 and answer["sessions"] == 1
    del config["run"]["journal"]
    (mine / "config.json").write_text(json.dumps(config))
    code, answer = asked(capsys, tmp_path, "replay", "last")
    assert code == 3 and "did not say where its journal is" in answer["error"]["message"]
