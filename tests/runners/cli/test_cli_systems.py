"""``keel systems``: the user's own and the built-in system files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keel.strategies.registry import builtin_systems

Keel = Callable[..., Any]
WINDOW = ("--start", "2024-01-15", "--end", "2024-01-22", "--set", "warmup_bars=80", "--no-report")


def test_every_built_in_system_is_listed_valid_and_runs(keel: Keel) -> None:
    names = [entry["name"] for entry in keel("systems", "list", "--json").data["systems"]]
    assert names == list(builtin_systems())
    for name in names:
        assert keel("systems", "validate", name).code == 0
        alone = ("--set", "symbols=[BTCUSDT]") if name == "inverse_vol_hold" else ()  # the home has no other symbol
        answer = keel("backtest", name, *WINDOW, "--json", *alone)
        assert answer.code == 0 and answer.data["reconciliation"]["difference"] == "0"


@pytest.mark.parametrize("options", [(), ("--strategy",), ("--from", "rsi_reversion")], ids=["plain", "with a strategy", "a copy"])
def test_a_new_system_is_valid_and_runs_at_once(options: tuple[str, ...], keel: Keel, home: Path) -> None:
    answer = keel("systems", "new", "my_idea", *options, "--json")
    assert answer.code == 0
    assert answer.data["written"][0] == str(home / "systems" / "my_idea.yaml")
    assert (home / "strategies" / "my_idea.py").exists() == ("--strategy" in options)
    assert keel("systems", "validate", "my_idea").code == 0
    assert keel("systems", "list", "--json").data["systems"][0]["origin"] == "own"
    run = keel("backtest", "my_idea", *WINDOW, "--json")
    assert run.code == 0 and run.data["metrics"]["total_trades"] > 0, run.err
    schema = json.loads((home / "systems" / "system.schema.json").read_text())
    assert schema == keel("systems", "schema", "--json").data


def test_nothing_is_overwritten(keel: Keel, home: Path) -> None:
    keel("systems", "new", "mine")
    written = (home / "systems" / "mine.yaml").read_bytes()
    for options in ((), ("--strategy",), ("--from", "hold")):
        answer = keel("systems", "new", "mine", *options)
        assert answer.code == 2 and "exists already" in answer.err
    assert (home / "systems" / "mine.yaml").read_bytes() == written and not (home / "strategies").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("no-dash",), "letters, digits"),
        (("../out",), "letters, digits"),
        (("ema_cross",), "built-in"),
        (("x", "--from", "nothing"), "no system"),
        (("x", "--from", "hold", "--strategy"), "not both"),
    ],
)
def test_a_new_system_that_cannot_be(arguments: tuple[str, ...], words: str, keel: Keel, home: Path) -> None:
    answer = keel("systems", "new", *arguments)
    assert answer.code == 2 and words in answer.err
    assert not (home / "systems").exists() and not (home / "strategies").exists()


def test_validate_asks_the_exchange_and_so_does_a_run_before_it_begins(keel: Keel, home: Path) -> None:
    for command in (("systems", "validate", "ema_cross"), ("backtest", "ema_cross", "--window", "3d", "--set", "warmup_bars=250")):
        answer = keel(*command, "--set", "risk.leverage=200")
        assert answer.code == 2 and answer.err == "error: BTCUSDT: leverage 200 is more than its 100\n"
    assert not (home / "backtests").exists()
    fine = keel("systems", "validate", "ema_cross", "--json").data
    assert fine["account"] == "the store's instruments"
    (home / "data" / "keel.duckdb").unlink()
    assert keel("systems", "validate", "ema_cross", "--json").data["account"] == "generic instruments for BTCUSDT"


def test_cross_margin_is_taken_or_refused_alike_by_validate_and_backtest(keel: Keel, home: Path) -> None:
    cross = ("--set", "risk.margin_mode=cross")
    run = keel("backtest", "ema_cross", "--window", "3d", "--set", "warmup_bars=250", "--no-report", *cross)
    assert keel("systems", "validate", "ema_cross", *cross).code == run.code
    assert (run.code == 0) is (home / "backtests").exists()


def test_a_built_in_system_goes_to_spot_by_what_the_errors_say(keel: Keel, home: Path, tmp_path: Path) -> None:
    refused = keel("systems", "validate", "atr_breakout", "--set", "category=spot")
    assert refused.code == 2 and "--set risk.leverage=1" in refused.err
    assert keel("systems", "validate", "atr_breakout", "--set", "category=spot", "--set", "risk.leverage=1").code == 0
    hold = ("backtest", "hold", "--set", "category=spot", "--window", "7d", "--no-report")
    lacking = keel(*hold)
    assert lacking.code == 3 and "keel data import FILE --category spot" in lacking.err
    for timeframe in ("1h", "5m"):
        file = tmp_path / f"BTCUSDT_{timeframe}.csv"
        assert keel("data", "export", "BTCUSDT", "--timeframe", timeframe, "--out", str(file)).code == 0
        file.write_text(file.read_text().replace("linear", "spot"))
        assert keel("data", "import", str(file), "--category", "spot").code == 0
    run = keel(*hold, "--set", "warmup_bars=0", "--json").data
    assert run["metrics"]["total_trades"] == 0 and run["reconciliation"]["difference"] == "0" and run["reconciliation"]["fees"] != "0"


def test_show_gives_every_key_that_holds(keel: Keel) -> None:
    shown = keel("systems", "show", "ema_cross", "--set", "params.fast=7", "--json").data
    assert shown["effective"]["params"] == {"fast": 7, "slow": 50}
    assert shown["effective"]["execution"]["path"] == "ohlc" and set(shown["features"]) == {"ema_fast", "ema_slow"}
    text = keel("systems", "show", "ema_cross").out
    assert "system: ema_cross" in text and "execution.path" in text


def test_a_system_may_be_named_by_its_file(keel: Keel, tmp_path: Path) -> None:
    text, _ = builtin_systems()["hold"]
    (tmp_path / "else.yaml").write_text(text.replace("strategy: hold", "strategy: own_hold"))
    code = "from keel.strategies.hold import Hold\n\nclass Own(Hold):\n    pass\n"
    (tmp_path / "own_hold.py").write_text(code)
    assert keel("systems", "validate", str(tmp_path / "else.yaml")).code == 0
    assert keel("systems", "validate", str(tmp_path / "missing.yaml")).code == 2


def test_a_system_of_one_s_own_comes_before_a_built_in_of_that_name(keel: Keel, home: Path) -> None:
    (home / "systems").mkdir()
    text, _ = builtin_systems()["hold"]
    (home / "systems" / "hold.yaml").write_text(text.replace("initial_equity: 10000", "initial_equity: 777"))
    assert keel("systems", "show", "hold", "--json").data["effective"]["initial_equity"] == 777
    (home / "systems" / "broken.yaml").write_text("system: broken\nstrateg: x\n")
    listed = {entry["name"]: entry for entry in keel("systems", "list", "--json").data["systems"]}
    assert "broken.yaml:2" in listed["broken"]["error"] and listed["hold"]["origin"] == "own"
