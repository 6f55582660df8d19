"""Log lines: where they go, what they carry, what they never carry, what they cost when nobody wants them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.log_file import LogFile
from keel.adapters.logging import LEVELS, get_logger, is_secret, log_context, log_context_scope, set_up_logging
from keel.core.errors import ConfigError

log = get_logger("tests")


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("KEEL_LOG_LEVEL", raising=False)
    yield
    set_up_logging(level="warning")


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """Sets logging up at debug level to a file, and reads it."""
    file = tmp_path / "logs" / "run.jsonl"
    set_up_logging(level="debug", file=file, console=False)
    return lambda: [json.loads(line) for line in file.read_text().splitlines()]


def test_a_line_carries_event_fields_logger_level_and_time(lines: Callable[[], list[dict[str, Any]]]) -> None:
    log.bind(symbol="BTCUSDT").info("feed connected", attempt=2)
    (line,) = lines()
    assert line.pop("time").endswith("Z")
    assert line == {"event": "feed connected", "level": "info", "logger": "tests", "symbol": "BTCUSDT", "attempt": 2}


def test_scopes_nest_and_end(lines: Callable[[], list[dict[str, Any]]]) -> None:
    with log_context_scope(run_id="run-1", epoch="backtest"):
        with log_context_scope(epoch="demo"):
            log.info("inner")
        log.info("outer")
    log.info("none")
    inner, outer, none = lines()
    assert (inner["run_id"], inner["epoch"]) == ("run-1", "demo")
    assert outer["epoch"] == "backtest"
    assert "run_id" not in none
    assert log_context() == {}


def test_a_scope_ends_when_its_block_raises() -> None:
    with pytest.raises(RuntimeError), log_context_scope(run_id="run-1"):
        raise RuntimeError
    assert log_context() == {}


def test_an_exception_brings_its_traceback(lines: Callable[[], list[dict[str, Any]]]) -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        log.exception("it failed")
    (line,) = lines()
    assert "ZeroDivisionError" in line["exception"]
    assert line["level"] == "error"


SECRET_NAMES = [
    "api_key",
    "API-KEY",
    "apiSecret",
    "secret",
    "X-BAPI-SIGN",
    "sign",
    "password",
    "access_token",
    "Authorization",
    "private_key",
]
OPEN_NAMES = ["signal", "signals", "key", "symbol", "run_id", "design", "assigned", "author"]


def test_names_of_secrets() -> None:
    assert [name for name in SECRET_NAMES if not is_secret(name)] == []
    assert [name for name in OPEN_NAMES if is_secret(name)] == []


def test_no_secret_reaches_a_line_at_any_depth(lines: Callable[[], list[dict[str, Any]]], tmp_path: Path) -> None:
    log.warning("request", api_key="hunter2", headers={"X-BAPI-SIGN": "hunter2", "path": "/v5"}, tries=[{"password": "hunter2"}])
    with log_context_scope(token="hunter2"):
        log.warning("again")
    assert "hunter2" not in (tmp_path / "logs" / "run.jsonl").read_text()
    assert lines()[0]["headers"] == {"path": "/v5"}


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_only_lines_of_the_level_and_above_are_written(tmp_path: Path, level: str) -> None:
    set_up_logging(level=level, file=tmp_path / "x.jsonl", console=False)
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)(name)
    written = [json.loads(line)["event"] for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert written == [name for name in ("debug", "info", "warning", "error") if LEVELS[name] >= LEVELS[level]]


def test_the_console_is_stderr_and_stdout_stays_clean(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(level="info")
    log.info("bar late", symbol="BTCUSDT")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "bar late" in captured.err and "symbol" in captured.err and captured.err.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_console_that_is_full_is_given_up_and_the_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.jsonl"
    full = open("/dev/full", "w", buffering=1)  # noqa: SIM115, PTH123  # closing it raises, as every write does
    monkeypatch.setattr(sys, "stderr", full)
    set_up_logging(level="info", file=path, console=True)
    for event in ("first", "second"):
        log.info(event)
    events = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert events[0] == "first" and events[1].startswith("stderr takes no lines any more ([Errno 28]") and events[2:] == ["second"]
    with suppress(OSError):
        full.close()


def test_the_environment_gives_the_level(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KEEL_LOG_LEVEL", "ERROR")
    set_up_logging()
    log.warning("quiet")
    log.error("loud")
    assert "quiet" not in (text := capsys.readouterr().err) and "loud" in text


def test_bad_settings_are_refused_and_change_nothing(lines: Callable[[], list[dict[str, Any]]], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'loud'"):
        set_up_logging(level="loud")
    with pytest.raises(ConfigError, match="cannot be opened"):
        set_up_logging(file=tmp_path)
    log.info("still here")
    assert [line["event"] for line in lines()] == ["still here"]


def test_what_json_lacks_is_written_as_text(lines: Callable[[], list[dict[str, Any]]]) -> None:
    log.info("odd", path=Path("/x"), number=float("nan"), kind=LEVELS.keys())
    assert lines()[0]["path"] == "PosixPath('/x')"


def test_structlog_is_not_imported_until_a_line_is_written() -> None:
    code = (
        "import sys\n"
        "from keel.adapters.logging import get_logger, log_context_scope\n"
        "log = get_logger('x')\n"
        "with log_context_scope(run_id='r'): log.debug('no')\n"
        "assert 'structlog' not in sys.modules\n"
        "log.warning('yes')\n"
        "assert 'structlog' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "yes" in done.stderr and "no" not in done.stderr.split() and done.stdout == ""


def test_a_log_file_turns_over_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "x.jsonl"
    path.parent.mkdir(mode=0o755)
    path.write_text("what an earlier version wrote\n")
    path.chmod(0o644)
    file = LogFile(path, most_bytes=1_000, kept=3)
    for number in range(200):
        file.write(b'{"n":%03d}%s\n' % (number, b"x" * 40))
    file.close()
    found = sorted(path.parent.iterdir())
    assert [each.name for each in found] == ["x.jsonl", "x.jsonl.1", "x.jsonl.2", "x.jsonl.3"]
    assert all(each.stat().st_size <= 1_000 and each.stat().st_mode & 0o077 == 0 for each in found)
    lines = [line for each in ("x.jsonl.3", "x.jsonl.2", "x.jsonl.1", "x.jsonl") for line in (path.parent / each).read_text().splitlines()]
    numbers = [int(line[5:8]) for line in lines]
    assert numbers == list(range(200 - len(numbers), 200)) and len(numbers) > 50


def test_two_writers_of_one_log_file_turn_it_over_once(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    first, second = LogFile(path, most_bytes=300, kept=2), LogFile(path, most_bytes=300, kept=2)
    for number in range(10):
        (first if number % 2 else second).write(b"%03d %s\n" % (number, b"x" * 40))
    text = "".join((tmp_path / name).read_text() for name in ("x.jsonl.2", "x.jsonl.1", "x.jsonl") if (tmp_path / name).exists())
    assert [int(line[:3]) for line in text.splitlines()] == list(range(10))


def test_a_log_that_cannot_be_written_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.jsonl"
    set_up_logging(level="info", file=path, console=False)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        log.info("one")
        log.info("two")
    assert os.write is write
    log.info("three")
    assert capsys.readouterr().err.count("takes no lines: No space left on device") == 1
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.get("lines", line["event"]) for line in lines] == [2, "three"]


def test_a_text_that_is_no_text_is_logged_all_the_same(lines: Callable[[], list[dict[str, Any]]]) -> None:
    log.info("odd", path="x\udcff.csv", number=2**80)
    (line,) = lines()
    assert line["path"] == "x\udcff.csv"


def test_the_console_may_have_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(level="info", console="json")
    log.info("fill", symbol="BTCUSDT")
    assert json.loads(capsys.readouterr().err)["symbol"] == "BTCUSDT"
