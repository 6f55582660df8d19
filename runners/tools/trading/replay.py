"""The replay tool: a recorded session through the engine again, every decision compared."""

from __future__ import annotations

import platform

import msgspec

from keel.adapters.journal import inspect
from keel.core.model.time_range import to_iso
from keel.runners.live.session_journal import find_session, load_code
from keel.runners.research.session_replay import ReplayDifference, replay_session
from keel.runners.tools.registry import Request, Response, ToolContext, tool


class ReplayRequest(Request, frozen=True):
    """run: the id of a session's run, ``last``, or the folder of a journal. with_current_code: run the code that is there now, though it is
    not the code that ran."""

    run: str
    with_current_code: bool = False


class ReplayDifferenceEntry(msgspec.Struct, frozen=True):
    """The first decision that is another one. record, time: of the journal's record (UTC).  after: what was heard before it.  recorded,
    replayed: the decision as JSON text (replayed: or what was raised); None: that side made none there."""

    record: int
    time: str
    session: int
    after: str
    recorded: str | None
    replayed: str | None


class ReplayResponse(Response, frozen=True, kw_only=True):
    """identical: every decision was made again, byte for byte. compared: how many, by type. changed_code: what is not the code that ran,
    where it was run all the same. notes: what was not compared, and why. python, recorded_python: of this process, and of the first
    session."""

    journal: str
    run_id: str
    system: str
    records: int
    sessions: int
    compared: dict[str, int]
    identical: bool
    difference: ReplayDifferenceEntry | None
    notes: list[str]
    changed_code: str
    python: str
    recorded_python: str


@tool("session_replay", ReplayRequest, ReplayResponse)
def session_replay_tool(request: ReplayRequest, context: ToolContext) -> ReplayResponse:
    """Let a session's journal be heard again, in this process, and compare every signal, order, amendment, cancel and denial of the system
    with the one that was recorded. No exchange and no store is needed. Raises DataError where the code has changed since."""
    journal = find_session(request.run, context.home)
    code = load_code(journal, context.home, with_current_code=request.with_current_code)
    step = context.step("replaying")
    total = 0 if step is None else inspect(journal.folder).records
    found = replay_session(journal, code.loaded, None if step is None else lambda records: step(records, total))
    return ReplayResponse(
        journal=str(journal.folder),
        run_id="" if journal.run is None else journal.run.run_id,
        system=code.loaded.config.system,
        records=found.records,
        sessions=found.sessions,
        compared=dict(sorted(found.compared.items())),
        identical=found.difference is None,
        difference=None if found.difference is None else _entry(found.difference),
        notes=found.notes + [cut for cut in (journal.cut_short(),) if cut and found.difference is None],
        changed_code=code.changed,
        python=platform.python_version(),
        recorded_python=journal.program.versions.get("python", ""),
    )


def _entry(found: ReplayDifference) -> ReplayDifferenceEntry:
    return ReplayDifferenceEntry(found.seq, to_iso(found.ts), found.session, found.after, found.recorded, found.replayed)
