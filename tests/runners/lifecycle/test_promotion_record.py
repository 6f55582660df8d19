"""A promotion is bound to the code, the configuration and the data that earned it, and a change of one of them voids it."""

from __future__ import annotations

import hashlib
import json
import shlex
import stat
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

import keel.strategies.base as strategies_base
from keel.adapters.plain_data import canonical_json
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError, DataError, SafetyError
from keel.core.model.time_range import TimeRange
from keel.core.system.promotion import RuleVerdict
from keel.runners.backtest.system_run import make_ready, run_backtest
from keel.runners.backtest.windows import NamedWindow
from keel.runners.epoch import StrategyEpoch, StrategyEpochTracker, run_epoch
from keel.runners.home import Home
from keel.runners.lifecycle import promotion
from keel.runners.lifecycle.events import read_events
from keel.runners.lifecycle.promotion_record import (
    UNBOUND_KEYS,
    Judged,
    Kept,
    PromotionRecord,
    configuration_hash,
    identity,
    kept_records,
    sealed,
    session_data,
    write_record,
)
from keel.runners.lifecycle.registry import list_runs
from keel.runners.live.demo import check_promotion
from keel.runners.systems import LoadedSystem, effective_system, load_system
from keel.runners.tools.registry import ToolContext
from keel.runners.tools.research.systems import MigrateRequest, systems_migrate_tool
from keel.strategies.verification import file_digest

SYSTEM = """
system: mine
strategy: mine.py:Mine
symbols: [BTCUSDT]
timeframe: 1h
warmup_bars: 0
promotion:
  demo: ["total_trades >= 0"]
  live: ["days >= 14"]
"""
STRATEGY = '''
from keel.strategies.base import BaseStrategy


class Mine(BaseStrategy):
    """Never trades."""

    def generate_signal(self, snapshot, params):
        return None
'''
WINDOW = NamedWindow("", TimeRange.from_dates("2024-01-10", "2024-01-12"))


@pytest.fixture
def place(home: Path) -> Home:
    (home / "systems").mkdir()
    (home / "strategies").mkdir()
    (home / "systems" / "mine.yaml").write_text(SYSTEM)
    (home / "strategies" / "mine.py").write_text(STRATEGY)
    return Home(home)


def loaded(place: Home, *overrides: str) -> LoadedSystem:
    return load_system("mine", place, list(overrides))


def backtest(place: Home, *overrides: str, promote: bool = True) -> str:
    with HistoricalDataStore(place.store, read_only=True) as store:
        ready = make_ready(loaded(place, *overrides), WINDOW, store)
        return run_backtest(ready, place, report=False, promote=promote).epoch.run_id


def demo_session(place: Home, strategy_id: str, days: float, **more: object) -> Path:
    """What a session leaves of itself, without one."""
    system = loaded(place)
    config = {
        "system": json.loads(json.dumps(promotion_config(system))), "strategy_fingerprint": system.strategy_fingerprint,
        "function_fingerprints": {}, "environment": "demo", **more,
    }  # fmt: skip
    done = run_epoch(StrategyEpoch.DEMO, "BTCUSDT", strategy_id, lambda symbol: {"days": days}, effective_config=config, home=place)
    for name in ("trades.jsonl", "equity.csv"):
        (done.artifacts / name).write_text("")
    return done.artifacts


def promotion_config(system: LoadedSystem) -> object:
    from keel.runners.systems import effective_system

    return effective_system(system)


def test_a_passed_epoch_makes_the_record_itself(place: Home) -> None:
    run_id = backtest(place)
    (record,) = kept_records(place, "mine", "demo", ("exchange",)).records
    assert (record.how, record.place, record.judged and record.judged.run_id) == ("epoch", "exchange", run_id)
    assert [(each.rule, each.passed) for each in record.rules] == [("total_trades >= 0", True)]
    (path,) = place.promotions.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert promotion.standing(loaded(place), "demo", place).holds
    assert any(event["event"] == "epoch_promoted" for event in read_events(place, "mine"))


