"""The journal of a session, found by whatever a person calls it, and what stands at its beginning. Reading it runs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keel.adapters.journal import Record, SessionStarted, inspect, read
from keel.adapters.journal.layout import segment_paths
from keel.core.errors import ConfigError, DataError, StrategyError
from keel.core.model.frame import Frame
from keel.core.system.file import system_from_dict
from keel.core.system.file_names import name_problem, shown
from keel.runners.home import Home
from keel.runners.lifecycle.registry import RunInfo, find_run, list_runs
from keel.runners.lifecycle.stages import GATED
from keel.runners.live.memory.records import TYPES, Opened, ProgramStarted, WarmUpBars
from keel.runners.live.startup.program import WarmUpKey, warm_up_frames
from keel.runners.systems import LoadedSystem, load_recorded, loaded_now
from keel.runners.user_path import user_path


@dataclass(frozen=True, slots=True)
class SessionJournal:
    """Where it lies, and how it begins. run: that it was asked for by; None for a folder. session: the run's number in it; 0: all of it."""

    folder: Path
    program: ProgramStarted
    opened: Opened
    warm_up: Mapping[WarmUpKey, Frame]
    run: RunInfo | None
    session: int

    @property
    def name(self) -> str:
        """What people are told."""
        return str(self.folder) if self.run is None else self.run.run_id

    def records(self) -> Iterator[Record]:
        """Every record, from the first on."""
        return read(self.folder, types=TYPES)

    def cut_short(self) -> str:
        """What is at the journal's end and cannot be heard, in words; "" where nothing is."""
        found = inspect(self.folder)
        if not found.torn_bytes:
            return ""
        return f"the last {found.torn_bytes} bytes ({found.torn_at}) are a write that was cut short, or is under way"


def journal_folders(home: Home) -> list[Path]:
    """All journals of a home."""
    return sorted(folder for folder in (home.runs / "journals").glob("*/*") if folder.is_dir() and segment_paths(folder))


def journal_name(folder: Path, home: Home) -> str:
    """As it is called in a list: account and system."""
    return str(folder.relative_to(home.runs / "journals"))


def named_journal(reference: str, home: Home) -> Path | None:
    """The journal in a folder, or with such a name in the list, or a part of a name that fits it alone. Raises ConfigError where it fits
    several."""
    if not name_problem(reference) and segment_paths(user_path(reference)):
        return user_path(reference)
    named = {journal_name(folder, home): folder for folder in journal_folders(home)}
    if reference in named:
        return named[reference]
    fits = [name for name in named if reference and reference in name]
    if len(fits) > 1:
        raise ConfigError(f"{shown(reference)} fits {len(fits)} journals: {', '.join(fits[:5])}; give more of the name")
    return named[fits[0]] if fits else None


def run_journal(run: RunInfo) -> tuple[str | None, int]:
    """(folder of a run's journal, None where the run does not say; number of its session, 0 where that is not known). Raises DataError for
    a run that is damaged."""
    files = run.read()
    said = (files.result or {}).get("trust") or (files.config or {}).get("run") or {}
    folder, session = said.get("journal"), said.get("session")
    return folder if isinstance(folder, str) else None, session if isinstance(session, int) else 0


