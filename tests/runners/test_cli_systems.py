"""``keel systems``: the user's own and the built-in system files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from strategies.registry import builtin_systems

Keel = Callable[..., Any]
WINDOW = ("--start", "2024-01-15", "--end", "2024-01-22", "--set", "warmup_bars=80", "--no-report")


def test_every_built_in_system_is_listed_valid_and_runs(keel: Keel) -> None:
    names = [entry["name"] for entry in keel("systems", "list", "--json").data["systems"]]
    assert names == list(builtin_systems())
    for name in names:
        assert keel("systems", "validate", name).code == 0
        answer = keel("backtest", name, *WINDOW, "--json")
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


def test_show_gives_every_key_that_holds(keel: Keel) -> None:
    shown = keel("systems", "show", "ema_cross", "--set", "params.fast=7", "--json").data
    assert shown["effective"]["params"] == {"fast": 7, "slow": 50}
    assert shown["effective"]["execution"]["path"] == "ohlc" and set(shown["features"]) == {"ema_fast", "ema_slow"}
    text = keel("systems", "show", "ema_cross").out
    assert "system: ema_cross" in text and "execution.path" in text


def test_a_system_may_be_named_by_its_file(keel: Keel, tmp_path: Path) -> None:
    text, _ = builtin_systems()["hold"]
    (tmp_path / "else.yaml").write_text(text.replace("strategy: hold", "strategy: own_hold"))
    code = "from strategies.hold import Hold\n\nclass Own(Hold):\n    pass\n"
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
