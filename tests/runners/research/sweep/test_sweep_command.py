"""``keel sweep`` from the command line: its figures are a backtest's, nothing is lost, nothing is computed twice."""

from __future__ import annotations

import csv
import os
import select
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keel.core.model.time_range import to_iso
from keel.runners.cli.main import run
from keel.runners.research.sweep.study import Study
from tests.runners.research.sweep.conftest import calls

Keel = Callable[..., Any]
ACTORS = ("--engine", "actors", "--workers", "2", "--metric", "net_profit")


def points(answer: Any) -> list[dict[str, str]]:
    with Path(answer.data["results"]).open() as file:
        return list(csv.DictReader(file))


def test_a_point_is_the_backtest_of_its_configuration_by_uid_and_figures(keel: Keel, small: str) -> None:
    answer = keel("sweep", small, "--param", "fast=3,5", "--param", "risk.leverage=1,2", "--windows", "first,second", *ACTORS, "--json")
    assert answer.code == 0, answer.err
    assert (answer.data["points"], answer.data["tried"], answer.data["done"], answer.data["engine"]) == (8, 4, 4, "actors")
    for point in points(answer)[::3]:
        overrides = ["--set", f"params.fast={point['params.fast']}", "--set", f"risk.leverage={point['risk.leverage']}"]
        run = keel("backtest", small, "--window", point["window"], *overrides, "--no-report", "--json")
        assert run.data["system_uid"] == point["id"]
        for name in ("net_profit", "final_equity", "fees"):
            assert float(run.data["metrics"][name]) == pytest.approx(float(point[name]), abs=1e-8)
        assert run.data["metrics"]["total_trades"] == int(point["total_trades"])


@pytest.mark.long  # the kernel is compiled
def test_the_kernel_gives_the_actors_figures(keel: Keel, small: str) -> None:
    pytest.importorskip("numba")
    asked = (
        "sweep",
        small,
        "--param",
        "fast=3:9:3",
        "--param",
        "slow=12,24",
        "--param",
        "exits.stop_loss.percent=1,3",
        "--metric",
        "net_profit",
    )
    kernel, actors = (keel(*asked, "--windows", "first", "--engine", engine, "--json") for engine in ("kernel", "actors"))
    assert (kernel.data["engine"], actors.data["engine"]) == ("kernel", "actors"), kernel.err
    ours, theirs = points(kernel), points(actors)
    shared = [name for name in ours[0] if ours[0][name] or theirs[0].get(name)]
    assert {"net_profit", "total_trades", "fees", "max_drawdown_pct"} <= set(shared)
    assert [[row[name] for name in shared] for row in ours] == [[row[name] for name in shared] for row in theirs]


@pytest.mark.long
@pytest.mark.usefixtures("compiled_kernel")
def test_what_the_kernel_does_not_model_is_run_by_the_actors_and_said(keel: Keel, small: str) -> None:
    pytest.importorskip("numba")
    asked = ("sweep", small, "--param", "execution.latency_ms=0,60000", "--windows", "first", "--metric", "net_profit")
    mixed = keel(*asked, "--json")
    assert mixed.code == 0 and mixed.data["engine"] == "actors, kernel"
    assert any("1 runs by the actors: the kernel does not model latency" in note for note in mixed.data["notes"])
    strict = keel(*asked, "--engine", "kernel", "--json")
    assert (strict.data["done"], strict.data["failed"]) == (1, 1)
    calmar = keel("sweep", small, "--param", "fast=3,5", "--windows", "first", "--engine", "kernel", "--metric", "calmar")
    assert calmar.code == 2 and "its figures have no calmar" in calmar.err


@pytest.mark.long
def test_the_same_bytes_whatever_the_number_of_workers(keel: Keel, small: str) -> None:
    asked = ("sweep", small, "--param", "fast=2:30:1", "--param", "sizing.percent=5:80", "--search", "tpe", "--trials", "20")
    one, two = (keel(*asked, "--windows", "first", "--engine", "actors", "--metric", "net_profit", "--workers", n, "--json") for n in "12")
    assert one.code == two.code == 0, one.err + two.err
    assert Path(one.data["results"]).read_bytes() == Path(two.data["results"]).read_bytes()


