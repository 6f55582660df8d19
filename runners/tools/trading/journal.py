"""Tools for journals: which there are, whether one is whole, and how to go on from one that is damaged."""

from __future__ import annotations

from pathlib import Path

import msgspec

from keel.adapters.journal import Inspection, inspect, repair
from keel.adapters.journal.layout import segment_paths
from keel.core.errors import ConfigError, DataError
from keel.core.system.file_names import shown
from keel.runners.home import Home
from keel.runners.lifecycle.registry import find_run
from keel.runners.live.session_journal import journal_folders, journal_name, named_journal, run_journal
from keel.runners.tools.registry import Request, Response, ToolContext, tool
from keel.runners.user_path import user_path


class JournalsRequest(Request, frozen=True):
    """Nothing is asked."""


class JournalLine(msgspec.Struct, frozen=True, kw_only=True):
    """One journal. name: account and system, as its folder is called under runs/journals; problem: "" for one that is whole."""

    name: str
    path: str
    records: int
    sessions: int
    bytes: int
    first_ts: int
    last_ts: int
    snapshots: int
    held_by: str
    problem: str


class JournalsResponse(Response, frozen=True, kw_only=True):
    """The journals of this home, the one written last first."""

    journals: list[JournalLine]


class JournalRequest(Request, frozen=True):
    """journal: its folder, its name in ``journal_list`` (or a part that fits one alone), a run id, or ``last``: the one
    written last."""

    journal: str


class VerifyResponse(Response, frozen=True, kw_only=True):
    """ok: whether it is whole; what it holds, and its first damage."""

    ok: bool
    path: str
    found: Inspection


class RepairRequest(Request, frozen=True):
    """journal: as in journal_verify. out: a new folder for the whole prefix; None: it takes the journal's place, and the original is kept
    beside it."""

    journal: str
    out: str | None = None


class RepairResponse(Response, frozen=True, kw_only=True):
    """records: kept; left_bytes: what was not; path: the repaired journal; original: where the damaged one is now."""

    records: int
    left_bytes: int
    damage: str
    path: str
    original: str


@tool("journal_list", JournalsRequest, JournalsResponse)
def journal_list_tool(request: JournalsRequest, context: ToolContext) -> JournalsResponse:
    """The journals of demo sessions, each walked to its end."""
    return JournalsResponse(
        journals=sorted((_line(folder, context.home) for folder in journal_folders(context.home)), key=lambda one: -one.last_ts)
    )


@tool("journal_verify", JournalRequest, VerifyResponse)
def journal_verify_tool(request: JournalRequest, context: ToolContext) -> VerifyResponse:
    """Check every byte of a journal; nothing is changed."""
    folder = _find(request.journal, context.home)
    found = inspect(folder)
    return VerifyResponse(ok=not found.damage, path=str(folder), found=found)


@tool("journal_repair", RepairRequest, RepairResponse)
def journal_repair_tool(request: RepairRequest, context: ToolContext) -> RepairResponse:
    """Keep what is whole of a damaged journal; the original stays as it is."""
    folder = _find(request.journal, context.home)
    out = user_path(request.out) if request.out is not None else folder.with_name(f"{folder.name}.repaired")
    done = repair(folder, out)
    if request.out is not None:
        return RepairResponse(records=done.records, left_bytes=done.left_bytes, damage=done.damage, path=str(out), original=str(folder))
    kept = _free_name(folder)
    try:
        folder.rename(kept)
        out.rename(folder)
    except OSError as error:
        raise DataError(f"{out} is whole, and could not take the place of {folder}: {error.strerror or error}") from error
    return RepairResponse(records=done.records, left_bytes=done.left_bytes, damage=done.damage, path=str(folder), original=str(kept))


def _line(folder: Path, home: Home) -> JournalLine:
    found = inspect(folder)
    problem = f"{Path(found.damaged_file).name}, byte {found.damaged_offset}: {found.damage}" if found.damage else ""
    return JournalLine(
        name=journal_name(folder, home), path=str(folder), records=found.records, sessions=found.sessions,
        bytes=found.bytes, first_ts=found.first_ts, last_ts=found.last_ts, snapshots=found.snapshots, held_by=found.held_by,
        problem=problem,
    )  # fmt: skip


def _find(reference: str, home: Home) -> Path:
    """Raises ConfigError for what is none or more than one, DataError for a run without a journal."""
    folders = journal_folders(home)
    if reference == "last" and folders:
        return max(folders, key=lambda folder: max(path.stat().st_mtime_ns for path in segment_paths(folder)))
    named = None if reference.startswith("run-") else named_journal(reference, home)
    if named is not None:
        return named
    if not reference.startswith("run-"):
        raise ConfigError(f"there is no journal {shown(reference)} in {home.runs / 'journals'}: keel journal list shows them")
    run = find_run(reference, home)
    journal, _ = run_journal(run)
    if journal is None:
        raise DataError(f"{run.run_id} ({run.epoch}, {run.status}) has no journal: only sessions at an exchange keep one")
    return Path(journal)


def _free_name(folder: Path) -> Path:
    number = 1
    while (kept := folder.with_name(f"{folder.name}.damaged{number}")).exists():
        number += 1
    return kept
