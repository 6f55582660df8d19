"""The tools: one registry, typed, with schemas, for programs; and the menu, which asks and calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import keel.runners.tools
from keel.core.errors import ConfigError
from keel.runners.cli.browser import open_quietly
from keel.runners.cli.main import run
from keel.runners.cli.menu import GO, LEAVE, SPAN_BACK, loop_menu, run_menu
from keel.runners.cli.session import Session
from keel.runners.home import Home
from keel.runners.tools import backtest_list_systems_tool, backtest_run_tool, data_list_tool, doctor_tool, smoke_backtest_tool
from keel.runners.tools.registry import Tool, ToolContext, all_tools

OVERRIDES = {"warmup_bars": 250, "params.fast": 10, "execution": {"slippage_bps": 0.00001}}
Keel = Callable[..., Any]


def test_every_tool_is_exported_under_its_name_and_has_schemas() -> None:
    tools = all_tools()
    assert {f"{name}_tool" for name in tools} == set(keel.runners.tools.__all__)
    for name, entry in tools.items():
        assert getattr(keel.runners.tools, f"{name}_tool") is entry
        schema = entry.schema()
        assert json.loads(json.dumps(schema))["name"] == name and schema["summary"]
        assert "$ref" in schema["request"] and "$ref" in schema["response"]
    with pytest.raises(AttributeError):
        _ = keel.runners.tools.nothing_tool


def test_a_tool_called_with_python_arguments_answers_ok_and_data(home: Path) -> None:
    overrides = {**OVERRIDES, "windows": {"week": {"start": "2024-01-15", "end": "2024-01-22"}}}
    answer = backtest_run_tool("ema_cross", "week", overrides, home=home)
    assert answer["ok"], answer
    config = json.loads((Path(answer["data"]["artifacts"]) / "config.json").read_text())["config"]
    assert config["system"]["execution"]["slippage_bps"] == 0.00001 and config["system"]["params"]["fast"] == 10
    assert config["window"]["name"] == "week" and answer["data"]["report"] is None


def test_an_error_is_an_answer_with_the_code_that_a_command_exits_with(home: Path) -> None:
    answer = backtest_run_tool("ema_crss", "sample", home=home)
    assert answer == {"ok": False, "error": {"type": "ConfigError", "message": answer["error"]["message"], "exit_code": 2}}
    assert "did you mean ema_cross?" in answer["error"]["message"]
    assert data_list_tool(home=home / "empty")["error"]["exit_code"] == 3


def test_arguments_are_checked_against_the_request(home: Path) -> None:
    tool: Tool[Any, Any] = backtest_run_tool
    for wrong in ({"system_id": 3}, {"system": "x"}, {}, {"system_id": "x", "bounds": "yes"}):
        answer = tool.call(wrong, ToolContext(Home(home)))
        assert not answer["ok"] and answer["error"]["type"] == "ConfigError" and "system_id" in answer["error"]["message"]
    assert not tool.call("{not json", ToolContext(Home(home)))["ok"]
    with pytest.raises(TypeError, match="two values"):
        tool("ema_cross", system_id="ema_cross", home=home)
    with pytest.raises(TypeError, match="takes 1 argument"):
        data_list_tool("BTCUSDT", "1h", home=home)


def test_call_prints_the_answer_and_exits_with_its_code(keel: Keel, capsys: pytest.CaptureFixture[str]) -> None:
    answer = keel("tools", "call", "data_list", '{"symbol": "BTCUSDT"}')
    assert answer.code == 0 and answer.data["ok"] and len(answer.data["data"]["series"]) == 5
    assert answer.data["data"] == keel("data", "list", "--json").data
    failed = keel("tools", "call", "backtest_run", '{"system_id": "nothing"}')
    assert failed.code == 2 and not failed.data["ok"]
    names = [entry["name"] for entry in keel("tools", "list", "--json").data["tools"]]
    assert names == sorted(names) and {"backtest_run", "data_import", "doctor"} <= set(names)


def test_progress_is_told_while_a_tool_works(home: Path) -> None:
    told: list[tuple[str, int, int]] = []
    context = ToolContext(Home(home), lambda *step: told.append(step))
    tool: Tool[Any, Any] = keel.runners.tools.data_synth_tool
    tool.call({"symbols": ["SOLUSDT"], "start": "2024-01-01", "end": "2024-01-02"}, context)
    assert [done for _, done, _ in told] == [0, 1, 2, 3, 4, 5, 6] and {total for *_, total in told} == {6}


# --- diagnostics -----------------------------------------------------------------------------------------------------


def test_the_doctor_looks_at_everything_and_fails_only_for_what_stops_work(home: Path, tmp_path: Path) -> None:
    healthy = doctor_tool(home=home)["data"]
    status = {check["name"]: check["status"] for check in healthy["checks"]}
    assert set(status) == {"python", "packages", "home", "disk", "store", "history", "indicators", "clock", "terminal"}
    assert healthy["ok"] and status["store"] == status["history"] == status["indicators"] == "ok"
    bare = doctor_tool(home=tmp_path / "bare")["data"]
    assert bare["ok"] and {check["name"]: check["status"] for check in bare["checks"]}["store"] == "warn"
    Home(home).store.write_bytes(b"x" * 4096)
    broken = doctor_tool(home=home)["data"]
    failed = [check for check in broken["checks"] if check["status"] == "fail"]
    assert not broken["ok"] and [check["name"] for check in failed] == ["store"] and failed[0]["way_out"]
    assert "move that file away" in failed[0]["way_out"]
    assert run(["--home", str(home), "doctor", "-q"]) == 1


def test_the_doctor_leaves_a_healthy_store_where_it_is(home: Path) -> None:
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.readline()"
    command = [sys.executable, "-c", code, str(Home(home).store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        other.stdout.readline()
        locked = doctor_tool(home=home)["data"]
        other.stdin.close()
    (store,) = [check for check in locked["checks"] if check["name"] == "store"]
    assert store["status"] == "fail" and "in use" in store["detail"] and "wait until that process ends" in store["way_out"]
    assert not any(word in store["way_out"] for word in ("move", "import"))


def test_the_smoke_test_passes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    answer = smoke_backtest_tool(home=tmp_path / "untouched")["data"]
    assert answer["ok"], answer
    assert len(answer["checks"]) == 8 and not (tmp_path / "untouched").exists()


# --- the menu --------------------------------------------------------------------------------------------------------


class Script:
    """A person who answers what was written down, and is asked nothing else."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.offered: list[list[str]] = []
        self.labels: list[list[str]] = []

    def choose(self, question: str, choices: Sequence[tuple[str, str]]) -> str | None:
        answer = self.answers.pop(0)
        self.offered.append([value for value, _ in choices])
        self.labels.append([label for _, label in choices])
        assert answer is None or answer in self.offered[-1], (question, answer, choices)
        return answer

    def ask(self, question: str, default: str) -> str | None:
        return self.answers.pop(0)

    def confirm(self, question: str) -> bool | None:
        return self.answers.pop(0) == "yes"


