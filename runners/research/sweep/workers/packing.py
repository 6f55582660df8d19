"""Histories as plain data and arrays, so that workers map them from files or take them from an object store, and nobody pickles a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from keel.adapters.replay.history import FundingColumns, PriceColumns, SymbolHistory
from keel.adapters.whole_file import write_bytes
from keel.core.errors import InvariantError
from keel.core.model.frame import Frame
from keel.core.model.instrument import Instrument
from keel.runners.backtest.preparation import SymbolInputs

Arrays = Mapping[str, np.ndarray]
_KINDS: dict[str, type] = {kind.__name__: kind for kind in (SymbolInputs, SymbolHistory, PriceColumns, FundingColumns)}
_META = "meta.json"


def pack(loaded: Sequence[SymbolInputs]) -> tuple[bytes, dict[str, np.ndarray]]:
    """(description as JSON, arrays by name). An array that stands in several places is there once."""
    arrays: dict[str, np.ndarray] = {}
    names: dict[tuple[Any, ...], str] = {}

    def of(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            array = np.ascontiguousarray(value)
            place = (array.__array_interface__["data"][0], array.shape, array.dtype.str)
            if place not in names:
                names[place] = f"a{len(arrays):04d}"
                arrays[names[place]] = array
            return {"$array": names[place]}
        if isinstance(value, Frame):
            about = [value.symbol, value.timeframe, value.kind]
            return {"$frame": about, "columns": {name: of(column) for name, column in value.to_dict().items()}}
        if isinstance(value, Instrument):
            return {"$instrument": msgspec.to_builtins(value)}
        if is_dataclass(value) and type(value).__name__ in _KINDS:
            return {"$kind": type(value).__name__, "fields": {field.name: of(getattr(value, field.name)) for field in fields(value)}}
        if isinstance(value, Mapping):
            return {"$map": {name: of(entry) for name, entry in value.items()}}
        if isinstance(value, tuple):
            return {"$tuple": [of(entry) for entry in value]}
        if isinstance(value, list):
            return [of(entry) for entry in value]
        if value is None or isinstance(value, (str, int, float, bool)):
            return value
        raise InvariantError(f"a history holds a {type(value).__name__}, which has no plain form")

    return msgspec.json.encode(of(list(loaded))), arrays


def unpack(meta: bytes, arrays: Arrays) -> list[SymbolInputs]:
    """What was packed, over the given arrays: nothing is copied."""

    def of(value: Any) -> Any:
        if isinstance(value, list):
            return [of(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        if "$tuple" in value:
            return tuple(of(entry) for entry in value["$tuple"])
        if "$array" in value:
            return arrays[value["$array"]]
        if "$frame" in value:
            symbol, timeframe, kind = value["$frame"]
            columns = {name: of(column) for name, column in value["columns"].items()}
            return Frame(columns.pop("ts"), columns, symbol=symbol, timeframe=timeframe, kind=kind)
        if "$instrument" in value:
            return msgspec.convert(value["$instrument"], Instrument)
        if "$kind" in value:
            return _KINDS[value["$kind"]](**{name: of(entry) for name, entry in value["fields"].items()})
        return {name: of(entry) for name, entry in value["$map"].items()}

    found: list[SymbolInputs] = of(msgspec.json.decode(meta))
    return found


def save(folder: Path, loaded: Sequence[SymbolInputs]) -> None:
    """Write them as a folder of .npy files; the description comes last, so that a folder that has one is whole."""
    meta, arrays = pack(loaded)
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    write_bytes(folder / _META, meta)


def open_saved(folder: Path) -> list[SymbolInputs]:
    """What ``save`` wrote, its arrays mapped from the files, read-only."""
    arrays = {path.stem: np.asarray(np.load(path, mmap_mode="r")) for path in folder.glob("*.npy")}
    return unpack((folder / _META).read_bytes(), arrays)
