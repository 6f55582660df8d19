"""What runs beside an exchange asks ``keel.adapters.machine`` for time and chance, or the loop's timers: nobody has a clock of his own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("adapters/bybit", "adapters/journal", "runners/live", "sim/sandbox")
BANNED = ("time", "uuid", "secrets")
"""Modules that nobody there imports."""
APART = {
    "runners/live/alerts/": "threads of their own, which send while a session hangs",
    "runners/live/arming/token.py": "chance that nobody may foresee, made by a person's command",
    "runners/live/panic/rearm.py": "a command of a person's, beside no session",
    "runners/live/panic/standby.py": "a process of its own",
    "runners/live/session_run.py": "how long the command took, beside the session's own time",
    "runners/live/supervisor/": "a process of its own, which watches a session from outside",
}
"""File or folder -> why it may."""


def apart(name: str) -> list[str]:
    return [place for place in APART if name == place or (place.endswith("/") and name.startswith(place))]


def found_in(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names if each.name in BANNED]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module in BANNED else []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            owner, name = node.func.value.id, node.func.attr
            is_clock = owner in ("datetime", "date") and name in ("now", "utcnow", "today")
            is_chance = owner == "random" and (name != "Random" or not node.args)
            names = [f"{owner}.{name}"] if is_clock or is_chance else []
        yield from (f"line {getattr(node, 'lineno', 0)}: {name}" for name in names)


def found() -> dict[str, list[str]]:
    files = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(files) > 100
    each = {str(path.relative_to(ROOT)): [*found_in(path.read_text(encoding="utf-8"))] for path in files}
    return {name: lines for name, lines in each.items() if lines}


def test_nobody_has_a_clock_or_chance_of_his_own() -> None:
    wrong = {name: lines for name, lines in found().items() if not apart(name)}
    assert wrong == {}, "use adapters.machine (wall_ms, monotonic_s, rng): a session runs in virtual time, too; or say why not in APART"


def test_those_that_may_do() -> None:
    assert sorted(APART) == sorted({place for name in found() for place in apart(name)})


@pytest.mark.parametrize(
    "text", ["import time", "from time import monotonic", "x = datetime.now()", "random.Random()", "random.choice(x)", "import uuid"]
)
def test_it_is_seen(text: str) -> None:
    assert [*found_in(text)]


@pytest.mark.parametrize("text", ["import random\nrandom.Random(5)", "machine.rng()", "loop.time()"])
def test_what_is_seeded_is_not(text: str) -> None:
    assert not [*found_in(text)]
