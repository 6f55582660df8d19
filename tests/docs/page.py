"""A page of the documents as a sequence of blocks that are run, in order, in one namespace and one home folder.

    python    runs; with ``# path/to/file.py`` as its first line it is also written there
    yaml      a system file, a part of one, or an alerts.yaml: it must decode; written where its first line is ``# path/to/file.yaml``
    sh        lines ``$ command`` are run; the lines below them are what they print
    output    what the block before it has printed
    console   commands that are not run here (they install, or ask questions); only a few may stand there
    text      figures, formulas, trees: not run
    mermaid   a picture: not run

In what is expected, ``...`` stands for anything, and runs of blanks are alike.
"""

from __future__ import annotations

import doctest
import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import msgspec
from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser

from keel.core.system.config import SystemConfig
from keel.core.system.file import decode_system, system_from_dict
from keel.runners.cli.main import run as run_keel
from keel.runners.live.alerts.config import decode_alerts

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", PROJECT / "CHANGELOG.md", *sorted((PROJECT / "docs").glob("*.md"))]

NOT_RUN = re.compile(r"^(make( |$)|python3? -m venv |\. |pip install |keel run$|keel menu$)")
"""What may stand in a console block."""

_FILE = re.compile(r"^# (?P<path>[\w/-]+\.(?:py|yaml|csv))$")
_PART_OF = {"system": "part", "strategy": "ema_cross", "symbols": ["BTCUSDT"], "timeframe": "1h"}
"""What a part of a system file is held to belong to."""

_checker = doctest.OutputChecker()
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def run_page(path: Path) -> int:
    """Run every block of a page in the current folder; returns how many there were. Raises AssertionError with the line."""
    namespace: dict[str, Any] = {"__name__": "page"}
    page = _Page(namespace)
    blocks = {"python": page.python, "yaml": page.yaml, "sh": page.shell, "output": page.output, "console": page.console}
    document = Document.parse(str(path), *(CodeBlockParser(language, evaluator) for language, evaluator in blocks.items()))
    examples = list(document.examples())
    for example in examples:
        example.evaluate()
    return len(examples)


class _Environment(dict[str, str]):
    """Has a word for every name that an alerts.yaml asks for."""

    def get(self, name: str, default: object = None) -> str:  # type: ignore[override]
        return self[name]

    def __missing__(self, name: str) -> str:
        return f"https://example.org/hooks/{name.lower()}/secret"


class _Page:
    """The state of one page: names, and what the last block printed."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._printed = ""

    def python(self, example: Example) -> None:
        source = str(example.parsed)
        _write_file(source)
        code = compile("\n" * example.line + source, example.path, "exec", dont_inherit=True)
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(code, self._namespace)  # noqa: S102 (the snippets of our own pages)
        self._printed = printed.getvalue()

    def yaml(self, example: Example) -> None:
        source = str(example.parsed)
        _write_file(source)
        found = msgspec.yaml.decode(source)
        where = f"{example.path}:{example.line}"
        if "targets" in found:
            decode_alerts(source, where, _Environment())
        elif "system" in found:
            decode_system(source, where)
        else:
            system_from_dict({**_PART_OF, **found}, where)
            assert set(found) <= set(SystemConfig.__struct_fields__)

    def shell(self, example: Example) -> None:
        lines = str(example.parsed).strip("\n").split("\n")
        assert lines[0].startswith("$ "), f"{example.path}:{example.line}: a sh block begins with a command, $ keel ..."
        for command, expected in _commands(lines):
            printed, code = _run(command)
            place = f"{example.path}:{example.line}: {command}"
            if not command.endswith("; echo $?"):
                assert code == 0, f"{place}\nended with {code}:\n{printed}"
            if expected:
                _compare(expected, printed, place)
            self._printed = printed

    def output(self, example: Example) -> None:
        _compare(str(example.parsed), self._printed, f"{example.path}:{example.line}")

    def console(self, example: Example) -> None:
        for command, _ in _commands(str(example.parsed).strip("\n").split("\n")):
            plain = command.split("  #")[0].strip()
            assert NOT_RUN.match(plain), f"{example.path}:{example.line}: {plain!r} can be run: write it in a sh block"


def _write_file(source: str) -> None:
    found = _FILE.match(source.split("\n", 1)[0])
    if found:
        path = Path(found["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")


def _commands(lines: list[str]) -> list[tuple[str, str]]:
    """(command, expected output) of each ``$`` line; a line that ends in a backslash goes on."""
    found: list[tuple[str, list[str]]] = []
    goes_on = False
    for line in lines:
        if goes_on:
            found[-1] = (f"{found[-1][0][:-1].rstrip()} {line.strip()}", [])
        elif line.startswith("$ "):
            found.append((line[2:].strip(), []))
        else:
            found[-1][1].append(line)
        goes_on = found[-1][0].endswith("\\")
    return [(command, "\n".join(expected).strip("\n")) for command, expected in found]


def _run(command: str) -> tuple[str, int]:
    """(what was printed, exit code). ``keel`` runs in this process: a second of start-up each would be most of the time."""
    shows_code = command.endswith("; echo $?")
    words = shlex.split(command.removesuffix("; echo $?"))
    if words[0] == "keel" and not {"|", ">", "<", "&&"} & set(words):
        text = io.StringIO()
        with redirect_stdout(text), redirect_stderr(text):
            code = run_keel(words[1:])
        return text.getvalue() + (f"{code}\n" if shows_code else ""), code
    beside = Path(sys.executable).parent
    done = subprocess.run(["sh", "-c", f'PATH="{beside}:$PATH"; {command}'], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, done.returncode


def _compare(expected: str, printed: str, place: str) -> None:
    wanted = expected.strip() + "\n"
    if not _checker.check_output(wanted, printed.strip() + "\n", _OPTIONS):
        raise AssertionError(f"{place}\nexpected:\n{wanted}\nprinted:\n{printed}")
