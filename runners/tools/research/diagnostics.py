"""Diagnostics: whether this machine, this installation and this home can do what keel is asked to do."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any, Literal

import msgspec
import numpy as np

from keel.adapters.store import HistoricalDataStore
from keel.adapters.store.schema import SCHEMA_VERSION
from keel.core.errors import KeelError
from keel.core.features import StreamEngine, VectorEngine, parse_features
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import HOUR_MS
from keel.runners.home import Home
from keel.runners.tools.registry import Request, Response, ToolContext, tool

Status = Literal["ok", "warn", "fail"]

LEAST_FREE_BYTES = 1 << 30
"""Under a GiB of free space a year of several symbols may not fit."""

_LEAST_PYTHON = (3, 11)
_EARLIEST_CLOCK_MS = 1_735_689_600_000  # 2025-01-01: no release of keel is older


class DoctorRequest(Request, frozen=True):
    """Nothing is asked."""


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at; way_out: what to do where it is not ok."""

    name: str
    status: Status
    detail: str
    way_out: str = ""


class DoctorResponse(Response, frozen=True, kw_only=True):
    """All checks; ok: none of them failed."""

    ok: bool
    checks: list[Check]


@tool("doctor", DoctorRequest, DoctorResponse)
def doctor_tool(request: DoctorRequest, context: ToolContext) -> DoctorResponse:
    """Look at Python, packages, the home folder, the disk, the store, the indicators, the clock and the terminal."""
    home = context.home
    looks: tuple[Callable[[], Iterator[Check]], ...] = (
        _python,
        _packages,
        lambda: _home(home),
        lambda: _disk(home),
        lambda: _store(home),
        _indicators,
        _clock,
        _terminal,
    )
    checks = [check for look in looks for check in look()]
    return DoctorResponse(ok=all(check.status != "fail" for check in checks), checks=checks)


def _python() -> Iterator[Check]:
    text = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < _LEAST_PYTHON:
        yield Check("python", "fail", text, "install Python 3.11 or newer")
    else:
        yield Check("python", "ok", text)


def _packages() -> Iterator[Check]:
    try:
        wanted = [line.split(";")[0] for line in requires("keel-trader") or [] if "extra ==" not in line]
        own = version("keel-trader")
    except PackageNotFoundError:
        yield Check("packages", "warn", "keel-trader is not installed as a package", "install it: pip install -e .")
        return
    found, missing = [f"keel-trader {own}"], []
    for line in wanted:
        name = line.split("[")[0].split(">")[0].split("<")[0].split("=")[0].split("!")[0].split("~")[0].strip()
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Check("packages", "fail", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    else:
        yield Check("packages", "ok", ", ".join(found))


def _home(home: Home) -> Iterator[Check]:
    folder = home.root
    while not folder.exists():
        folder = folder.parent
    if os.access(folder, os.W_OK | os.X_OK):
        yield Check("home", "ok", f"{home.root} can be written" + ("" if folder == home.root else f" (it will be made in {folder})"))
    else:
        yield Check("home", "fail", f"{home.root} cannot be written", "give another folder (--home DIR), or change its permissions")


def _disk(home: Home) -> Iterator[Check]:
    folder = home.root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / (1 << 30):.1f} GiB free for {home.root}"
    if free < LEAST_FREE_BYTES:
        yield Check("disk", "warn", text, "make room: a year of 1m bars of one symbol takes some 30 MB, a run up to 50 MB")
    else:
        yield Check("disk", "ok", text)


