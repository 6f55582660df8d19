"""Ctrl-C is 130 and nobody's mistake, whatever error it comes out as; and output falls back where an encoding lacks a character."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Keel = Callable[..., Any]
WINDOW = ("--start", "2024-01-15", "--end", "2024-01-22", "--set", "warmup_bars=50")
STRATEGY = '''
import os, signal
from collections.abc import Mapping
from typing import Any
from keel.strategies.base import BaseStrategy


class Pressed(BaseStrategy):
    """Its user presses Ctrl-C at the third bar, and a library below makes an error of its own of that."""

    bars = 0

    def generate_signal(self, snapshot, params: Mapping[str, Any]):
        self.bars += 1
        if self.bars == 3:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                if os.environ.get("PLAIN_INTERRUPT"):
                    raise
                raise RuntimeError("INTERRUPT Error: Interrupted!") from None
        return None
'''


@pytest.fixture
def pressed(home: Path) -> Iterator[Path]:
    """A system whose run is interrupted; interrupts are heard, wherever the tests were started."""
    (home / "strategies").mkdir()
    (home / "systems").mkdir()
    (home / "strategies" / "pressed.py").write_text(STRATEGY)
    system = "system: pressed\nstrategy: pressed\nsymbols: [BTCUSDT]\ntimeframe: 1h\nsizing: {model: fixed_usd, usd: 1000}\n"
    (home / "systems" / "pressed.yaml").write_text(system)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield home
    signal.signal(signal.SIGINT, before)


COMMANDS = {
    "backtest": ("backtest", "pressed", *WINDOW, "--no-report"),
    "check": ("check", "lookahead", "pressed", *WINDOW),
    "parity": ("parity", "pressed", *WINDOW),
}


@pytest.mark.parametrize("plain", ["", "1"], ids=["as another error", "as itself"])
@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_is_130_and_nobodys_mistake(command: str, plain: str, pressed: Path, keel: Keel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIN_INTERRUPT", plain)
    answer = keel(*COMMANDS[command], "--json")
    if command == "parity" and answer.code == 2:
        pytest.skip("the kernel does not run this kind of strategy")
    assert answer.code == 130, answer
    assert "mistake of ours" not in answer.err and "Traceback" not in answer.err and answer.err.strip().startswith("error: interrupted")
    assert json.loads(answer.out)["error"]["exit_code"] == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_without_ctrl_c_keeps_its_own_code(keel: Keel) -> None:
    assert keel("backtest", "nobody").code == 2


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_output_falls_back_where_the_encoding_lacks_a_character(encoding: str, home: Path) -> None:
    """A system with letters and signs of many scripts, and a file name that is no text."""
    (home / "systems").mkdir()
    text = "system: plain\ndescription: 'größer ≥ 中文 → €'\nstrategy: ema_cross\nsymbols: [BTCUSDT]\ntimeframe: 1h\n"
    (home / "systems" / "plain.yaml").write_text(text, encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONUTF8": "0"}
    for arguments in (("systems", "list"), ("systems", "show", "plain", "--json"), ("data", "import", os.fsdecode(b"x\xff.csv"))):
        command = [sys.executable, "-m", "keel.runners.cli.main", "--home", str(home), *arguments]
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        told = done.stdout + done.stderr
        assert b"UnicodeEncodeError" not in told and done.returncode in (0, 3), told
        if "--json" in arguments:
            assert "größer ≥ 中文 → €" in json.dumps(json.loads(done.stdout.decode(encoding)), ensure_ascii=False)
