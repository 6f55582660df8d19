"""``run_epoch``: what it calls, writes, judges, promotes and returns; and what becomes of a run that fails."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keel.adapters.logging import log_context
from keel.core.errors import ConfigError, DataError, InvariantError, SafetyError
from keel.core.model.frame import Frame
from keel.core.results.result import BacktestResult
from keel.runners.epoch import EpochResult, EpochRun, ExperimentTracker, StrategyEpoch, StrategyEpochTracker, run_epoch
from keel.runners.home import Home
from keel.runners.lifecycle.events import read_events
from keel.runners.lifecycle.registry import list_runs

START = 1_765_503_298_000  # 2025-12-12 01:34:58 UTC
METRICS = {
    "net_profit": 1250.0,
    "win_rate": 65.0,
    "sharpe": 1.8,
    "max_drawdown_abs": 350.0,
    "max_drawdown_pct": -3.5,
    "total_trades": 45,
}
RESULT_KEYS = [
    "run_id", "strategy_id", "epoch", "symbol", "metrics", "passed", "promotion_reason", "next_epoch", "status", "error", "artifacts",
]  # fmt: skip


def my_backtest(symbol: str, timeframe: str, start: str, end: str) -> dict[str, Any]:
    return dict(METRICS)


@pytest.fixture
def now() -> Callable[[], int]:
    """A clock that moves one second each time it is read."""
    ticks = count(START, 1000)
    return lambda: next(ticks)


@pytest.fixture
def run(tmp_path: Path, now: Callable[[], int]) -> Callable[..., EpochResult]:
    def call(epoch: Any = StrategyEpoch.BACKTEST, runner_fn: Callable[..., Any] = lambda symbol: METRICS, **settings: Any) -> EpochResult:
        settings = {"symbol": "BTCUSDT", "strategy_id": "momentum-v1", "home": tmp_path, "now": now} | settings
        return run_epoch(epoch=epoch, runner_fn=runner_fn, **settings)

    return call


def loaded(path: Path) -> Any:
    return json.loads(path.read_text())


def kinds(home: Path) -> list[str]:
    return [event["event"] for event in read_events(Home(home))]


def test_the_documents_snippet_runs_any_number_of_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_HOME", str(tmp_path))
    ids = set()
    for _ in range(4):
        result = run_epoch(
            epoch=StrategyEpoch.BACKTEST,
            symbol="BTCUSDT",
            strategy_id="momentum-v1",
            runner_fn=my_backtest,
            timeframes=["1h"],
            promotion_criteria=lambda m: m.get("sharpe", 0) > 1.5,
            next_epoch=StrategyEpoch.DEMO,
            timeframe="1h",
            start="2024-01-01",
            end="2024-06-30",
        )
        assert result["passed"] is True
        assert result["metrics"] == METRICS
        assert result["next_epoch"] == "demo"
        ids.add(result["run_id"])
    assert len(ids) == 4
    assert kinds(tmp_path) == ["epoch_started", "epoch_completed", "epoch_promoted"] * 4


def test_the_result_is_a_mapping_of_the_documents_keys(run: Callable[..., EpochResult]) -> None:
    result = run()
    assert list(result) == RESULT_KEYS and len(result) == len(RESULT_KEYS)
    assert result["epoch"] == "backtest" and result["strategy_id"] == "momentum-v1" and result["symbol"] == "BTCUSDT"
    assert (result["status"], result["error"]) == ("completed", None)
    with pytest.raises(KeyError):
        result["__getitem__"]


def test_artifacts_lie_where_the_documents_say(run: Callable[..., EpochResult], tmp_path: Path) -> None:
    result = run()
    assert result.artifacts == tmp_path / "backtests" / "20251212_013458" / result.run_id
    assert len(result.run_id) == 16 and result.run_id.startswith("run-") and int(result.run_id[4:], 16) >= 0
    assert {path.name for path in result.artifacts.iterdir()} == {"config.json", "results.json", "summary.json"}
    assert loaded(result.artifacts / "results.json")["metrics"] == METRICS
    assert (tmp_path / "logs" / "events_20251212.jsonl").exists()


@pytest.mark.parametrize(
    ("epoch", "parent"), [("demo", "runs/demo"), ("live", "runs/live"), ("idea", "backtests"), ("creation", "backtests")]
)
def test_sessions_lie_apart_from_what_runs_over_history(run: Callable[..., EpochResult], tmp_path: Path, epoch: str, parent: str) -> None:
    assert run(epoch).artifacts.parent.parent == tmp_path / parent


def test_the_configuration_is_written_before_anything_runs(run: Callable[..., EpochResult], tmp_path: Path) -> None:
    def runner_fn(symbol: str, **more: Any) -> dict[str, Any]:
        (config,) = (loaded(path) for path in tmp_path.glob("backtests/*/run-*/config.json"))
        assert log_context() == {"run_id": config["run"]["run_id"], "strategy_id": "momentum-v1", "epoch": "backtest", "symbol": symbol}
        assert kinds(tmp_path) == ["epoch_started"]
        assert config["arguments"] == {
            "timeframe": "1h",
            "strategy": "keel.runners.lifecycle.stages.StrategyEpoch",
            "prices": "array of float64 (3,)",
            "limit": "inf",
        }
        assert config["config"] == {"params": {"fast": 20}}
        assert config["promotion"] == ["sharpe > 1"]
        assert {"python", "numpy", "TA-Lib"} <= set(config["code"])
        return METRICS

    arguments = {"timeframe": "1h", "strategy": StrategyEpoch, "prices": np.zeros(3), "limit": float("inf"), "api_secret": "hunter2"}
    result = run(runner_fn=runner_fn, effective_config={"params": {"fast": 20}}, promotion_criteria=["sharpe > 1"], **arguments)
    assert result.error is None
    assert "hunter2" not in (result.artifacts / "config.json").read_text()
    assert log_context() == {}


VERDICTS = [
    (None, None, None, ""),
    ([], None, None, ""),
    (["sharpe > 1.0"], True, "demo", "sharpe > 1: passed (1.8)"),
    (["sharpe > 1.0", "total_trades >= 100"], False, None, "sharpe > 1: passed (1.8); total_trades >= 100: failed (45)"),
    (lambda metrics: metrics["sharpe"] > 2, False, None, "<lambda>: failed"),
    (lambda metrics: np.bool_(True), True, "demo", "<lambda>: passed"),
]


@pytest.mark.parametrize(("criteria", "passed", "next_epoch", "reason"), VERDICTS)
def test_verdicts(run: Callable[..., EpochResult], criteria: Any, passed: bool | None, next_epoch: str | None, reason: str) -> None:
    result = run(promotion_criteria=criteria, next_epoch="demo")
    assert (result.passed, result.next_epoch) == (passed, next_epoch)
    assert result.promotion_reason.endswith(reason) and bool(result.promotion_reason) == bool(reason)
    stored = loaded(result.artifacts / "results.json")
    assert (stored["passed"], stored["next_epoch"], stored["promotion_reason"]) == (passed, next_epoch, result.promotion_reason)
    assert len(stored["rules"]) == (len(criteria) if isinstance(criteria, list) else 0)


def test_a_metric_that_is_unknown_passes_no_rule(run: Callable[..., EpochResult]) -> None:
    result = run(runner_fn=lambda symbol: {"sharpe": None}, promotion_criteria=["sharpe < 100"], next_epoch="demo")
    assert result.passed is False and "no value" in result.promotion_reason


def raises(symbol: str) -> dict[str, Any]:
    raise ZeroDivisionError("division by zero on bar 1000")


FAILURES: list[tuple[Any, Any, str]] = [
    (raises, None, "ZeroDivisionError: division by zero on bar 1000"),
    (lambda symbol: None, None, "ConfigError: metrics are a mapping"),
    (lambda symbol: [1.0], None, "ConfigError: metrics are a mapping"),
    (lambda symbol: {"sharpe": float("nan")}, None, "ConfigError: metrics.sharpe is nan"),
    (lambda symbol: {"curve": object()}, None, "ConfigError: metrics.curve is a object"),
    (lambda symbol: METRICS, lambda metrics: metrics["missing"] > 1, "KeyError: 'missing'"),
    (lambda: METRICS, None, "TypeError:"),
]


@pytest.mark.parametrize(("runner_fn", "criteria", "error"), FAILURES)
def test_a_run_that_fails_is_marked_failed_and_returned(
    run: Callable[..., EpochResult], tmp_path: Path, runner_fn: Any, criteria: Any, error: str
) -> None:
    result = run(runner_fn=runner_fn, promotion_criteria=criteria, next_epoch="demo")
    assert (result.status, result.passed, result.next_epoch, result.metrics) == ("failed", False, None, {})
    assert result.error is not None and result.error.startswith(error)
    stored = loaded(result.artifacts / "results.json")
    assert stored["status"] == "failed" and "Traceback" in stored["error"]["traceback"]
    assert loaded(result.artifacts / "summary.json")["error"] == result.error
    assert kinds(tmp_path) == ["epoch_started", "epoch_failed"]


def test_raise_errors_raises_again_after_the_run_is_marked(run: Callable[..., EpochResult], tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run(runner_fn=raises, raise_errors=True)
    assert kinds(tmp_path) == ["epoch_started", "epoch_failed"]


def test_our_own_mistakes_are_always_raised_again(run: Callable[..., EpochResult], small_result: Any, tmp_path: Path) -> None:
    def mistaken(symbol: str) -> BacktestResult:
        raise InvariantError("the ledger does not sum to zero")

    with pytest.raises(InvariantError):
        run(runner_fn=mistaken)
    with pytest.raises(InvariantError, match="trust"):
        run(runner_fn=lambda symbol: small_result(trust={"x": float("nan")}))
    assert kinds(tmp_path) == ["epoch_started", "epoch_failed"] * 2
    assert not list(tmp_path.glob("backtests/*/*/equity.csv"))


def test_an_interrupt_passes_on_and_the_run_says_so(run: Callable[..., EpochResult], tmp_path: Path) -> None:
    def interrupted(symbol: str) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(runner_fn=interrupted)
    assert kinds(tmp_path) == ["epoch_started", "epoch_interrupted"]
    (folder,) = tmp_path.glob("backtests/*/*")
    for name in ("summary.json", "results.json"):
        assert loaded(folder / name)["status"] == "interrupted"
    (listed,) = list_runs(tmp_path)
    assert listed.status == "interrupted" and "Ctrl-C" in (listed.error or "")


def test_an_interrupt_while_a_run_is_judged_or_written_marks_it_too(run: Callable[..., EpochResult], tmp_path: Path) -> None:
    class Metrics(dict[str, float]):
        def __iter__(self) -> Any:
            raise KeyboardInterrupt

        keys = __iter__

    with pytest.raises(KeyboardInterrupt):
        run(runner_fn=lambda symbol: Metrics(sharpe=1.0))
    assert [entry.status for entry in list_runs(tmp_path)] == ["interrupted"]


def test_an_exit_is_never_caught(run: Callable[..., EpochResult], tmp_path: Path) -> None:
    def leaving(symbol: str) -> dict[str, Any]:
        raise SystemExit

    with pytest.raises(SystemExit):
        run(runner_fn=leaving)
    assert kinds(tmp_path) == ["epoch_started"]
    assert [path.name for path in tmp_path.glob("backtests/*/*/*")] == ["config.json"]


@pytest.fixture
def full_disk() -> Iterator[Callable[[int], None]]:
    """Files may not grow beyond so many bytes: what a full disk does to a writer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_run_that_finds_no_room_for_its_files_is_failed_and_says_what_to_do(
    run: Callable[..., EpochResult], small_result: Any, tmp_path: Path, full_disk: Callable[[int], None]
) -> None:
    """Only the large file does not fit: the small ones say that the run failed, and why."""
    curve = Frame(60_000 * np.arange(20_000), {"equity": np.linspace(10_000.0, 10_100.0, 20_000)})

    def fills_the_disk(symbol: str) -> BacktestResult:
        result: BacktestResult = small_result(equity_curve=curve)
        full_disk(50_000)
        return result

    with pytest.raises(DataError, match=r"could not be kept: .*equity\.csv could not be written.*--home DIR") as caught:
        run(runner_fn=fills_the_disk)
    assert "is marked failed" in caught.value.__notes__[0]
    (folder,) = tmp_path.glob("backtests/*/*")
    assert {path.name for path in folder.iterdir()} == {"config.json", "results.json", "summary.json"}
    (listed,) = list_runs(tmp_path)
    assert listed.status == "failed" and "could not be kept" in (listed.error or "")


