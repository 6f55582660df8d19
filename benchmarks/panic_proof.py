"""Panic, measured: how soon the latch stands, the first cancel is on the wire, nothing rests, everything is closed; whatever is broken.

    python -m benchmarks.panic_proof [--instants 200] [--symbols 20] [--orders 60]

Times are of the sandbox's own clock and record (the same machine): the press, the first request that came in, the last order that ended,
the last execution that closed. A command's latch is counted from the first line of its own code, its first cancel from the shell. It exits
with 1 where a bar is missed. docs/panic.md holds what one run printed, as it was printed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.panic_instants import GRACE_MS, adds, press_at_random, serving
from keel.adapters.bybit.transport.credentials import load_credentials
from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.runners.live.panic.latch import is_latched, latch_of
from keel.runners.live.panic.panic_button import PanicButton

_OPEN = ("New", "PartiallyFilled", "Untriggered")
FAULTS: list[dict[str, Any]] = [
    {"match": {"side": "http", "path": "/v5", "prob": 0.1}, "when": "before_apply", "action": {"kind": "error", "ret_code": 10006}},
    {"match": {"side": "http", "path": "/v5", "prob": 0.1}, "when": "after_apply", "action": {"kind": "error", "ret_code": 10016}},
    {"match": {"side": "http", "path": "/v5", "prob": 0.1}, "when": "before_apply", "action": {"kind": "freeze"}},
]
SILENT_S = 3.0
"""For so long a trader hears nothing before it is pressed."""
FROZEN_SOCKETS = [{"match": {"side": "ws", "topic": ""}, "action": {"kind": "freeze", "keep_pong": False}}]
HOLDS = """
import time
from keel.core.model.messages import Signal
from keel.strategies.base import BaseStrategy


class Holds(BaseStrategy):
    features = {}
    defaults = {"hangs": False}

    def generate_signal(self, snapshot, params):
        if snapshot.position.qty == 0:
            return Signal(snapshot.symbol, "LONG", stop_loss=snapshot.bar_ltf.close * 0.5)
        print("HELD", flush=True)
        while params["hangs"]:
            try:
                time.sleep(0.01)
            except Exception:
                pass
"""
SYSTEM = (
    "system: holds\nstrategy: holds.py:Holds\nsymbols: [BTCUSDT]\ntimeframe: 1m\nwarmup_bars: 5\nsizing: {model: fixed_usd, usd: 1000}\n"
)

WARM, COLD, FAILING = "warm standby", "cold command", "30 % of requests fail"
NO_FILES, NO_TMP = "no file holds a byte (RLIMIT_FSIZE 0)", "TMPDIR leads nowhere"
SILENT, HANGING, STOPPED = "a trader's sockets are dead", "a trader's strategy hangs", "a trader is stopped (SIGSTOP)"
INSTANTS = "random instants"
CASES = (WARM, COLD, FAILING, NO_FILES, NO_TMP, SILENT, HANGING, STOPPED, INSTANTS)
COLD_STARTS = 5
LATCH_MS = 50
"""From the press, or from the first line of a command's own code."""