def _store(home: Home) -> Iterator[Check]:
    if not home.store.exists():
        yield Check("store", "warn", f"there is no {home.store}", "keel data import FILE… brings history in; keel run makes a sample")
        return
    try:
        with HistoricalDataStore(home.store, read_only=True) as store:
            series = store.coverage()
    except KeelError as error:
        yield Check("store", "fail", str(error), _store_way_out(str(error)))
        return
    size = home.store.stat().st_size / (1 << 20)
    yield Check("store", "ok", f"{home.store} opens: schema version {SCHEMA_VERSION}, {size:.0f} MiB, {len(series)} series")
    if not series:
        yield Check("history", "warn", "the store is empty", "keel data import FILE… brings history in; keel run makes a sample")
        return
    symbols = sorted({entry.symbol for entry in series})
    first, last = min(entry.first for entry in series), max(entry.last for entry in series)
    text = f"{', '.join(symbols)}: {sum(entry.rows for entry in series):,} rows from {to_iso(first)} to {to_iso(last)}"
    holes = [f"{entry.symbol} {entry.kind} {entry.timeframe}".strip() for entry in series if entry.gaps]
    if holes:
        yield Check(
            "history",
            "warn",
            f"{text}; gaps in {', '.join(holes)}",
            "keel data gaps shows them, keel data fill builds what finer bars have",
        )
    else:
        yield Check("history", "ok", f"{text}, no gaps")


def _store_way_out(reason: str) -> str:
    """Only a file that cannot be read is to be moved away: one that another process holds is as healthy as before."""
    if "damaged" in reason:
        return "move that file away, and import the history anew: keel data import FILE…"
    if " in use by " in reason or "already open" in reason:
        return "wait until that process ends, or stop it; leave the file where it is: nothing says that it is damaged"
    return "mend what the reason names and try again; leave the file where it is"


def _indicators() -> Iterator[Check]:
    """TA-Lib's stream handles against its vector form, bit by bit, over a walk of 300 bars."""
    declared: dict[str, dict[str, Any]] = {
        "ema": {"fn": "EMA", "timeperiod": 20},
        "rsi": {"fn": "RSI", "timeperiod": 14},
        "atr": {"fn": "ATR", "timeperiod": 14},
        "macd": {"fn": "MACD", "output": "macdhist"},
    }
    specs = parse_features(declared, {}, "1h")
    frame = _walk(300)
    columns = VectorEngine().compute(specs, frame)
    stream = StreamEngine(specs, frame[:100])
    for row in range(100, len(frame)):
        stream.update({"ts": int(frame.ts[row]), **{name: float(frame[name][row]) for name in BAR_COLUMNS}})
    streamed = stream.columns()
    differ = [name for name in columns if columns[name].tobytes() != streamed[name].tobytes()]
    if differ:
        yield Check("indicators", "fail", f"TA-Lib's stream and vector forms differ: {', '.join(differ)}", "install TA-Lib 0.8.2 or newer")
    else:
        yield Check("indicators", "ok", f"TA-Lib's stream and vector forms give the same bits ({', '.join(columns)})")


def _walk(bars: int) -> Frame:
    """A price path of sines: nothing random, and no two bars alike."""
    at = np.arange(bars, dtype=np.float64)
    close = 100.0 + 5.0 * np.sin(at / 7.0) + 3.0 * np.sin(at / 23.0)
    opened = np.concatenate([[100.0], close[:-1]])
    columns = {"open": opened, "high": np.maximum(opened, close) + 0.5, "low": np.minimum(opened, close) - 0.5, "close": close}
    return Frame(HOUR_MS * np.arange(bars), {**columns, "volume": 10.0 + np.cos(at)}, symbol="CHECK", timeframe="1h")


def _clock() -> Iterator[Check]:
    wall, steady = time.time_ns(), time.monotonic_ns()
    time.sleep(0.02)
    drift_ms = ((time.time_ns() - wall) - (time.monotonic_ns() - steady)) / 1e6
    text = f"{to_iso(wall // 1_000_000)}; wall and monotonic clock differ by {drift_ms:.2f} ms over 20 ms"
    if wall // 1_000_000 < _EARLIEST_CLOCK_MS or abs(drift_ms) > 100:
        yield Check("clock", "warn", text, "set the system's clock, and keep it by NTP: runs are stamped with it")
    else:
        yield Check("clock", "ok", text)


def _terminal() -> Iterator[Check]:
    size = shutil.get_terminal_size()
    encoding = (getattr(sys.stdout, "encoding", None) or "unknown").lower()
    interactive = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    text = f"{'interactive' if interactive else 'not interactive'}, {size.columns} columns, {encoding}"
    if encoding.replace("-", "") != "utf8":
        yield Check("terminal", "warn", text, "set PYTHONUTF8=1, so that names in other scripts can be printed")
    else:
        yield Check("terminal", "ok", text)
