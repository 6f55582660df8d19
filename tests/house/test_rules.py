"""Rules of CONTRIBUTING that no other tool holds: docstrings, and where parts are put together."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from typing import Final

from tests.house.numbers import PROJECT, ROOMS

COMPOSED: Final[dict[str, frozenset[str]]] = {
    "SimulatedExchange": frozenset({"runners/backtest/wiring.py", "sim/sandbox/account/simulated_account.py"}),
    "ReplayFeed": frozenset({"runners/backtest/wiring.py"}),
    "StrategyActor": frozenset({"runners/actors.py"}),
    "MarketData": frozenset({"runners/actors.py"}),
    "Executor": frozenset({"runners/backtest/wiring.py", "runners/live/session/books.py"}),
    "OrderGateway": frozenset({"runners/live/session/books.py"}),
    "BybitVenue": frozenset({"runners/live/startup/assembly.py"}),
    "MarketStream": frozenset({"runners/live/startup/assembly.py"}),
    "Reconciler": frozenset({"runners/live/startup/assembly.py"}),
}
"""Class -> the only files that make one: actors, a backtest, a session (and its books) in one place each."""


@cache
def _trees(*folders: str) -> dict[str, ast.Module]:
    """Path in the project -> parsed source."""
    paths = sorted(path for folder in folders for path in (PROJECT / folder).rglob("*.py"))
    return {path.relative_to(PROJECT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def _public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node


def _calls(tree: ast.Module) -> set[str]:
    """Names that are called, plain or as an attribute (``time.sleep``)."""
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {ast.unparse(func) for func in called if isinstance(func, (ast.Name, ast.Attribute))}


def undocumented(path: str, tree: ast.Module) -> list[str]:
    """What of a source has no docstring: the module, and its public classes and functions."""
    bare = [node.name for node in _public(tree) if ast.get_docstring(node) is None]
    return [f"{path}:{name}" for name in ([""] if ast.get_docstring(tree) is None else []) + bare]


def test_modules_and_public_names_have_docstrings() -> None:
    assert [name for path, tree in _trees(*ROOMS).items() for name in undocumented(path, tree)] == []


def test_parts_are_put_together_in_one_place() -> None:
    calls = {path: _calls(tree) for path, tree in _trees(*ROOMS).items()}
    makers = {name: {path for path, called in calls.items() if name in called} for name in COMPOSED}
    assert makers == COMPOSED


def test_what_breaks_these_rules_is_found() -> None:
    tree = ast.parse("import time\ndef public(): time.sleep(SimulatedExchange())\nclass _Private: ...\n")
    assert undocumented("a.py", tree) == ["a.py:", "a.py:public"]
    assert _calls(tree) == {"time.sleep", "SimulatedExchange"}
