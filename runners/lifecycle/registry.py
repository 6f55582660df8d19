"""The runs of a home folder: listing, finding, comparing, and where one's money went. Plain data; printing is the command line's.

The folders are the registry: a run exists if its folder does. A run whose summary.json is missing is running while its process
lives, and unfinished after.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from keel.adapters.artifacts import RunFiles, read_json, read_run
from keel.adapters.curve_files import same_curve
from keel.adapters.logging import get_logger
from keel.adapters.plain_data import canonical_json
from keel.core.errors import ConfigError, DataError
from keel.core.model.money import to_text, to_units
from keel.core.system.file_names import name_problem, shown
from keel.runners.home import Home
from keel.runners.lifecycle.run_folder import is_alive, run_folders
from keel.runners.lifecycle.stages import StrategyEpoch
from keel.runners.user_path import user_path
from keel.strategies.old_names import identity_bytes

log = get_logger("keel.runners.lifecycle.registry")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One run as a list shows it. status: completed, failed, interrupted, running or unfinished; metrics: those of summary.json."""

    run_id: str
    folder: Path
    strategy_id: str
    epoch: str
    symbol: str
    timeframes: list[str]
    started: str
    started_ms: int
    status: str
    passed: bool | None
    stop_reason: str | None
    error: str | None
    experiment: str | None
    arguments: dict[str, Any]
    metrics: dict[str, Any]
    warnings: list[str]

    def read(self) -> RunFiles:
        """All its JSON files."""
        return read_run(self.folder)


@dataclass(frozen=True, slots=True)
class RunDifference:
    """Where two runs differ; None where one lacks it."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True, slots=True)
class RunComparison:
    """What differs between two runs; ``same_trades`` and ``same_equity`` are None where neither run has such a file."""

    a: RunInfo
    b: RunInfo
    config: list[RunDifference]
    """By dotted key, in the order of the first run's config.json; what names a run or its start is left out."""
    metrics: list[RunDifference]
    first_trade: RunDifference | None
    """The first line of trades.jsonl that differs; its key is the line's number."""
    same_trades: bool | None
    same_equity: bool | None


@dataclass(frozen=True, slots=True)
class MoneyLine:
    """One line of a reconciliation: exact decimal text, with its sign. kind: start, change (all of them add up), sum, or beside.

    What stands beside is contained in the lines above already.
    """

    label: str
    amount: str
    kind: str


@dataclass(frozen=True, slots=True)
class SweepInfo:
    """One sweep as a list shows it. status: completed, running or unfinished (it can go on); asked: what it searches."""

    sweep_id: str
    folder: Path
    system: str
    asked: dict[str, Any]
    started_ms: int
    status: str


def list_sweeps(home: Home | Path | None = None) -> list[SweepInfo]:
    """All sweeps, newest first. A folder that cannot be read is left out, and the log says so."""
    sweeps = []
    for folder in Home.find(home).sweeps.glob("sweep-*"):
        try:
            sweeps.append(_sweep_info(folder))
        except DataError as error:
            log.warning("sweep left out of the list", folder=str(folder), error=str(error))
    return sorted(sweeps, key=lambda sweep: (sweep.started_ms, sweep.sweep_id), reverse=True)


def find_sweep(reference: str, home: Home | Path | None = None) -> SweepInfo:
    """The sweep that is meant: ``last``, an id, or a beginning of one that fits only one. Raises ConfigError when it is none or several."""
    place = Home.find(home)
    sweeps = list_sweeps(place)
    if reference == "last" and sweeps:
        return sweeps[0]
    prefix = reference if reference.startswith("sweep-") else f"sweep-{reference}"
    found = [sweep for sweep in sweeps if sweep.sweep_id.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    if found:
        fitting = ", ".join(sweep.sweep_id for sweep in found[:5])
        raise ConfigError(f"{reference!r} fits {len(found)} sweeps: {fitting}; give more of the id")
    known = ", ".join(sweep.sweep_id for sweep in sweeps[:5]) or "none"
    raise ConfigError(f"there is no sweep {reference!r} in {place.root}: there are {known}, and last is the newest")


def _sweep_info(folder: Path) -> SweepInfo:
    record, summary = read_json(folder / "sweep.json"), read_json(folder / "summary.json")
    if record is None:
        raise DataError(f"{folder} is not the folder of a sweep: it has no sweep.json")
    try:
        status = summary["status"] if summary else "running" if is_alive(record["run"]) else "unfinished"
        return SweepInfo(record["sweep_id"], folder, record["system"]["system"], record["ask"], record["started_ms"], status)
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder}/sweep.json is not a sweep's record: {error} is missing or of the wrong kind") from error


