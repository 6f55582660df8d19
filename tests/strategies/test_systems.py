"""The system files that come with keel decode, name strategies that exist, and fit the sample and the real history."""

from __future__ import annotations

import pytest

from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import tf_ms
from keel.core.system.file import decode_system, effective_dict, system_from_dict
from keel.strategies.registry import builtin_systems, check_params, load_strategy, strategy_ids

SYSTEMS = builtin_systems()
SAMPLE = TimeRange.from_dates("2024-01-01", "2025-01-01")
HISTORY = TimeRange.from_dates("2025-01-01", "2025-10-01")


def test_every_strategy_has_a_system_of_its_name() -> None:
    assert list(SYSTEMS) == strategy_ids()
    assert [decode_system(*SYSTEMS[name]).strategy for name in SYSTEMS] == list(SYSTEMS)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_whole(name: str) -> None:
    text, filename = SYSTEMS[name]
    config = decode_system(text, filename)
    cls = load_strategy(config.strategy)
    assert (config.system, filename) == (name, f"strategies/systems/{name}.yaml")
    assert check_params(cls, config.params).keys() == cls.defaults.keys()
    assert config.description and config.promotion.keys() == {"demo", "live"}
    assert text.startswith("# yaml-language-server: $schema=system.schema.json\n")
    assert effective_dict(system_from_dict(effective_dict(config), name)) == effective_dict(config)


@pytest.mark.parametrize("name", SYSTEMS)
def test_windows_lie_inside_the_history_that_they_are_meant_for(name: str) -> None:
    windows = {key: TimeRange.from_dates(w.start, w.end) for key, w in decode_system(*SYSTEMS[name]).windows.items()}
    assert windows.keys() == {"sample", "train", "test"}
    assert windows["train"].end_ms <= windows["test"].start_ms
    for key in ("train", "test"):
        assert HISTORY.start_ms <= windows[key].start_ms < windows[key].end_ms <= HISTORY.end_ms
    assert windows["sample"] == TimeRange.from_dates("2024-03-01", "2025-01-01")


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_sample_holds_the_warm_up_of_every_timeframe(name: str) -> None:
    config = decode_system(*SYSTEMS[name])
    cls = load_strategy(config.strategy)
    params = check_params(cls, config.params)
    specs = [*cls.features.values(), *config.features.values()]
    longest = max((params[str(spec["timeperiod"]).removeprefix("$")] for spec in specs), default=0)
    bars = config.warmup_bars if config.warmup_bars is not None else max(500, 5 * longest)
    start = TimeRange.from_dates(config.windows["sample"].start, config.windows["sample"].end).start_ms
    for timeframe in {config.timeframe, *(spec.get("timeframe", config.timeframe) for spec in specs)}:
        assert start - bars * tf_ms(timeframe) >= SAMPLE.start_ms
    assert bars >= 5 * longest  # enough for an EMA to have forgotten its first value


def test_one_system_reads_a_higher_timeframe_and_attaches_exits() -> None:
    assert any(spec.get("timeframe") == "4h" for spec in load_strategy("atr_breakout").features.values())
