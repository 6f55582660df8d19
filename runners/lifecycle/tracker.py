"""One strategy through its epochs, step by step: starts, trades, completions, failures, promotions. ``run_epoch`` does it in one call."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

from keel.adapters.artifacts import read_json, write_config, write_metrics, write_result
from keel.adapters.logging import without_secrets
from keel.adapters.machine import wall_ms
from keel.adapters.plain_data import plain
from keel.adapters.whole_file import append_line
from keel.core.errors import ConfigError, DataError, InvariantError, SafetyError
from keel.core.model.time_range import Moment, to_iso, to_ms
from keel.core.results.result import BacktestResult
from keel.core.system.promotion import RuleVerdict
from keel.runners.home import Home
from keel.runners.lifecycle.events import append_event, read_events
from keel.runners.lifecycle.promotion_record import record_of_run, write_record
from keel.runners.lifecycle.run_folder import (
    ROOM_WANTED,
    code_versions,
    make_run_folder,
    new_run_id,
    process_mark,
    remove_run_folder,
    run_folders,
)
from keel.runners.lifecycle.stages import GATED, LifeCycle, StrategyEpoch


@dataclass(frozen=True, slots=True)
class EpochResult(Mapping[str, Any]):
    """What became of one run; a Mapping of its fields (``result["run_id"]``).

    metrics: plain numbers, as in results.json.  passed: None when no criteria were given.  next_epoch: only where it passed.
    status: completed, failed or interrupted.  error: ``"Type: message"`` of a failed run.  artifacts: the run's folder.
    """

    run_id: str
    strategy_id: str
    epoch: StrategyEpoch
    symbol: str
    metrics: dict[str, Any]
    passed: bool | None
    promotion_reason: str
    next_epoch: StrategyEpoch | None
    status: str
    error: str | None
    artifacts: Path

    def __getitem__(self, name: str) -> Any:
        if name not in _RESULT_NAMES:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(_RESULT_NAMES)

    def __len__(self) -> int:
        return len(_RESULT_NAMES)


_RESULT_NAMES = tuple(entry.name for entry in fields(EpochResult))


class StrategyEpochTracker:
    """The runs of one strategy. Nothing is kept in memory that another process would need: folders and events are the state.

    home: where artifacts and events go (None: KEEL_HOME, else the current folder).  now: the clock, in ms since the epoch, UTC.
    """

    def __init__(
        self, strategy_id: str, strategy_name: str = "", *, home: Home | Path | None = None, now: Callable[[], int] = wall_ms
    ) -> None:
        if not strategy_id:
            raise ConfigError("strategy_id is empty: runs are kept by it, give a name such as momentum-v1")
        self.strategy_id, self.strategy_name = strategy_id, strategy_name or strategy_id
        self._home, self._now = Home.find(home), now
        self._folders: dict[str, Path] = {}
        self._trades: dict[str, int] = {}
        self._noted: set[str] = set()

    @property
    def state(self) -> LifeCycle:
        """What the strategy has reached, from the events of all processes."""
        return LifeCycle.derived(self.strategy_id, read_events(self._home, self.strategy_id))

    def epoch_start(
        self, epoch: StrategyEpoch | str, symbol: str, timeframes: Sequence[str] = (), *, config: Mapping[str, Any] | None = None
    ) -> str:
        """Begin a run: its folder, config.json, the start event. Returns its run_id.

        config: further keys of config.json; ``run`` holds what differs between two runs of the same configuration.
        Raises SafetyError when the step up into DEMO or LIVE lacks a promotion, or the strategy is archived.
        """
        stage = StrategyEpoch.of(epoch)
        self.state.check_run(stage)
        run_id, now = new_run_id(), self._now()
        more = dict(config or {})
        run = {"run_id": run_id, "started": to_iso(now), "started_ms": now, **process_mark(), **more.pop("run", {})}
        names = {"strategy_id": self.strategy_id, "strategy_name": self.strategy_name, "epoch": stage, "symbol": symbol}
        content = {"run": run, **names, "timeframes": _as_list(timeframes), **more, "code": code_versions()}
        checked = plain(content, "config", ConfigError)
        folder = self._folders[run_id] = make_run_folder(self._home, stage, run_id, now)
        try:
            write_config(folder, checked)
            self._event("epoch_started", run_id, stage, symbol, timeframes=_as_list(timeframes), artifacts=self._relative(folder), at=now)
        except DataError as error:
            remove_run_folder(folder)
            raise DataError(f"no run was begun in {self._home.root}: {error}; {ROOM_WANTED}") from error
        return run_id

    def note_configuration(self, run_id: str, effective_config: Mapping[str, Any]) -> None:
        """Put the effective configuration of what is about to run into config.json, where it says nothing of its own yet.

        What was put there so before gives way: an epoch may run several engines, and returns one. Raises ConfigError for a run that is not
        under way.
        """
        folder = self._under_way(run_id)
        started = read_json(folder / "config.json") or {}
        if not started.get("config") or run_id in self._noted:
            self._noted.add(run_id)
            write_config(folder, {**started, "config": without_secrets(effective_config)})

    def log_trade(
        self, run_id: str, symbol: str, side: str, size_usd: float, price: float, pnl: float, *, ts: Moment | None = None, **more: Any
    ) -> None:
        """Append one line to the run's trades.jsonl, numbered from 1.

        ts: when it was made, in any form (a bar's ts_close, a datetime, ISO text); None: now. The line has it in ms and as ISO text (UTC).
        more: further plain fields, such as fee. Raises ConfigError for a run that is not under way, and for what is no plain data.
        """
        folder = self._under_way(run_id)
        path = folder / "trades.jsonl"
        if run_id not in self._trades:
            self._trades[run_id] = path.read_bytes().count(b"\n") if path.exists() else 0
        number = self._trades[run_id] + 1
        at = self._now() if ts is None else to_ms(ts)
        when = {"ts": at, "time": to_iso(at)}
        row = {"number": number, **when, "symbol": symbol, "side": side, "size_usd": size_usd, "price": price, "pnl": pnl, **more}
        append_line(path, msgspec.json.encode(plain(row, f"trade {number}", ConfigError)), durable=False)
        self._trades[run_id] = number

    def epoch_complete(
        self,
        run_id: str,
        epoch: StrategyEpoch | str,
        symbol: str,
        metrics: Mapping[str, Any],
        *,
        passed: bool | None = None,
        promotion_reason: str = "",
        next_epoch: StrategyEpoch | str | None = None,
        verdicts: Sequence[RuleVerdict] = (),
    ) -> EpochResult:
        """Finish a run: results.json, summary.json, for a BacktestResult all its files; then the event, and the promotion if it passed.

        next_epoch: where the strategy goes when ``passed`` is True.
        Raises ConfigError when the run is not under way, or is another's; InvariantError for a BacktestResult that is not sound.
        """
        stage, folder = self._check_run(run_id, epoch, symbol)
        following = StrategyEpoch.of(next_epoch) if next_epoch is not None and passed else None
        if following is not None:
            self.state.check_promotion(stage, following)
        numbers = plain_metrics(metrics)
        outcome = self._outcome(run_id, stage, symbol, passed, promotion_reason) | {"rules": list(verdicts), "next_epoch": following}
        if isinstance(metrics, BacktestResult):
            self._write_backtest(folder, run_id, metrics, outcome)
        else:
            write_metrics(folder, numbers, outcome)
        self._event("epoch_completed", run_id, stage, symbol, passed=passed, promotion_reason=promotion_reason)
        if following is not None:
            self.promote(following, epoch=stage, run_id=run_id, reason=promotion_reason)
            if following in GATED:
                self._record(folder, following, verdicts)
        return EpochResult(run_id, self.strategy_id, stage, symbol, numbers, passed, promotion_reason, following, "completed", None, folder)

    def epoch_failed(self, run_id: str, epoch: StrategyEpoch | str, symbol: str, error: BaseException | str) -> EpochResult:
        """Mark a run failed: the error, with its traceback, in results.json and summary.json, then the event."""
        return self._ended_early(run_id, epoch, symbol, "failed", _described(error))

    def epoch_interrupted(self, run_id: str, epoch: StrategyEpoch | str, symbol: str) -> EpochResult:
        """Mark a run interrupted by its user: results.json and summary.json say so, then the event."""
        described = {"type": "Interrupted", "message": "stopped by its user (Ctrl-C) before it was done", "traceback": ""}
        return self._ended_early(run_id, epoch, symbol, "interrupted", described)

    def _ended_early(self, run_id: str, epoch: StrategyEpoch | str, symbol: str, status: str, described: dict[str, Any]) -> EpochResult:
        stage, folder = self._check_run(run_id, epoch, symbol)
        outcome = self._outcome(run_id, stage, symbol, False, "") | {"status": status, "next_epoch": None, "error": described}
        write_metrics(folder, {}, outcome)
        text = f"{described['type']}: {described['message']}"
        self._event(f"epoch_{status}", run_id, stage, symbol, error=text)
        return EpochResult(run_id, self.strategy_id, stage, symbol, {}, False, "", None, status, text, folder)

    def has_ended(self, run_id: str) -> bool:
        """Whether the run's files are complete, whatever became of its events. Raises ConfigError for a run that there is not."""
        return (self._folder(run_id) / "summary.json").exists()

    def promote(
        self, next_epoch: StrategyEpoch | str, *, epoch: StrategyEpoch | str | None = None, run_id: str = "", reason: str = ""
    ) -> None:
        """Allow the step up. epoch: from where; None: from the highest that the strategy has reached.

        Raises SafetyError when DEMO or LIVE is not the very next step, or the strategy is archived; ConfigError for what is no step up.
        """
        state, target = self.state, StrategyEpoch.of(next_epoch)
        if state.reached is None:
            raise ConfigError(f"{self.strategy_id} has not run yet: it enters at the epoch of its first run, without a promotion")
        stage = state.reached if epoch is None else StrategyEpoch.of(epoch)
        if stage.rank > state.reached.rank:
            raise SafetyError(f"{self.strategy_id} has reached {state.reached}, so nothing of {stage} can promote it")
        state.check_promotion(stage, target)
        self._event("epoch_promoted", run_id, stage, next_epoch=target, reason=reason)

    def archive(self, reason: str = "") -> None:
        """Retire the strategy: nothing of it runs until ``restore``. Raises SafetyError when it is archived already."""
        if self.state.archived:
            raise SafetyError(f"{self.strategy_id} is archived already")
        self._event("strategy_archived", reason=reason)

    def restore(self, reason: str = "") -> None:
        """Bring an archived strategy back, with what it had reached. Raises ConfigError when it is not archived."""
        if not self.state.archived:
            raise ConfigError(f"{self.strategy_id} is not archived: there is nothing to restore")
        self._event("strategy_restored", reason=reason)

    def _write_backtest(self, folder: Path, run_id: str, result: BacktestResult, outcome: dict[str, Any]) -> None:
        if result.effective_config:
            self.note_configuration(run_id, result.effective_config)
        if (folder / "trades.jsonl").exists():
            raise ConfigError(f"{run_id}: trades were logged by hand, and the BacktestResult brings its own: use one of the two")
        result.run_id, result.artifacts = run_id, folder
        write_result(folder, result, outcome)

    def _record(self, folder: Path, following: StrategyEpoch, verdicts: Sequence[RuleVerdict]) -> None:
        """Bind the promotion to what earned it, where the run says of which code, configuration and data it was."""
        record = record_of_run(self._home, folder, following.value, how="epoch", now_ms=self._now(), rules=verdicts)
        if record is not None:
            write_record(self._home, record)

    def _outcome(self, run_id: str, epoch: StrategyEpoch, symbol: str, passed: bool | None, reason: str) -> dict[str, Any]:
        names = {"run_id": run_id, "strategy_id": self.strategy_id, "epoch": epoch, "symbol": symbol, "status": "completed"}
        return {**names, "passed": passed, "promotion_reason": reason, "error": None, "ended": to_iso(self._now())}

    def _event(self, event: str, run_id: str = "", epoch: StrategyEpoch | None = None, symbol: str = "", **more: Any) -> None:
        named = {"run_id": run_id, "epoch": epoch, "symbol": symbol}
        who = {"strategy_id": self.strategy_id, "strategy_name": self.strategy_name}
        at = more.pop("at", None)
        append_event(self._home, self._now() if at is None else at, event, who | {k: v for k, v in named.items() if v} | more)

    def _check_run(self, run_id: str, epoch: StrategyEpoch | str, symbol: str) -> tuple[StrategyEpoch, Path]:
        """The run's epoch and folder, once it is certain that this call is about it."""
        folder, stage = self._under_way(run_id), StrategyEpoch.of(epoch)
        started = read_json(folder / "config.json")
        if started is None:
            raise InvariantError(f"{folder} has no config.json, although its run was started")
        for name, value in (("strategy_id", self.strategy_id), ("epoch", stage.value), ("symbol", symbol)):
            if started[name] != value:
                raise ConfigError(f"{run_id} was started with {name} {started[name]}, not {value}")
        return stage, folder

    def _under_way(self, run_id: str) -> Path:
        folder = self._folder(run_id)
        if (folder / "summary.json").exists():
            raise ConfigError(f"{run_id} has ended already: start another run with epoch_start")
        return folder

    def _folder(self, run_id: str) -> Path:
        if run_id not in self._folders:
            found = next((folder for folder in run_folders(self._home, run_id) if folder.name == run_id), None)
            if found is None:
                raise ConfigError(f"there is no run {run_id!r} in {self._home.root}: epoch_start gives run ids")
            self._folders[run_id] = found
        return self._folders[run_id]

    def _relative(self, folder: Path) -> str:
        return folder.relative_to(self._home.root).as_posix()


def plain_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics as plain data. Raises ConfigError for what is no mapping, not finite or no plain data; for our own, InvariantError."""
    if not isinstance(metrics, Mapping):
        raise ConfigError(f"metrics are a mapping of names to numbers, not {type(metrics).__name__}: return a dict or a BacktestResult")
    ours = isinstance(metrics, BacktestResult)
    numbers: dict[str, Any] = plain(dict(metrics), "metrics", InvariantError if ours else ConfigError)
    return numbers


def _described(error: BaseException | str) -> dict[str, Any]:
    if isinstance(error, str):
        return {"type": "Error", "message": error, "traceback": ""}
    text = "".join(traceback.format_exception(error))
    described: dict[str, Any] = {"type": type(error).__name__, "message": str(error), "traceback": text}
    evidence = getattr(error, "evidence", None)
    return described | {"evidence": dict(evidence)} if evidence else described


def _as_list(timeframes: Sequence[str]) -> list[str]:
    return [timeframes] if isinstance(timeframes, str) else list(timeframes)
