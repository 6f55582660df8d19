"""Quick tests do not wait in real time: they turn a virtual clock (tests/virtual). Who waits is named, and the list only gets shorter.

Tests marked ``real_sockets`` or ``long`` may wait, and so may what no quick test runs (other people's clients, the proof on an account).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.house.numbers import PROJECT

NOT_QUICK: Final = ("clients/", "live_proof/", "virtual/", "house/")
WAITS_FOR_PROCESSES_AND_THREADS: Final = frozenset(
    {
        "faults/test_killed_at_random.py",
        "runners/alerts/servers.py",
        "runners/alerts/test_alerts.py",
        "runners/live/test_panic.py",
        "runners/supervisor/test_parts.py",
        "runners/supervisor/test_supervised_live.py",
        "runners/research/sweep/test_compiling.py",
        "sim/sandbox/conftest.py",
    }
)
"""Files that look again every few milliseconds whether another process or thread has done something: ``time.sleep``."""
WAITS_IN_THE_LOOP_OF_ITS_CALLER: Final = frozenset(
    {
        "adapters/bybit/conftest.py",
        "adapters/bybit/test_market.py",
        "adapters/bybit/test_venue_outcomes.py",
        "adapters/bybit/test_venue_streams.py",
        "adapters/bybit/test_written_ahead.py",
        "adapters/journal/test_watching.py",
        "conformance/adapter.py",
        "faults/matrix/actions.py",
        "faults/test_absent.py",
        "faults/test_causes.py",
        "faults/test_journal_watched.py",
        "faults/test_unprotected.py",
        "runners/live/test_statement.py",
        "runners/process/test_own_loop.py",
        "sim/sandbox/test_lockstep.py",
    }
)
"""Files with ``asyncio.sleep`` that do not speak of a virtual loop themselves: that of their caller, or a real one."""


def quick_waits(tree: ast.Module) -> Iterator[str]:
    """``time`` or ``asyncio`` for each sleep of a module, but of sleeps of no length and of those in tests that may wait."""
    if any(isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node) and may_wait(node.value) for node in tree.body):
        return
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(map(may_wait, node.decorator_list)):
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "asyncio.sleep") and ast.unparse(node.args[0]) != "0":
            yield ast.unparse(node.func).removesuffix(".sleep")
        waiting += ast.iter_child_nodes(node)


def may_wait(mark: ast.expr) -> bool:
    said = ast.unparse(mark)
    return "parametrize" not in said and ("mark.long" in said or "mark.real_sockets" in said)


def sleepers(clock: str) -> set[str]:
    """Files of tests in which quick tests sleep by this clock."""
    found = set()
    for path in sorted((PROJECT / "tests").rglob("*.py")):
        name, text = path.relative_to(PROJECT / "tests").as_posix(), path.read_text(encoding="utf-8")
        if f"{clock}.sleep(" not in text or name.startswith(NOT_QUICK):
            continue
        if clock == "asyncio" and "virtual" in text:
            continue
        if clock in set(quick_waits(ast.parse(text))):
            found.add(name)
    return found


def test_nobody_sleeps_who_is_not_named() -> None:
    assert sleepers("time") == WAITS_FOR_PROCESSES_AND_THREADS
    assert sleepers("asyncio") == WAITS_IN_THE_LOOP_OF_ITS_CALLER


def test_nobody_hides_a_sleep_under_another_name() -> None:
    """``from time import sleep`` would not be seen."""
    hidden = ("from time import sleep", "from asyncio import sleep", "import time as", "import asyncio as")
    texts = {path: path.read_text(encoding="utf-8") for path in (PROJECT / "tests").rglob("*.py") if path != Path(__file__)}
    assert not [path for path, text in texts.items() for each in hidden if each in text]


def test_a_sleep_is_found_where_it_counts() -> None:
    said = "import pytest\n@pytest.mark.long\ndef test_one():\n    time.sleep(1)\nasync def test_other():\n    await asyncio.sleep(0)\n"
    assert list(quick_waits(ast.parse(said))) == []
    assert sorted(quick_waits(ast.parse(said + "    time.sleep(0.01)\n    await asyncio.sleep(2)\n"))) == ["asyncio", "time"]
