"""No program that keel starts takes itself for its trader, or speaks to systemd for it."""

from __future__ import annotations

import ast
from pathlib import Path

from keel.runners.process.child_environment import child_environment

ROOT = Path(__file__).parents[3]
STARTS = ("Popen", "run", "call", "check_call", "check_output")


def test_what_is_meant_for_one_process_is_left_out() -> None:
    own = dict.fromkeys(("KEEL_SUPERVISOR", "KEEL_SUPERVISOR_RUN", "KEEL_SUPERVISOR_LATER", "NOTIFY_SOCKET", "WATCHDOG_USEC"), "x")
    assert child_environment({**own, "KEEL_HOME": "/h", "PATH": "/bin"}) == {"KEEL_HOME": "/h", "PATH": "/bin"}


def test_every_program_is_started_with_it() -> None:
    """In each file that starts one: every start names its environment, and the file takes it from ``child_environment``."""
    seen = set()
    for path in sorted(each for folder in ("core", "sim", "strategies", "adapters", "runners") for each in (ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "subprocess" not in text:
            continue
        calls = [each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.Call)]
        starts = [each for each in calls if ast.unparse(each.func) in {f"subprocess.{name}" for name in STARTS}]
        for start in starts:
            assert "env" in {word.arg for word in start.keywords}, f"{path}:{start.lineno}: env=child_environment()"
            assert "child_environment(" in text, f"{path}: where does its environment come from?"
            seen.add(path.name)
    assert seen >= {"trader.py", "flatten.py", "command.py", "panic_button.py", "child.py"}
