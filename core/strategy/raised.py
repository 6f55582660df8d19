"""What user code raised: the line of its own file, the bar, and what it could read there. The error tells it, and a failed run keeps it."""

from __future__ import annotations

import linecache
import math
import sys
from collections.abc import Mapping
from traceback import walk_tb
from types import FrameType
from typing import Any, Final

from keel.core.errors import StrategyError
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.messages import Bar
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import tf_ms
from keel.core.strategy.snapshot import RuntimeSnapshot

_OURS: Final = ("keel.core.", "keel.sim.", "keel.adapters.", "keel.runners.")
"""Packages whose frames are not the user's: a line of theirs tells a user nothing."""


def user_error(head: str, error: BaseException, seen: Mapping[str, Any]) -> StrategyError:
    """The error of user code that raised. head: who raised it, where in time, and what; seen: as ``seen_at`` and its kin tell it."""
    place = place_of(error)
    made = StrategyError("\n".join([head, *_lines(place, seen)]))
    made.evidence = {**place, **seen}
    return made


def place_of(error: BaseException) -> dict[str, Any]:
    """file, line, function and source of the innermost frame that is the user's own; of the innermost frame where none is."""
    frames = list(walk_tb(error.__traceback__))
    own = [(frame, line) for frame, line in frames if _is_users(frame)] or frames
    if not own:
        return {}
    frame, line = own[-1]
    code = frame.f_code
    source = linecache.getline(code.co_filename, line, frame.f_globals).strip()
    return {"file": code.co_filename, "line": line, "function": code.co_qualname, "source": source}


def seen_at(snapshot: RuntimeSnapshot) -> dict[str, Any]:
    """The bar of a snapshot, and its features' values."""
    try:
        features: dict[str, Any] = {name: _number(value) for name, value in snapshot.features.items()}
    except Exception as error:  # noqa: BLE001  # it is read to tell of another error, which must not be lost for this one
        features = {"unreadable": f"{type(error).__name__}: {error}"}
    return {**_bar(snapshot.bar_ltf), "features": features}


def seen_in(frame: Frame, feature_names: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The last bar of a frame that user code was given whole, with what else stands in its row. None: every further column."""
    rows = {"bars": len(frame)}
    if not len(frame):
        return {"symbol": frame.symbol, "timeframe": frame.timeframe, **rows}
    ts, last = int(frame.ts[-1]), {name: float(frame[name][-1]) for name in frame}
    bar = {"closed": to_iso(ts + tf_ms(frame.timeframe)), **{name: _number(last[name]) for name in BAR_COLUMNS if name in last}}
    names = [name for name in frame if name not in BAR_COLUMNS] if feature_names is None else feature_names
    features = {name: _number(last[name]) for name in names}
    return {"symbol": frame.symbol, "timeframe": frame.timeframe, **rows, "bar": bar, "features": features}


def evidence_lines(evidence: Mapping[str, Any]) -> list[str]:
    """What was kept of a failure, for people."""
    return _lines(evidence, evidence)


def _bar(bar: Bar) -> dict[str, Any]:
    prices = {name: _number(getattr(bar, name)) for name in BAR_COLUMNS}
    return {"symbol": bar.symbol, "timeframe": bar.tf, "bar": {"closed": to_iso(bar.ts_close), **prices}}


def _lines(place: Mapping[str, Any], seen: Mapping[str, Any]) -> list[str]:
    lines = []
    if place.get("file"):
        source = f": {place['source']}" if place["source"] else ""
        lines.append(f"  {place['file']}:{place['line']} in {place['function']}{source}")
    if seen.get("bar"):
        whole = f" (the last of {seen['bars']} bars)" if "bars" in seen else ""
        bar = dict(seen["bar"])
        closed = bar.pop("closed")
        lines.append(f"  bar of {seen['symbol']} {seen['timeframe']} that closed at {closed}{whole}: {_listed(bar)}")
    if seen.get("step"):
        lines.append(f"  step of {seen['step']}; prices: {_listed(seen['prices'])}")
    if seen.get("asked"):
        lines.append(f"  asked about: {_listed(seen['asked'])}")
    if seen.get("features"):
        lines.append(f"  features there: {_listed(seen['features'])}")
    return lines


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.10g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()) or "none"


def _number(value: float) -> float | str:
    """A number as plain data: what is not finite, by its name."""
    number = float(value)
    return number if math.isfinite(number) else str(number)


def _is_users(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    top = name.partition(".")[0]
    return not (name.startswith(_OURS) or top in sys.stdlib_module_names or "site-packages" in frame.f_code.co_filename)
