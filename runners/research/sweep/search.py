"""Which settings are tried, and in what order: the whole grid, random draws, or a tree-structured Parzen estimator (optuna).

A search is asked for batches and told what came of each. Batches have a fixed size and are told in their order, so that the same seed
gives the same settings however many workers there are, and a sweep that goes on asks for what it has asked before.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, get_args

import msgspec

from keel.core.errors import ConfigError, InvariantError
from keel.core.model.words import check_word
from keel.runners.research.sweep.space import Dimension, Setting, Space

SearchName = Literal["grid", "random", "tpe"]
BATCH = 16
"""Settings that TPE suggests before it hears of any of them."""
TRIALS = 100
"""How many random and tpe try where nobody says."""


class Search(Protocol):
    """Settings to try. ``total``: how many there will be."""

    total: int

    def ask(self) -> list[Setting]:
        """The next settings; empty when there are no more."""

    def tell(self, scores: Sequence[float | None]) -> None:
        """What the settings of the last ``ask`` came to, in their order, larger is better; None for those that have no value."""


def make_search(name: SearchName, space: Space, trials: int | None, seed: int, limit: int) -> Search:
    """The search of that name. Raises ConfigError for a space that it cannot search, and for more points than ``limit``."""
    check_word(name, get_args(SearchName), "search")
    if name == "grid":
        if trials is not None:
            raise ConfigError("--trials belongs to --search random and tpe: a grid is tried whole")
        return _Grid(space, limit)
    wanted = TRIALS if trials is None else trials
    if wanted < 1:
        raise ConfigError(f"--trials {wanted}: there would be no points; give at least 1")
    _refuse_many(wanted, limit, "trials")
    return _Random(space, wanted, seed) if name == "random" else _Tpe(space, wanted, seed)


class _Grid:
    def __init__(self, space: Space, limit: int) -> None:
        ranges = [dimension.name for dimension in space.dimensions if not dimension.values]
        if ranges:
            raise ConfigError(f"a grid needs a step: write {ranges[0]}=LOW:HIGH:STEP, or search by --search random or tpe")
        self.total = space.count
        _refuse_many(self.total, limit, "points: " + " x ".join(f"{len(each.values):,} {each.name}" for each in space.dimensions))
        self._settings: list[Setting] | None = list(space.grid())

    def ask(self) -> list[Setting]:
        settings, self._settings = self._settings or [], None
        return settings

    def tell(self, scores: Sequence[float | None]) -> None:
        """A grid learns nothing."""


class _Random:
    """Draws without repeats, where the space has as many points."""

    def __init__(self, space: Space, trials: int, seed: int) -> None:
        self._space, self._draw = space, random.Random(seed)
        countable = all(dimension.values for dimension in space.dimensions)
        self.total = min(trials, space.count) if countable else trials
        self._asked = False

    def ask(self) -> list[Setting]:
        if self._asked:
            return []
        self._asked = True
        seen: dict[bytes, Setting] = {}
        while len(seen) < self.total:
            setting = {dimension.key: self._value(dimension) for dimension in self._space.dimensions}
            seen.setdefault(msgspec.json.encode(setting), setting)
        return list(seen.values())

    def tell(self, scores: Sequence[float | None]) -> None:
        """Chance learns nothing."""

    def _value(self, dimension: Dimension) -> Any:
        if dimension.values:
            return self._draw.choice(dimension.values)
        return _rounded(self._draw.uniform(dimension.low, dimension.high), dimension)


class _Tpe:
    """optuna's TPE by ask and tell, in memory. A setting that comes again is told its score again, and counts as a trial."""

    def __init__(self, space: Space, trials: int, seed: int) -> None:
        optuna = load_optuna()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.total = trials
        self._space, self._left = space, trials
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._failed = optuna.trial.TrialState.FAIL
        self._trials: list[Any] = []

    def ask(self) -> list[Setting]:
        if self._trials:
            raise InvariantError("the search was asked again before it was told")
        count = min(BATCH, self._left)
        self._left -= count
        settings = []
        for _ in range(count):
            trial = self._study.ask()
            self._trials.append(trial)
            settings.append({dimension.key: self._suggested(trial, dimension) for dimension in self._space.dimensions})
        return settings

    def tell(self, scores: Sequence[float | None]) -> None:
        for trial, score in zip(self._trials, scores, strict=True):
            if score is None:
                self._study.tell(trial, state=self._failed)
            else:
                self._study.tell(trial, score)
        self._trials = []

    def _suggested(self, trial: Any, dimension: Dimension) -> Any:
        if not dimension.values:
            return _rounded(trial.suggest_float(dimension.key, dimension.low, dimension.high), dimension)
        if dimension.is_ordered:  # by place: values need not be evenly spaced
            return dimension.ordered[trial.suggest_int(dimension.key, 0, len(dimension.values) - 1)]
        return dimension.values[trial.suggest_categorical(dimension.key, list(range(len(dimension.values))))]


def load_optuna() -> Any:
    """optuna, imported where it is used. Raises ConfigError where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise ConfigError("--search tpe needs optuna: pip install 'keel-trader[research]', or use --search random") from None
    return optuna


def _rounded(value: float, dimension: Dimension) -> float:
    """Six significant digits of the range: what a person can write down again."""
    return float(f"{min(max(value, dimension.low), dimension.high):.6g}")


def _refuse_many(count: int, limit: int, what: str) -> None:
    if count > limit:
        raise ConfigError(
            f"{count:,} {what}: more than the limit of {limit:,}; take larger steps, try some of them (--search random --trials 1000),"
            f" or raise it (--limit {count})"
        )


def batches(search: Search) -> Iterator[list[Setting]]:
    """Batch after batch; each must be told before the next is taken."""
    while settings := search.ask():
        yield settings