def test_a_set_that_raises_or_is_refused_is_marked_and_the_rest_go_on(keel: Keel, counted: Callable[[str], str]) -> None:
    name = counted("if period == 7: raise ValueError('seven')")
    answer = keel("sweep", name, "--param", "period=3,7,9,13", "--windows", "first", *ACTORS, "--json")
    assert answer.code == 0, answer.err
    by_period = {entry["setting"]["params.period"]: entry for entry in answer.data["entries"]}
    assert {period: entry["status"] for period, entry in by_period.items()} == {3: "done", 7: "failed", 9: "done", 13: "invalid"}
    assert "ValueError" in by_period[7]["reason"] and "must not be 13" in by_period[13]["reason"]
    shown = keel("sweep", "--resume", answer.data["sweep_id"])
    assert shown.code == 0 and "failed: " in shown.out and "1 refused as invalid; 0 runs" in shown.out


@pytest.mark.long
def test_a_worker_that_dies_loses_nothing_and_a_point_that_always_kills_is_given_up(
    keel: Keel, counted: Callable[[str], str], home: Path
) -> None:
    kill = "if period == 8 or (period == 5 and not once.exists()):\n    once.touch()\n    os.kill(os.getpid(), signal.SIGKILL)"
    answer = keel("sweep", counted(kill), "--param", "period=3:8", "--windows", "first", *ACTORS, "--json")
    assert answer.code == 0, answer.err
    status = {entry["setting"]["params.period"]: entry for entry in answer.data["entries"]}
    assert [status[period]["status"] for period in range(3, 9)] == ["done"] * 5 + ["failed"]
    assert "its worker died 3 times: signal 9" in status[8]["reason"]
    assert sorted(calls(home)) == [3, 4, 5, 5, 6, 7, 8, 8, 8]


@pytest.mark.parametrize(("sent", "code"), [("SIGINT", 130), pytest.param("SIGKILL", -9, marks=pytest.mark.long)])
def test_a_sweep_that_was_stopped_goes_on_without_computing_anything_twice(
    sent: str, code: int, keel: Keel, keel_process: Keel, counted: Callable[[str], str], home: Path
) -> None:
    stop = "if period == 6 and not once.exists():\n    once.touch()\n    (FOLDER / 'worker').write_text(str(os.getpid()))\n"
    stop += f"    os.kill(os.getppid(), signal.{sent})\n    signal.pause()"
    asked = ("sweep", counted(stop), "--param", "period=3:9", "--windows", "first", "--engine", "actors", "--metric", "net_profit")
    stopped = keel_process(*asked, "--workers", "1")
    assert stopped.code == code, stopped.err
    assert calls(home) == [3, 4, 5, 6]
    assert has_ended(next(home.rglob("worker")), within_ms=10_000)  # though its strategy waits for ever
    if sent == "SIGINT":
        assert "3 of 7 points are kept: go on with keel sweep --resume sweep-" in stopped.err and "Traceback" not in stopped.err
    resumed = keel("sweep", "--resume", "last", "--workers", "1", "--json")
    assert resumed.code == 0, resumed.err
    assert (resumed.data["points"], resumed.data["computed"], resumed.data["done"]) == (7, 4, 7)
    assert calls(home) == [3, 4, 5, 6, 6, 7, 8, 9]  # the one that was under way, and those after it
    whole = keel(*asked, "--workers", "2", "--json")
    assert Path(whole.data["results"]).read_bytes() == Path(resumed.data["results"]).read_bytes()
    assert not (Path(resumed.data["folder"]) / "cache").exists()


def has_ended(pid_file: Path, within_ms: int) -> bool:
    """Whether a process that is no child of ours ends by then."""
    try:
        process = os.pidfd_open(int(pid_file.read_text()))
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        return bool(poll.poll(within_ms))
    finally:
        os.close(process)