def test_a_run_whose_files_are_whole_is_kept_even_if_its_event_is_not(
    run: Callable[..., EpochResult], small_result: Any, tmp_path: Path
) -> None:
    def blocks_the_log(symbol: str) -> BacktestResult:
        (log,) = (tmp_path / "logs").glob("events_*.jsonl")
        log.unlink()
        log.mkdir()
        result: BacktestResult = small_result()
        return result

    with pytest.raises(DataError, match=r"^run-\w+ is kept, and could not be recorded in full"):
        run(runner_fn=blocks_the_log)
    assert [entry.status for entry in list_runs(tmp_path)] == ["completed"]


def test_a_run_that_cannot_be_begun_leaves_no_folder(
    run: Callable[..., EpochResult], tmp_path: Path, full_disk: Callable[[int], None]
) -> None:
    full_disk(10)
    with pytest.raises(DataError, match=r"no run was begun in .*config\.json could not be written.*--home DIR"):
        run(runner_fn=lambda symbol: {"sharpe": 1.0})
    assert list(tmp_path.glob("backtests/*")) == []


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"epoch": "production"}, ConfigError, "'production' is not an epoch"),
    ({"epoch": "archived"}, ConfigError, "nothing runs"),
    ({"promotion_criteria": ["sharpe is good"]}, ConfigError, "is not a rule"),
    ({"promotion_criteria": "sharpe > 1"}, ConfigError, "give a list"),
    ({"next_epoch": "archived"}, ConfigError, "retires"),
    ({"next_epoch": "creation"}, ConfigError, "no step up"),
    ({"next_epoch": "live"}, SafetyError, "the step before it is demo"),
    ({"strategy_id": ""}, ConfigError, "strategy_id is empty"),
]


