"""Finds and loads system files with their strategies.

A system is named by its id (a file ``<home>/systems/<id>.yaml``, which comes first, or a built-in one) or by the path of a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec

from keel.core.errors import ConfigError, DataError, KeelError
from keel.core.system.config import SystemConfig
from keel.core.system.file import apply_overrides, decode_system, effective_dict, locate_key, system_from_dict
from keel.core.system.suggestions import did_you_mean, nearest_name
from keel.runners.cost_models import label, load_cost_models, model_references
from keel.runners.home import Home
from keel.runners.user_path import user_path
from keel.strategies import verification
from keel.strategies.base import BaseStrategy
from keel.strategies.old_names import is_old, new_name
from keel.strategies.registry import builtin_systems, check_params, load_strategy, source_fingerprint

Origin = Literal["built-in", "own", "file", "run"]


@dataclass(frozen=True, slots=True)
class SystemSource:
    """The text of a system file. filename: what errors name; path: where it lies, None for what has no file of its own."""

    name: str
    text: str
    filename: str
    origin: Origin
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class LoadedSystem:
    """A system that can run: its configuration with the parameters that hold, and the class of its strategy."""

    config: SystemConfig
    strategy: type[BaseStrategy]
    filename: str
    origin: Origin
    reference: str = ""
    """By which it is found again from any folder: its id, or the path of its file; "" for what no command line names."""
    overrides: tuple[str, ...] = ()
    """What was set over the file."""
    cost_places: Mapping[str, str] = field(default_factory=dict)
    """Kind of cost model -> where it is named, as errors of a run begin: file, line and key."""

    @property
    def params(self) -> Mapping[str, Any]:
        """The strategy's parameters, defaults filled in."""
        return self.config.params

    @property
    def strategy_fingerprint(self) -> str:
        """SHA-256 of the strategy's sources."""
        return source_fingerprint(self.strategy)

    def with_overrides(self, overrides: Sequence[str]) -> LoadedSystem:
        """This system with other keys set."""
        config = apply_overrides(self.config, overrides)
        params = check_params(self.strategy, config.params)
        set_over = (*self.overrides, *overrides)
        places = {kind: _override_of(kind, overrides) or self.cost_places.get(kind, label(kind)) for kind in config.execution.costs.named}
        load_cost_models(config.execution, places)
        return replace(self, config=msgspec.structs.replace(config, params=params), overrides=set_over, cost_places=places)


def list_sources(home: Home) -> Iterator[SystemSource]:
    """Every system file: the user's own, then the built-in ones whose names they do not take."""
    own = {source.name: source for source in _own_sources(home)}
    yield from own.values()
    yield from (source for name, source in _builtin_sources().items() if name not in own)


def find_source(reference: str, home: Home) -> SystemSource:
    """The system file that is meant. Raises ConfigError, with a list of the systems, where there is none."""
    if reference.endswith((".yaml", ".yml")) or "/" in reference:
        return _read(user_path(reference), "file")
    known = {source.name: source for source in list_sources(home)}
    if reference in known:
        return known[reference]
    advice = did_you_mean(reference, known) if nearest_name(reference, known) else f"there are {', '.join(known)}; or give a file"
    raise ConfigError(f"there is no system {reference!r}: {advice}")


def load_system(reference: str, home: Home, overrides: Sequence[str] = (), *, seed: int | None = None) -> LoadedSystem:
    """A system by name or file with keys overridden, its strategy loaded and its parameters checked.

    seed: becomes the parameter ``seed`` of a strategy that has one. Raises ConfigError with file and line, StrategyError.
    """
    source = find_source(reference, home)
    config = apply_overrides(decode_system(source.text, source.filename), overrides)
    folders = [home.strategies] if source.path is None else [home.strategies, source.path.parent]
    with _located(source, ("strategy",), overrides):
        strategy = load_strategy(config.strategy, folders)
    places = {kind: _override_of(kind, overrides) or _line_of(kind, source) for kind in config.execution.costs.named}
    load_cost_models(config.execution, places)
    return replace(_with_params(config, strategy, source, seed, overrides), cost_places=places)


def load_recorded(
    effective: Mapping[str, Any],
    filename: str,
    where: str,
    home: Home,
    *,
    fingerprint: str,
    functions: Mapping[str, str],
    anew: str = "run the system anew",
) -> LoadedSystem:
    """The system of a run, from the configuration that its config.json holds. Raises ConfigError and StrategyError.

    fingerprint: of the strategy's sources as recorded; functions: of the files of features and cost models (``function_fingerprints``).
    Reading never runs code: what the file names is run only where its sources are those that ran then. Raises DataError where they are not.
    """
    config = system_from_dict(_of_now(effective), where)
    search = [home.strategies, user_path(filename).parent if filename else Path()]
    ran = "has changed since, or is not what ran: nothing of it was run"
    if not verification.matches(config.strategy, search, fingerprint):
        raise DataError(f"{where}: the code of strategy {config.strategy} {ran}; {anew}")
    for reference, digest in function_fingerprints(config).items():
        if functions.get(reference) != digest:
            what = "cost model" if reference in model_references(config.execution.costs) else "feature"
            raise DataError(f"{where}: the code of the {what} {reference} {ran}; {anew}")
    return loaded_now(config, filename, home)


