"""Whether code that a file names is the code that was recorded, found out without running a line of it.

A kept run names a strategy, and whoever can write that file could name another one. So before anything is imported the sources are read,
the classes in them are built as empty shells (their own names and bases, no bodies), and the fingerprint of the shell is compared: it is
the one that ``registry.source_fingerprint`` gives after importing. Our own package may be imported: it is what runs here.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Final

from keel.core.errors import ConfigError
from keel.core.system.file_names import name_problem, shown
from keel.strategies.loading import source_bytes
from keel.strategies.old_names import identity_bytes
from keel.strategies.registry import strategy_ids

_SHELL: Final = "the file itself"
_OURS: Final = "keel"
_PLAIN: Final = ("abc", "typing", "typing_extensions", "enum")


def matches(ref: str, search: Sequence[Path], fingerprint: str) -> bool:
    """Whether what a reference leads to has this fingerprint; always for a strategy of our own package, which is no file's to choose.

    Nothing is run. False, too, for what cannot be followed without running it: a base class out of another file of the user's.
    """
    place = locate(ref, search)
    if place is None:
        return True
    if not place.is_file():
        raise ConfigError(f"{ref}: there is no file {place}")
    source = place.read_bytes()
    _, colon, name = ref.strip().rpartition(":")
    return any(_digest(shell, source) == fingerprint for shell in _shells(source) if not colon or shell.__qualname__ == name)


def locate(ref: str, search: Sequence[Path] = ()) -> Path | None:
    """The file in which a reference's code stands, found as the loaders find it, without importing; None for our own package's.

    Raises ConfigError when there is none.
    """
    ref = ref.strip()
    problem = name_problem(ref)
    if problem:
        raise ConfigError(f"there is no code at {shown(ref)}: the name {problem}")
    place, colon, _ = ref.rpartition(":")
    name = place if colon else ref
    if name.endswith(".py"):
        path = Path(name)
        places = [path] if path.is_absolute() else [path, *(folder / path for folder in search)]
        return next((each for each in places if each.is_file()), places[0])
    if not colon:
        own = next((folder / f"{ref}.py" for folder in search if ref.isidentifier() and (folder / f"{ref}.py").is_file()), None)
        if own is not None and not _is_packaged(own):
            return own
        if ref in strategy_ids():
            return None
        raise ConfigError(f"there is no strategy {ref!r}")
    if name.split(".")[0] == _OURS:
        return None
    return _module_file(ref, name)


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes (``identity_bytes``)."""
    return sha256(identity_bytes(path.read_bytes())).hexdigest()


# --- inside ----------------------------------------------------------------------------------------------------------


def _is_packaged(path: Path) -> bool:
    import keel.strategies

    return path.parent.resolve() == Path(keel.strategies.__path__[0]).resolve()


def _module_file(ref: str, name: str) -> Path:
    folders: Sequence[str] | None = None
    spec = None
    parts = name.split(".")
    for depth in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: depth + 1]), folders)
        if spec is None:
            break
        folders = list(spec.submodule_search_locations or ())
    if spec is None or spec.origin is None:
        raise ConfigError(f"{ref}: Python finds no module {name}")
    return Path(spec.origin)


def _shells(source: bytes) -> Iterator[type]:
    """Empty classes with the names and the bases of those at a file's top level, as far as these can be known."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    known: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                found = _attribute(node.module, alias.name)
                if found is not None:
                    known[alias.asname or alias.name] = found
        elif isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name] = _Module(alias.name)
        elif isinstance(node, ast.ClassDef):
            shell = _shell(node, known)
            if shell is not None:
                known[node.name] = shell
                yield shell


class _Module:
    """A module's name, where it was imported whole."""

    def __init__(self, name: str) -> None:
        self.name = name


def _shell(node: ast.ClassDef, known: Mapping[str, Any]) -> type | None:
    bases = [_base(expression, known) for expression in node.bases]
    if any(base is None for base in bases) or any(word.arg != "metaclass" for word in node.keywords):
        return None
    try:
        return type(node.name, tuple(base for base in bases if base is not None), {"__module__": _SHELL, "__qualname__": node.name})
    except TypeError:
        return None


def _base(expression: ast.expr, known: Mapping[str, Any]) -> type | None:
    if isinstance(expression, ast.Name):
        found = known.get(expression.id)
    elif isinstance(expression, ast.Attribute):
        module = known.get(ast.unparse(expression.value))
        found = _attribute(module.name, expression.attr) if isinstance(module, _Module) else None
    else:
        found = None
    return found if isinstance(found, type) else None


def _attribute(module: str, name: str) -> Any:
    """What a module has under a name: of our own package, or of what is loaded and plain. None for all others, which are not imported."""
    if module.split(".")[0] == _OURS:
        try:
            return getattr(importlib.import_module(module), name, None)
        except ImportError:
            return None
    return getattr(sys.modules.get(module), name, None) if module in _PLAIN else None


def _digest(shell: type, source: bytes) -> str:
    """As ``registry.source_fingerprint`` of the class that the shell stands for."""
    digest = sha256()
    for name in dict.fromkeys(base.__module__ for base in shell.__mro__ if base is not object):
        digest.update(identity_bytes(source if name == _SHELL else source_bytes(sys.modules.get(name), shell)))
    digest.update(shell.__qualname__.encode())
    return digest.hexdigest()