def list_runs(home: Home | Path | None = None, *, epoch: str | None = None, strategy_id: str | None = None) -> list[RunInfo]:
    """All runs, newest first: also those that failed and those that are under way.

    A folder that cannot be read is left out, and the log says so: one damaged run must not hide the others.
    """
    runs = []
    for folder in run_folders(Home.find(home)):
        try:
            runs.append(run_info(folder))
        except DataError as error:
            log.warning("run left out of the list", folder=str(folder), error=str(error))
    epoch = None if epoch is None else StrategyEpoch.of(epoch).value
    wanted = (run for run in runs if epoch in (None, run.epoch) and strategy_id in (None, run.strategy_id))
    return sorted(wanted, key=lambda run: (run.started_ms, run.run_id), reverse=True)


def find_run(reference: str | Path, home: Home | Path | None = None) -> RunInfo:
    """The run that is meant: ``last``, a run id, a beginning of one that fits only one run (with or without ``run-``), or a folder.

    Raises ConfigError, with the candidates, when it is none or more than one.
    """
    place, text = Home.find(home), str(reference)
    if text == "last":
        runs = list_runs(place)
        if not runs:
            raise ConfigError(f"there are no runs in {place.root}: start one with keel run, or name another folder with --home")
        return runs[0]
    if isinstance(reference, Path) or "/" in text or (not name_problem(text) and (Path(text) / "config.json").is_file()):
        return run_info(user_path(text))
    prefix = text if text.startswith("run-") else f"run-{text}"
    found = sorted(folder for folder in run_folders(place, "run-") if folder.name.startswith(prefix))
    if len(found) > 1:
        raise ConfigError(f"{shown(text)} fits {len(found)} runs: {', '.join(folder.name for folder in found[:5])}; give more of the id")
    if not text or not found:
        raise ConfigError(f"there is no run {shown(text)} in {place.root}: keel runs list shows them, and last is the newest")
    return run_info(found[0])


def run_info(folder: Path) -> RunInfo:
    """What a run's folder says of it. Raises DataError when it is no run's folder or damaged."""
    config, summary = read_json(folder / "config.json"), read_json(folder / "summary.json")
    if config is None:
        raise DataError(f"{folder} is not the folder of a run: it has no config.json")
    try:
        run = config["run"]
        return RunInfo(
            run_id=run["run_id"],
            folder=folder,
            strategy_id=config["strategy_id"],
            epoch=config["epoch"],
            symbol=config["symbol"],
            timeframes=config["timeframes"],
            started=run["started"],
            started_ms=run["started_ms"],
            status=summary["status"] if summary else "running" if is_alive(run) else "unfinished",
            experiment=run.get("experiment"),
            arguments=config.get("arguments", {}),
            **_ending(summary or {}),
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder}/config.json is not a run's configuration: {error} is missing or of the wrong kind") from error


def compare_runs(a: RunInfo, b: RunInfo) -> RunComparison:
    """What differs between two runs: configuration, metrics, the first trade, the files that should be equal. Raises DataError."""
    files_a, files_b = a.read(), b.read()
    lines_a, lines_b = _lines(a.folder / "trades.jsonl"), _lines(b.folder / "trades.jsonl")
    return RunComparison(
        a,
        b,
        config=_differences(_configuration(files_a), _configuration(files_b)),
        metrics=_differences((files_a.results or {}).get("metrics", {}), (files_b.results or {}).get("metrics", {})),
        first_trade=_first_difference(lines_a or [], lines_b or []),
        same_trades=None if lines_a is None and lines_b is None else lines_a == lines_b,
        same_equity=same_curve(a.folder, b.folder),
    )


