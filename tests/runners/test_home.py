"""Which folder is home: the option, else KEEL_HOME, else where one stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from keel.core.errors import ConfigError
from keel.runners.home import Home


@pytest.mark.parametrize(
    ("given", "environment", "wanted"),
    [
        ("option", {"KEEL_HOME": "environment"}, "option"),
        (None, {"KEEL_HOME": "environment"}, "environment"),
        (None, {"KEEL_HOME": ""}, "."),
        (None, {}, "."),
    ],
)
def test_the_option_wins_over_the_environment_over_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, environment: dict[str, str], wanted: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Home.find(given, environment).root == tmp_path / wanted


def test_a_home_is_a_home_and_finding_it_makes_nothing(tmp_path: Path) -> None:
    home = Home.find(tmp_path / "new")
    assert Home.find(home) is home
    assert not home.root.exists()
    wanted = ["data/keel.duckdb", "strategies", "systems", "backtests", "runs", "logs"]
    folders = (home.store, home.strategies, home.systems, home.backtests, home.runs, home.logs)
    assert [path.relative_to(home.root).as_posix() for path in folders] == wanted


def test_the_process_environment_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_HOME", str(tmp_path / "h"))
    assert Home.find().root == tmp_path / "h"


@pytest.mark.parametrize("environment", [{}, {"KEEL_HOME": "file"}])
def test_a_file_is_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="KEEL_HOME.*is a file" if environment else "is a file"):
        Home.find(None if environment else "file", environment)
