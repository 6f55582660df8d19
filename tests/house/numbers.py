"""How large the house is: files, lines, functions, parameters, branches, folders, circles of imports, lines written twice.

usage: python -m tests.house.numbers [CHECKOUT]

The five rooms are counted (core, sim, strategies, adapters, runners), tests apart. Sources are read and none is run, so that an older
checkout can be counted, too: its imports may say core or keel.core.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOMS: Final = ("core", "sim", "strategies", "adapters", "runners")
PROJECT: Final = Path(__file__).resolve().parents[2]
BRANCHES: Final = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.IfExp,
    ast.BoolOp,
    ast.comprehension,
    ast.match_case,
    ast.Assert,
)
TWICE: Final = 6
"""So many equal lines in a row count as written twice."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function or method. lines: from its name to its last line, decorators and docstring included; parameters: without self and cls."""

    place: str
    lines: int
    parameters: int
    branches: int


@dataclass(slots=True)
class House:
    """What was counted. files: path -> lines; folders: path -> files of Python in it; circles: modules that import each other."""

    files: dict[str, int] = field(default_factory=dict)
    functions: list[Function] = field(default_factory=list)
    public: int = 0
    imports: dict[str, set[str]] = field(default_factory=dict)

    @property
    def folders(self) -> dict[str, int]:
        """Folder -> how many files of Python stand in it, ``__init__.py`` not counted."""
        found: dict[str, int] = defaultdict(int)
        for path in self.files:
            if not path.endswith("__init__.py"):
                found[path.rpartition("/")[0]] += 1
        return dict(found)

    def circles(self) -> list[list[str]]:
        """Groups of modules that import one another when they are loaded, each sorted; Tarjan's algorithm."""
        return [sorted(group) for group in _strong(self.imports) if len(group) > 1]


def measure(root: Path = PROJECT) -> House:
    """Count a checkout."""
    house = House()
    for path in sorted(each for room in ROOMS for each in (root / room).rglob("*.py")):
        name = str(path.relative_to(root))
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        house.files[name] = text.count("\n")
        house.functions += _functions(tree, name)
        house.public += sum(_is_public(node) for node in ast.walk(tree))
        house.imports[_module(name)] = set(_imported(tree))
    modules = set(house.imports)
    house.imports = {
        name: {one for one in (_nearest(each, modules) for each in found) if one} - {name} for name, found in house.imports.items()
    }
    return house


def written_twice(root: Path = PROJECT) -> int:
    """How many lines stand a second time, in runs of at least ``TWICE`` equal lines; blank lines, comments and imports do not count."""
    seen: dict[tuple[str, ...], str] = {}
    twice = 0
    for path in sorted(each for room in ROOMS for each in (root / room).rglob("*.py")):
        lines = [line.strip() for line in path.read_text(encoding="utf-8").split("\n")]
        kept = [line for line in lines if line and not line.startswith(("#", "import ", "from "))]
        until = 0
        for row in range(len(kept) - TWICE + 1):
            window = tuple(kept[row : row + TWICE])
            if sum(map(len, window)) < 60:  # closing brackets and single words
                continue
            if window in seen:
                twice += row + TWICE - max(until, row)
                until = row + TWICE
            seen.setdefault(window, str(path))
    return twice


# --- inside ----------------------------------------------------------------------------------------------------------


def _functions(tree: ast.AST, name: str) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = len([each for each in given if each.arg not in ("self", "cls")]) + bool(node.args.vararg) + bool(node.args.kwarg)
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            branches = 1 + sum(_weight(each) for each in _own(node))
            yield Function(f"{name}:{node.name}", (node.end_lineno or node.lineno) - first + 1, count, branches)


def _own(function: ast.AST) -> Iterator[ast.AST]:
    """Every node of a function, but not of functions inside it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from _own(child)


def _weight(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    return 1 if isinstance(node, BRANCHES) else 0


def _is_public(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith("_")


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imported(tree: ast.Module) -> Iterator[str]:
    """Modules that are imported when this one is loaded: not inside functions, not for types alone."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (each.name.removeprefix("keel.") for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            place = node.module.removeprefix("keel.")
            yield from (f"{place}.{each.name}" for each in node.names)
        elif isinstance(node, (ast.If, ast.Try, ast.With, ast.ClassDef)):
            waiting += [each for each in ast.iter_child_nodes(node) if isinstance(each, ast.stmt)]


def _nearest(name: str, modules: set[str]) -> str:
    """The module that an imported name lies in; empty for what is not of the house."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def _strong(graph: dict[str, set[str]]) -> list[list[str]]:
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in sorted(graph.get(name, ())):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            groups.append(group)

    sys.setrecursionlimit(10_000)
    for name in graph:
        if name not in order:
            visit(name)
    return groups


def _share(values: list[int], percent: int) -> int:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def main() -> None:
    """Print the numbers of a checkout."""
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else PROJECT
    house = measure(root)
    lengths, sizes = list(house.files.values()), [each.lines for each in house.functions]
    full = {name: count for name, count in house.folders.items() if count > 14}
    circles = house.circles()
    rows = {
        "files": len(lengths), "lines": sum(lengths), "public names": house.public,
        "file, lines: median, 90th percentile, largest": (statistics.median(lengths), _share(lengths, 90), max(lengths)),
        "function, lines: median, 90th percentile, largest": (statistics.median(sizes), _share(sizes, 90), max(sizes)),
        "files over 350 lines": sum(each > 350 for each in lengths),
        "functions over 50 lines": sum(each > 50 for each in sizes),
        "functions with over 8, over 10 parameters": tuple(sum(each.parameters > most for each in house.functions) for most in (8, 10)),
        "functions with over 15 branches": sum(each.branches > 15 for each in house.functions),
        "circles of imports": len(circles), "folders over 14 files": len(full), "lines written twice": written_twice(root),
    }  # fmt: skip
    for name, value in rows.items():
        print(f"{name:52} {value if not isinstance(value, tuple) else ', '.join(f'{each:g}' for each in value)}")
    for each in circles:
        print("circle:", ", ".join(each))
    for name, count in sorted(full.items(), key=lambda row: -row[1]):
        print(f"{name}: {count} files")


if __name__ == "__main__":
    main()
