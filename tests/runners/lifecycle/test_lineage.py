"""A run by ``run_epoch`` and ``BacktestEngine`` has the lineage of one by ``keel backtest``: parameters, configuration, fingerprints,
uid, and a report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.model.messages import Signal
from keel.core.model.time_range import TimeRange
from keel.core.results.result import BacktestResult
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.runners.backtest.engine import BacktestEngine
from keel.runners.backtest.system_run import make_ready, run_backtest
from keel.runners.backtest.windows import NamedWindow
from keel.runners.epoch import EpochResult, ExperimentTracker, StrategyEpochTracker, run_epoch
from keel.runners.home import Home
from keel.runners.lifecycle.kept_result import kept_result
from keel.runners.lifecycle.lineage import fingerprint_of, reference_of, state_of
from keel.runners.lifecycle.registry import run_info
from keel.runners.systems import load_system
from keel.strategies.base import BaseStrategy
from keel.strategies.ema_cross import EmaCross
from keel.strategies.hold import Hold
from keel.strategies.momentum import MomentumStrategy
from keel.strategies.registry import load_strategy

Keel = Callable[..., Any]
SPAN = ("2024-01-22", "2024-01-26")


class Mine(BaseStrategy):
    """A strategy of a module, made with something."""

    defaults: ClassVar[dict[str, Any]] = {"dip": 1.0}

    def __init__(self, side: str = "LONG") -> None:
        self.side = side

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return None if snapshot.position.qty else Signal(snapshot.symbol, self.side)


@pytest.fixture
def store(home: Path) -> Iterator[HistoricalDataStore]:
    with HistoricalDataStore(home / "data" / "keel.duckdb", read_only=True) as opened:
        yield opened


def run(home: Path, store: HistoricalDataStore, strategy: Any = EmaCross, **params: Any) -> EpochResult:
    def go(symbol: str, timeframe: str, **config: Any) -> Any:
        return BacktestEngine(symbol, timeframe, *SPAN, store=store).run(strategy, config)

    done = run_epoch("backtest", "BTCUSDT", "uidtest", go, timeframe="1h", home=home, **params)
    assert done.error is None
    return done


def files(done: EpochResult) -> tuple[Any, Any]:
    return tuple(msgspec.json.decode((done.artifacts / name).read_bytes()) for name in ("config.json", "result.json"))  # type: ignore[return-value]


def test_parameters_configuration_fingerprints_and_uid_stand_in_the_artifacts(home: Path, store: HistoricalDataStore) -> None:
    first, second = (files(run(home, store, fast=fast, slow=50)) for fast in (5, 20))
    for config, result in (first, second):
        own = config["config"]
        assert own["system"]["strategy"] == result["system"]["strategy"] == "ema_cross"
        assert own["system_uid"] == result["system_uid"] and len(own["system_uid"]) == 64
        assert own["window"]["start"] == "2024-01-22T00:00:00Z" and own["warmup_bars"] == {"1h": 500}
        assert own["strategy_fingerprint"] == EmaCross_fingerprint() and own["env"] == "live"
    assert first[1]["system"]["params"] == {"fast": 5, "slow": 50} and second[1]["system"]["params"] == {"fast": 20, "slow": 50}
    assert first[0]["config"]["data_fingerprint"] == second[0]["config"]["data_fingerprint"] != ""
    assert first[1]["system_uid"] != second[1]["system_uid"]
    assert files(run(home, store, fast=5, slow=50))[1]["system_uid"] == first[1]["system_uid"]


def EmaCross_fingerprint() -> str:
    return fingerprint_of(EmaCross)


def test_the_uid_is_that_of_keel_backtest(home: Path, store: HistoricalDataStore) -> None:
    """A system file's run, and the same system by the engine: one uid, one message hash, the same bytes."""
    loaded, window = load_system("ema_cross", Home(home), ["warmup_bars=100"]), TimeRange.from_dates(*SPAN)
    done = run_backtest(make_ready(loaded, NamedWindow("w", window), store), Home(home), report=False, promote=False)
    by_engine = run_epoch(
        "backtest", "BTCUSDT", "ema_cross", lambda symbol: BacktestEngine.from_system(loaded.config, window, store=store).run(EmaCross()),
        home=home,
    )  # fmt: skip
    config, result = files(by_engine)
    expected, _ = files(done.epoch)
    same = ("system", "warmup_bars", "env", "strategy_fingerprint", "data_fingerprint", "system_uid")
    assert {name: config["config"][name] for name in same} == {name: expected["config"][name] for name in same}
    assert result["message_hash"] == done.result.message_hash
    for name in ("trades.jsonl", "equity.csv"):
        assert (by_engine.artifacts / name).read_bytes() == (done.epoch.artifacts / name).read_bytes()


