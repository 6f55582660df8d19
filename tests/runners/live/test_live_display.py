"""Live, demo and sandbox are told apart from across the room: by a line that is full of colour, and by words where there is none."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from keel.adapters.bybit.notices import Notice
from keel.adapters.logging import set_up_logging
from keel.runners.live.live_account import run_live
from keel.runners.live.memory.records import InputsKnown, SeriesRows
from keel.runners.live.reporting.display import Display
from keel.runners.live.session.ending import Stop
from keel.runners.live.session.live import Live
from keel.runners.live.startup.banner import banner, banner_text, border
from tests.runners.live.live_account import account_at_sandbox, armed_system, home_of, options, promoted, token_for
from tests.sim.sandbox.conftest import Sandbox

ENVIRONMENTS = ("live", "demo", "sandbox")
BACKGROUNDS = {"live": "41", "demo": "44", "sandbox": "42"}
"""The terminal's numbers of red, blue, green."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with account_at_sandbox() as made:
        yield made


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_banner_fills_the_line_with_its_colour(environment: str) -> None:
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system="standard", width=100, legacy_windows=False).print(banner(environment))
    line = out.getvalue().rstrip("\n")
    assert f";{BACKGROUNDS[environment]}m" in line
    plain = io.StringIO()
    Console(file=plain, width=100).print(banner(environment))
    assert len(plain.getvalue().rstrip("\n")) == 100


def test_no_two_look_alike() -> None:
    assert (
        len({banner_text(environment) for environment in ENVIRONMENTS}) == 3 == len({border(environment) for environment in ENVIRONMENTS})
    )
    assert "REAL MONEY" in banner_text("live") and not any("REAL" in banner_text(each) for each in ("demo", "sandbox"))


def test_the_screen_and_the_log_say_where(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    home = home_of(tmp_path)
    promoted(home)
    set_up_logging(file=home.logs / "live.jsonl", console=False)
    shown: list[str] = []

    async def beside(live: Live, stop: Stop) -> AsyncIterator[None]:
        out = io.StringIO()
        Console(file=out, width=120).print(Display().render(live, stop))
        shown.append(out.getvalue())
        yield

    run_live(armed_system(home), home, options(sandbox, token_for(home, sandbox, tmp_path / "token"), max_bars=5), beside=beside)
    assert "NO STOP" in shown[0] and "the system sets no exits.stop_loss" in shown[0]
    assert "SANDBOX" in shown[0] and "by all rules of a live session" in shown[0] and "armed" in shown[0]
    lines = [json.loads(line) for line in (home.logs / "live.jsonl").read_text().splitlines()]
    assert lines and all(line["environment"] == "SANDBOX" for line in lines if line["logger"] == "keel.live")
    assert any(line.get("code") == "armed" for line in lines)


def test_many_late_series_are_one_line_each_of_what_is_counted_and_told(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    home = home_of(tmp_path)
    promoted(home)
    shown: list[str] = []

    async def beside(live: Live, stop: Stop) -> AsyncIterator[None]:
        for late in (3, 20):
            late_series = [SeriesRows("mark_ohlcv_futures", f"{number}m", (), 1) for number in range(late)]
            live.books.history.note(InputsKnown(1, "BTCUSDT", {}, tuple(late_series)))
            live.notices.append(Notice(1, "elsewhere", f"told before {late} late series", "BTCUSDT"))
            live.notices.extend(Notice(1, "series_late", f"BTCUSDT {each.name} did not come", "BTCUSDT") for each in late_series)
            out = io.StringIO()
            Console(file=out, width=400).print(Display().render(live, stop))
            shown.append(out.getvalue())
        yield

    run_live(armed_system(home), home, options(sandbox, token_for(home, sandbox, tmp_path / "token"), max_bars=1), beside=beside)
    few, many = shown
    assert all(f"decisions without all of BTCUSDT mark_ohlcv_futures {number}m 1" in few for number in range(3))
    assert many.count("decisions without all of") == 1 and "decisions without all of a series (20 series) 23" in many
    assert many.count("19m did not come (and 19 more alike)") == 1 and many.count("did not come") == 2
    assert "told before 3 late series" in many and "told before 20 late series" in many