@pytest.mark.parametrize(("settings", "error", "words"), REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_written(
    run: Callable[..., EpochResult], tmp_path: Path, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(**settings)
    assert list(tmp_path.iterdir()) == []


def test_a_backtest_result_brings_all_its_files(run: Callable[..., EpochResult], small_result: Any) -> None:
    made: BacktestResult = small_result()
    result = run(runner_fn=lambda symbol: made, promotion_criteria=["total_trades >= 2"], next_epoch="demo")
    assert result.metrics == made.metrics and result.passed is True
    assert (made.run_id, made.artifacts) == (result.run_id, result.artifacts)
    written = {path.name for path in result.artifacts.iterdir()}
    assert written == {
        "config.json",
        "results.json",
        "summary.json",
        "result.json",
        "trades.jsonl",
        "trades.csv",
        "equity.csv",
        "equity.parquet",
    }
    assert loaded(result.artifacts / "results.json")["notes"] == {"sharpe": "fewer than 30 days"}
    assert loaded(result.artifacts / "result.json")["run_id"] == result.run_id


def test_the_same_run_twice_gives_the_same_trades_and_equity(run: Callable[..., EpochResult], small_result: Any) -> None:
    a, b = (run(runner_fn=lambda symbol: small_result()).artifacts for _ in range(2))
    for name in ("trades.jsonl", "trades.csv", "equity.csv"):
        assert (a / name).read_bytes() == (b / name).read_bytes()


def test_what_is_promoted_may_go_on_and_what_is_not_may_not(run: Callable[..., EpochResult], tmp_path: Path) -> None:
    run()
    with pytest.raises(SafetyError, match="not promoted to demo"):
        run("demo")
    run(promotion_criteria=["sharpe > 9"], next_epoch="demo")
    with pytest.raises(SafetyError):
        run("demo")
    run(promotion_criteria=["sharpe > 1"], next_epoch="demo")
    assert run("demo").status == "completed"
    with pytest.raises(SafetyError, match="not promoted to live"):
        run("live")
    assert run("backtest").status == run("demo").status == run("idea").status == "completed"
    assert StrategyEpochTracker("momentum-v1", home=tmp_path).state.reached == "demo"


@pytest.fixture(autouse=True)
def no_home_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("KEEL_HOME", raising=False)
    yield


# --- names that run_epoch and the runner share -----------------------------------------------------------------------------------------


def test_what_run_epoch_takes_by_name_reaches_a_runner_that_asks_for_it(run: Callable[..., EpochResult], tmp_path: Path) -> None:
    """``timeframes=["1h"]`` is run_epoch's own, and the runner's, too: neither swallows the other's."""
    seen: dict[str, Any] = {}

    def runner_fn(
        symbol: str, timeframes: list[str], strategy_id: str, epoch: str, home: Path, experiment: str = "none", *, next_epoch: Any
    ) -> dict[str, Any]:
        seen.update(symbol=symbol, timeframes=timeframes, strategy_id=strategy_id, epoch=epoch, home=home, experiment=experiment)
        seen.update(next_epoch=next_epoch)
        return METRICS

    result = run(runner_fn=runner_fn, timeframes=["1h", "4h"])
    assert result.error is None
    assert seen == {
        "symbol": "BTCUSDT", "timeframes": ["1h", "4h"], "strategy_id": "momentum-v1", "epoch": "backtest", "home": tmp_path,
        "experiment": "none", "next_epoch": None,
    }  # fmt: skip


def test_a_runners_own_default_stands_where_run_epoch_was_given_nothing(run: Callable[..., EpochResult]) -> None:
    def runner_fn(symbol: str, timeframes: tuple[str, ...] = ("5m",), strategy_name: str = "mine") -> dict[str, Any]:
        return {"frames": len(timeframes), "named": len(strategy_name)}

    assert run(runner_fn=runner_fn, timeframes=())["metrics"] == {"frames": 1, "named": 4}
    assert run(runner_fn=runner_fn, timeframes=["1h", "4h"], strategy_name="other")["metrics"] == {"frames": 2, "named": 5}


@pytest.mark.parametrize("function", [lambda symbol, **anything: dict(METRICS, more=len(anything)), dict])
def test_a_runner_without_names_to_ask_by_gets_its_own_arguments_alone(run: Callable[..., EpochResult], function: Any) -> None:
    result = run(runner_fn=function, timeframes=["1h"], fast=5)
    assert result.error is None and "timeframes" not in result["metrics"]


def test_an_experiments_own_names_are_refused_where_they_would_be_swallowed(tmp_path: Path) -> None:
    tracker = ExperimentTracker("names", home=tmp_path)
    for name in ("experiment", "home", "now"):
        with pytest.raises(ConfigError, match=f"{name} is the experiment's own"):
            tracker.run("backtest", "BTCUSDT", "s", lambda symbol: METRICS, **{name: "mine"})
    seen: list[Any] = []

    def runner_fn(symbol: str, experiment: str, home: Path) -> dict[str, Any]:
        seen.extend((experiment, Home.find(home).root))
        return METRICS

    assert tracker.run("backtest", "BTCUSDT", "s", runner_fn).error is None and seen == ["names", tmp_path]


# --- a block ---------------------------------------------------------------------------------------------------------


def block(home: Path, **more: Any) -> EpochRun:
    return EpochRun(StrategyEpochTracker("s", home=home), StrategyEpoch.BACKTEST, "BTCUSDT", **more)


def test_a_block_that_fails_marks_its_run_and_says_where_it_is(tmp_path: Path) -> None:
    run = block(tmp_path)
    with pytest.raises(ZeroDivisionError) as raised, run:
        1 / 0  # noqa: B018  # raises
    (kept,) = list_runs(tmp_path)
    assert (kept.run_id, kept.status, kept.error) == (run.run_id, "failed", "ZeroDivisionError: division by zero")
    assert raised.value.__notes__ == [f"{run.run_id} is marked failed: {kept.folder}"] and run.done is not None


def test_a_run_that_begins_late_is_none_before_it_has_begun(tmp_path: Path) -> None:
    late = block(tmp_path, begins_late=True)
    with pytest.raises(DataError), late:
        raise DataError("refused at the start")
    assert list_runs(tmp_path) == [] and late.done is None
    with block(tmp_path, begins_late=True) as run:
        run.begin(journal="j")
        run.complete(METRICS)
    (kept,) = list_runs(tmp_path)
    config = kept.read().config
    assert kept.status == "completed" and config is not None and config["run"]["journal"] == "j"


def test_a_block_that_hands_nothing_on_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(InvariantError, match="nothing was handed to complete"), block(tmp_path):
        pass
    assert [kept.status for kept in list_runs(tmp_path)] == ["failed"]


def test_an_interrupt_in_a_block_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), block(tmp_path):
        raise KeyboardInterrupt
    assert [kept.status for kept in list_runs(tmp_path)] == ["interrupted"]
