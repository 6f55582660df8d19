"""The cost models that a system file names: found, made with their parameters, and checked before anything runs.

    models = load_cost_models(system.execution)          # None: the built-in ones, no model is asked

A reference is found as a feature's function is: relative paths begin at the current folder. The objects are made anew for each run.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from keel.core.costs import BUILT_IN, CostModels
from keel.core.errors import ConfigError, KeelError
from keel.core.strategy.raised import place_of
from keel.core.system.config import CostModelConfig, CostsConfig, ExecutionConfig
from keel.core.system.suggestions import did_you_mean
from keel.runners.user_code import load_class


def load_cost_models(execution: ExecutionConfig, places: Mapping[str, str] | None = None) -> CostModels | None:
    """The models of an execution, None where it names none. places: kind -> where the system file names it.

    Raises ConfigError and StrategyError, which begin with that place.
    """
    named = execution.costs.named
    if not named:
        return None
    where = {kind: (places or {}).get(kind) or label(kind) for kind in named}
    made: dict[str, Any] = {}
    for kind, chosen in named.items():
        try:
            made[kind] = _made(kind, chosen)
        except KeelError as error:
            raise type(error)(f"{where[kind]}: {error}") from error
    return CostModels(**made, places=where)


def label(kind: str) -> str:
    """The key of a kind, as errors name it."""
    return f"execution.costs.{kind}"


def model_references(costs: CostsConfig) -> list[str]:
    """The references to a user's own code: those of built-in models have no colon."""
    return [chosen.model.strip() for chosen in costs.named.values() if ":" in chosen.model]


def _made(kind: str, chosen: CostModelConfig) -> Any:
    cls = _class_of(kind, chosen.model.strip())
    _check_params(cls, chosen.params)
    try:
        return cls(**chosen.params)
    except (Exception, SystemExit) as error:
        place = place_of(error)
        line = f" ({place['file']}:{place['line']})" if place else ""
        raise ConfigError(f"{cls.__name__} cannot be made: {type(error).__name__}: {error}{line}") from error


def _class_of(kind: str, reference: str) -> type[Any]:
    built_in = BUILT_IN[kind]
    if ":" in reference:
        return load_class(reference, f"a model of {kind}")
    if reference not in built_in:
        raise ConfigError(f"there is no model {reference!r}: {did_you_mean(reference, built_in)}, or name a class: path/to/file.py:Class")
    return built_in[reference]


def _check_params(cls: type[Any], params: Mapping[str, Any]) -> None:
    """Raise ConfigError for parameters that the constructor does not take, or that it lacks."""
    if inspect.isabstract(cls) or getattr(cls, "_is_protocol", False):
        raise ConfigError(f"{cls.__name__} is an interface: name a class that has its methods")
    try:
        signature = inspect.signature(cls)
    except ValueError:  # compiled, and tells nothing of what it takes: making it will
        return
    taken = {name: each for name, each in signature.parameters.items() if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    takes_all = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
    unknown = [name for name in params if name not in taken]
    if unknown and not takes_all:
        advice = did_you_mean(unknown[0], taken) if taken else "it takes none"
        raise ConfigError(f"params.{unknown[0]}: {cls.__name__} has no such parameter: {advice}")
    missing = [name for name, each in taken.items() if each.default is each.empty and name not in params]
    if missing:
        raise ConfigError(f"params: {cls.__name__} needs {', '.join(missing)}")
