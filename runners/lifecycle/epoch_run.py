"""A run with identity, artifacts, events, verdict and promotion: ``EpochRun`` around a block, ``run_epoch`` around a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from keel.adapters.logging import log_context_scope, without_secrets
from keel.adapters.machine import wall_ms
from keel.core.errors import ConfigError, DataError, InvariantError
from keel.core.results.result import BacktestResult
from keel.core.system.promotion import PromotionRule, RuleVerdict
from keel.runners.home import Home
from keel.runners.lifecycle.current_run import listening
from keel.runners.lifecycle.described import described, named
from keel.runners.lifecycle.run_folder import ROOM_WANTED
from keel.runners.lifecycle.shared_arguments import shared_arguments
from keel.runners.lifecycle.stages import StrategyEpoch
from keel.runners.lifecycle.tracker import EpochResult, StrategyEpochTracker, plain_metrics

Criteria = Callable[[Mapping[str, Any]], bool] | Sequence[str | PromotionRule]
"""A function of the metrics, or rules such as "sharpe > 1.0", all of which must hold."""


def run_epoch(
    epoch: StrategyEpoch | str,
    symbol: str,
    strategy_id: str,
    runner_fn: Callable[..., Mapping[str, Any]],
    timeframes: Sequence[str] = (),
    promotion_criteria: Criteria | None = None,
    next_epoch: StrategyEpoch | str | None = None,
    *,
    strategy_name: str = "",
    effective_config: Mapping[str, Any] | None = None,
    experiment: str | None = None,
    raise_errors: bool = False,
    home: Home | Path | None = None,
    now: Callable[[], int] = wall_ms,
    **runner_kwargs: Any,
) -> EpochResult:
    """Call ``runner_fn(symbol=symbol, **runner_kwargs)`` as one run of a strategy's epoch; it returns its metrics or a BacktestResult.

    Before: the step is checked, config.json is written (effective_config: the whole configuration, where the caller has one; else that of
    the BacktestEngine which runner_fn runs is added before its first bar). After: the criteria are judged, the artifacts written, the
    events appended and, when it passed and next_epoch is given, the strategy promoted.
    A parameter of runner_fn that is named like one of run_epoch's own (timeframes, strategy_id, epoch, home, ...) gets what run_epoch was
    given. Without criteria ``passed`` is None. What runner_fn or the criteria raise marks the run failed and is returned as ``error``;
    raise_errors raises it again. An InvariantError is always raised again, and so is what keeps the artifacts from being written.
    A KeyboardInterrupt marks the run interrupted and passes on; SystemExit and its like pass unmarked.
    Raises ConfigError and SafetyError, before anything is written, for a step that is not allowed and rules that are none.
    """
    given = {
        "timeframes": timeframes, "epoch": epoch, "strategy_id": strategy_id, "strategy_name": strategy_name, "next_epoch": next_epoch,
        "promotion_criteria": promotion_criteria, "effective_config": effective_config, "experiment": experiment, "home": home, "now": now,
        "raise_errors": raise_errors, "runner_fn": runner_fn,
    }  # fmt: skip
    shared = shared_arguments(runner_fn, given)
    about = {"runner": named(runner_fn), "arguments": described(without_secrets(runner_kwargs))}
    run = EpochRun(
        StrategyEpochTracker(strategy_id, strategy_name, home=home, now=now), epoch, symbol, timeframes, promotion_criteria, next_epoch,
        effective_config=effective_config, about={"run": {"experiment": experiment} if experiment else {}, **about},
    )  # fmt: skip
    try:
        with run:
            run.complete(runner_fn(symbol=symbol, **shared, **runner_kwargs))
    except Exception as error:
        if run.done is None or raise_errors or isinstance(error, InvariantError):
            raise
    assert run.done is not None
    return run.done


class EpochRun:
    """One run of a strategy's epoch, for the length of a ``with`` block that hands what came of it to ``complete``.

    The block's beginning begins the run (folder, config.json, event); with ``begins_late`` only ``begin`` does, and a block that fails
    before that was no run. What is raised in the block marks the run failed, a KeyboardInterrupt marks it interrupted; both pass on.
    ``done``: what came of it, once it has ended.
    effective_config: the whole configuration; where there is none, that of the BacktestEngine that runs in the block is added.
    about: further keys of config.json; ``run`` holds what differs between two runs of the same configuration.
    Raises ConfigError and SafetyError, before anything is written, for a step that is not allowed and rules that are none.
    """

    def __init__(
        self,
        tracker: StrategyEpochTracker,
        epoch: StrategyEpoch | str,
        symbol: str,
        timeframes: Sequence[str] = (),
        promotion_criteria: Criteria | None = None,
        next_epoch: StrategyEpoch | str | None = None,
        *,
        effective_config: Mapping[str, Any] | None = None,
        about: Mapping[str, Any] | None = None,
        begins_late: bool = False,
    ) -> None:
        self._tracker, self._stage, self._symbol, self._timeframes = tracker, StrategyEpoch.of(epoch), symbol, timeframes
        self._judge, self._next = _Judge(promotion_criteria), None if next_epoch is None else StrategyEpoch.of(next_epoch)
        self._config, self._about, self._begins_late = effective_config, dict(about or {}), begins_late
        if self._next is not None:
            tracker.state.check_promotion(self._stage, self._next)
        self._around = ExitStack()
        self.run_id = ""
        self.done: EpochResult | None = None

    def begin(self, **more: Any) -> str:
        """The run begins; more: further keys of its ``run``. Returns its id."""
        about = {**self._about, "run": {**self._about.get("run", {}), **more}}
        promotion = {"promotion": self._judge.description, "next_epoch": self._next}
        config = {**about, **promotion, "config": without_secrets(self._config or {})}
        self.run_id = self._tracker.epoch_start(self._stage, self._symbol, self._timeframes, config=config)
        return self.run_id

    def complete(self, returned: Mapping[str, Any]) -> EpochResult:
        """The run is through: its rules are judged, its artifacts written, its event appended; the strategy is promoted if it passed.

        returned: metrics, or a BacktestResult. Raises ConfigError when it is neither, DataError when the artifacts find no room.
        """
        passed, reason, verdicts = self._judge.verdict(returned)
        try:
            self.done = self._tracker.epoch_complete(
                self.run_id, self._stage, self._symbol, returned, passed=passed, promotion_reason=reason, next_epoch=self._next,
                verdicts=verdicts,
            )  # fmt: skip
        except DataError as error:
            raise _Unwritten(error) from error
        return self.done

    def __enter__(self) -> EpochRun:
        if not self._begins_late:
            self.begin()
        known = {"run_id": self.run_id} if self.run_id else {}
        hear = partial(self._tracker.note_configuration, self.run_id) if self.run_id and not self._config else None
        self._around.enter_context(
            log_context_scope(**known, strategy_id=self._tracker.strategy_id, epoch=self._stage.value, symbol=self._symbol)
        )
        self._around.enter_context(listening(hear))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._around.close()
        if not self.run_id:
            return
        place = self._tracker, self.run_id, self._stage, self._symbol
        if isinstance(error, _Unwritten):
            raise _unwritten(*place, error.error) from error.error
        if isinstance(error, KeyboardInterrupt):
            _mark_interrupted(*place, error)
        elif isinstance(error, Exception):
            self.done = self._tracker.epoch_failed(*place[1:], error)
            error.add_note(f"{self.run_id} is marked failed: {self.done.artifacts}")
        elif error is None and self.done is None:
            told = InvariantError(f"{self.run_id}: the block of the run has ended, and nothing was handed to complete")
            self.done = self._tracker.epoch_failed(*place[1:], told)
            raise told


class _Unwritten(Exception):
    """The artifacts of a run that was computed could not be written."""

    def __init__(self, error: DataError) -> None:
        super().__init__(str(error))
        self.error = error


def _unwritten(tracker: StrategyEpochTracker, run_id: str, stage: StrategyEpoch, symbol: str, error: DataError) -> DataError:
    """The error of a run whose artifacts found no room. What is small is written in their place, if it can be: the run is then failed."""
    told = DataError(f"the run was computed, and could not be kept: {error}; {ROOM_WANTED}")
    if tracker.has_ended(run_id):  # its files are there: only what tells others of it is not
        return DataError(f"{run_id} is kept, and could not be recorded in full: {error}; {ROOM_WANTED}")
    try:
        failed = tracker.epoch_failed(run_id, stage, symbol, told)
        told.add_note(f"{run_id} is marked failed: {failed.artifacts}")
    except (DataError, ConfigError) as second:
        told.add_note(f"{run_id} could not be marked failed either: {second}")
    return told


def _mark_interrupted(tracker: StrategyEpochTracker, run_id: str, stage: StrategyEpoch, symbol: str, interrupt: KeyboardInterrupt) -> None:
    """The run's mark; where it has ended already, or cannot be written, the interrupt carries a note."""
    try:
        tracker.epoch_interrupted(run_id, stage, symbol)
    except (DataError, ConfigError) as error:
        interrupt.add_note(f"{run_id} was not marked interrupted: {error}")


