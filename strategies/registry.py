"""Finds strategies by id, by ``package.module:Class`` or by ``path/to/file.py:Class``, and checks their parameters.

An id is the name of a file: ``ema_cross`` is strategies/ema_cross.py here, or in a folder of the user's own, which comes first. A user's
file is run from its source each time it is loaded, so that an edit counts at once.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from hashlib import sha256
from importlib.resources import files
from inspect import isfunction
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import keel.strategies
from keel.core.errors import ConfigError
from keel.core.system.file_names import name_problem, shown
from keel.core.system.suggestions import did_you_mean, nearest_name
from keel.strategies.base import BaseStrategy
from keel.strategies.loading import import_module, run_file, source_bytes
from keel.strategies.old_names import identity_bytes

_NOT_STRATEGIES: Final = ("base", "loading", "moved", "old_names", "registry", "verification")
_PACKAGE_FOLDER: Final = Path(keel.strategies.__path__[0]).resolve()


def strategy_ids(search: Sequence[Path] = ()) -> list[str]:
    """Every id that can be loaded, sorted: the built-in ones, and the files in the folders of ``search``."""
    ids = {module.name for module in pkgutil.iter_modules(keel.strategies.__path__) if not module.ispkg} - set(_NOT_STRATEGIES)
    for folder in _own_folders(search):
        ids.update(path.stem for path in folder.glob("*.py") if path.stem.isidentifier() and not path.stem.startswith("_"))
    return sorted(ids)


def load_strategy(ref: str, search: Sequence[Path] = ()) -> type[BaseStrategy]:
    """The class of a strategy. Relative file paths are looked for from the current folder, then in ``search``.

    Raises ConfigError when there is none such, StrategyError when its file cannot be run.
    """
    cls = _load_class(ref.strip(), search)
    if not issubclass(cls, BaseStrategy):
        raise ConfigError(
            f"{ref}: {cls.__name__} is no strategy: derive it from keel.BaseStrategy, keel.VectorStrategy or keel.PortfolioStrategy"
        )
    if cls.__module__ == BaseStrategy.__module__:
        raise ConfigError(f"{ref}: {cls.__name__} is the interface; name a class that is derived from it")
    return cls


def check_params(cls: type[BaseStrategy], params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that hold: the strategy's defaults with ``params`` over them.

    Raises ConfigError for an unknown or mistyped one, and for values that the strategy's ``params_problem`` refuses.
    """
    effective = deepcopy(dict(cls.defaults))
    for name, value in params.items():
        if name not in effective:
            raise ConfigError(f"params.{name}: {cls.__name__} has no such parameter: {did_you_mean(name, effective)}")
        wanted = _mistyped(value, effective[name])
        if wanted:
            raise ConfigError(f"params.{name}: must be {wanted} (default {effective[name]!r}), not {value!r}")
        effective[name] = value
    problem = cls.params_problem(effective)
    if problem:
        raise ConfigError(f"params: {cls.__name__}: {problem}")
    return effective


def source_fingerprint(cls: type) -> str:
    """SHA-256 (hex) of the sources of a class and of all that it is derived from, as loaded. Other modules that they use do not count."""
    digest = sha256()
    modules = dict.fromkeys(base.__module__ for base in cls.__mro__ if base is not object)
    for name in modules:
        digest.update(identity_bytes(source_bytes(sys.modules.get(name), cls)))
    digest.update(cls.__qualname__.encode())
    return digest.hexdigest()


def builtin_systems() -> dict[str, tuple[str, str]]:
    """The system files that come with keel, sorted by name: name -> (text, file name for errors)."""
    folder = files(keel.strategies).joinpath("systems")
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".yaml")), key=lambda entry: entry.name)
    return {entry.name.removesuffix(".yaml"): (entry.read_text(encoding="utf-8"), f"strategies/systems/{entry.name}") for entry in found}


# --- finding ---------------------------------------------------------------------------------------------------------


