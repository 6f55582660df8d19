"""``run_epoch``: one call around whatever runs, with identity, artifacts, events, verdict and promotion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
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
    begin_late: bool = False,
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
    begin_late: the run begins (folder, config.json, event) when runner_fn calls the ``begin`` that it is given as a keyword, which returns
    the run's id; what it raises before that is raised again, and there has been no run.
    A KeyboardInterrupt marks the run interrupted and passes on; SystemExit and its like pass unmarked.
    Raises ConfigError and SafetyError, before anything is written, for a step that is not allowed and rules that are none.
    """
    given = {
        "timeframes": timeframes, "epoch": epoch, "strategy_id": strategy_id, "strategy_name": strategy_name, "next_epoch": next_epoch,
        "promotion_criteria": promotion_criteria, "effective_config": effective_config, "experiment": experiment, "home": home, "now": now,
        "raise_errors": raise_errors, "runner_fn": runner_fn, "begin_late": begin_late,
    }  # fmt: skip
    shared = shared_arguments(runner_fn, given)
    stage, judge = StrategyEpoch.of(epoch), _Judge(promotion_criteria)
    following = None if next_epoch is None else StrategyEpoch.of(next_epoch)
    tracker = StrategyEpochTracker(strategy_id, strategy_name, home=home, now=now)
    if following is not None:
        tracker.state.check_promotion(stage, following)
    asked = {"runner": named(runner_fn), "arguments": described(without_secrets(runner_kwargs))}
    promotion = {"promotion": judge.description, "next_epoch": following}
    run = {"experiment": experiment} if experiment else {}
    run_id = ""

    def begin(**more: Any) -> str:
        nonlocal run_id
        config = {"run": {**run, **more}, **asked, **promotion, "config": without_secrets(effective_config or {})}
        run_id = tracker.epoch_start(stage, symbol, timeframes, config=config)
        return run_id

    late = {"begin": begin} if begin_late else {}
    if not begin_late:
        begin()
    try:
        try:
            hear = partial(tracker.note_configuration, run_id) if run_id and not effective_config else None
            known = {"run_id": run_id} if run_id else {}
            with log_context_scope(**known, strategy_id=strategy_id, epoch=stage.value, symbol=symbol), listening(hear):
                returned = runner_fn(symbol=symbol, **late, **shared, **runner_kwargs)
                passed, reason, verdicts = judge.verdict(returned)
        except Exception as error:
            if not run_id:
                raise
            failed = tracker.epoch_failed(run_id, stage, symbol, error)
            if raise_errors or isinstance(error, InvariantError):
                raise
            return failed
        try:
            return tracker.epoch_complete(
                run_id, stage, symbol, returned, passed=passed, promotion_reason=reason, next_epoch=following, verdicts=verdicts
            )
        except InvariantError as error:
            tracker.epoch_failed(run_id, stage, symbol, error)
            raise
        except DataError as error:
            raise _unwritten(tracker, run_id, stage, symbol, error) from error
    except KeyboardInterrupt as interrupt:
        if not run_id:
            raise
        _mark_interrupted(tracker, run_id, stage, symbol, interrupt)
        raise


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