@pytest.fixture
def week(home: Path) -> Home:
    (home / "systems").mkdir()
    text = "system: week\nstrategy: ema_cross\nsymbols: [BTCUSDT]\ntimeframe: 1h\nexecution_timeframe: 5m\nwarmup_bars: 250\n"
    (home / "systems" / "week.yaml").write_text(text + "windows: {week: {start: 2024-01-15, end: 2024-01-22}}\n")
    return Home(home)


def test_the_menu_runs_what_was_chosen(week: Home, capsys: pytest.CaptureFixture[str]) -> None:
    script = Script("week", "week", "fast", "ten", "fast", "50", "fast", "10", GO)
    answer = run_menu(ToolContext(week), script)
    assert answer is not None and answer.window["name"] == "week" and answer.report is not None
    config = json.loads((Path(answer.artifacts) / "config.json").read_text())["config"]
    assert config["system"]["params"] == {"fast": 10, "slow": 50}
    assert capsys.readouterr().err.count("error: ") == 2  # "ten" and "50" were told and not taken
    assert script.answers == [] and "week" in script.offered[0] and "ema_cross" in script.offered[0]


def test_the_menu_takes_a_span_back(week: Home) -> None:
    answer = run_menu(ToolContext(week), Script("week", SPAN_BACK, "2d", GO))
    assert answer is not None and answer.window["end"] == "2024-01-29T00:00:00Z"


@pytest.mark.parametrize(
    "answers", [(None,), ("week", None), ("week", "week", None), ("week", "week", LEAVE), ("week", "week", "fast", None)]
)
def test_the_menu_can_be_left_at_every_question(answers: tuple[str | None, ...], week: Home) -> None:
    assert run_menu(ToolContext(week), Script(*answers)) is None
    assert not week.backtests.exists()


def test_the_menu_names_the_window_that_is_meant_and_marks_those_without_data(week: Home) -> None:
    text = (week.systems / "week.yaml").read_text().replace("windows: {", "windows: {late: {start: 2030-01-01, end: 2030-02-01}, ")
    (week.systems / "week.yaml").write_text(text)
    script = Script("week", None)
    assert run_menu(ToolContext(week), script) is None
    assert script.labels[-1] == [
        "week: 2024-01-15 to 2024-01-22",
        "late: 2030-01-01 to 2030-02-01  (no data: the store does not cover it)",
        "a span back from the last stored bar",
    ]
    week.store.unlink()
    script = Script("week", None)
    assert run_menu(ToolContext(week), script) is None
    assert [label.count("no data") for label in script.labels[-1]] == [1, 1, 0]


def test_the_menu_comes_back_after_a_run_and_after_an_error(week: Home, capsys: pytest.CaptureFixture[str]) -> None:
    opened: list[str] = []
    runs = (("week", "week", GO, "yes"), ("week", SPAN_BACK, "soon", GO, "yes"), ("week", "week", GO, "no"), (None,))
    script = Script(*(answer for answers in runs for answer in answers))

    def without_browser(path: str) -> bool:
        opened.append(path)
        return False

    loop_menu(Session(home=str(week.root)), script, without_browser)
    told = capsys.readouterr()
    assert script.answers == [] and len(list(week.backtests.glob("*/run-*"))) == 2
    assert told.err.count("error: ") == 1 and "soon" in told.err
    assert told.out.count(f"the report: {opened[0]} (there is no browser to open it in here)") == len(opened) == 1


def test_without_a_screen_nothing_is_opened_and_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    assert open_quietly("/nowhere/report.html", {"PATH": "/usr/bin:/bin"}) is False
    assert open_quietly("/nowhere/report.html", {"PATH": "", "DISPLAY": ":9"}) is False
    assert capfd.readouterr() == ("", "")


def test_the_menu_passes_on_what_cannot_be_run(week: Home) -> None:
    with pytest.raises(ConfigError):
        run_menu(ToolContext(week), Script("week", SPAN_BACK, "soon", GO))


def test_the_list_of_systems_serves_programs(home: Path) -> None:
    systems = backtest_list_systems_tool(home=home)["data"]["systems"]
    entry = next(entry for entry in systems if entry["name"] == "ema_cross")
    assert entry["windows"]["train"] == {"start": "2025-01-01", "end": "2025-07-01"} and entry["params"] == {"fast": 20, "slow": 50}
