"""What a run is made of, in config.json: the effective configuration, the fingerprints of code and data, and the system uid."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from keel.adapters.replay.history import SymbolHistory
from keel.adapters.store.coverage import fingerprint
from keel.core.model.frame import Frame
from keel.core.model.time_range import TimeRange, to_iso
from keel.core.system.config import SystemConfig
from keel.core.system.file import effective_dict
from keel.runners.backtest.preparation import Prepared
from keel.runners.backtest.windows import NamedWindow
from keel.runners.cost_models import model_references
from keel.runners.lifecycle.described import described
from keel.runners.lifecycle.registry import system_uid
from keel.runners.systems import LoadedSystem, effective_system, function_fingerprints

ENV = "live"
"""Backtests replay the canonical history."""


def effective_config(loaded: LoadedSystem, window: NamedWindow, prepared: Prepared | None, seed: int | None) -> dict[str, Any]:
    """The whole system, the window, warm-up, seeds, and the fingerprints that make the uid; names and descriptions do not count in it.

    prepared: None where the strategy failed before anything was loaded; there is no data fingerprint then.
    """
    made_of = _made_of(effective_system(loaded), window.span, {} if prepared is None else prepared.warmup, _models_of(loaded.config))
    data = "" if prepared is None else data_fingerprint(prepared.histories)
    made = _identified(made_of, window, loaded.strategy_fingerprint, data, system_file=loaded.filename, seed=seed)
    functions = function_fingerprints(loaded.config)
    return {**made, "function_fingerprints": functions} if functions else made


def engine_config(prepared: Prepared, strategy_fingerprint: str, *, env: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """The effective configuration of a run that Python code starts, without a system file. state: what the strategy's instance was made
    with, if anything."""
    models = _models_of(prepared.system)
    made_of = _made_of(described(effective_dict(prepared.system)), prepared.window, prepared.warmup, models, env=env)
    if state:
        made_of["strategy_made_with"] = dict(state)
    window, data = NamedWindow("", prepared.window), data_fingerprint(prepared.histories)
    made = _identified(made_of, window, strategy_fingerprint, data, system_file="", seed=None)
    functions = function_fingerprints(prepared.system)
    return {
        **made,
        **({"function_fingerprints": functions} if functions else {}),
        "bars_fingerprints": bars_fingerprints(prepared.histories),
    }


def point_uid(loaded: LoadedSystem, window: TimeRange, warmup: Mapping[str, int], strategy: str, data: str) -> str:
    """The system uid of a run that is not made yet, out of the fingerprints of its strategy and data: that of the same backtest."""
    return system_uid(strategy, _made_of(effective_system(loaded), window, warmup, _models_of(loaded.config)), data)


def _models_of(system: SystemConfig) -> dict[str, str]:
    """SHA-256 of the file of each cost model of the user's own: another code is another system."""
    functions = function_fingerprints(system)
    return {reference: functions[reference] for reference in model_references(system.execution.costs)}


def _made_of(
    system: Mapping[str, Any], window: TimeRange, warmup: Mapping[str, int], models: Mapping[str, str], *, env: str = ENV
) -> dict[str, Any]:
    span = {"start": to_iso(window.start_ms), "end": to_iso(window.end_ms)}
    made_of = {"system": system, "window": span, "warmup_bars": dict(warmup), "env": env}
    return {**made_of, "cost_model_fingerprints": dict(models)} if models else made_of


def _identified(
    made_of: Mapping[str, Any], window: NamedWindow, strategy: str, data: str, *, system_file: str, seed: int | None
) -> dict[str, Any]:
    return {
        **made_of,
        "window": {"name": window.name, **made_of["window"], "start_ms": window.span.start_ms, "end_ms": window.span.end_ms},
        "system_file": system_file,
        "seeds": {"run": seed},
        "strategy_fingerprint": strategy,
        "data_fingerprint": data,
        "system_uid": system_uid(strategy, made_of, data),
    }


def data_fingerprint(histories: Sequence[SymbolHistory]) -> str:
    """64 hex digits of all that a run reads: bars of every timeframe with their warm-up, marks, funding, open interest, instruments."""
    digest = hashlib.sha256()
    for history in histories:
        digest.update(f"{history.symbol};".encode() + msgspec.json.encode(history.instrument))
        for name, columns in _series_of(history):
            digest.update(f"{name}:{fingerprint(columns)};".encode())
    return digest.hexdigest()


def bars_fingerprints(histories: Sequence[SymbolHistory]) -> dict[str, str]:
    """Of the bars on which orders filled, by symbol: what a kept run's chart is held against."""
    return {history.symbol: fingerprint(history.execution.to_dict()) for history in histories}


def _series_of(history: SymbolHistory) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
    """Each of a history's series by name, as columns."""
    frames: dict[str, Frame | None] = {
        "execution": history.execution,
        "decision": history.decision,
        **{f"higher {timeframe}": frame for timeframe, frame in history.higher.items()},
        "open_interest": history.open_interest,
    }
    yield from ((name, frame.to_dict()) for name, frame in frames.items() if frame is not None)
    for name, record in (("mark", history.mark), ("index", history.index), ("funding", history.funding)):
        if record is not None:
            values = {field: getattr(record, field) for field in record.__dataclass_fields__}
            yield name, {field: value for field, value in values.items() if isinstance(value, np.ndarray)}
