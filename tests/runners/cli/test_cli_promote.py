"""``keel promote`` on the command line, and what says ever after that nobody looked at the rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from keel.core.model.time_range import TimeRange
from keel.runners.live.reporting.outcome import session_result
from tests.runners.conftest import Keel
from tests.runners.live.conftest import plan_of, run_session
from tests.runners.live.live_account import account_at_sandbox, armed_system, home_of

WINDOW = ("--start", "2024-01-10", "--end", "2024-01-20", "--no-report")
RULE = ("--set", "promotion.demo=[total_trades >= 1]", "--set", "warmup_bars=100")


def test_a_backtest_that_passes_opens_demo_by_itself_and_a_kept_one_by_hand(keel: Keel, home: Path) -> None:
    assert keel("promote", "ema_cross", "--to", "demo", *RULE).code == 4
    assert keel("backtest", "ema_cross", *WINDOW, *RULE).code == 0
    assert len(list((home / "promotions").iterdir())) == 1
    answer = keel("promote", "ema_cross", "--to", "demo", *RULE)
    assert answer.code == 0 and "passed  total_trades >= 1" in answer.out and "any change voids it" in answer.out
    refused = keel("promote", "ema_cross", "--to", "demo", *RULE, "--set", "params.fast=19")
    assert refused.code == 4 and "the configuration changed since" in refused.err


@pytest.mark.parametrize(
    "words",
    [
        ("--to", "demo", "--untested"),
        ("--to", "demo", "--because", "just so, for once"),
        ("--to", "live", "--untested", "--because", "just so, for once"),
        ("--to", "demo", "--sandbox"),
        ("--to", "moon"),
        (),
    ],
)
def test_what_does_not_go_together_is_refused(keel: Keel, home: Path, words: tuple[str, ...]) -> None:
    assert keel("promote", "ema_cross", *words).code == 2 and not (home / "promotions").exists()


def test_untested_as_json(keel: Keel) -> None:
    answer = keel("promote", "ema_cross", "--to", "demo", "--untested", "--because", "a first look at fills", "--json")
    assert answer.data["record"]["how"] == "untested" and answer.data["record"]["because"] == "a first look at fills"


def test_a_result_says_that_it_is_untested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its warnings, which summary, report and ``keel runs show`` have."""
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    loaded = armed_system(home_of(tmp_path))
    with account_at_sandbox() as sandbox:
        plan = plan_of(loaded.config, loaded.strategy, None, sandbox.url, tmp_path / "journals", loaded=loaded)
        ran = run_session(replace(plan, untested="a first look"), max_bars=3)
    result = session_result(ran.live, ran.ending, wall_s=0.0)
    assert result.warnings[0] == "UNTESTED: promoted to demo without a look at its rules (a first look)"
    assert isinstance(result.window, TimeRange)
