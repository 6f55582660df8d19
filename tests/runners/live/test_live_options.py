"""Each option of ``keel live`` is used, or refused with a line: none does nothing in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from keel.runners.cli.main import run

NOT_WITH = {
    ("--dry",): ("--arm", "--arm-token=t", "--arm-hours=3", "--log=text", "--no-report", "--supervised"),
    ("--arm",): ("--bars=3", "--grace=10", "--log=none", "--no-report", "--supervised"),
    ("--arm-token=t",): ("--arm-hours=3",),
}


@pytest.mark.parametrize(("given", "unused"), [(given, one) for given, row in NOT_WITH.items() for one in row])
def test_an_option_that_would_do_nothing_is_refused(
    given: tuple[str, ...], unused: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--home", str(tmp_path), "live", "ema_cross", *given, unused]) == 2
    name = unused.partition("=")[0]
    assert f"{name} does nothing with {given[0].partition('=')[0]}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "given", [("--dry", "--no-supervised"), ("--arm", "--arm-token=t", "--arm-hours=3"), ("--dry", "--fresh", "--bars=3")]
)
def test_options_that_are_used_are_taken(
    given: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come as far as there is no sandbox, or no terminal."""
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    assert run(["--home", str(tmp_path), "live", "ema_cross", "--sandbox", "http://127.0.0.1:9", *given]) == 4
    assert "does nothing with" not in capsys.readouterr().err