def test_a_strategy_of_the_users_own_file_keeps_the_name_by_which_its_system_finds_it(
    home: Path, store: HistoricalDataStore, strategy: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    strategy("own", "class Own(BaseStrategy):\n    def generate_signal(self, snapshot, params):\n        return None\n")
    loaded = load_system("own", Home(home))
    engine = BacktestEngine.from_system(loaded.config, TimeRange.from_dates(*SPAN), store=store)
    assert engine.run(loaded.strategy).system.strategy == "own"
    assert engine.run(MomentumStrategy, {}).system.strategy == "momentum"
    by_file = load_strategy("strategies/own.py:Own")
    assert reference_of(by_file) == f"{home / 'strategies' / 'own.py'}:Own"


def test_references_lead_to_the_code() -> None:
    def local(snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> None:
        return None

    assert [reference_of(each) for each in (EmaCross, Hold, MomentumStrategy)] == ["ema_cross", "hold", "momentum"]
    assert load_strategy(reference_of(Mine)).__qualname__ == "Mine"
    assert reference_of(local).endswith("test_references_lead_to_the_code.<locals>.local")


def test_what_an_instance_was_made_with_is_part_of_the_lineage(home: Path, store: HistoricalDataStore) -> None:
    """Two instances of one class are two strategies where they differ; ``params`` are not all that there is."""
    uids = {side: files(run(home, store, Mine(side)))[0]["config"] for side in ("LONG", "SHORT")}
    assert uids["LONG"]["strategy_made_with"] == {"side": "LONG"}
    assert uids["LONG"]["system_uid"] != uids["SHORT"]["system_uid"]
    assert state_of(EmaCross()) == {}


def test_what_is_long_is_told_by_its_digest_and_what_holds_itself_ends() -> None:
    ones, twos = (Mine.__new__(Mine) for _ in range(2))
    ones.values, twos.values = np.ones(5), np.full(5, 2.0)  # type: ignore[attr-defined]
    ones.table, twos.table = list(range(1000)), list(range(1, 1001))  # type: ignore[attr-defined]
    first, second = state_of(ones), state_of(twos)
    assert first["values"].startswith("array of float64 (5,), ") and first["table"].startswith("1000 values, ")
    assert first["values"] != second["values"] and first["table"] != second["table"]
    ones.itself = [ones.__dict__]  # type: ignore[attr-defined]
    assert len(repr(state_of(ones))) < 10_000


def test_closures_that_keep_other_values_are_other_strategies(home: Path, store: HistoricalDataStore) -> None:
    def make(side: str, factor: float = 1.0) -> Any:
        def decide(snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
            return None if snapshot.position.qty else Signal(snapshot.symbol, side, 100.0 * factor)

        return decide

    prints = [fingerprint_of(make(*values)) for values in (("LONG",), ("SHORT",), ("LONG", 2.0), ("LONG",))]
    assert len(set(prints)) == 3 and prints[0] == prints[3]
    config, result = files(run(home, store, make("LONG"), dip=2))
    assert result["system"]["params"] == {"dip": 2} and result["system_uid"] == config["config"]["system_uid"]


class Caller:
    """Decides when it is called, and by a method; kept apart by what it was made with."""

    def __init__(self, side: str) -> None:
        self.side = side

    def __call__(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return self.decide(snapshot, params)

    def decide(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return None if snapshot.position.qty else Signal(snapshot.symbol, self.side)  # type: ignore[arg-type]


def take(side: str, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
    return Caller(side)(snapshot, params)


@pytest.mark.parametrize(
    ("make", "name"), [(Caller, "Caller"), (lambda side: Caller(side).decide, "Caller.decide"), (lambda side: partial(take, side), "take")]
)
def test_whatever_can_be_called_has_a_lineage(home: Path, store: HistoricalDataStore, make: Callable[[str], Any], name: str) -> None:
    """An object, a method, a partial: named by its code, and told apart by what it keeps."""
    assert reference_of(make("LONG")).endswith(f":{name}")
    assert fingerprint_of(make("LONG")) == fingerprint_of(make("LONG")) != fingerprint_of(make("SHORT"))
    config, result = files(run(home, store, make("LONG")))
    assert config["config"]["system_uid"] == result["system_uid"] != ""


def test_the_configuration_stands_there_before_the_first_bar_and_stays_when_the_run_fails(home: Path, store: HistoricalDataStore) -> None:
    def broken(snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        raise ValueError("no")

    def go(symbol: str) -> Any:
        return BacktestEngine(symbol, "1h", *SPAN, store=store).run(broken, {"dip": 3})

    done = run_epoch("backtest", "BTCUSDT", "broken", go, home=home)
    assert done.status == "failed"
    config = msgspec.json.decode((done.artifacts / "config.json").read_bytes())["config"]
    assert config["system"]["params"] == {"dip": 3} and len(config["system_uid"]) == 64


def test_of_several_engines_the_one_that_is_returned_counts(home: Path, store: HistoricalDataStore) -> None:
    def go(symbol: str) -> Any:
        results = [BacktestEngine(symbol, "1h", *SPAN, store=store).run(EmaCross, {"fast": fast}) for fast in (5, 9)]
        return results[0]

    config, result = files(run_epoch("backtest", "BTCUSDT", "best-of", go, home=home))
    assert config["config"]["system"]["params"]["fast"] == result["system"]["params"]["fast"] == 5


def test_a_configuration_that_the_caller_gives_is_not_replaced(home: Path, store: HistoricalDataStore) -> None:
    go = lambda symbol: BacktestEngine(symbol, "1h", *SPAN, store=store).run(EmaCross)  # noqa: E731
    done = run_epoch("backtest", "BTCUSDT", "own", go, effective_config={"mine": 1}, home=home)
    assert files(done)[0]["config"] == {"mine": 1}


def test_by_hand_with_the_tracker(home: Path, store: HistoricalDataStore) -> None:
    tracker = StrategyEpochTracker("by-hand", home=home)
    run_id = tracker.epoch_start("backtest", "BTCUSDT", ["1h"])
    result = BacktestEngine("BTCUSDT", "1h", *SPAN, store=store).run(EmaCross, {"fast": 7})
    done = StrategyEpochTracker("by-hand", home=home).epoch_complete(run_id, "backtest", "BTCUSDT", result)
    assert files(done)[0]["config"]["system_uid"] == result.system_uid != ""


def test_what_was_kept_is_read_back_as_it_was(home: Path, store: HistoricalDataStore) -> None:
    """Everything that a report shows: figures, trades, curve, money, what became of signals and orders, bars, buy and hold."""
    made: list[BacktestResult] = []

    def go(symbol: str) -> BacktestResult:
        made.append(BacktestEngine(symbol, "1h", *SPAN, store=store).run(EmaCross, {"fast": 3, "slow": 9}))
        return made[0]

    done = run_epoch("backtest", "BTCUSDT", "kept", go, home=home)
    store.close()
    kept, (result,) = kept_result(run_info(done.artifacts), home / "data" / "keel.duckdb"), made
    assert dict(kept) == dict(result) and kept.trades == result.trades and len(kept.trades) > 3
    assert kept.open_trades == result.open_trades and kept.trades.open == kept.open_trades  # type: ignore[attr-defined]
    assert kept.reconciliation == result.reconciliation and kept.trust == result.trust and kept.order_log == result.order_log
    assert kept.funnel.counts() == result.funnel.counts() and kept.funnel.signals > 3
    assert (kept.system, kept.window, kept.system_uid, kept.message_hash) == (
        result.system, result.window, result.system_uid, result.message_hash
    )  # fmt: skip
    assert kept.effective_config == msgspec.json.decode(msgspec.json.encode(result.effective_config))
    for ours, theirs in (
        (kept.equity_curve, result.equity_curve),
        (kept.benchmark, result.benchmark),
        *zip(kept.bars.values(), result.bars.values(), strict=True),
    ):
        assert ours is not None and theirs is not None and ours.ts.tolist() == theirs.ts.tolist()
        for name in theirs.columns:
            assert np.array_equal(ours[name], theirs[name], equal_nan=True), name
    turnover = sum(fill.qty * fill.price for fill in result.fills)
    assert kept.proof["entry_friction"]["turnover"] == pytest.approx(turnover)


def test_such_a_run_is_shown_compared_and_reported(home: Path, store: HistoricalDataStore, keel: Keel) -> None:
    """The report is drawn from what was kept: neither the strategy nor the store need be what they were."""
    experiment = ExperimentTracker("lineage", home=home)

    def go(symbol: str, dip: float) -> Any:
        decide = lambda snapshot, params: None if snapshot.position.qty else Signal(snapshot.symbol, "LONG", dip)  # noqa: E731
        return BacktestEngine(symbol, "1h", *SPAN, store=store).run(decide, {"dip": dip})

    a, b = (experiment.run("backtest", "BTCUSDT", "closures", go, dip=dip) for dip in (500.0, 900.0))
    store.close()
    compared = keel("runs", "compare", a.run_id, b.run_id, "--json").data
    assert {entry["key"] for entry in compared["config"]} >= {"config.system.params.dip", "config.system_uid"}
    assert keel("runs", "show", a.run_id).code == 0
    drawn = keel("runs", "report", a.run_id, "--json")
    assert drawn.code == 0, drawn.err
    assert (drawn.data["drawn"], drawn.data["computed"]) == (True, False)
    page = Path(drawn.data["path"]).read_text(encoding="utf-8")
    assert a.run_id in page and "Price and trades" in page and "No bars were kept" not in page
    shutil.rmtree(home / "data")
    again = keel("runs", "report", b.run_id, "--json")
    assert again.code == 0, again.err
    assert "No bars were kept" in Path(again.data["path"]).read_text(encoding="utf-8")