def test_a_script_s_passed_epoch_has_a_record_only_where_it_says_of_what(place: Home) -> None:
    run_epoch(
        "backtest", "BTCUSDT", "plain", lambda symbol: {"sharpe": 2.0}, promotion_criteria=["sharpe > 1"], next_epoch="demo", home=place
    )
    assert StrategyEpochTracker("plain", home=place).state.reached == "demo" and not place.promotions.exists()


def test_a_changed_strategy_voids_it_and_says_so(place: Home) -> None:
    backtest(place)
    (place.strategies / "mine.py").write_text(STRATEGY + "\n# another thought\n")
    found = promotion.standing(loaded(place), "demo", place)
    assert not found.holds and "the code of the strategy" in found.why and "configuration" not in found.why and "data" not in found.why


def test_a_changed_configuration_voids_it_and_says_so_but_where_it_may_trade_does_not(place: Home) -> None:
    backtest(place)
    for override in ("risk.leverage=2", "sizing.percent=11", "promotion.demo=[total_trades >= -1]", "on_fault=flatten"):
        found = promotion.standing(loaded(place, override), "demo", place)
        assert not found.holds and "the configuration" in found.why and "the code" not in found.why, override
    for override in ("mode=live", "live.max_order_usd=5", "description=other words"):
        assert promotion.standing(loaded(place, override), "demo", place).holds, override


def test_changed_bars_void_it_and_say_so(place: Home) -> None:
    backtest(place)
    with HistoricalDataStore(place.store) as store:
        (timeframe,) = store.timeframes("BTCUSDT")
        columns = {
            name: column.copy()
            for name, column in store.get_ohlcv("BTCUSDT", timeframe, WINDOW.span.start_ms, WINDOW.span.end_ms).to_dict().items()
        }
        columns["volume"][3] += 1.0
        store.upsert_bars("BTCUSDT", timeframe, columns, source="corrected")
    found = promotion.standing(loaded(place), "demo", place)
    assert not found.holds and "the data have changed since" in found.why and "the code" not in found.why


def test_a_store_that_is_gone_voids_it(place: Home) -> None:
    backtest(place)
    place.store.unlink()
    assert "cannot be read any more" in promotion.standing(loaded(place), "demo", place).why


def test_a_damaged_or_edited_record_is_none_and_is_said_with_a_way_out_that_works(place: Home) -> None:
    backtest(place)
    (path,) = place.promotions.iterdir()
    whole = path.read_text()
    for text in ("", whole[:100], whole.replace('"to": "demo"', '"to": "live"'), whole.replace('"mine"', '"other"', 1), "[" * 100_000):
        path.write_text(text)
        found = kept_records(place, "mine", "demo", ("exchange",))
        assert found.records == [] and [file.path for file in found.damaged] == [path]
        with pytest.raises(SafetyError, match=r"is damaged: .*mv .* takes it away; then keel backtest mine"):
            check_promotion(loaded(place), place)
    assert kept_records(place, "mine", "live", ("exchange",)) == kept_records(place, "other", "demo", ("exchange",))
    subprocess.run(shlex.split(found.damaged[0].way_out), check=True)
    promotion.promote(loaded(place), "demo", place)
    assert check_promotion(loaded(place), place) == ""


