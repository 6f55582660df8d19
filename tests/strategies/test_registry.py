"""Strategies are found by id, by module and by file; what cannot be found or run is said with its place and the nearest name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import keel.strategies
from keel.core.errors import ConfigError, StrategyError
from keel.strategies.base import BaseStrategy
from keel.strategies.ema_cross import EmaCross
from keel.strategies.registry import check_params, load_strategy, source_fingerprint, strategy_ids

BUILT_IN = ["atr_breakout", "ema_cross", "hold", "inverse_vol_hold", "momentum", "rsi_reversion"]
OWN = """\
from keel.core.model.messages import Signal
from keel.strategies.base import BaseStrategy

class Own(BaseStrategy):
    defaults = {"level": LEVEL}

    def generate_signal(self, snapshot, params):
        return Signal(snapshot.symbol, "LONG")
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_built_in_ids() -> None:
    assert strategy_ids() == BUILT_IN
    assert [load_strategy(name).__name__ for name in BUILT_IN] == [
        "AtrBreakout", "EmaCross", "Hold", "InverseVolHold", "MomentumStrategy", "RsiReversion",
    ]  # fmt: skip


def test_of_several_classes_the_one_of_the_files_name(tmp_path: Path) -> None:
    two = OWN.replace("LEVEL", "1") + OWN.replace("LEVEL", "2").replace("class Own(", "class OwnMore(")
    assert load_strategy(str(write(tmp_path, "own.py", two))).__name__ == "Own"
    with pytest.raises(ConfigError, match="defines Own, OwnMore; say which"):
        load_strategy(str(write(tmp_path, "other.py", two)))


def test_by_module_and_class() -> None:
    assert load_strategy("keel.strategies.ema_cross:EmaCross") is EmaCross


def test_own_files_by_id_by_path_and_by_path_in_the_search_folder(tmp_path: Path) -> None:
    path = write(tmp_path, "own.py", OWN.replace("LEVEL", "1"))
    for ref, search in [("own", [tmp_path]), (str(path), []), (f"{path}:Own", []), ("own.py", [tmp_path]), ("own.py:Own", [tmp_path])]:
        cls = load_strategy(ref, search)
        assert issubclass(cls, BaseStrategy) and cls.defaults == {"level": 1}
    assert strategy_ids([tmp_path]) == sorted([*BUILT_IN, "own"])


def test_an_edit_counts_at_once(tmp_path: Path) -> None:
    for level in range(5):
        write(tmp_path, "own.py", OWN.replace("LEVEL", str(level)))
        assert load_strategy("own", [tmp_path]).defaults == {"level": level}
    assert not list(tmp_path.glob("__pycache__"))


def test_an_own_file_comes_before_a_built_in_but_the_package_folder_is_no_own_folder(tmp_path: Path) -> None:
    write(tmp_path, "hold.py", OWN.replace("LEVEL", "1"))
    assert load_strategy("hold", [tmp_path]).__name__ == "Own"
    package = Path(keel.strategies.__path__[0])
    assert load_strategy("hold", [package]).__module__ == "keel.strategies.hold"
    assert strategy_ids([package]) == BUILT_IN


UNKNOWN = [
    ("ema_cros", "there is no strategy 'ema_cros': did you mean ema_cross?"),
    ("zzz", "there is no strategy 'zzz': there are atr_breakout, ema_cross"),
    ("../hold", "there is no strategy '../hold'"),
    ("base", "there is no strategy 'base'"),
    ("", "there is no strategy ''"),
    ("keel.strategies.ema_cross:EmaCros", "there is no class EmaCros: did you mean EmaCross?"),
    ("keel.strategies.ema_cross:HOLD", "there is no class HOLD"),
    ("no_such_package.module:Class", "Python finds no module no_such_package"),
    ("keel.strategies.nothing:Class", "Python finds no module keel.strategies.nothing"),
    ("a b:Class", "'a b' is not the name of a module"),
    ("missing.py", "there is no file missing.py, "),
    ("missing.py:Own", "there is no file missing.py, "),
    ("keel.core.model.frame:Frame", "Frame is no strategy: derive it from"),
    ("keel.strategies.base:VectorStrategy", "VectorStrategy is the interface"),
    ("keel.strategies.base:PortfolioStrategy", "PortfolioStrategy is the interface"),
]


