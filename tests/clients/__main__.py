"""``python -m tests.clients [NAME ...]``: each client in a virtual environment of its own, against a fresh sandbox, and a table of what
became of it. KEEL_CLIENTS names the folder of the environments (else one under the system's temporary folder)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
ENVIRONMENTS: Final = Path(os.environ.get("KEEL_CLIENTS") or Path(tempfile.gettempdir()) / "keel-clients")
NEWEST: Final = (13, 12, 11)


@dataclass(frozen=True)
class Client:
    """One client: its pinned packages, the oldest Python (3.x) that it takes, its script with arguments, and how long it may take."""

    pins: str
    oldest: int
    script: tuple[str, ...]
    seconds: int


CLIENTS: Final = {
    "ccxt": Client("ccxt", 10, ("ccxt_rest.py",), 300),
    "ccxt.pro": Client("ccxt", 10, ("ccxt_streams.py",), 300),
    "freqtrade": Client("freqtrade", 11, ("freqtrade_live.py",), 900),
    "nautilus": Client("nautilus", 12, ("nautilus_live.py",), 900),
    "nautilus-rc": Client("nautilus-rc", 12, ("nautilus_next.py",), 900),
}


class CannotRun(Exception):
    """Why a client is not run here."""


def python_of(oldest: int) -> Path:
    """The newest Python here that a client takes. Raises CannotRun."""
    for minor in NEWEST:
        if minor < oldest:
            break
        known = [*Path("/usr/bin").glob(f"python3.{minor}"), *Path("/usr/local/bin").glob(f"python3.{minor}")]
        known += [
            *(Path.home() / ".pyenv" / "versions").glob(f"3.{minor}.*/bin/python"),
            *Path("/opt/python").glob(f"3.{minor}*/bin/python"),
        ]
        for candidate in known:
            if subprocess.run([candidate, "-c", "import ssl, venv"], capture_output=True, check=False).returncode == 0:
                return candidate
    if sys.version_info[1] >= oldest:
        return Path(sys.executable)
    raise CannotRun(f"it needs Python 3.{oldest} or newer, and there is none here")


def environment_of(client: Client) -> Path:
    """The Python of a client's environment, which is made where it is not. Raises CannotRun."""
    pins = HERE / "pins" / f"{client.pins}.txt"
    folder = ENVIRONMENTS / client.pins
    stamp = folder / "pins.txt"
    python = folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != pins.read_text():
        subprocess.run([python_of(client.oldest), "-m", "venv", "--clear", folder], check=True)
        done = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", pins], check=False)
        if done.returncode:
            raise CannotRun(f"pip cannot install {pins.read_text().strip()} (exit code {done.returncode})")
        stamp.write_text(pins.read_text())
    return python


@contextmanager
def sandbox(log: Path) -> Iterator[str]:
    """``keel sandbox`` in a process of its own: perpetuals and spot, fresh ids, the pace of every day."""
    with tempfile.TemporaryDirectory() as home, log.open("w") as errors:
        command = [sys.executable, "-m", "keel.runners.cli.main", "sandbox", "--home", home, "--json", "--symbols", "BTCUSDT,ETHUSDT"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise CannotRun(f"the sandbox did not start: {log.read_text()[-500:]}")
            yield json.loads(line)["url"]
        finally:
            process.terminate()
            process.wait(30)


def run(name: str) -> list[dict[str, Any]]:
    """What a client says of its run. Raises CannotRun."""
    client = CLIENTS[name]
    python = environment_of(client)
    log = ENVIRONMENTS / f"{name}.log"
    with sandbox(ENVIRONMENTS / f"{name}.sandbox.log") as url, log.open("w") as errors:
        script = HERE / "scripts" / client.script[0]
        environment = {**os.environ, "PYTHONPATH": str(script.parent)}
        try:
            done = subprocess.run(
                [python, script, url, *client.script[1:]],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                timeout=client.seconds,
                check=False,
                env=environment,
                cwd=ENVIRONMENTS,
            )
        except subprocess.TimeoutExpired as error:
            raise CannotRun(f"it was not done after {client.seconds} s; see {log}") from error
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"setting"')]
    if done.returncode and not any(row["outcome"] == "failed" for row in rows):
        rows.append({"setting": "", "what": "it ended", "outcome": "failed", "detail": f"exit code {done.returncode}; see {log}"})
    if not rows:
        rows.append({"setting": "", "what": "it ended", "outcome": "failed", "detail": f"it said nothing; see {log}"})
    return rows


def main(names: Sequence[str]) -> int:
    """Run them one after another; 1 where anything failed, 2 for a name that is none."""
    unknown = [name for name in names if name not in CLIENTS]
    if unknown:
        print(f"no client is called {', '.join(unknown)}: there are {', '.join(CLIENTS)}", file=sys.stderr)
        return 2
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    table, failed = [], 0
    for name in names or list(CLIENTS):
        began = time.monotonic()
        version = (HERE / "pins" / f"{CLIENTS[name].pins}.txt").read_text().strip()
        try:
            rows = run(name)
        except CannotRun as error:
            print(f"{name}: NOT RUN: {error}")
            table.append((name, version, "not run", "", "", ""))
            failed += 1
            continue
        counts = [sum(row["outcome"] == outcome for row in rows) for outcome in ("ok", "refused", "failed")]
        for row in rows:
            if row["outcome"] == "failed":
                print(f"{name} {row['setting']}: {row['what']}: {row['detail']}")
        failed += counts[2]
        table.append((name, version, *map(str, counts), f"{time.monotonic() - began:.0f} s"))
    for row in [("client", "version", "as it should", "refused as it should", "otherwise", "took"), *table]:
        print("  ".join(f"{cell:<22}" for cell in row).rstrip())
    return min(1, failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
