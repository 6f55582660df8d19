"""The list of runs, finding one, comparing two, where the money went; and experiments, which are lists of runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.errors import ConfigError, DataError, InvariantError
from keel.runners.epoch import EpochResult, ExperimentTracker, StrategyEpochTracker, run_epoch
from keel.runners.lifecycle.registry import RunDifference, compare_runs, find_run, list_runs, reconciliation, system_uid

Run = Callable[..., EpochResult]


@pytest.fixture
def now() -> Callable[[], int]:
    ticks = count(1_765_503_298_000, 50)
    return lambda: next(ticks)


@pytest.fixture
def run(tmp_path: Path, now: Callable[[], int]) -> Run:
    def call(returned: Any = None, epoch: str = "backtest", **settings: Any) -> EpochResult:
        settings = {"symbol": "BTCUSDT", "strategy_id": "s", "home": tmp_path, "now": now} | settings
        return run_epoch(epoch, runner_fn=lambda **_: {"sharpe": 1.0} if returned is None else returned, **settings)

    return call


def test_the_list_has_every_run_newest_first(run: Run, tmp_path: Path, small_result: Any, now: Callable[[], int]) -> None:
    done = run(small_result(), timeframes=["1h"])
    failed = run([])
    demo = run(epoch="demo", strategy_id="d")
    open_id = StrategyEpochTracker("s", home=tmp_path, now=now).epoch_start("backtest", "ETHUSDT")
    runs = list_runs(tmp_path)
    assert [entry.run_id for entry in runs] == [open_id, demo.run_id, failed.run_id, done.run_id]
    assert [entry.status for entry in runs] == ["running", "completed", "failed", "completed"]
    assert runs[3].metrics["net_profit"] == 89.5643685 and runs[3].timeframes == ["1h"]
    assert runs[2].error is not None and runs[2].error.startswith("ConfigError")
    assert [entry.run_id for entry in list_runs(tmp_path, epoch="demo")] == [demo.run_id]
    assert [entry.run_id for entry in list_runs(tmp_path, strategy_id="d")] == [demo.run_id]
    assert list_runs(tmp_path / "elsewhere") == []


def test_a_run_whose_process_is_gone_is_unfinished(tmp_path: Path) -> None:
    code = "import sys; from keel.runners.epoch import StrategyEpochTracker as T; T('s', home=sys.argv[1]).epoch_start('backtest', 'X')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert [entry.status for entry in list_runs(tmp_path)] == ["unfinished"]


def test_one_damaged_run_does_not_hide_the_others(run: Run, tmp_path: Path) -> None:
    good, bad = run(), run()
    (bad.artifacts / "config.json").write_text("{")
    assert [entry.run_id for entry in list_runs(tmp_path)] == [good.run_id]
    with pytest.raises(DataError, match=r"config\.json"):
        find_run(bad.run_id, tmp_path)


def test_a_run_is_found_by_id_beginning_folder_and_last(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = run(), run()
    monkeypatch.chdir(first.artifacts.parent)
    beginning = next(n for n in range(1, 17) if not last.run_id.startswith(first.run_id[:n]))
    references: list[str | Path] = [
        first.run_id,
        first.run_id[4:],
        first.run_id[:beginning],
        first.artifacts,
        str(first.artifacts),
        f"./{first.run_id}",
    ]
    assert {find_run(reference, tmp_path).run_id for reference in references} == {first.run_id}
    assert find_run("last", tmp_path).run_id == last.run_id


@pytest.mark.parametrize(("reference", "words"), [("run-zz", "there is no run"), ("run-", "fits 2 runs"), ("", "fits 2 runs")])
def test_what_is_not_one_run_is_refused(run: Run, tmp_path: Path, reference: str, words: str) -> None:
    run(), run()
    with pytest.raises(ConfigError, match=words):
        find_run(reference, tmp_path)


def test_without_runs_there_is_no_last(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are no runs"):
        find_run("last", tmp_path)
    with pytest.raises(ConfigError, match="there is no run"):
        find_run("abc", tmp_path)
    with pytest.raises(DataError, match="is not the folder of a run"):
        find_run(tmp_path)


def test_equal_runs_compare_equal(run: Run, tmp_path: Path, small_result: Any) -> None:
    a, b = (find_run(run(small_result(), effective_config={"params": {"fast": 20}}).artifacts) for _ in range(2))
    compared = compare_runs(a, b)
    assert (compared.config, compared.metrics, compared.first_trade) == ([], [], None)
    assert compared.same_trades is True and compared.same_equity is True


def test_differences_are_named(run: Run, small_result: Any) -> None:
    made = small_result()
    later = msgspec.structs.replace(made.trades[1], exit_price=95_101.5)
    other = small_result(trades=[made.trades[0], later], metrics=made.metrics | {"win_rate": 100.0, "extra": 1})
    a = find_run(run(made, effective_config={"params": {"fast": 20, "slow": 50}}).artifacts)
    b = find_run(run(other, effective_config={"params": {"fast": 10, "slow": 50}, "seed": 7}).artifacts)
    compared = compare_runs(a, b)
    assert compared.config == [RunDifference("config.params.fast", 20, 10), RunDifference("config.seed", None, 7)]
    assert compared.metrics == [RunDifference("win_rate", 50.0, 100.0), RunDifference("extra", None, 1)]
    assert compared.first_trade is not None and compared.first_trade.key == "2"
    assert json.loads(compared.first_trade.b)["exit_price"] == 95_101.5
    assert compared.same_trades is False and compared.same_equity is True


def test_a_missing_trade_is_the_first_difference(run: Run, small_result: Any) -> None:
    made = small_result()
    a, b = find_run(run(made).artifacts), find_run(run(small_result(trades=made.trades[:1])).artifacts)
    difference = compare_runs(a, b).first_trade
    assert difference is not None and difference.key == "2" and difference.b is None


def test_runs_without_trades_compare_by_metrics(run: Run) -> None:
    compared = compare_runs(find_run(run().artifacts), find_run(run({"sharpe": 2.0}).artifacts))
    assert compared.metrics == [RunDifference("sharpe", 1.0, 2.0)]
    assert compared.same_trades is None and compared.same_equity is None


def test_the_money_adds_up_to_the_last_unit(run: Run, small_result: Any) -> None:
    lines = reconciliation(find_run(run(small_result()).artifacts))
    total = sum(Decimal(line.amount) for line in lines if line.kind in ("start", "change"))
    sums = {line.label: line.amount for line in lines if line.kind == "sum"}
    assert [line.amount for line in lines[:5]] == ["10000", "99.9405", "0", "-10.49958828", "0.12345678"]
    assert Decimal(sums["final equity"]) == total == Decimal("10089.5643685")
    assert sums["does not add up"] == "0"


def test_money_that_is_missing_shows(run: Run, small_result: Any) -> None:
    made = run(small_result())
    stored = json.loads((made.artifacts / "result.json").read_text())
    stored["reconciliation"]["fees"] = "10.49958829"
    (made.artifacts / "result.json").write_text(json.dumps(stored))
    assert reconciliation(find_run(made.artifacts))[-1].amount == "0.00000001"


def test_a_run_that_is_no_backtest_has_no_reconciliation(run: Run) -> None:
    assert reconciliation(find_run(run().artifacts)) == []


PLAIN = st.dictionaries(st.text(max_size=4), st.integers(-5, 5) | st.text(max_size=3) | st.lists(st.booleans(), max_size=2), max_size=4)


@given(st.text(max_size=4), PLAIN, st.text(max_size=4), PLAIN)
def test_a_system_is_the_same_exactly_when_its_parts_are(strategy: str, config: dict[str, Any], data: str, other: dict[str, Any]) -> None:
    uid = system_uid(strategy, config, data)
    assert len(uid) == 64
    assert uid == system_uid(strategy, dict(reversed(list(config.items()))), data)
    same = msgspec.json.encode(config, order="sorted") == msgspec.json.encode(other, order="sorted")
    assert (uid == system_uid(strategy, other, data)) == same
    assert uid != system_uid(strategy + "x", config, data) and uid != system_uid(strategy, config, data + "x")


def test_a_system_of_undefined_numbers_has_no_uid() -> None:
    with pytest.raises(InvariantError, match=r"system\.config\.x is nan"):
        system_uid("a", {"x": float("nan")}, "b")


def test_an_experiment_goes_on_where_it_was_left(tmp_path: Path, now: Callable[[], int], run: Run) -> None:
    values: dict[int, Any] = {10: 1.5, 20: 0.5, 30: None, 40: 1.5}

    def measure(symbol: str, fast: int) -> dict[str, Any]:
        if fast == 50:
            raise RuntimeError("too slow")
        return {"sharpe": values[fast]}

    run()
    for fast in (10, 20, 30, 40, 50):
        experiment = ExperimentTracker("periods", home=tmp_path, now=now)
        experiment.run("backtest", "BTCUSDT", f"ema-{fast}", measure, ["1h"], fast=fast)
    ExperimentTracker("another", home=tmp_path, now=now).run("backtest", "BTCUSDT", "x", measure, fast=10)
    rows = ExperimentTracker("periods", home=tmp_path).results()
    assert [row["arguments"]["fast"] for row in rows] == [10, 20, 30, 40, 50]
    assert [row["status"] for row in rows] == ["completed"] * 4 + ["failed"]
    assert rows[4]["error"] == "RuntimeError: too slow" and rows[4]["metrics"] == {} and rows[0]["timeframes"] == ["1h"]
    assert experiment.best("sharpe")["strategy_id"] == "ema-10"
    assert experiment.best("sharpe", mode="min")["strategy_id"] == "ema-20"
    for arguments in (("missing",), ("sharpe", "most")):
        with pytest.raises(ConfigError):
            experiment.best(*arguments)


def test_an_experiment_has_a_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name is empty"):
        ExperimentTracker("", home=tmp_path)
