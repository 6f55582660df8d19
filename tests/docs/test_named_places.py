"""Every place that a page, a docstring or a comment names is there: a file by its path, a module or a name in it by its dotted name."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.docs.page import PAGES, PROJECT

ROOMS = ("core", "sim", "adapters", "runners", "strategies")
TALKS_OF_THE_PAST = {"CHANGELOG"}
"""Pages that name what has gone, as it was."""
WITH_OLD_NAMES = {"strategies/moved.py", "strategies/old_names.py", "runners/tools/research/systems.py", "runners/cli/research/systems.py"}
"""Files whose subject is the names of version 0.1."""
NO_PLACE = {("commands", "core.messages"), ("CONTRIBUTING", "core.symlinks")}
"""(page, name): an old name that `keel systems migrate` rewrites, and a setting of git."""

_FOLDERS = "|".join((*ROOMS, "tests", "docs", "examples", "benchmarks", "deploy"))
_PATH = re.compile(rf"(?<![\w/.<>-])((?:{_FOLDERS})/[\w./@-]*[\w/])(?![\w*{{<])")
_DOTTED = re.compile(rf"(?<![\w/.`'-])(?:``?)?((?:keel\.)?(?:{'|'.join(ROOMS)})(?:\.[a-zA-Z_]\w*)+)")
_IMPORT = re.compile(r"^ *(?:from|import) .*$", re.MULTILINE)
_WRITTEN = re.compile(r"^# ([\w/-]+\.(?:py|yaml|csv))$", re.MULTILINE)


def missing_places(text: str) -> list[str]:
    """The paths, then the dotted names in ``text`` that lead nowhere. A file that the text itself writes (``# path``) is there."""
    written = set(_WRITTEN.findall(text))
    paths = [path for path in _PATH.findall(text) if path not in written and not _is_path(path)]
    return [*paths, *(name for name in _DOTTED.findall(text) if not _is_name(name.removeprefix("keel.")))]


def _is_path(path: str) -> bool:
    found = PROJECT / path.rstrip("/")
    return found.exists() or found.with_name(found.name + ".py").exists()


@cache
def _is_name(dotted: str) -> bool:
    """Whether a dotted name is a module, or something that a module, or a class in it, holds."""
    place, parts = PROJECT, dotted.split(".")
    while parts and (place / parts[0]).is_dir():
        place = place / parts.pop(0)
    if parts and (place / f"{parts[0]}.py").exists():
        place = place / f"{parts.pop(0)}.py"
    elif parts:
        place = place / "__init__.py"
    return not parts or (place.exists() and _holds(ast.parse(place.read_text(encoding="utf-8")).body, parts))


def _holds(body: list[ast.stmt], parts: list[str]) -> bool:
    for statement in body:
        if parts[0] in _bound(statement):
            inner = statement.body if isinstance(statement, ast.ClassDef) else []
            return len(parts) == 1 or _holds(inner, parts[1:])
    return False


def _bound(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return [statement.name]
        case ast.Import() | ast.ImportFrom():
            return [(alias.asname or alias.name).split(".")[0] for alias in statement.names]
        case ast.Assign() | ast.AnnAssign():
            return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
        case ast.If():
            return [name for inner in statement.body for name in _bound(inner)]
    return []


def _texts(path: Path) -> Iterator[str]:
    """Docstrings (those below a name, too) and comments of a source that names any place outside of its imports."""
    source = path.read_text(encoding="utf-8")
    if not missing_places(_IMPORT.sub("", source)):
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.removeprefix("#")


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem not in TALKS_OF_THE_PAST], ids=lambda path: path.stem)
def test_what_a_page_names_is_there(page: Path) -> None:
    missing = missing_places(page.read_text(encoding="utf-8"))
    assert [name for name in missing if (page.stem, name) not in NO_PLACE] == []


@pytest.mark.parametrize("folder", [*ROOMS, "benchmarks", "tests"])
def test_what_docstrings_and_comments_name_is_there(folder: str) -> None:
    missing = [
        (relative, name)
        for path in sorted((PROJECT / folder).rglob("*.py"))
        if (relative := path.relative_to(PROJECT).as_posix()) not in WITH_OLD_NAMES
        for text in _texts(path)
        for name in missing_places(text)
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("see core/model/messages.py and `sim/exchange`, core/model/money", []),
        ("see core/messages.py", ["core/messages.py"]),
        ("`runners/sweep` does it", ["runners/sweep"]),
        ("keel.core.model.messages.Fill, ``core.model.orders.TRANSITIONS``, keel.core.engine.ports.Venue.submit_order", []),
        ("core.orders' table", ["core.orders"]),
        ("from keel.core.model.messages import Bar\nkeel.core.model.messages.Barr", ["keel.core.model.messages.Barr"]),
        ("# strategies/own.py\nstrategies/own.py:Own", []),
        ("keel.core.engine.ports.Venue.nothing", ["keel.core.engine.ports.Venue.nothing"]),
    ],
)
def test_a_place_that_is_not_there_is_found(text: str, missing: list[str]) -> None:
    assert missing_places(text) == missing