@pytest.mark.long
def test_tpe_goes_on_where_it_was(keel: Keel, keel_process: Keel, counted: Callable[[str], str], home: Path) -> None:
    pytest.importorskip("optuna")
    stop = "if len((FOLDER / 'calls').read_text().split()) == 20 and not (FOLDER / 'stopped').exists():\n"
    stop += "    (FOLDER / 'stopped').touch()\n    os.kill(os.getppid(), signal.SIGKILL)\n    signal.pause()"
    asked = ("sweep", counted(stop), "--param", "period=2:200", "--param", "other=0:9", "--search", "tpe", "--trials", "40", "--seed", "3")
    rest = ("--windows", "first", "--engine", "actors", "--metric", "net_profit")
    assert keel_process(*asked, *rest, "--workers", "1").code == -9
    resumed = keel("sweep", "--resume", "last", "--workers", "1", "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.data["computed"] == len(calls(home)) - 20
    whole = keel(*asked, *rest, "--workers", "2", "--json")
    assert Path(whole.data["results"]).read_bytes() == Path(resumed.data["results"]).read_bytes()


def test_a_resumed_sweep_is_of_the_same_code_and_data(keel: Keel, counted: Callable[[str], str], home: Path) -> None:
    name = counted("pass")
    begun = keel("sweep", name, "--param", "period=3,4", "--windows", "first", *ACTORS, "--json").data["sweep_id"]
    refused = keel("sweep", name, "--resume", begun, "--param", "period=5")
    assert refused.code == 2 and "leave system_id, params out" in refused.err
    assert keel("sweep", "--resume", "nothing").code == 2
    counted("x = 1")
    changed = keel("sweep", "--resume", begun)
    assert changed.code == 3 and "has changed since" in changed.err and "begin a new sweep" in changed.err


@pytest.mark.long
def test_a_symbol_that_starts_later_aligns_all_and_is_said(keel: Keel, small: str, home: Path, two_symbols_store: Path) -> None:
    shutil.copy(two_symbols_store, home / "data" / "keel.duckdb")
    asked = ("sweep", small, "--param", "fast=3,5", "--symbols", "BTCUSDT,ETHUSDT")
    answer = keel(*asked, "--windows", "second", *ACTORS, "--json")
    assert answer.code == 0, answer.err
    assert answer.data["notes"] == []  # 2024-01-13 and 40 hours of warm-up lie before 2024-01-15
    assert {point["symbols"] for point in points(answer)} == {"BTCUSDT", "ETHUSDT"}
    late = keel(*asked, "--param", "warmup_bars=100", "--windows", "second", *ACTORS, "--json")
    assert late.code == 0, late.err
    assert late.data["notes"] == ["second begins 2024-01-18, not 2024-01-15: ETHUSDT has no earlier history to warm up on"]
    gone = keel(*asked, "--windows", "first", *ACTORS)
    assert gone.code == 3 and "nothing of it is left" in gone.err and gone.err.count("\n") == 1


def test_timeframes_are_tried_and_one_that_does_not_fit_is_refused_alone(keel: Keel, small: str) -> None:
    answer = keel("sweep", small, "--param", "fast=3,5", "--timeframes", "1h,2h,30m", "--windows", "first", *ACTORS, "--json")
    assert answer.code == 0, answer.err
    assert (answer.data["done"], answer.data["invalid"]) == (4, 2)  # bars of 1h cannot fill orders of 30m decisions


BAD = {
    "a parameter that the strategy lacks": (["--param", "fst=1,2"], "did you mean fast?"),
    "a metric that there is not": (["--param", "fast=1,2", "--metric", "sharp"], "did you mean sharpe?"),
    "a window that there is not": (["--param", "fast=1,2", "--windows", "frst"], "has no window 'frst'"),
    "a grid without points": (["--param", "fast=9:1:1"], "no points"),
    "a million points": (["--param", "fast=1:1000:1", "--param", "slow=1:1000:1"], "1,000,000 points"),
    "no workers": (["--param", "fast=1,2", "--workers", "0"], "at least 1"),
    "an address without ray": (["--param", "fast=1,2", "--address", "127.0.0.1:1"], "--address belongs to --on ray"),
    "nothing searched": ([], "nothing is searched"),
    "only settings that are refused": (["--param", "fast=50", "--windows", "first"], "no point could be run"),
}


@pytest.mark.parametrize(("options", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_writes_nothing(options: list[str], words: str, keel: Keel, small: str, home: Path) -> None:
    answer = keel("sweep", small, *options)
    assert answer.code == 2 and answer.err.count("\n") == 1, answer.err
    assert words in answer.err
    if "no point could be run" not in words:
        assert not (home / "sweeps").exists()


MISSING = {
    "optuna": ("keel-trader[research]", ["--search", "tpe"]),
    "ray": ("keel-trader[cluster]", ["--on", "ray"]),
}


@pytest.mark.parametrize("package", MISSING)
def test_a_package_that_is_not_installed_is_named_with_its_extra(package: str, keel: Keel, small: str, monkeypatch: Any) -> None:
    extra, options = MISSING[package]
    monkeypatch.setitem(sys.modules, package, None)
    answer = keel("sweep", small, "--param", "fast=3,5", "--windows", "first", *options)
    assert answer.code == 2 and extra in answer.err and answer.err.count("\n") == 1


def test_a_dead_ray_address_is_one_line_and_exit_5(keel: Keel, small: str) -> None:
    pytest.importorskip("ray")
    answer = keel("sweep", small, "--param", "fast=3,5", "--windows", "first", "--on", "ray", "--address", "127.0.0.1:1")
    assert answer.code == 5 and "no Ray cluster answers at 127.0.0.1:1" in answer.err and answer.err.count("\n") == 1


def test_a_strategy_that_looks_ahead_is_refused_before_the_sweep(keel: Keel, strategy: Callable[[str, str], str], home: Path) -> None:
    body = (
        "import numpy as np\nclass Peeks(VectorStrategy):\n    defaults = {'a': 1}\n    def signals(self, frame, params):\n"
        "        return np.where(np.append(frame.close[1:], 0.0) > frame.close, 1, -1).astype(np.int8)\n"
    )
    answer = keel("sweep", strategy("peeks", body), "--param", "a=1,2", "--windows", "week")
    assert answer.code == 1 and "looks ahead" in answer.err and not (home / "sweeps").exists()


def test_the_page_stands_alone_and_the_points_are_on_the_disk(keel: Keel, small: str) -> None:
    answer = keel("sweep", small, "--param", "fast=2:6:1", "--param", "slow=10:30:10", "--windows", "first,second", *ACTORS, "--json")
    text = Path(answer.data["report"]).read_text()
    assert "Robust region" in text and "https://" not in text.split("<script>")[0]
    with Study(Path(answer.data["folder"])) as study:
        assert len(study.rows()) == answer.data["points"] == 30
    shown = keel("sweep", "--resume", "last").out
    assert "robust" in shown and "0 runs in" in shown
    assert ("* is the robust region" in shown, "No robust region: " in shown) == ((True, False) if answer.data["region"] else (False, True))


@pytest.mark.long
def test_ray_gives_the_local_results_and_a_worker_that_dies_loses_nothing(keel: Keel, counted: Callable[[str], str], home: Path) -> None:
    pytest.importorskip("ray")
    kill = "if period == 5 and not once.exists():\n    once.touch()\n    os.kill(os.getpid(), signal.SIGKILL)"
    asked = ("sweep", counted(kill), "--param", "period=3:12", "--windows", "first", "--metric", "net_profit", "--engine", "actors")
    on_ray = keel(*asked, "--on", "ray", "--workers", "2", "--json")
    assert on_ray.code == 0, on_ray.err
    assert (home / "once-5").exists() and on_ray.data["done"] == 10
    assert sorted(calls(home)).count(5) == 2
    local = keel(*asked, "--workers", "2", "--json")
    assert Path(on_ray.data["results"]).read_bytes() == Path(local.data["results"]).read_bytes()


@pytest.mark.real_data
def test_a_thousand_sets_over_nine_months_of_real_bars_with_funding_and_liquidation(real_data: Path, tmp_path: Path, capsys: Any) -> None:
    """By the kernel; three of its points again as backtests, by the actors, to the last unit."""
    pytest.importorskip("numba")

    def call(*arguments: str) -> Any:
        assert run(["--home", str(tmp_path), *arguments]) == 0
        return msgspec.json.decode(capsys.readouterr().out.splitlines()[-1])

    files = [str(real_data / "bybit/linear" / kind / "BTCUSDT.parquet") for kind in ("kline_5m", "mark_1h", "funding")]
    call("data", "import", *files, "--json")
    (tmp_path / "systems").mkdir()
    text = "system: risky\nstrategy: ema_cross\nsymbols: [BTCUSDT]\ntimeframe: 5m\nsizing: {model: percent_equity, percent: 2000}\n"
    (tmp_path / "systems" / "risky.yaml").write_text(
        text
        + "risk: {leverage: 50, policy: none}\nexits: {stop_loss: {percent: 5}}\nwindows: {nine: {start: 2025-01-01, end: 2025-10-01}}\n"
    )
    asked = ("--param", "fast=20:210:10", "--param", "slow=220:710:10", "--windows", "nine", "--engine", "kernel", "--json")
    data = call("sweep", "risky", *asked)
    assert (data["points"], data["done"], data["engine"]) == (1000, 1000, "kernel")
    assert data["region"] is None and "no better than doing nothing" in data["no_region"]  # every neighbourhood loses over these months
    with Path(data["results"]).open() as file:
        rows = list(csv.DictReader(file))
    warnings = []
    for row in rows[::499]:
        params = f"--set=params={{fast: {row['params.fast']}, slow: {row['params.slow']}}}"
        window = [to_iso(moment) for moment in data["windows"]["nine"].values()]
        alone = call("backtest", "risky", params, "--start", window[0], "--end", window[1], "--no-report", "--json")
        assert alone["system_uid"] == row["id"]
        warnings += alone["warnings"]
        assert float(alone["metrics"]["final_equity"]) == pytest.approx(float(row["final_equity"]), abs=1e-8)
        assert float(alone["metrics"]["funding"]) == pytest.approx(float(row["funding"]), abs=1e-8) != 0.0
    assert any(text.startswith("liquidated") for text in warnings), warnings
