"""Runs the Python files in which strategies are written, and keeps hold of their sources."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import traceback
from hashlib import sha256
from pathlib import Path
from types import CodeType, ModuleType

from keel.core.errors import ConfigError, StrategyError
from keel.strategies.old_names import is_old, refusal


def run_file(path: Path, what: str = "the strategy") -> ModuleType:
    """A user's file as a module, run anew. Raises ConfigError when it cannot be read, StrategyError when it raises. what: in words."""
    path = path.resolve()
    name = f"keel_strategy_{path.stem}_{sha256(str(path).encode()).hexdigest()[:12]}"
    try:
        loader = FreshSource(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if old := refusal(path, loader.source):
        raise StrategyError(old)
    spec = importlib.machinery.ModuleSpec(name, loader, origin=str(path))
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    earlier = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up there
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name)
        if earlier is not None:
            sys.modules[name] = earlier
        raise _import_error(error, path, what) from error
    return module


def import_module(ref: str, name: str, what: str = "the strategy") -> ModuleType:
    """An installed module by name. Raises ConfigError when there is none, StrategyError when it raises. ref: what errors name."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"{ref}: {name!r} is not the name of a module")
    if is_old(name):
        raise ConfigError(f"{ref}: keel's modules have other names now: write keel.{ref}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            advice = "install its package, or name the file: path/to/file.py:Class"
            raise ConfigError(f"{ref}: Python finds no module {error.name}: {advice}") from error
        raise _import_error(error, None, what) from error
    except (Exception, SystemExit) as error:
        raise _import_error(error, None, what) from error


def source_bytes(module: ModuleType | None, cls: type) -> bytes:
    """The source of a module as it was run; where it has none, the compiled functions of the class."""
    loader = getattr(module, "__loader__", None)
    if isinstance(loader, FreshSource):
        return loader.source
    path = getattr(module, "__file__", None)
    if path is not None and Path(path).is_file():
        return Path(path).read_bytes()
    # A class made in a notebook or at a prompt has no file: its compiled functions stand for it.
    parts = [name.encode() + _code_bytes(value.__code__) for name, value in vars(cls).items() if hasattr(value, "__code__")]
    return b"".join(parts)


def function_bytes(function: object) -> bytes:
    """What a function does, whatever file it stands in: its compiled code. Empty for what is no plain function."""
    code = getattr(function, "__code__", None)
    return _code_bytes(code) if isinstance(code, CodeType) else b""


class FreshSource(importlib.abc.SourceLoader):
    """Runs a file from the bytes read now: no bytecode cache, which would miss a second edit within one second."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = path.read_bytes()

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def get_data(self, path: str | bytes) -> bytes:
        return self.source


def _import_error(error: BaseException, path: Path | None, what: str) -> StrategyError:
    """The error with the file and line that raised: the last line of the strategy's own file where that is known."""
    if isinstance(error, SyntaxError):
        return StrategyError(f"{error.filename}:{error.lineno}: SyntaxError: {error.msg}")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    own = [frame for frame in frames if path is not None and frame.filename == str(path)] or frames
    place = f"{own[-1].filename}:{own[-1].lineno}" if own else str(path)
    return StrategyError(f"{place}: {what} cannot be loaded: {type(error).__name__}: {error}")


def _code_bytes(code: CodeType) -> bytes:
    constants = [_code_bytes(item) if isinstance(item, CodeType) else repr(item).encode() for item in code.co_consts]
    return b"".join((code.co_code, repr(code.co_names).encode(), *constants))
