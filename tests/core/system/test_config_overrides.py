"""Overrides set any key of a system, by the same rules as the file; systems written out come back the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from keel.core.errors import ConfigError
from keel.core.system.config import Distance, ExitsConfig, ImpactConfig, SystemConfig
from keel.core.system.file import apply_overrides, decode_system, effective_dict, system_from_dict

SYSTEM = SystemConfig(system="s", strategy="ema_cross", symbols=["BTCUSDT"], timeframe="1h", params={"fast": 20, "slow": 50})


def test_overrides_set_keys_in_their_order() -> None:
    changed = apply_overrides(
        SYSTEM,
        [
            "params.fast=10",
            "execution.slippage_bps=0",
            "risk.leverage=3",
            "symbols=[ETHUSDT]",
            "execution.impact.coefficient=0.5",
            "exits.stop_loss={percent: 2}",
            "exits.stop_loss.percent=4",
            "windows.w={start: 2025-01-01, end: 2025-02-01}",
        ],
    )
    assert changed.params == {"fast": 10, "slow": 50}
    assert (changed.execution.slippage_bps, changed.risk.leverage, changed.symbols) == (0.0, 3.0, ["ETHUSDT"])
    assert changed.execution.impact == ImpactConfig(coefficient=0.5)
    assert changed.exits == ExitsConfig(stop_loss=Distance(percent=4.0))
    assert changed.windows["w"].start == "2025-01-01"
    assert SYSTEM.params == {"fast": 20, "slow": 50} and SYSTEM.exits is None  # the system itself is left as it was


def test_a_key_that_another_sizing_model_no_longer_reads_stays_unread() -> None:
    written = decode_system("system: s\nstrategy: x\nsymbols: [A]\ntimeframe: 1h\nsizing: {percent: 95}\n", "s.yaml")
    assert apply_overrides(written, ["sizing.model=fixed_usd", "sizing.usd=100"]).sizing.model == "fixed_usd"


@pytest.mark.parametrize("word", ["none", "null"])
def test_execution_on_decision_bars_is_none(word: str) -> None:
    fine = msgspec.structs.replace(SYSTEM, execution_timeframe="5m")
    assert apply_overrides(fine, [f"execution_timeframe={word}"]).execution_timeframe is None
    assert decode_system(f"system: s\nstrategy: x\nsymbols: [A]\ntimeframe: 1h\nexecution_timeframe: {word}\n", "s.yaml") == (
        decode_system("system: s\nstrategy: x\nsymbols: [A]\ntimeframe: 1h\n", "s.yaml")
    )


def test_no_override_changes_nothing() -> None:
    assert apply_overrides(SYSTEM, []) == SYSTEM


REFUSED = [
    (["risk.levrage=1"], "override 'risk.levrage=1': risk.levrage: unknown key: did you mean leverage?"),
    (["parms.fast=1"], "override 'parms.fast=1': parms: unknown key: did you mean params?"),
    (["params.fast=5", "risk.leverage=0.5"], "override 'risk.leverage=0.5': risk.leverage: must be a number of at least 1"),
    (["risk.leverage=0.4", "risk.leverage=0.5"], "override 'risk.leverage=0.5': risk.leverage: must be"),
    (["symbols=ETHUSDT"], "override 'symbols=ETHUSDT': symbols: must be a list"),
    (["symbols=[ETHUSDT, eth]"], "override 'symbols=[ETHUSDT, eth]': symbols[1]: 'eth' is not a symbol"),
    (["category=spot", "risk.leverage=3"], "override 'risk.leverage=3': risk.leverage: spot has no leverage"),
    (["execution_timeframe=30m", "timeframe=15m"], "override 'execution_timeframe=30m': execution_timeframe: 30m must be finer"),
    (["exits.trailing.period=3"], "override 'exits.trailing.period=3': exits.trailing: needs exactly one"),
    (["leverage=3"], "override 'leverage=3': leverage: unknown key: it belongs into a section: risk.leverage"),
    (["sizing.model=fixed_usd", "sizing.usd=5", "sizing.percent=5"], "override 'sizing.percent=5': sizing.percent: is read by"),
    (["sizing={model: fixed_usd, usd: 5, percent: 5}"], "override 'sizing={model: fixed_usd, usd: 5, percent: 5}': sizing.percent: is"),
    (["params.fast=1e-3"], "override 'params.fast=1e-3': YAML reads 1e-3 as text"),
    (["params.fast=[1"], "override 'params.fast=[1': not valid YAML"),
    (["params.fast"], "override 'params.fast': write KEY=VALUE"),
    (["params..fast=1"], "override 'params..fast=1': write KEY=VALUE"),
    (["=1"], "override '=1': write KEY=VALUE"),
    (["params.fast="], "override 'params.fast=': there is no value"),
]


@pytest.mark.parametrize(("overrides", "beginning"), REFUSED)
def test_a_bad_override_is_named(overrides: list[str], beginning: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_overrides(SYSTEM, overrides)
    assert str(caught.value).startswith(beginning)


def test_a_rule_that_an_override_breaks_elsewhere_names_the_overrides() -> None:
    fine = msgspec.structs.replace(SYSTEM, execution_timeframe="30m")
    with pytest.raises(ConfigError, match=r"^with timeframe=15m: execution_timeframe: 30m must be finer"):
        apply_overrides(fine, ["timeframe=15m"])


def test_the_effective_system_says_what_holds() -> None:
    effective = effective_dict(SYSTEM)
    assert effective["execution_timeframe"] == "1h"
    assert effective["execution"]["limit_fill"] == "through"
    same = msgspec.structs.replace(SYSTEM, execution_timeframe="1h")
    assert effective_dict(same) == effective_dict(SYSTEM)
    assert effective_dict(apply_overrides(SYSTEM, ["params.fast=21"])) != effective_dict(SYSTEM)


def test_order_of_keys_does_not_matter() -> None:
    turned = msgspec.structs.replace(SYSTEM, params={"slow": 50, "fast": 20})
    assert effective_dict(turned) == effective_dict(SYSTEM)


def test_what_is_read_back_names_its_place() -> None:
    with pytest.raises(ConfigError, match=r"^runs/x/config.json: the key strategy is missing"):
        system_from_dict({"system": "s", "symbols": ["BTCUSDT"], "timeframe": "1h"}, "runs/x/config.json")


amounts = st.floats(0.001, 1000, allow_nan=False)
systems = st.builds(
    SystemConfig,
    system=st.just("s"),
    strategy=st.sampled_from(["ema_cross", "a.b:C", "x/y.py:Z"]),
    symbols=st.lists(st.sampled_from(["BTCUSDT", "ETHUSDT", "1000PEPEUSDT"]), min_size=1, unique=True),
    timeframe=st.sampled_from(["1h", "4h", "1d"]),
    execution_timeframe=st.sampled_from([None, "5m", "1h"]),
    params=st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Cn", "Co"]), min_size=1, max_size=8),
        st.one_of(st.integers(-(10**15), 10**15), amounts, st.booleans(), st.none(), st.text("abno yes1.e-3:", max_size=6)),
        max_size=4,
    ),
    initial_equity=amounts,
    exits=st.none() | st.builds(ExitsConfig, stop_loss=st.builds(Distance, atr=amounts), max_bars=st.none() | st.integers(1, 99)),
)


@given(systems)
def test_systems_written_as_yaml_by_others_come_back_the_same(system: SystemConfig) -> None:
    text: Any = yaml.safe_dump(effective_dict(system), allow_unicode=True)
    assert effective_dict(decode_system(text, "s.yaml")) == effective_dict(system)


@given(systems)
def test_systems_written_as_json_come_back_the_same(system: SystemConfig) -> None:
    back = system_from_dict(msgspec.json.decode(msgspec.json.encode(effective_dict(system))), "config.json")
    assert effective_dict(back) == effective_dict(system)