def test_what_a_damaged_record_said_is_not_replaced_by_an_older_one(place: Home) -> None:
    """It may have said untested; a newer one that holds makes up for it."""
    backtest(place)
    promotion.promote_untested(loaded(place), place, "a first look at how orders fill")
    newest = max(place.promotions.iterdir(), key=lambda path: path.name.split("-")[3])
    newest.write_text("{")
    demo_session(place, "mine", days=15.0)
    with pytest.raises(SafetyError, match="is damaged"):
        promotion.promote(loaded(place), "live", place)
    with pytest.raises(SafetyError, match="is damaged"):
        check_promotion(loaded(place, "promotion={}"), place)
    promotion.promote(loaded(place), "demo", place)
    assert promotion.promote(loaded(place), "live", place).to == "live"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"rules": []}, "it names no rule that passed"),
        ({"rules": [RuleVerdict("sharpe > 1", 0.5, 1.0, False)]}, "it says that sharpe > 1 did not pass"),
        ({"judged": None}, "it was judged on nothing, and demo is judged on a backtest run"),
        ({"judged": Judged("run-1", "runs", "demo")}, "it was judged on a demo run"),
        ({"how": "untested"}, "it says untested, which opens demo alone, with a reason"),
        ({"version": 2}, "it is of version 2"),
    ],
)
def test_the_words_of_a_record_must_hold_together(tmp_path: Path, words: dict[str, Any], said: str) -> None:
    record = PromotionRecord(
        system="mine", to="demo", place="exchange", made="2024-01-01", made_ms=1, by="me", how="promote", code="c", configuration="d",
        data="e", rules=[RuleVerdict("sharpe > 1", 2.0, 1.0, True)], judged=Judged("run-1", "backtests", "backtest"),
    )  # fmt: skip
    place = Home(tmp_path)
    write_record(place, sealed(record))
    assert kept_records(place, "mine", "demo", ("exchange",)) == Kept([sealed(record)], [])
    write_record(place, sealed(msgspec.structs.replace(record, made_ms=2, **words)))
    damaged = kept_records(place, "mine", "demo", ("exchange",)).newest_is_damaged
    assert damaged is not None and said in damaged.text


def test_promote_judges_a_run_that_was_kept(place: Home) -> None:
    with pytest.raises(SafetyError, match="no completed backtest run of mine"):
        promotion.promote(loaded(place), "demo", place)
    strict = "promotion.demo=[total_trades >= 5]"
    failing = backtest(place, strict, promote=False)
    with pytest.raises(SafetyError, match=r"FAILED  total_trades >= 5  \(0\)"):
        promotion.promote(loaded(place, strict), "demo", place)
    run_id = backtest(place, promote=False)
    with pytest.raises(SafetyError, match="cannot be judged for demo: the configuration changed since"):
        promotion.promote(loaded(place), "demo", place, run=failing)
    record = promotion.promote(loaded(place), "demo", place)
    assert record.how == "promote" and record.judged is not None and record.judged.run_id == run_id
    assert promotion.standing(loaded(place), "demo", place).holds
    with pytest.raises(SafetyError, match="cannot be judged for demo: the configuration changed since"):
        promotion.promote(loaded(place, "risk.leverage=2"), "demo", place)


def test_live_is_judged_on_a_demo_session_and_bound_to_what_it_left(place: Home) -> None:
    backtest(place)
    demo_session(place, "mine", days=3.0)
    with pytest.raises(SafetyError, match=r"FAILED  days >= 14  \(3\)"):
        promotion.promote(loaded(place), "live", place)
    folder = demo_session(place, "mine", days=15.0)
    record = promotion.promote(loaded(place), "live", place)
    assert record.data == session_data(folder) and promotion.standing(loaded(place, "mode=live"), "live", place).holds
    (folder / "trades.jsonl").write_text("{}\n")
    assert "the artifacts of" in promotion.standing(loaded(place), "live", place).why
    (folder / "trades.jsonl").unlink()
    assert "cannot be read any more" in promotion.standing(loaded(place), "live", place).why
    with pytest.raises(DataError):
        session_data(folder)


def test_no_rules_for_live_opens_nothing(place: Home) -> None:
    backtest(place)
    demo_session(place, "mine", days=15.0)
    with pytest.raises(SafetyError, match="no rules for live: nothing was judged; write rules under promotion: live:"):
        promotion.promote(loaded(place, "promotion={demo: [total_trades >= 0]}"), "live", place)


def test_a_rehearsal_s_record_counts_on_a_sandbox_only(place: Home) -> None:
    demo_session(place, "mine-sandbox", days=15.0, environment="sandbox")
    record = promotion.promote(loaded(place), "live", place, place="sandbox")
    assert record.place == "sandbox" and promotion.standing(loaded(place), "live", place, place="sandbox").holds
    assert "no promotion record to live" in promotion.standing(loaded(place), "live", place).why


