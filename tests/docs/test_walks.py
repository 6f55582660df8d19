"""The walks of the documents are true: each file is there with the names that are read in it, and leads to the next as the page says."""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from tests.docs.page import PROJECT

MOST_FILES = {"walk-bar": 15, "walk-order-backtest": 10, "walk-order-exchange": 12, "walk-unknown-answer": 8}
"""How many files a walk may open."""

_STEP = re.compile(r"^\d+\. \*\*`(?P<path>[\w/]+\.py)`\*\*: (?P<names>`[\w.]+`(?:, `[\w.]+`)*)\. ")
_NEXT = re.compile(r"^ +- (?P<how>calls|gives|through the bus:|through the exchange)(?: `(?P<name>\w+)`|$)")
_PICTURED = re.compile(r'\["([\w/]+\.py)"\]')


class Step(msgspec.Struct):
    """One file of a walk. how: as in ``_NEXT``, "" at the end; name: by which it leads on."""

    path: str
    names: list[str]
    how: str = ""
    name: str = ""


def steps_of(text: str) -> list[Step]:
    """The steps of a page's text."""
    steps: list[Step] = []
    for line in text.splitlines():
        if found := _STEP.match(line):
            steps.append(Step(found["path"], re.findall(r"`([\w.]+)`", found["names"])))
        elif found := _NEXT.match(line):
            steps[-1].how, steps[-1].name = found["how"], found["name"] or ""
    return steps


def faults_of(steps: list[Step]) -> list[str]:
    """What is not true of a walk."""
    faults = [
        f"{step.path} does not define {name}" for step in steps for name in step.names if name.split(".")[-1] not in _defined(step.path)
    ]
    paths = [step.path for step in steps]
    faults += [f"{path} is opened twice" for path in dict.fromkeys(paths) if paths.count(path) > 1]
    for step, following in pairwise(steps):
        source, user = (step, following) if step.how == "gives" else (following, step)
        if step.how in ("calls", "gives"):
            if step.name not in _defined(source.path):
                faults.append(f"{source.path} does not define {step.name}")
            if step.name not in _used(user.path):
                faults.append(f"{user.path} does not use {step.name}")
        elif step.how == "through the bus:" and step.name not in _defined("core/model/messages.py"):
            faults.append(f"{step.name} is not a message")
        elif not step.how:
            faults.append(f"{step.path} does not say how it leads to {following.path}")
    return faults


@cache
def _tree(path: str) -> ast.Module:
    return ast.parse((PROJECT / path).read_text(encoding="utf-8"))


@cache
def _defined(path: str) -> set[str]:
    """Classes, functions and methods of a file; a method also as ``Class.method``."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(_tree(path)) if isinstance(node, kinds)]
    methods = {f"{node.name}.{inner.name}" for node in nodes for inner in node.body if isinstance(inner, kinds)}
    return {node.name for node in nodes} | methods


@cache
def _used(path: str) -> set[str]:
    """Names that a file reads, calls or imports."""
    found: set[str] = set()
    for node in ast.walk(_tree(path)):
        match node:
            case ast.Name():
                found.add(node.id)
            case ast.Attribute():
                found.add(node.attr)
            case ast.ImportFrom():
                found.update(alias.name for alias in node.names)
    return found


def _walk(page: str) -> tuple[str, list[Step]]:
    text = (PROJECT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return text, steps_of(text)


@pytest.mark.parametrize("page", MOST_FILES)
def test_each_step_leads_to_the_next(page: str) -> None:
    assert faults_of(_walk(page)[1]) == []


@pytest.mark.parametrize("page", MOST_FILES)
def test_a_walk_opens_few_files_and_its_picture_shows_them(page: str) -> None:
    text, steps = _walk(page)
    assert 5 <= len(steps) <= MOST_FILES[page]
    assert [step.path for step in steps] == list(dict.fromkeys(_PICTURED.findall(text)))
    assert len(steps) == len(re.findall(r"^\d+\. ", text, re.MULTILINE)), "a step that is not written as one"


def test_every_walk_is_counted() -> None:
    assert sorted(path.stem for path in Path(PROJECT / "docs").glob("walk-*.md")) == sorted(MOST_FILES)


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ([Step("core/actors/risk.py", ["RiskActor.on_nothing"])], "core/actors/risk.py does not define RiskActor.on_nothing"),
        ([Step("core/actors/risk.py", [], "calls", "Walk"), Step("sim/matching/walk.py", [])], "core/actors/risk.py does not use Walk"),
        ([Step("core/actors/risk.py", []), Step("core/risk/manager.py", [])], "core/actors/risk.py does not say how"),
        ([Step("core/actors/risk.py", [], "through the bus:", "News"), Step("core/actors/executor.py", [])], "News is not a message"),
        ([Step("core/actors/risk.py", [], "through the bus:", "Fill"), Step("core/actors/risk.py", [])], "is opened twice"),
    ],
)  # fmt: skip
def test_what_is_not_true_is_found(steps: list[Step], fault: str) -> None:
    assert any(fault in found for found in faults_of(steps))