def reconciliation(run: RunInfo) -> list[MoneyLine]:
    """Where a backtest's money went, line by line, from the exact texts of result.json: start and changes add up to the final equity.

    The last line is what does not add up: "0", or the run is not to be believed. Empty for a run that has no reconciliation.
    """
    amounts: Mapping[str, str] | None = (run.read().result or {}).get("reconciliation")
    if amounts is None:
        return []
    changes = [MoneyLine(label, _signed(amounts[name], sign), "change") for label, name, sign in _CHANGES]
    start = MoneyLine("initial equity", amounts["initial_equity"], "start")
    total = to_units(start.amount) + sum(to_units(line.amount) for line in changes)
    return [
        start,
        *changes,
        MoneyLine("final equity", amounts["final_equity"], "sum"),
        MoneyLine("of which wallet balance", amounts["final_balance"], "sum"),
        MoneyLine(MARGIN_LOST, amounts.get("margin_lost", "0"), "beside"),
        MoneyLine("covered by the insurance fund", amounts["insurance"], "beside"),
        MoneyLine("does not add up", to_text(to_units(amounts["final_equity"]) - total), "sum"),
    ]


BEYOND = "liquidations beyond trading"
"""What takeovers took beyond the trading result at their prices. The margin that was lost stands beside it: most of it is in the trading
line."""

MARGIN_LOST = "margin lost in liquidations"

_CHANGES = (
    ("trading at reference prices", "gross", 1),
    ("spread, slippage and impact", "slippage", -1),
    ("fees", "fees", -1),
    ("funding", "funding", -1),
    (BEYOND, "liquidation_loss", -1),
    ("open positions, unrealised", "unrealized", 1),
)


def system_uid(strategy_fingerprint: str, effective_config: Mapping[str, Any], data_fingerprint: str) -> str:
    """What a result is made of, as 64 hex digits: equal for equal strategy code, configuration and data, whatever the keys' order."""
    content = {"strategy": strategy_fingerprint, "config": effective_config, "data": data_fingerprint}
    return hashlib.sha256(identity_bytes(canonical_json(content, "system"))).hexdigest()


# --- parts -----------------------------------------------------------------------------------------------------------


def _ending(summary: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: summary.get(name) for name in ("passed", "stop_reason", "error")}
    head = {"run_id", "strategy_id", "epoch", "symbol", "status", "next_epoch", "warnings", *named}
    metrics = {name: value for name, value in summary.items() if name not in head}
    return {**named, "warnings": summary.get("warnings", []), "metrics": metrics}


def _configuration(files: RunFiles) -> dict[str, Any]:
    return {name: value for name, value in (files.config or {}).items() if name != "run"}


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[RunDifference]:
    flat_a, flat_b = dict(_flat(a)), dict(_flat(b))
    keys = [*flat_a, *(key for key in flat_b if key not in flat_a)]
    pairs = ((key, flat_a.get(key), flat_b.get(key)) for key in keys)
    return [RunDifference(key, left, right) for key, left, right in pairs if left != right]


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf; a list is a leaf."""
    if not isinstance(value, Mapping):
        yield prefix, value
        return
    for name, entry in value.items():
        yield from _flat(entry, f"{prefix}.{name}" if prefix else name)


def _lines(path: Path) -> list[str] | None:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else None


def _first_difference(a: list[str], b: list[str]) -> RunDifference | None:
    pairs = enumerate(zip_longest(a, b), start=1)
    return next((RunDifference(str(number), left, right) for number, (left, right) in pairs if left != right), None)


def _signed(amount: str, sign: int) -> str:
    return amount if sign > 0 else to_text(-to_units(amount))
