"""What a session runs, as a record of its journal, and back again: system, code, instruments, warm-up bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from keel.core.errors import ConfigError, StrategyError
from keel.core.model.frame import Frame
from keel.core.model.instrument import Instrument
from keel.core.system.file import effective_dict
from keel.runners.lifecycle.run_folder import code_versions
from keel.runners.live.memory.records import ProgramStarted, WarmUpBars
from keel.runners.live.startup.plan import Plan
from keel.runners.systems import function_fingerprints


def program_of(plan: Plan, instruments: Mapping[str, Instrument], now_ms: int) -> ProgramStarted:
    """The record of a session that is about to begin."""
    loaded = plan.loaded
    try:
        strategy, functions = loaded.strategy_fingerprint, function_fingerprints(plan.system)
    except (ConfigError, StrategyError, OSError):  # a class without a file, as of a script: there is nothing that could be loaded again
        strategy, functions = "", {}
    stated = [msgspec.to_builtins(instrument) for instrument in instruments.values()]
    return ProgramStarted(now_ms, effective_dict(plan.system), loaded.filename, strategy, functions, stated, code_versions(), plan.without)


def instruments_of(program: ProgramStarted) -> dict[str, Instrument]:
    """Its instruments by symbol. Raises msgspec.ValidationError for what is none."""
    found = [msgspec.convert(each, Instrument) for each in program.instruments]
    return {each.symbol: each for each in found}


WarmUpKey = tuple[str, str, str]
"""(symbol, timeframe, data type): see WarmUpBars."""


def warm_up_records(frames: Mapping[WarmUpKey, Frame]) -> list[WarmUpBars]:
    """A record for each series."""
    return [
        WarmUpBars(
            symbol, timeframe, {name: np.ascontiguousarray(column).astype(_kind(name)).tobytes() for name, column in _all(frame)}, data_type
        )
        for (symbol, timeframe, data_type), frame in frames.items()
    ]  # fmt: skip


def warm_up_frames(records: Iterable[WarmUpBars]) -> dict[WarmUpKey, Frame]:
    """The frames of such records, as they were. The last record of a series holds."""
    found: dict[WarmUpKey, Frame] = {}
    for record in records:
        columns = {name: np.frombuffer(raw, _kind(name)).astype(_kind(name)[1:]) for name, raw in record.columns.items()}
        frame = Frame(columns.pop("ts"), columns, symbol=record.symbol, timeframe=record.timeframe)
        found[record.symbol, record.timeframe, record.data_type] = frame
    return found


def _all(frame: Frame) -> list[tuple[str, np.ndarray]]:
    return [("ts", frame.ts), *((name, frame[name]) for name in frame.columns)]


def _kind(name: str) -> str:
    return "<i8" if name == "ts" else "<f8"