def _load_class(ref: str, search: Sequence[Path]) -> type:
    problem = name_problem(ref)
    if problem:
        raise ConfigError(f"there is no strategy {shown(ref)}: the name {problem}")
    place, colon, class_name = ref.rpartition(":")
    if not colon or not class_name.isidentifier():
        return _sole_class(ref, _file_or_id(ref, search))
    module = _file_module(ref, Path(place), search) if place.endswith(".py") else import_module(ref, place)
    cls = getattr(module, class_name, None)
    if isinstance(cls, type):
        return cls
    classes = _strategy_classes(module)
    if callable(cls):
        others = f"the file's own is {', '.join(classes)}" if classes else _no_strategy(module)
        raise ConfigError(f"{ref}: {class_name} is a function, and a strategy is a class; {others}")
    raise ConfigError(f"{ref}: there is no class {class_name}: {did_you_mean(class_name, classes)}")


def _file_or_id(ref: str, search: Sequence[Path]) -> ModuleType:
    if ref.endswith(".py"):
        return _file_module(ref, Path(ref), search)
    for folder in _own_folders(search):
        if ref.isidentifier() and (folder / f"{ref}.py").is_file():
            return run_file(folder / f"{ref}.py")
    known = strategy_ids()
    if ref in known:
        return importlib.import_module(f"keel.strategies.{ref}")
    ids = strategy_ids(search)
    advice = (
        did_you_mean(ref, ids) if nearest_name(ref, ids) else f"there are {', '.join(ids)}; or give package.module:Class or file.py:Class"
    )
    raise ConfigError(f"there is no strategy {ref!r}: {advice}")


def _own_folders(search: Sequence[Path]) -> list[Path]:
    """The user's folders that exist. The package's own is left out: where keel runs in its checkout, home/strategies is the package."""
    return [folder for folder in search if folder.is_dir() and folder.resolve() != _PACKAGE_FOLDER]


def _file_module(ref: str, path: Path, search: Sequence[Path]) -> ModuleType:
    places = [path] if path.is_absolute() else [path, *(folder / path for folder in search)]
    for place in places:
        if place.is_file():
            return run_file(place)
    looked = ", ".join(str(place) for place in places)
    raise ConfigError(f"{ref}: there is no file {looked}")


def _sole_class(ref: str, module: ModuleType) -> type:
    """The one strategy of a module, whatever functions stand beside it; of several the one that has the file's name (hold.py: Hold)."""
    classes = _strategy_classes(module)
    named = Path(module.__file__ or "").stem.replace("_", "").lower()
    namesakes = {id(cls): cls for name, cls in classes.items() if name.lower() == named}
    different = {id(cls): cls for cls in classes.values()}
    if len(different) == 1 or len(namesakes) == 1:
        return next(iter((namesakes or different).values()))
    if not classes:
        raise ConfigError(f"{ref}: {module.__file__} {_no_strategy(module)}")
    raise ConfigError(f"{ref}: {module.__file__} defines {', '.join(classes)}; say which, such as {module.__file__}:{next(iter(classes))}")


def _no_strategy(module: ModuleType) -> str:
    """What a module without a strategy is told, with the functions that it has."""
    functions = [name for name, value in _public(module).items() if isfunction(value)]
    told = "defines no strategy: derive a class from keel.strategies.base.BaseStrategy"
    if not functions:
        return told
    return f"{told}. It has functions ({', '.join(functions)}): a feature calls one by fn: {module.__file__}:{functions[0]}"


def _strategy_classes(module: ModuleType) -> dict[str, type]:
    """Public strategies that a module itself defines, by every name that they have there."""
    return {name: value for name, value in _public(module).items() if isinstance(value, type) and issubclass(value, BaseStrategy)}


def _public(module: ModuleType) -> dict[str, Any]:
    """What a module itself defines, and does not hide."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }


# --- parameters ------------------------------------------------------------------------------------------------------


def _mistyped(value: Any, default: Any) -> str:
    """What a value should have been, by its default; empty when it fits."""
    if default is None:
        return ""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, int):
        return "" if isinstance(value, int) and not isinstance(value, bool) else "a whole number"
    if isinstance(default, float):
        return "" if isinstance(value, (int, float)) and not isinstance(value, bool) else "a number"
    if isinstance(default, str):
        return "" if isinstance(value, str) else "text"
    if isinstance(default, Mapping):
        return "" if isinstance(value, Mapping) else "a mapping"
    return "" if isinstance(value, (list, tuple)) else "a list"
