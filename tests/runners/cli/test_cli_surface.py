"""The command line as a whole: help, --json, errors and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from keel.runners.cli.main import cli, run


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), name)
            assert inner is not None
            yield from commands(inner, (*path, name))


ALL = dict(commands(cli))
ROOT = Path(__file__).parents[3]
HEAVY = {
    *("numpy", "duckdb", "talib", "numba", "pandas", "polars", "aiohttp", "pybit", "rich", "plotly", "questionary", "structlog", "yaml"),
    *("optuna", "ray", "apprise", "concurrent.futures", "multiprocessing"),
}
"""What takes 10 ms and more to import, with all that comes with it."""


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_help_with_an_example_and_the_common_options(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example" in text and "keel " in text.split("Example")[1]
    assert all(option in text for option in ("--json", "--home", "--debug", "--quiet", "--verbose"))


def test_the_commands_are_those_that_are_promised() -> None:
    expected = {
        *("check", "check lookahead", "check warmup", "parity", "sweep", "replay", "compare-live"),
        *("run", "data", "systems", "backtest", "runs", "tools", "menu", "promote", "demo", "live", "sandbox", "doctor", "smoke"),
        *(
            f"data {name}"
            for name in ("synth", "import", "import-instruments", "list", "gaps", "fill", "delete", "rename", "verify", "export")
        ),
        *(f"systems {name}" for name in ("list", "show", "validate", "new", "schema", "migrate")),
        *(f"runs {name}" for name in ("list", "show", "compare", "report")),
        "panic",
        *("session", "session status", "session release", "session rearm", "journal", "journal list", "journal verify", "journal repair"),
        *("tools list", "tools call", "smoke backtest", "smoke demo"),
        *("alerts", "alerts test"),
    }
    assert {" ".join(path) for path in ALL if path} == expected


def loaded_after(arguments: list[str], cwd: Path) -> set[str]:
    """The modules that a process has loaded after a command line."""
    code = (
        "import sys; sys.stdout = open('/dev/null', 'w'); from keel.runners.cli.main import run; code = run(sys.argv[1:]);"
        " sys.__stdout__.write(f'{code} ' + ' '.join(sys.modules))"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={"PYTHONPATH": str(ROOT)}, check=True)
    code_text, *modules = done.stdout.split()
    assert code_text == "0", done.stderr
    return {name.split(".")[0] for name in modules}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    assert not (HEAVY | {"msgspec", "asyncio"}) & loaded_after(arguments, tmp_path)


def test_no_command_s_help_imports_anything_heavy(tmp_path: Path) -> None:
    """All of them in one process: what one had imported would be found after the last. msgspec is light."""
    assert len(ALL) > 40
    lines = [[*path, "--help"] for path in ALL]
    code = (
        "import json, sys; sys.stdout = open('/dev/null', 'w'); from keel.runners.cli.main import run;"
        " found = [(line, sorted(set(json.loads(sys.argv[2])) & set(sys.modules))) for line in json.loads(sys.argv[1]) if run(line) == 0];"
        " sys.__stdout__.write(json.dumps(found))"
    )
    command = [sys.executable, "-c", code, json.dumps(lines), json.dumps(sorted(HEAVY))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True)
    assert json.loads(done.stdout) == [[line, []] for line in lines], done.stderr


def test_a_backtest_without_a_report_imports_no_drawing_and_no_compiler(home: Path) -> None:
    window = ["--start", "2024-01-15", "--end", "2024-01-17", "--set", "warmup_bars=100"]
    modules = loaded_after(["--home", str(home), "backtest", "ema_cross", *window, "--no-report"], home)
    assert not {"plotly", "rich", "numba", "questionary", "pandas", "polars"} & modules
    assert "duckdb" in modules


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"keel {version('keel-trader')}\n"


USAGE = {
    "an unknown command": ["backtst"],
    "an unknown option": ["backtest", "ema_cross", "--windw", "train"],
    "a missing argument": ["backtest"],
    "a value of the wrong kind": ["backtest", "ema_cross", "--seed", "x"],
    "an unknown choice": ["data", "import", "x.csv", "--kind", "quotes"],
    "a system that there is not": ["backtest", "ema_crss"],
    "an override without a value": ["backtest", "ema_cross", "--set", "params.fast"],
    "an override of an unknown key": ["backtest", "ema_cross", "--set", "risk.levrage=2"],
    "half a window": ["backtest", "ema_cross", "--start", "2024-01-15"],
    "two windows": ["backtest", "ema_cross", "--start", "2024-01-15", "--end", "2024-01-16", "--window", "sample"],
    "a window that there is not": ["backtest", "ema_cross", "--window", "tran"],
    "a run that there is not": ["runs", "show", "run-0"],
    "a menu without a terminal": ["menu"],
    "a home that is a file": ["--home", __file__, "data", "list"],
}


@pytest.mark.parametrize("arguments", USAGE.values(), ids=USAGE)
def test_usage_errors_are_one_line_and_exit_2(arguments: list[str], keel: Callable[..., Any]) -> None:
    answer = keel(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("error: ") and answer.err.count("\n") == 1
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("arguments", USAGE.values(), ids=USAGE)
def test_with_json_an_error_is_one_object_too(arguments: list[str], keel: Callable[..., Any]) -> None:
    answer = keel(*arguments, "--json")
    error = answer.data["error"]
    assert error["exit_code"] == answer.code == 2
    assert answer.err == f"error: {error['message']}\n"


def test_near_names_are_offered(keel: Callable[..., Any]) -> None:
    assert "did you mean ema_cross?" in keel("backtest", "ema_crss").err
    assert "leverage" in keel("backtest", "ema_cross", "--set", "risk.levrage=2").err
    unknown = keel("tools", "call", "backtest_rn")
    assert unknown.code == 2 and "did you mean backtest_run?" in unknown.data["error"]["message"]


def test_debug_shows_the_traceback_of_an_error(keel: Callable[..., Any]) -> None:
    answer = keel("--debug", "backtest", "ema_crss")
    assert "Traceback" in answer.err and answer.err.rstrip().splitlines()[-1].startswith("error: ")


def test_home_and_json_may_stand_before_or_after_the_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--home", str(home), "--json", "data", "list"], ["data", "list", "--home", str(home), "--json"]):
        assert run(arguments) == 0
        assert len(msgspec.json.decode(capsys.readouterr().out)["series"]) == 5


BROKEN = {
    "our mistake": ('raise InvariantError("the sum is off")', 1, "an invariant does not hold: the sum is off"),
    "an interrupt": ("os.kill(os.getpid(), signal.SIGINT)", 130, "interrupted"),
}


@pytest.mark.parametrize(("line", "code", "words"), BROKEN.values(), ids=BROKEN)
def test_what_breaks_inside_a_run_is_told_by_its_kind(
    line: str, code: int, words: str, strategy: Callable[[str, str], str], keel_process: Callable[..., Any]
) -> None:
    decide = "    def generate_signal(self, s, p): return Signal(s.symbol, 'LONG')\n"
    body = f"class Broken(BaseStrategy):\n{decide}    def on_fill(self, fill): {line}\n"
    answer = keel_process("backtest", strategy("broken", body), "--no-report")
    assert answer.code == code, answer.err
    assert f"error: {words}" in answer.err and "Traceback" not in answer.err
    assert ("this is a mistake of ours" in answer.err) == (code == 1)


COMPILES = pytest.param(("parity",), marks=pytest.mark.long)  # the kernel, for a home of its own


@pytest.mark.parametrize("command", [COMPILES, ("check", "lookahead"), ("check", "warmup")])
def test_parity_and_checks_take_a_symbol_as_a_backtest_does(home: Path, keel: Any, command: tuple[str, ...]) -> None:
    """The store has BTCUSDT alone: a system of another symbol runs with --symbol, and with one that is not stored it says so."""
    (home / "systems").mkdir(exist_ok=True)
    text = "system: other\nstrategy: hold\nsymbols: [ABCUSDT]\ntimeframe: 1h\nexecution_timeframe: 5m\nwarmup_bars: 5\n"
    (home / "systems" / "other.yaml").write_text(text)
    window = ("--start", "2024-01-24", "--end", "2024-01-25")
    assert keel(*command, "other", *window).code == 3
    answer = keel(*command, "other", "--symbol", "BTCUSDT", *window, "--json")
    assert answer.code == 0, answer.err
    assert "BTCUSDT" in answer.out


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of another kind")
def test_closed_standard_streams_are_no_files_of_ours(home: Path) -> None:
    """``2>&-``: the next file that is opened would be stderr, and get what is meant for a screen."""
    told = "import os, sys; from keel.runners.cli.process import open_standard_streams as o; o(); o(); print(1); "
    told += "n = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); os.write(2, b'for a screen'); print(2, file=sys.stderr); sys.exit(n)"
    done = subprocess.run(["sh", "-c", '"$0" -c "$1" "$2" 0<&- 1>&- 2>&-', sys.executable, told, str(home / "journal")], check=False)
    assert done.returncode == 3 and (home / "journal").read_bytes() == b""
