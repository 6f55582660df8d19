"""What a run is made of, in config.json: the effective configuration, the fingerprints of code and data, and the system uid."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from adapters.replay.history import SymbolHistory
from adapters.store.coverage import fingerprint
from core.frame import Frame
from core.time_range import TimeRange, to_iso
from runners.preparation import Prepared
from runners.registry import system_uid
from runners.systems import LoadedSystem, effective_system
from runners.windows import NamedWindow

ENV = "live"
"""Backtests replay the canonical history."""


def effective_config(loaded: LoadedSystem, window: NamedWindow, prepared: Prepared | None, seed: int | None) -> dict[str, Any]:
    """The whole system, the window, warm-up, seeds, and the fingerprints that make the uid; names and descriptions do not count in it.

    prepared: None where the strategy failed before anything was loaded; there is no data fingerprint then.
    """
    made_of = _made_of(loaded, window.span, {} if prepared is None else prepared.warmup)
    span = made_of["window"]
    strategy, data = loaded.strategy_fingerprint, "" if prepared is None else data_fingerprint(prepared.histories)
    return {
        **made_of,
        "window": {"name": window.name, **span, "start_ms": window.span.start_ms, "end_ms": window.span.end_ms},
        "system_file": loaded.filename,
        "seeds": {"run": seed},
        "strategy_fingerprint": strategy,
        "data_fingerprint": data,
        "system_uid": system_uid(strategy, made_of, data),
    }


def point_uid(loaded: LoadedSystem, window: TimeRange, warmup: Mapping[str, int], strategy: str, data: str) -> str:
    """The system uid of a run that is not made yet, out of the fingerprints of its strategy and data: that of the same backtest."""
    return system_uid(strategy, _made_of(loaded, window, warmup), data)


def _made_of(loaded: LoadedSystem, window: TimeRange, warmup: Mapping[str, int]) -> dict[str, Any]:
    span = {"start": to_iso(window.start_ms), "end": to_iso(window.end_ms)}
    return {"system": effective_system(loaded), "window": span, "warmup_bars": dict(warmup), "env": ENV}


def data_fingerprint(histories: Sequence[SymbolHistory]) -> str:
    """64 hex digits of all that a run reads: bars of every timeframe with their warm-up, marks, funding, open interest, instruments."""
    digest = hashlib.sha256()
    for history in histories:
        digest.update(f"{history.symbol};".encode() + msgspec.json.encode(history.instrument))
        for name, columns in _series_of(history):
            digest.update(f"{name}:{fingerprint(columns)};".encode())
    return digest.hexdigest()


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
