"""The names under which keel's modules were imported before version 0.2 (``core.messages``; now ``keel.core.messages``): found in a user's
files, refused with the line to write, and rewritten.

A user may have a package ``core`` or ``strategies`` of his own: a name is an old one only where it leads to no module of his. Nothing is
imported to find that out. Fingerprints of code and configuration are taken under the old names, so that a rewrite changes none of them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

import keel

ROOMS: Final = ("core", "sim", "strategies", "adapters", "runners")
_NEW: Final = re.compile(rb"\bkeel\.(?=(?:core|sim|strategies|adapters|runners)\b)")
_REFERENCE: Final = re.compile(
    r"^(?P<key>[ \t]*(?:- )?(?:strategy|fn)[ \t]*:[ \t]*[\"']?)(?P<module>(?:core|sim|strategies|adapters|runners)(?:\.\w+)+)(?=:\w)",
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
    return _NEW.sub(b"", content)


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
    """(the content of a strategy's or a system's file with keel's names of now, how many lines of it are others). What is neither stays."""
    new = _rewritten_yaml(content) if path.suffix in (".yaml", ".yml") else _rewritten_python(content)
    before, after = content.split(b"\n"), new.split(b"\n")
    return new, sum(one != other for one, other in zip(before, after, strict=True))


# --- inside ----------------------------------------------------------------------------------------------------------


def _rewritten_yaml(content: bytes) -> bytes:
    def new(match: re.Match[str]) -> str:
        return f"{match['key']}{'keel.' if is_old(match['module']) else ''}{match['module']}"

    return _REFERENCE.sub(new, content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _rewritten_python(source: bytes) -> bytes:
    """keel. before each old name: in the import itself, and, where a package is imported whole, wherever it is used."""
    tree = _tree(source)
    places: list[tuple[int, int]] = []
    whole: set[str] = set()
    lines = source.split(b"\n")
    for node in _imports(tree):
        if isinstance(node, ast.ImportFrom):
            if is_old(node.module or ""):
                places.append((node.lineno, lines[node.lineno - 1].index(b"from", node.col_offset) + len(b"from ")))
            continue
        for alias in node.names:
            if is_old(alias.name):
                places.append((alias.lineno, alias.col_offset))
                if alias.asname is None:
                    whole.add(alias.name.partition(".")[0])
    if tree is not None:
        uses = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in whole)
        places += [(node.lineno, node.col_offset) for node in uses]
    for line, column in sorted(set(places), reverse=True):
        text = lines[line - 1]
        lines[line - 1] = text[:column] + b"keel." + text[column:]
    return b"\n".join(lines)


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
        return ast.unparse(ast.ImportFrom(f"keel.{node.module}", node.names, 0))
    names = [ast.alias(f"keel.{each.name}" if is_old(each.name) else each.name, each.asname) for each in node.names]
    return ast.unparse(ast.Import(names))


def _is_keels(module: str) -> bool:
    """Whether keel has a module of this name, by its files."""
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
