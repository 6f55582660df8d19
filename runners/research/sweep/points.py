"""From a setting and where it is tried to a run with an identity: configuration, history, task."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from keel.adapters.plain_data import canonical_json
from keel.core.errors import ConfigError, DataError
from keel.core.system.config import SystemConfig
from keel.runners.backtest.preparation import LoadPlan, make_plan
from keel.runners.backtest.windows import NamedWindow
from keel.runners.backtest.wiring import check_venue
from keel.runners.lifecycle.identity import point_uid
from keel.runners.research.sweep.data import HistoryCache
from keel.runners.research.sweep.space import Setting
from keel.runners.research.sweep.workers.task import Task
from keel.runners.systems import LoadedSystem, override_texts
from keel.strategies.registry import check_params


@dataclass(frozen=True, slots=True)
class Context:
    """Where every setting is tried. symbols: in words; loaded: the system with these symbols."""

    symbols: str
    window: NamedWindow
    loaded: LoadedSystem


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a sweep. task: None where it cannot be run; ``problem`` says why: invalid, or its history is not there."""

    id: str
    number: int
    setting: Setting
    context: Context
    task: Task | None
    status: str = ""
    problem: str = ""


class PointMaker:
    """Makes points out of settings, and asks the book for their histories."""

    def __init__(self, book: HistoryCache, strategy_fingerprint: str) -> None:
        self._book, self._strategy = book, strategy_fingerprint

    def make(self, number: int, setting: Setting, context: Context, store: str = "") -> Point:
        """The point; its id is the system uid that a backtest of the same configuration has. store: see Task."""
        try:
            loaded = configured(context.loaded, setting)
            plan = make_plan(loaded.config, context.window.span, loaded.strategy(), loaded.params)
        except ConfigError as error:
            return self._impossible(number, setting, context, "invalid", error)
        try:
            part = self._book.part(plan.replay)
            if any(not key.startswith("params.") for key in setting):
                self._check_account(loaded.config, part.name)
        except ConfigError as error:
            return self._impossible(number, setting, context, "invalid", error)
        except DataError as error:
            return self._impossible(number, setting, context, "failed", error)
        uid = point_uid(loaded, context.window.span, plan.replay.warmup, self._strategy, part.fingerprint)
        task = Task(uid, loaded.config, context.window.span.to_tuple_ms(), part.name, part.dropped, store=store)
        return Point(uid, number, setting, context, task)

    def _check_account(self, config: SystemConfig, data: str) -> None:
        check_venue(config, {entry.history.symbol: entry.history.instrument for entry in self._book.histories(data)})

    def _impossible(self, number: int, setting: Setting, context: Context, status: str, error: Exception) -> Point:
        about: Mapping[str, Any] = {"setting": setting, "symbols": context.symbols, "window": context.window.span.to_tuple_ms()}
        uid = hashlib.sha256(canonical_json([status, about], "point")).hexdigest()
        return Point(uid, number, setting, context, None, status, " ".join(str(error).split()))


def configured(loaded: LoadedSystem, setting: Setting) -> LoadedSystem:
    """The system under a setting. Raises ConfigError for what it refuses."""
    if all(key.startswith("params.") and key.count(".") == 1 for key in setting):  # nothing else needs to be looked at anew
        given = {**loaded.params, **{key.removeprefix("params."): value for key, value in setting.items()}}
        params = check_params(loaded.strategy, given)
        config = msgspec.structs.replace(loaded.config, params=params)
        return LoadedSystem(config, loaded.strategy, loaded.filename, loaded.origin)
    return loaded.with_overrides(override_texts(setting))


def plan_of(loaded: LoadedSystem, setting: Setting, window: NamedWindow) -> tuple[SystemConfig, LoadPlan] | None:
    """What a setting will read; None where it cannot be run."""
    try:
        found = configured(loaded, setting)
        return found.config, make_plan(found.config, window.span, found.strategy(), found.params)
    except ConfigError:
        return None
