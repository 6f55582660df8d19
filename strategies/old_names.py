"""The names under which keel's modules were imported before version 0.2 (``core.messages``; now ``keel.core.model.messages``): found in a
user's files, refused with the line to write, and rewritten.

A user may have a package ``core`` or ``strategies`` of his own: a name is an old one only where it leads to no module of his. Nothing is
imported to find that out. Fingerprints of code and configuration are taken under the old names, so that a rewrite changes none of them.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from itertools import accumulate
from pathlib import Path
from typing import Final

import keel
from keel.core.errors import ConfigError
from keel.strategies.moved import MOVED, NEW_PACKAGES

ROOMS: Final = ("core", "sim", "strategies", "adapters", "runners")
_NEW: Final = re.compile(rb"\bkeel\.(?=(?:core|sim|strategies|adapters|runners)\b)")
_OLD: Final = {new.encode(): old.encode() for new, old in [*((new, old) for old, new in MOVED.items()), *NEW_PACKAGES.items()]}
_MOVED: Final = re.compile(rb"\b(?:" + b"|".join(map(re.escape, sorted(_OLD, key=len, reverse=True))) + rb")\b")
_FROM: Final = re.compile(rb"from(?:\s|\\)*")
_REFERENCE: Final = re.compile(
    r"(?P<key>(?:^[ \t]*(?:- )?|[{,][ \t]*)[\"']?(?:strategy|fn)[\"']?[ \t]*:[ \t]*[\"']?)"
    r"(?P<module>(?:core|sim|strategies|adapters|runners)(?:\.\w+)+)(?=:\w)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class OldImport:
    """An import of keel by an old name: line, and the statement as it stands and as it is to be."""

    line: int
    now: str
    new: str


def identity_bytes(content: bytes) -> bytes:
    """Source or configuration with keel's modules under their old names: what its fingerprint is taken of."""
    return _NEW.sub(b"", _MOVED.sub(lambda new: _OLD[new[0]], content))


def old_imports(source: bytes) -> list[OldImport]:
    """Every import of keel by an old name, by line; none in what is no Python."""
    return [
        OldImport(node.lineno, ast.unparse(node), _new_statement(node))
        for node in _imports(_tree(source))
        if any(map(is_old, _modules(node)))
    ]


def is_old(module: str) -> bool:
    """Whether the name of a module is an old one of keel's, and leads nowhere else."""
    return module.partition(".")[0] in ROOMS and _is_keels(module) and not _is_users(module)


def new_name(module: str) -> str:
    """The name of now of a module that ``is_old``."""
    found = [old for old in (module, *(module[:end] for end in _dots(module))) if old in MOVED]
    return MOVED[found[0]] + module.removeprefix(found[0]) if found else f"keel.{module}"


def refusal(path: Path, source: bytes) -> str:
    """What a file with old imports is told: the first one, the line to write, the command that rewrites all. Empty: none."""
    found = old_imports(source)
    if not found:
        return ""
    first, more = found[0], f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    says = "keel's modules have other names now: write"
    return f"{path}:{first.line}: {first.now}: {says} {first.new}{more}; or let keel do it: {command(path)}"


def command(path: Path | str) -> str:
    """The command line that rewrites a file."""
    import shlex

    return f"keel systems migrate {shlex.quote(str(path))}"


def rewritten(path: Path, content: bytes) -> tuple[bytes, int]:
    """(the content of a strategy's or a system's file with keel's names of now, how many lines of it are others).

    Raises ConfigError for what is neither Python nor YAML, and for what cannot be rewritten without a look at what is meant.
    """
    if path.suffix in (".yaml", ".yml"):
        new = _rewritten_yaml(content)
    elif path.suffix == ".py":
        new = _rewritten_python(path, content)
    else:
        raise ConfigError(f"{path} is neither Python (.py) nor a system file (.yaml, .yml): write keel. before keel's modules by hand")
    before, after = content.splitlines(), new.splitlines()
    return new, sum(one != other for one, other in zip(before, after, strict=True))


# --- inside ----------------------------------------------------------------------------------------------------------