class Proof:
    """Prints a row per case, and keeps which bars were missed."""

    def __init__(self, symbols: int, orders: int, folder: Path) -> None:
        self.symbols, self.orders, self.folder = symbols, orders, folder
        self.missed: list[str] = []

    def say(self, case: str, text: str, *, ok: bool) -> None:
        """One row of the table."""
        if not ok:
            self.missed.append(case)
        print(f"| {case} | {text} | {'yes' if ok else '**NO**'} |", flush=True)

    def end(self) -> int:
        """The last line; the exit code."""
        print(f"\nA bar was missed: {', '.join(self.missed)}." if self.missed else "\nAll bars were kept.")
        return 1 if self.missed else 0

    # --- 1,200 orders and 20 positions ---

    def big(
        self, case: str, press: Callable[[str], tuple[int, subprocess.Popen[bytes] | PanicButton]], *, first_ms: int, flat_s: float
    ) -> None:
        """One press over a full account."""
        with self.scene(self.symbols, self.orders) as url:
            begun_ms, acting = press(url)
            latched = self._latched_after(url, begun_ms)
            code, own = _finished(acting)
            self._judge(case, url, begun_ms, latched, code, own, first_ms=first_ms, flat_s=flat_s)

    def _latched_after(self, url: str, begun_ms: int) -> int:
        path = latch_of(Environment.SANDBOX, url)
        while not is_latched(path):
            time.sleep(0.001)
        return max(0, int(path.stat().st_ctime * 1000) - begun_ms)

    def _judge(
        self, case: str, url: str, begun_ms: int, latched: int, code: int, own_ms: int | None, *, first_ms: int, flat_s: float
    ) -> None:
        truth = _get(url, "/admin/truth")["accounts"]["sandbox-key"]
        sent = [row for row in _get(url, "/admin/wire")["requests"] if row["received"] >= begun_ms]
        first = next(row["received"] for row in sent if row["path"] == "/v5/order/cancel-all") - begun_ms
        ended = [int(row["updatedTime"]) for row in truth["orders"] if row["orderStatus"] in ("Cancelled", "Deactivated")]
        nothing = (max(ended, default=begun_ms) - begun_ms) / 1000
        closed = [int(row["execTime"]) for row in truth["executions"] if row["orderLinkId"].startswith("panic-")]
        flat = (max(closed, default=begun_ms) - begun_ms) / 1000
        left = [row for row in truth["orders"] if row["orderStatus"] in _OPEN] + [row for row in truth["positions"] if float(row["size"])]
        latch = f"latch {latched} ms" if own_ms is None else f"latch {own_ms} ms after its own code began"
        wire = f"{first} ms"
        if case == COLD:
            firsts = sorted([first, *(_cold_first_cancel(url) for _ in range(COLD_STARTS - 1))])
            first = int(statistics.median(firsts))
            wire = f"{first} ms (the median of {len(firsts)} commands: {', '.join(map(str, firsts))})"
        text = f"{latch}, first cancel on the wire {wire}, no order after {nothing:.1f} s, flat after {flat:.1f} s, exit {code}"
        is_well = not left and code == 0 and first <= first_ms and nothing <= flat_s and flat <= flat_s
        is_well = is_well and (latched if own_ms is None else own_ms) <= LATCH_MS and (flat_s > 10.0 or nothing <= 5.0)
        self.say(case, f"{len(ended)} orders, {len(closed)} closing executions: {text}", ok=is_well)

    @contextmanager
    def scene(self, symbols: int, orders: int, *rules: dict[str, Any]) -> Iterator[str]:
        """A full account in a process of its own."""
        words = [sys.executable, "-m", "benchmarks.panic_scene", "--symbols", str(symbols), "--orders", str(orders)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            try:
                yield url
            finally:
                process.terminate()

    # --- whatever is broken ---

    def broken(self, case: str, *, no_files: bool = False, **variables: str) -> None:
        """A smaller account, and a command under bad conditions. no_files: a disk that takes nothing, for which a command has a minute."""
        first_ms, flat_s = (60_000, 60.0) if no_files else (1_000, 10.0)
        with self.scene(5, 20) as url:
            begun_ms = _now_ms()
            acting = _command(url, variables, no_files=no_files)
            latched = self._latched_after(url, begun_ms)
            code, own = _finished(acting)
            self._judge(case, url, begun_ms, latched, code, own, first_ms=first_ms, flat_s=flat_s)

    def trader(self, case: str, number: signal.Signals, *, hangs: bool = False, rules: list[dict[str, Any]] | None = None) -> None:
        """A session that holds a position: SIGUSR1 is sent to it, or (SIGSTOP) the command comes from outside. rules: faults that strike
        it from then on."""
        home = self.folder / re.sub(r"\W+", "-", case)
        home.mkdir()
        (home / "holds.py").write_text(HOLDS)
        (home / "holds.yaml").write_text(f"{SYSTEM}params: {{hangs: {str(hangs).lower()}}}\n")
        with serving() as (_, url):
            words = [sys.executable, "-m", "keel.runners.cli.main", "--home", str(home), "demo", str(home / "holds.yaml")]
            quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
            process = subprocess.Popen([*words, "--sandbox", url, "--no-report"], cwd=Path(__file__).parents[1], **quiet)  # type: ignore[call-overload]
            try:
                if not any("HELD" in line for line in process.stdout):
                    self.say(case, f"the session ended with {process.wait()} before it held anything", ok=False)
                    return
                if rules:
                    _post(url, "/admin/faults", {"clear": True, "seed": 5, "rules": rules})
                    time.sleep(SILENT_S)
                begun_ms = _now_ms()
                process.send_signal(number)
                self._judge_trader(case, url, begun_ms, _command(url, {}) if number is signal.SIGSTOP else None)
            finally:
                process.kill()
                process.wait()

    def _judge_trader(self, case: str, url: str, begun_ms: int, acting: subprocess.Popen[bytes] | None) -> None:
        """acting: the command from outside; None: the session's own standby, whose report says how it ended."""
        latched = self._latched_after(url, begun_ms)
        while (left := _open_of(url)) and _now_ms() - begun_ms < 60_000:
            time.sleep(0.05)
        flat_s = (_now_ms() - begun_ms) / 1000
        code, own_ms = (_reported(url), None) if acting is None else _finished(acting)
        late = [row for row in _get(url, "/admin/wire")["requests"] if row["received"] > begun_ms + latched + GRACE_MS and adds(row)]
        latch = f"latch {latched} ms" if own_ms is None else f"latch {own_ms} ms after the command's own code began"
        text = f"{latch}, flat seen after {flat_s:.1f} s, {len(late)} orders that add after that, exit {code}"
        is_latched_soon = (latched if own_ms is None else own_ms) <= LATCH_MS
        self.say(case, text, ok=not left and not late and code == 0 and flat_s <= 10.0 and is_latched_soon)

    def instants(self, count: int) -> None:
        """Random instants of a session that trades."""
        found = press_at_random(count)
        late = f"latest {max(found.late_ms)} ms after the latch" if found.late_ms else "none after the latch"
        text = f"{found.pressed} presses, {found.orders} orders before them; orders that add: {late}, {len(found.violations)} too late"
        slowest = f"(more than {GRACE_MS} ms); flat after {max(found.flat_s, default=0.0):.1f} s at the latest"
        is_whole = found.pressed == found.asked and found.orders >= found.pressed
        self.say(INSTANTS, f"{text} {slowest}", ok=is_whole and not found.violations and not found.not_well)
        for each in (*found.violations[:5], *found.not_well[:5]):
            print(f"  {each}", file=sys.stderr)


def cold(url: str) -> tuple[int, subprocess.Popen[bytes]]:
    """The command, from nothing."""
    return _now_ms(), _command(url, {})


def warm(url: str, rules: list[dict[str, Any]] | None = None) -> tuple[int, PanicButton]:
    """A button whose standby is ready: what the key and the signal press. rules: faults of the exchange, from the press on."""
    where = endpoints(Environment.SANDBOX, url)
    button = PanicButton(where, load_credentials(where, environ={}), owner="the proof")
    button.stand_by()
    time.sleep(4.0)
    if rules:
        _post(url, "/admin/faults", {"clear": True, "seed": 5, "rules": rules})
    begun_ms = _now_ms()
    button.press("the proof")
    return begun_ms, button


def _cold_first_cancel(url: str) -> int:
    """After how many ms a command that is started from nothing has its first cancel on the wire; it is broken off then."""
    known = len(_get(url, "/admin/wire")["requests"])
    begun_ms, acting = _now_ms(), _command(url, {})
    first = None
    while first is None:
        time.sleep(0.05)
        sent = _get(url, "/admin/wire")["requests"][known:]
        first = next((row["received"] for row in sent if row["path"] == "/v5/order/cancel-all"), None)
    acting.send_signal(signal.SIGINT)
    acting.communicate(timeout=30)
    return int(first) - begun_ms


def _command(url: str, variables: Mapping[str, str], *, no_files: bool = False) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "keel.runners.cli.main", "panic", "--env", "sandbox", "--sandbox", url, "--yes"]
    limit = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))) if no_files else None
    environment = {**os.environ, **variables}
    where = Path(__file__).parents[1]
    return subprocess.Popen(words, cwd=where, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=limit)