def find_session(reference: str, home: Home) -> SessionJournal:
    """A session by the id of its run, ``last`` (the newest session), or the folder or name of its journal.

    Raises ConfigError for what is none, DataError for a run without a journal, one that is still going, and a journal that does not say
    what it ran.
    """
    named = None if reference == "last" or reference.startswith("run-") else named_journal(reference, home)
    if named is not None:
        return session_journal(named)
    if "/" in reference and not name_problem(reference) and not (user_path(reference) / "config.json").is_file():
        what = "is a file: give its folder" if user_path(reference).is_file() else "is neither the folder of a journal nor that of a run"
        raise ConfigError(f"{reference} {what}; keel journal list shows the journals, keel runs list the runs")
    run = _newest(home) if reference == "last" else find_run(reference, home)
    if run.epoch not in [epoch.value for epoch in GATED]:
        raise DataError(
            f"{run.run_id} is a {run.epoch} run: it has no journal, only sessions at an exchange (keel demo, keel live) keep one;"
            " keel runs list --epoch demo, or live, shows them, and a backtest is held against its own files by keel runs report --again"
        )
    folder, session = run_journal(run)
    if run.status == "running":
        where = f" {folder}" if folder is not None else " of its journal (keel journal list)"
        raise DataError(
            f"{run.run_id} is still running: its journal is being written. Stop the session (Ctrl-C in its terminal), or give the folder"
            f"{where} for what is written by now"
        )
    if folder is None:
        raise DataError(
            f"{run.run_id} ({run.epoch}, {run.status}) did not say where its journal is: it ended before its result was written;"
            " keel journal list shows the journals, and the folder of one can be given in place of a run"
        )
    if not segment_paths(Path(folder)):
        raise DataError(f"the journal of {run.run_id} is no longer in {folder}; if it was moved, give its folder in place of the run")
    return session_journal(Path(folder), run, session)


def _newest(home: Home) -> RunInfo:
    found = [run for run in list_runs(home) if run.epoch in [epoch.value for epoch in GATED]]
    if not found:
        raise ConfigError(f"there are no sessions in {home.root}: keel demo SYSTEM --sandbox URL makes one (keel sandbox is the exchange)")
    return found[0]


def session_journal(folder: Path, run: RunInfo | None = None, session: int = 0) -> SessionJournal:
    """The journal in a folder. Raises DataError for one that does not say what it ran, or that ends before its books were opened."""
    program: ProgramStarted | None = None
    warm_up: list[WarmUpBars] = []
    for record in read(folder, types=TYPES):
        message: Any = record.message
        if isinstance(message, SessionStarted):
            warm_up.clear()
        elif isinstance(message, ProgramStarted):
            program = program or message
        elif isinstance(message, WarmUpBars):
            warm_up.append(message)
        elif isinstance(message, Opened):
            if program is None or not warm_up:
                raise DataError(
                    f"the journal {folder} was begun by a version of keel that did not write down what it ran (program, instruments and"
                    " warm-up bars): begin a new one with --fresh (keel demo or keel live)"
                )
            return SessionJournal(folder, program, message, warm_up_frames(warm_up), run, session)
    raise DataError(
        f"the journal {folder} ends before its books were opened: its sessions were refused at their start, and decided nothing"
    )


# --- the code that ran ---


@dataclass(frozen=True, slots=True)
class RecordedCode:
    """The system as recorded, with its code. changed: what is no longer the code that ran; "" where all of it is."""

    loaded: LoadedSystem
    changed: str


def load_code(journal: SessionJournal, home: Home, *, with_current_code: bool) -> RecordedCode:
    """The system of a journal with its strategy. Nothing of the user's is run before its sources were found to be those that ran.

    with_current_code: run what is there now, whatever ran then. Raises DataError where the code has changed otherwise, ConfigError and
    StrategyError for code that is not there.
    """
    program = journal.program
    where = f"the journal of {journal.name}"
    way_out = "bring the old code back, or run what is there now with --with-current-code"
    if not program.strategy:
        raise DataError(f"{where}: its strategy was made by a script, and has no file that could be loaded again")
    try:
        loaded = load_recorded(
            program.config, program.filename, where, home, fingerprint=program.strategy, functions=program.functions, anew=way_out
        )
        changed = "" if loaded.strategy_fingerprint == program.strategy else f"the code of strategy {loaded.config.strategy}"
        if changed and not with_current_code:
            raise DataError(f"{where}: {changed} has changed since; {way_out}")
    except DataError as error:
        if not with_current_code:
            raise
        return RecordedCode(_current(journal, home), str(error).partition(";")[0])
    return RecordedCode(loaded, changed)


def _current(journal: SessionJournal, home: Home) -> LoadedSystem:
    """The system with the code that is there now."""
    program = journal.program
    config = system_from_dict(program.config, f"the journal of {journal.name}")
    try:
        return loaded_now(config, program.filename, home)
    except StrategyError as error:
        raise StrategyError(f"the code that is there now cannot be loaded: {error}") from error