def loaded_now(config: SystemConfig, filename: str, home: Home) -> LoadedSystem:
    """A configuration with the strategy code that is there now. filename: of the system file. Raises ConfigError and StrategyError."""
    strategy = load_strategy(config.strategy, [home.strategies, user_path(filename).parent if filename else Path()])
    return LoadedSystem(msgspec.structs.replace(config, params=check_params(strategy, config.params)), strategy, filename, "run")


def function_fingerprints(config: SystemConfig) -> dict[str, str]:
    """SHA-256 of the file of each function that the system's own features name, and of each cost model's; what a strategy declares is in
    its sources.

    Nothing is imported. Raises ConfigError for a file or module that is not there.
    """
    named = [body.get("fn") for body in config.features.values() if isinstance(body, Mapping)]
    meant = [config.params.get(name[1:]) if isinstance(name, str) and name.startswith("$") else name for name in named]
    found: dict[str, str] = {}
    for reference in [*meant, *model_references(config.execution.costs)]:
        if isinstance(reference, str) and ":" in reference:
            path = verification.locate(reference)
            if path is not None and not path.is_file():
                raise ConfigError(f"{reference}: there is no file {path} (relative paths begin at the current folder)")
            found[reference] = "" if path is None else verification.file_digest(path)
    return found


def effective_system(loaded: LoadedSystem) -> dict[str, Any]:
    """Every key of the system with the value that holds, the strategy's own parameters included. Plain JSON data."""
    return effective_dict(loaded.config)


def symbol_overrides(symbols: Sequence[str]) -> list[str]:
    """The override that trades these symbols in place of the system's; none without any."""
    return [f"symbols={json.dumps(list(symbols))}"] if symbols else []


def override_texts(overrides: Mapping[str, Any] | Sequence[str] | None) -> list[str]:
    """Overrides as "key.path=VALUE" texts, from such texts or from a mapping, nested or with dotted keys."""
    if overrides is None:
        return []
    if not isinstance(overrides, Mapping):
        return list(overrides)
    return [f"{key}={_yaml_value(value)}" for key, value in _flat(overrides, "")]


# --- parts -----------------------------------------------------------------------------------------------------------


def _of_now(effective: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recorded system as it was written before version 0.2: keel's modules by their names of now, and promotion rules that stand under
    the epoch that they leave moved to the one that they open."""
    strategy = effective.get("strategy")
    if isinstance(strategy, str) and is_old(strategy.partition(":")[0]):
        module, _, name = strategy.partition(":")
        effective = {**effective, "strategy": f"{new_name(module)}:{name}"}
    rules = effective.get("promotion")
    if not isinstance(rules, Mapping) or "backtest" not in rules:
        return effective
    opens = {"backtest": "demo", "demo": "live"}
    return {**effective, "promotion": {opens.get(epoch, epoch): texts for epoch, texts in rules.items()}}


def _own_sources(home: Home) -> list[SystemSource]:
    folder = home.systems
    return [_read(path, "own") for path in sorted(folder.glob("*.yaml"))] if folder.is_dir() else []


def _builtin_sources() -> dict[str, SystemSource]:
    return {name: SystemSource(name, text, filename, "built-in") for name, (text, filename) in builtin_systems().items()}


def _read(path: Path, origin: Origin) -> SystemSource:
    try:
        return SystemSource(path.stem, path.read_text(encoding="utf-8"), str(path), origin, path.absolute())
    except OSError as error:
        raise ConfigError(f"the system file {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the system file {path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error


def _with_params(
    config: SystemConfig, strategy: type[BaseStrategy], source: SystemSource, seed: int | None, overrides: Sequence[str]
) -> LoadedSystem:
    given = dict(config.params)
    if seed is not None and "seed" in strategy.defaults:
        given["seed"] = seed
    try:
        params = check_params(strategy, given)
    except ConfigError as error:
        name = str(error).partition(":")[0].removeprefix("params.")
        with _located(source, ("params", name), overrides):
            raise
    reference = str(source.path) if source.origin == "file" else source.name
    config = msgspec.structs.replace(config, params=params)
    return LoadedSystem(config, strategy, source.filename, source.origin, reference, tuple(overrides))


class _located:
    """Puts file and line of a key before a person's error, unless an override set that key."""

    def __init__(self, source: SystemSource, path: tuple[str, ...], overrides: Sequence[str]) -> None:
        self._source, self._path, self._overrides = source, path, overrides

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not isinstance(error, KeelError):
            return
        dotted = ".".join(self._path)
        text = next((text for text in reversed(self._overrides) if text.partition("=")[0].strip() == dotted), None)
        place = f"override {text!r}" if text else locate_key(self._source.text, self._source.filename, self._path)
        raise type(error)(f"{place}: {error}") from error


def _override_of(kind: str, overrides: Sequence[str]) -> str:
    """The last override that names a cost model of this kind, as errors name it; "" where none does."""
    key = label(kind)
    for text in reversed(overrides):
        name = text.partition("=")[0].strip()
        if name.startswith(f"{key}.") or key == name or key.startswith(f"{name}."):
            return f"override {text!r}: {key}"
    return ""


def _line_of(kind: str, source: SystemSource) -> str:
    return f"{locate_key(source.text, source.filename, ('execution', 'costs', kind, 'model'))}: {label(kind)}"


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _yaml_value(value: Any) -> str:
    """A value as YAML that is read back as it was: JSON, but for floats in plain digits, which YAML 1.1 asks for."""
    if isinstance(value, float):
        text = format(Decimal(repr(value)), "f")
        return text if "." in text else f"{text}.0"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_yaml_value(entry) for entry in value)}]"
    return json.dumps(value)