def _finished(acting: subprocess.Popen[bytes] | PanicButton) -> tuple[int, int | None]:
    """Exit code, and after how many ms of its own code a command says that the latch stands."""
    if isinstance(acting, PanicButton):
        deadline = time.monotonic() + 90
        while (code := acting.finished()) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return -1 if code is None else code, None
    said, _ = acting.communicate(timeout=90)
    told = re.search(rb"([0-9.]+) s  the latch stands", said)
    return acting.returncode, round(float(told[1]) * 1000) if told else None


def _open_of(url: str) -> list[dict[str, Any]]:
    """Orders that rest and positions that are held."""
    account = _get(url, "/admin/truth")["accounts"]["sandbox-key"]
    resting = [row for row in account["orders"] if row["orderStatus"] in _OPEN]
    return resting + [row for row in account["positions"] if float(row["size"])]


def _reported(url: str) -> int | None:
    """The exit code in the report of a panic, once it is there; None where there is none after half a minute."""
    path = latch_of(Environment.SANDBOX, url)
    for _ in range(300):
        for place in path.parent.glob(f"{path.stem}.*.report.json"):
            try:
                return int(json.loads(place.read_bytes())["exit_code"])
            except ValueError:
                break  # it is being written
        time.sleep(0.1)
    return None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _get(url: str, path: str) -> Any:
    with urlopen(url + path) as answer:
        return json.load(answer)


def _post(url: str, path: str, body: Any) -> None:
    with urlopen(Request(url + path, json.dumps(body).encode(), method="POST")):
        pass


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instants", type=int, default=200)
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument("--orders", type=int, default=60, help="per symbol")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KEEL_STATE"] = f"{folder}/state"
        proof = Proof(chosen.symbols, chosen.orders, Path(folder))
        machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}"
        print(f"Measured on {time.strftime('%Y-%m-%d')}: {machine}\n")
        print("| case | what was measured | within the bar |\n|---|---|---|", flush=True)
        proof.big(WARM, warm, first_ms=250, flat_s=10.0)
        proof.big(COLD, cold, first_ms=1_000, flat_s=10.0)
        proof.big(FAILING, lambda url: warm(url, FAULTS), first_ms=60_000, flat_s=60.0)
        proof.broken(NO_FILES, no_files=True)
        proof.broken(NO_TMP, TMPDIR="/nowhere")
        proof.trader(SILENT, signal.SIGUSR1, rules=FROZEN_SOCKETS)
        proof.trader(HANGING, signal.SIGUSR1, hangs=True)
        proof.trader(STOPPED, signal.SIGSTOP)
        proof.instants(chosen.instants)
        return proof.end()


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    raise SystemExit(main())