class _Judge:
    """Promotion criteria, ready to judge; no criteria, or an empty list of rules, judge nothing."""

    def __init__(self, criteria: Criteria | None) -> None:
        self._function = criteria if callable(criteria) else None
        if isinstance(criteria, str):
            raise ConfigError(f"promotion_criteria is the text {criteria!r}: give a list of rules, [{criteria!r}], or a function")
        given = criteria if criteria is not None and not callable(criteria) else ()
        self._rules = [rule if isinstance(rule, PromotionRule) else PromotionRule.parse(rule) for rule in given]

    @property
    def description(self) -> str | list[str] | None:
        """What stands in config.json."""
        return named(self._function) if self._function is not None else [str(rule) for rule in self._rules] or None

    def verdict(self, returned: Mapping[str, Any]) -> tuple[bool | None, str, list[RuleVerdict]]:
        """(passed, reason, the verdict on each rule). Raises ConfigError when what was returned is not metrics."""
        metrics = plain_metrics(returned)
        if self._function is not None:
            passed = bool(self._function(returned))
            return passed, f"{named(self._function)}: {_word(passed)}", []
        if not self._rules:
            return None, "", []
        notes = returned.metric_notes if isinstance(returned, BacktestResult) else None
        verdicts = [rule.evaluate(metrics, notes) for rule in self._rules]
        return all(verdict.passed for verdict in verdicts), "; ".join(map(_sentence, verdicts)), verdicts


def _sentence(verdict: RuleVerdict) -> str:
    found = f"{verdict.value:.6g}" if verdict.value is not None else verdict.reason
    return f"{verdict.rule}: {_word(verdict.passed)} ({found})"


def _word(passed: bool) -> str:
    return "passed" if passed else "failed"