def test_untested_is_for_demo_alone_and_shown_ever_after(place: Home) -> None:
    with pytest.raises(ConfigError, match="says why"):
        promotion.promote_untested(loaded(place), place, "because")
    with pytest.raises(SafetyError, match=r"no promotion record to demo: keel backtest mine .* or --untested --because"):
        check_promotion(loaded(place), place)
    record = promotion.promote_untested(loaded(place), place, "a first look at  how orders fill")
    assert record.is_untested and check_promotion(loaded(place), place) == "a first look at how orders fill"
    with pytest.raises(SafetyError, match="the configuration"):
        check_promotion(loaded(place, "risk.leverage=2"), place)
    demo_session(place, "mine", days=15.0)
    with pytest.raises(SafetyError, match="promoted to demo untested"):
        promotion.promote(loaded(place), "live", place)


def test_a_system_without_rules_is_as_free_on_demo_as_its_life_leaves_it(place: Home) -> None:
    assert check_promotion(loaded(place, "promotion={}"), place) == ""


def test_old_rules_of_recorded_runs_are_read_as_they_were_meant(place: Home) -> None:
    from keel.runners.systems import effective_system, load_recorded

    system = loaded(place)
    before = {**effective_system(system), "promotion": {"backtest": ["total_trades >= 0"], "demo": ["days >= 14"]}}
    del before["mode"], before["live"]
    again = load_recorded(before, system.filename, "config.json", place, fingerprint=system.strategy_fingerprint, functions={})
    assert again.config.promotion == system.config.promotion and identity(again) == identity(system)


def test_the_runs_are_still_listed(place: Home) -> None:
    backtest(place)
    assert [run.passed for run in list_runs(place)] == [True]


def test_a_record_that_was_earned_under_the_old_names_holds_after_the_rewrite(place: Home) -> None:
    """What it is bound to is worked out here from the sources and the system as they were written then."""
    old_strategy = STRATEGY.replace("keel.", "")
    (place.strategies / "mine.py").write_text(old_strategy)
    assert systems_migrate_tool.run(MigrateRequest(), ToolContext(home=place)).rewritten[0].lines == 1
    run_id = backtest(place)
    base = (
        Path(strategies_base.__file__)
        .read_text()
        .replace("from keel.core.model", "from core")
        .replace("from keel.core.strategy", "from core")
        .replace("from keel.", "from ")
    )
    source = hashlib.sha256(f"{old_strategy}{base}Mine".encode()).hexdigest()
    system = loaded(place)
    effective = {key: value for key, value in effective_system(system).items() if key not in UNBOUND_KEYS}
    code, configuration = (
        hashlib.sha256(canonical_json(content, "")).hexdigest() for content in ({"functions": {}, "strategy": source}, effective)
    )
    (record,) = kept_records(place, "mine", "demo", ("exchange",)).records
    assert (record.judged and record.judged.run_id, record.code, record.configuration) == (run_id, code, configuration)
    assert promotion.standing(system, "demo", place).holds


def test_a_system_that_names_its_strategy_by_module_is_bound_as_under_the_old_name(place: Home) -> None:
    old = SYSTEM.replace("mine.py:Mine", "strategies.hold:Hold") + "features: {own: {fn: core.timeframe:floor_time}}\n"
    path = place.systems / "mine.yaml"
    path.write_text(old)
    assert systems_migrate_tool.run(MigrateRequest((str(path),)), ToolContext(home=place)).rewritten[0].lines == 2
    effective = effective_system(loaded(place))
    assert effective["strategy"] == "keel.strategies.hold:Hold"
    then = {**effective, "strategy": "strategies.hold:Hold", "features": {"own": {"fn": "core.timeframe:floor_time"}}}
    bound = {key: value for key, value in then.items() if key not in UNBOUND_KEYS}
    assert configuration_hash(effective) == hashlib.sha256(canonical_json(bound, "")).hexdigest()


def test_what_every_strategy_is_derived_from_is_what_the_records_were_earned_with() -> None:
    """A change of one letter in strategies/base.py voids every promotion of every user: it needs a reason, and a line in the changelog."""
    assert file_digest(Path(strategies_base.__file__)) == "bf54cd3a9b4f4d5ad3c50cebae0542d8e735965fe439ec2ca5f1b41a590c3338"