@pytest.mark.parametrize(("ref", "message"), UNKNOWN)
def test_what_cannot_be_found(ref: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_strategy(ref, [tmp_path])
    assert message in str(caught.value)


BROKEN = [
    ("x = 1\n\ndef f(:\n", "broken.py:3: SyntaxError"),
    ("def f():\n    return 1 / 0\n\nf()\n", "broken.py:2: the strategy cannot be loaded: ZeroDivisionError: division by zero"),
    ("import json\n\njson.loads('{')\n", "broken.py:3: the strategy cannot be loaded: JSONDecodeError"),
    ("import no_such_module\n", "broken.py:1: the strategy cannot be loaded: ModuleNotFoundError"),
    ("\nraise SystemExit(3)\n", "broken.py:2: the strategy cannot be loaded: SystemExit: 3"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_a_file_that_raises_is_named_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, "broken.py", text)
    before = set(sys.modules)
    with pytest.raises(StrategyError) as caught:
        load_strategy("broken", [tmp_path])
    assert str(caught.value).startswith(str(tmp_path.resolve())) and message in str(caught.value)
    assert not {name for name in set(sys.modules) - before if "broken" in name}


def test_a_module_that_raises_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "raising_module.py", "\nraise ValueError('no')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StrategyError, match=r"raising_module.py:2: the strategy cannot be loaded: ValueError: no"):
        load_strategy("raising_module:Own")


def test_a_file_without_or_with_several_strategies(tmp_path: Path) -> None:
    write(tmp_path, "none.py", "from keel.strategies.base import BaseStrategy\n")
    with pytest.raises(ConfigError, match="defines no strategy"):
        load_strategy("none", [tmp_path])
    two = write(tmp_path, "two.py", OWN.replace("LEVEL", "1") + "\nclass Other(Own): pass\n\nclass _Base(Own): pass\n")
    with pytest.raises(ConfigError, match="defines Own, Other; say which"):
        load_strategy("two", [tmp_path])
    assert load_strategy(f"{two}:Other").__name__ == "Other"


FUNCTIONS = (
    "\nimport numpy as np\nfrom math import sqrt\n\n\ndef spread(frame):\n    return frame['high'] - frame['low']\n\n\ndef _own(): pass\n"
)


def test_a_file_with_functions_and_one_strategy_is_one_with_a_strategy(tmp_path: Path) -> None:
    path = write(tmp_path, "other.py", FUNCTIONS + OWN.replace("LEVEL", "1") + "\nMine = Own\n")  # two names of one class are no choice
    for ref in ("other", str(path), f"{path}:Own", f"{path}:Mine"):
        assert load_strategy(ref, [tmp_path]).__name__ == "Own"
    with pytest.raises(ConfigError, match="spread is a function, and a strategy is a class; the file's own is Own, Mine"):
        load_strategy(f"{path}:spread")


def test_a_file_with_functions_alone_says_what_these_are_for(tmp_path: Path) -> None:
    path = write(tmp_path, "parts.py", FUNCTIONS)
    for ref in ("parts", f"{path}:spread"):
        with pytest.raises(ConfigError) as caught:
            load_strategy(ref, [tmp_path])
        text = str(caught.value)
        assert "defines no strategy" in text and text.endswith(f"It has functions (spread): a feature calls one by fn: {path}:spread")
    from keel.runners.user_code import load_function

    assert load_function(text.rpartition("fn: ")[2]).__name__ == "spread"


# --- parameters ------------------------------------------------------------------------------------------------------


class Typed(BaseStrategy):
    defaults = {"whole": 1, "number": 1.0, "flag": True, "text": "a", "many": [1], "table": {"a": 1}, "anything": None}  # noqa: RUF012  as a user writes it


def test_defaults_hold_where_nothing_is_given() -> None:
    assert check_params(EmaCross, {"fast": 10}) == {"fast": 10, "slow": 50}
    merged = check_params(Typed, {})
    merged["many"].append(2)
    assert Typed.defaults["many"] == [1]  # a copy, not the default itself


MISTYPED: list[tuple[dict[str, Any], str]] = [
    ({"whole": 1.5}, "params.whole: must be a whole number (default 1), not 1.5"),
    ({"whole": True}, "params.whole: must be a whole number"),
    ({"number": "2"}, "params.number: must be a number (default 1.0), not '2'"),
    ({"flag": 1}, "params.flag: must be true or false"),
    ({"text": 5}, "params.text: must be text"),
    ({"many": 5}, "params.many: must be a list"),
    ({"table": []}, "params.table: must be a mapping"),
    ({"wole": 5}, "params.wole: Typed has no such parameter: did you mean whole?"),
]


@pytest.mark.parametrize(("params", "message"), MISTYPED)
def test_unknown_and_mistyped_parameters(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_params(Typed, params)
    assert str(caught.value).startswith(message)


def test_parameters_of_the_right_kind() -> None:
    given = {"whole": 2, "number": 2, "flag": False, "text": "", "many": [], "table": {}, "anything": "x"}
    assert check_params(Typed, given) == given


TOGETHER = [
    ("rsi_reversion", {"oversold": 60}, "must ascend"),
    ("momentum", {"threshold": -1}, "must not be negative"),
    ("ema_cross", {"fast": 50}, "must be below slow"),
    ("ema_cross", {"fast": 51}, "must be below slow"),
    ("atr_breakout", {"stop_atr": 0}, "must be above 0"),
    ("atr_breakout", {"trailing_atr": -1}, "must not be negative"),
]


@pytest.mark.parametrize(("strategy_id", "params", "message"), TOGETHER)
def test_parameters_that_do_not_go_together(strategy_id: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_params(load_strategy(strategy_id), params)


# --- fingerprints ----------------------------------------------------------------------------------------------------


def test_a_fingerprint_is_of_the_source_that_was_loaded(tmp_path: Path) -> None:
    write(tmp_path, "own.py", OWN.replace("LEVEL", "1"))
    first = load_strategy("own", [tmp_path])
    print_of_first = source_fingerprint(first)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write(elsewhere, "own.py", OWN.replace("LEVEL", "1"))
    assert source_fingerprint(load_strategy("own", [elsewhere])) == print_of_first  # not of its folder
    write(tmp_path, "own.py", OWN.replace("LEVEL", "2"))
    assert source_fingerprint(first) == print_of_first
    assert source_fingerprint(load_strategy("own", [tmp_path])) != print_of_first


def test_fingerprints_tell_strategies_apart() -> None:
    prints = [source_fingerprint(load_strategy(name)) for name in BUILT_IN]
    assert len(set(prints)) == len(BUILT_IN)
    assert all(len(text) == 64 for text in prints)


def test_a_class_without_a_file_is_known_by_its_code() -> None:
    def made(number: int) -> type:
        space: dict[str, Any] = {"__name__": "a_prompt"}
        exec(f"class Typed:\n    def f(self):\n        return [x + {number} for x in ()]\n", space)  # noqa: S102  as a prompt does it
        cls = space["Typed"]
        assert isinstance(cls, type)
        return cls

    assert source_fingerprint(made(1)) == source_fingerprint(made(1))
    assert source_fingerprint(made(1)) != source_fingerprint(made(2))
