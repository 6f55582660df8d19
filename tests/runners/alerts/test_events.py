"""Every code that is told anywhere has its row in the table of events."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import click
import pytest

from keel.core.risk.gate.causes import CAUSES
from keel.runners.live.alerts.events import EVENTS

ROOT = Path(__file__).parents[3]
FILES = sorted(path for folder in ("adapters", "runners") for path in (ROOT / folder).rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Source:
    """One file: its calls, each with the function around it."""

    def __init__(self, text: str) -> None:
        self.tree = ast.parse(text)

    @cached_property
    def calls(self) -> list[tuple[ast.Call, Function | None]]:
        found: list[tuple[ast.Call, Function | None]] = []

        def visit(node: ast.AST, around: Function | None) -> None:
            if isinstance(node, ast.Call):
                found.append((node, around))
            inner = node if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else around
            for child in ast.iter_child_nodes(node):
                visit(child, inner)

        visit(self.tree, None)
        return found

    def codes(self, name: str, place: int, word: str) -> Iterator[tuple[int, set[str]]]:
        """Of each call of ``name``: its line, and what its argument at a place can be."""
        for call, around in self.calls:
            if _name(call) == name:
                given = next((each.value for each in call.keywords if each.arg == word), None) or call.args[place]
                yield call.lineno, set(self._texts(given, around))

    def _texts(self, given: ast.expr, around: Function | None) -> Iterator[str]:
        """Literals as they stand; a name by what is assigned to it in its function, or by what is passed for it anywhere in the file."""
        if isinstance(given, ast.Constant):
            yield str(given.value)
        elif isinstance(given, ast.IfExp):
            yield from self._texts(given.body, around)
            yield from self._texts(given.orelse, around)
        elif isinstance(given, ast.Name) and around is not None:
            for node in ast.walk(around):
                if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == given.id for to in node.targets):
                    yield from self._texts(node.value, around)
            names = [argument.arg for argument in (*around.args.posonlyargs, *around.args.args) if argument.arg != "self"]
            for call, outer in self.calls:
                if _name(call) != around.name:
                    continue
                if given.id in names and len(call.args) > names.index(given.id):
                    yield from self._texts(call.args[names.index(given.id)], outer)
                for each in call.keywords:
                    if each.arg == given.id:
                        yield from self._texts(each.value, outer)


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _told(name: str, place: int) -> Iterator[tuple[str, set[str]]]:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if f"{name}(" in text:
            for line, codes in Source(text).codes(name, place, "code"):
                yield f"{path.relative_to(ROOT)}:{line}", codes


def test_every_code_that_is_told_has_a_row() -> None:
    seen, lacking = 0, set[str]()
    for where, codes in _told("Notice", 1):
        if where.startswith("runners/live/alerts/alerts.py"):
            codes |= {"alert_failed"}
        if where.startswith(("runners/live/alerts/of_session.py", "runners/live/supervisor/command.py")):
            continue  # a code that its callers give: below
        assert codes, f"{where}: which code is this? write it as a literal, or pass it on as a parameter"
        lacking |= {f"{where}: {code}" for code in codes - set(EVENTS)}
        seen += 1
    assert not lacking, f"a row in runners/live/alerts/events.py, then python -m keel.runners.live.alerts.runbook: {sorted(lacking)}"
    assert seen > 50


def test_what_sessions_tell_beside_their_notices_has_a_row() -> None:
    for path in (ROOT / "runners/live/session_run.py", ROOT / "runners/live/alerts/of_session.py"):
        for line, codes in Source(path.read_text(encoding="utf-8")).codes("tell", 0, "code"):
            assert codes, f"{path.name}:{line}"
            assert codes <= set(EVENTS), f"{path.name}:{line}"


def test_what_the_supervisor_tells_has_a_row() -> None:
    seen: set[str] = set()
    for path in sorted((ROOT / "runners/live/supervisor").glob("*.py")):
        source = Source(path.read_text(encoding="utf-8"))
        for line, codes in [*source.codes("_report", 0, "code"), *source.codes("Finding", 0, "code")]:
            assert codes <= set(EVENTS), f"{path.name}:{line}: {codes}"
            seen |= codes
    only_logged = {"supervisor_note"}
    assert seen == {code for code in EVENTS if code.startswith(("supervisor_", "trader_", "clock_jump"))} - only_logged


LOGS = ("debug", "info", "warning", "error", "exception")
EVENT_LOG = "runners/live/reporting/event_log.py"


def logged_codes() -> Iterator[tuple[str, set[str]]]:
    """What is written to a log under a code, past every notice: (where, codes); a code that a notice carries is seen at the notice."""
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if "code=" not in text:
            continue
        source = Source(text)
        for call, around in source.calls:
            given = next((each.value for each in call.keywords if each.arg == "code"), None)
            is_log = _name(call) in LOGS or isinstance(call.func, ast.IfExp)
            if is_log and given is not None and not ast.unparse(given).endswith(".code"):
                yield f"{path.relative_to(ROOT)}:{call.lineno}", set(source._texts(given, around))


def test_what_is_only_logged_has_a_row_too() -> None:
    """The runbook is where a code of the log is looked up; decisions, orders and fills are listed there by name."""
    page = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"The ordinary course[^\n]*", page)
    ordinary = set(re.findall(r"`(\w+)`", sentence))
    found = dict(logged_codes())
    assert {"refused", "supervisor_note", "target"} <= set[str]().union(*found.values())
    for where, codes in found.items():
        assert codes and codes <= set(EVENTS) | ordinary, f"{where}: {codes}"
    text = (ROOT / EVENT_LOG).read_text(encoding="utf-8")
    names = {one or other for one, other in re.findall(r'_of\(\s*"([a-z ]+)"|return "([a-z ]+)",', text)}
    assert ordinary == {name.replace(" ", "_") for name in names} - set(CAUSES) | {"target"}


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ('Notice(1, "a", "")', {"a"}),
        ('def f():\n  c = "a" if x else "b"\n  Notice(1, c, "")', {"a", "b"}),
        ('def f(c):\n  Notice(1, code=c, text="")\ndef g():\n  f("a")\n  f(c="b")', {"a", "b"}),
        ("def f(c):\n  Notice(1, c + 'x', '')", set()),
    ],
)
def test_the_finder_finds(text: str, codes: set[str]) -> None:
    ((_, found),) = Source(text).codes("Notice", 1, "code")
    assert found == codes


def test_every_row_says_something() -> None:
    """What is graver than an information says what to do."""
    for row in EVENTS.values():
        assert row.means
        assert row.todo
        assert row.severity == "info" or row.todo != "nothing" or row.code in ("candle_changed", "exit_sent_again"), row.code


def test_causes_of_the_gate_are_told_too() -> None:
    assert set(CAUSES) <= set(EVENTS)
    assert "keel session release" in EVENTS["another_writer"].todo


def commands_of(text: str) -> list[list[str]]:
    """The words of each command of ours that a text names."""
    return [(quoted or bare).split()[1:] for quoted, bare in re.findall(r"`(keel [^`]+)`|(keel (?:live|demo) SYSTEM[^;.,]*)", text)]


@pytest.mark.parametrize("code", sorted(EVENTS))
def test_a_command_that_is_named_can_be_pasted(code: str) -> None:
    """Each is known, with each of its options and as many arguments."""
    from keel.runners.cli.main import cli

    for words in commands_of(EVENTS[code].todo):
        command: click.Command = cli
        context = click.Context(cli, info_name="keel")
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            name, words = words[0], words[1:]
            found = command.get_command(context, name)
            assert found is not None, f"{code}: keel has no {name!r}"
            command, context = found, click.Context(found, info_name=name, parent=context)
        if words or not isinstance(command, click.Group):
            command.make_parser(context).parse_args(list(words))
            missing = [
                each.name for each in command.params if each.required and isinstance(each, click.Option) and not set(each.opts) & set(words)
            ]
            assert not missing, f"{code}: {missing}"