def _rewritten_yaml(content: bytes) -> bytes:
    def new(match: re.Match[str]) -> str:
        return match["key"] + (new_name(match["module"]) if is_old(match["module"]) else match["module"])

    return _REFERENCE.sub(new, content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _rewritten_python(path: Path, source: bytes) -> bytes:
    """New names in the imports themselves, and, where a package is imported whole, wherever it is used."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ConfigError(f"{path}:{error.lineno or 1}: this is no Python, and cannot be rewritten: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: this is no Python, and cannot be rewritten: {error}") from error
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    text = _Text(path, source.decode(encoding).encode())  # columns of the tree are counted in UTF-8
    whole: dict[str, int] = {}
    for node in _imports(tree):
        if isinstance(node, ast.ImportFrom):
            if any(map(is_old, _modules(node))):
                text.rename_from(node)
            continue
        for alias in filter(lambda each: is_old(each.name), node.names):
            text.rename(alias, alias.name)
            if alias.asname is None:
                whole.setdefault(alias.name.partition(".")[0], alias.lineno)
    for each in ast.walk(tree):
        _check_one_meaning(path, each, whole)
    _Uses(text, whole).visit(tree)
    return text.rewritten().decode().encode(encoding)


class _Text:
    """The text of a file (UTF-8), and what is to stand at some of its places."""

    def __init__(self, path: Path, text: bytes) -> None:
        self._path, self._text = path, text
        self._starts = [0, *accumulate(map(len, text.splitlines(keepends=True)))]
        self._new: dict[int, tuple[int, bytes]] = {}

    def rename(self, node: ast.expr | ast.alias, module: str) -> None:
        """A module where a node begins."""
        self._rename(self._starts[node.lineno - 1] + node.col_offset, module, new_name(module), node.lineno)

    def rename_from(self, node: ast.ImportFrom) -> None:
        """The module of ``from module import ...``."""
        word = _FROM.match(self._text, self._starts[node.lineno - 1] + node.col_offset)
        assert word is not None
        self._rename(word.end(), node.module or "", _new_from(self._path, node), node.lineno)

    def _rename(self, start: int, module: str, new: str, line: int) -> None:
        if new == f"keel.{module}":
            self._new[start] = (start, b"keel.")
            return
        end = start + len(module.encode())
        if self._text[start:end] != module.encode():
            raise ConfigError(f"{self._path}:{line}: {module} stands there in pieces; write {new} by hand")
        self._new[start] = (end, new.encode())

    def rewritten(self) -> bytes:
        parts, at = [], 0
        for start, (end, new) in sorted(self._new.items()):
            parts += [self._text[at:start], new]
            at = end
        return b"".join([*parts, self._text[at:]])


class _Uses(ast.NodeVisitor):
    """Where packages that are imported whole are used: the longest dotted name that has another place now, else its first part."""

    def __init__(self, text: _Text, whole: Mapping[str, int]) -> None:
        self._text, self._whole = text, whole

    def visit_Attribute(self, node: ast.Attribute) -> None:  # ast calls it by this name
        dotted = _dotted(node)
        if dotted is not None and dotted.partition(".")[0] in self._whole and dotted in MOVED:
            self._text.rename(node, dotted)
        else:
            self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self._whole:
            self._text.rename(node, node.id)


def _dotted(node: ast.expr) -> str | None:
    """``a.b.c`` of an expression that is nothing else."""
    if isinstance(node, ast.Attribute):
        first = _dotted(node.value)
        return None if first is None else f"{first}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else None


def _new_from(path: Path, node: ast.ImportFrom) -> str:
    """The module of now of ``from module import names``. Raises ConfigError where names that are modules have gone to several places."""
    module = node.module or ""
    lines = _new_lines(node)
    if len(lines) == 1 and all(each.name == new.name for each, new in zip(node.names, lines[0].names, strict=True)):
        return lines[0].module or ""
    says = "; ".join(map(ast.unparse, lines))
    raise ConfigError(f"{path}:{node.lineno}: what is imported of {module} is in other places now: write {says}")


def _new_lines(node: ast.ImportFrom) -> list[ast.ImportFrom]:
    """An import from one of keel's modules as it is to be: a line for each module of now."""
    lines: dict[str, list[ast.alias]] = {}
    for each in node.names:
        new = MOVED.get(f"{node.module}.{each.name}")
        place, _, name = (f"{new_name(node.module or '')}.{each.name}" if new is None else new).rpartition(".")
        lines.setdefault(place, []).append(ast.alias(name, each.asname or (each.name if each.name != name else None)))
    return [ast.ImportFrom(place, names, 0) for place, names in lines.items()]


def _check_one_meaning(path: Path, node: ast.AST, whole: Mapping[str, int]) -> None:
    """Refuse a name that is a package of keel's, imported whole, and elsewhere in the file something else: which is meant where, the file's
    writer knows. whole: each such package, with the line of its import."""
    names: list[str | None] = []
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        names = [node.id]
    elif isinstance(node, ast.arg):
        names = [node.arg]
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        names = [node.name]
    elif isinstance(node, ast.MatchMapping):
        names = [node.rest]
    elif isinstance(node, (ast.Global, ast.Nonlocal)):
        names = list(node.names)
    elif isinstance(node, ast.ImportFrom):
        names = [alias.asname or alias.name for alias in node.names]
    elif isinstance(node, ast.Import):
        names = [alias.asname or alias.name.partition(".")[0] for alias in node.names if alias.asname or not is_old(alias.name)]
    for name in names:
        if name is not None and name in whole:
            raise ConfigError(
                f"{path}:{getattr(node, 'lineno', 1)}: {name} is also what line {whole[name]} imports of keel: write keel. there by hand, "
                f"and where that {name} is used"
            )


def _tree(source: bytes) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _imports(tree: ast.Module | None) -> Iterator[ast.Import | ast.ImportFrom]:
    found = () if tree is None else ast.walk(tree)
    both = [node for node in found if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level)]
    yield from sorted(both, key=lambda node: (node.lineno, node.col_offset))


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]


def _new_statement(node: ast.Import | ast.ImportFrom) -> str:
    if isinstance(node, ast.ImportFrom):
        return "; ".join(map(ast.unparse, _new_lines(node)))
    names = [ast.alias(new_name(each.name) if is_old(each.name) else each.name, each.asname) for each in node.names]
    return ast.unparse(ast.Import(names))


def _dots(module: str) -> list[int]:
    """Where the dots of a name are, the last first."""
    return [at for at in range(len(module) - 1, 0, -1) if module[at] == "."]


def _is_keels(module: str) -> bool:
    """Whether keel has or had a module of this name."""
    if any(old in MOVED for old in (module, *(module[:end] for end in _dots(module)))):
        return True
    place = Path(keel.__path__[0]).joinpath(*module.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def _is_users(module: str) -> bool:
    """Whether a module of this name is found that is not keel's own (in a checkout keel's folders lie in plain sight)."""
    folders: list[str] | None = None
    for part in module.split("."):
        spec = PathFinder.find_spec(part if folders is None else f"_.{part}", folders)
        if spec is None:
            return False
        folders = list(spec.submodule_search_locations or ())
        place = Path(spec.origin).parent if spec.origin is not None else Path(folders[0]) if folders else None
        if place is not None and place.resolve().is_relative_to(Path(keel.__path__[0]).joinpath(module.partition(".")[0]).resolve()):
            return False
    return True
