"""One cell, or several faults at once, played and judged."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from keel.adapters.journal import read
from keel.adapters.journal.layout import segment_paths
from keel.runners.live.memory.records import TYPES
from tests.faults.checker import Seen, check
from tests.faults.matrix import script
from tests.faults.matrix.expected import After
from tests.faults.matrix.faults import FAULTS, Fault
from tests.faults.matrix.moments import MOMENTS, Moment
from tests.faults.matrix.rebuilt import keep, memories
from tests.faults.matrix.show import Show
from tests.faults.seen_of import candles_of
from tests.virtual.loop import World
from tests.virtual.sandbox import running_in


class Cell(NamedTuple):
    """A fault at a moment."""

    fault: int
    moment: int

    @property
    def text(self) -> str:
        """F1 M2."""
        return f"F{self.fault} M{self.moment}"


@dataclass
class Report:
    """What is wrong (nothing: all is well), and what to look at then."""

    cells: tuple[Cell, ...]
    seed: int
    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    state: str = ""
    digest: str = ""
    """Of the journal's bytes, over all sessions."""
    memory: str = ""
    """Of what its journal gives; "" where that is not asked."""
    folder: Path = Path()

    @property
    def text(self) -> str:
        """For whoever has to find out."""
        cells = " + ".join(cell.text for cell in self.cells)
        lines = [f"{cells}, seed {self.seed}: {self.state}", *self.problems, *(f"  ended: {each}" for each in self.refused)]
        return "\n".join([*lines, *(f"  {each}" for each in self.notices[-40:])])


def play(cells: Sequence[Cell], seed: int, folder: Path) -> Report:
    """Play it, and judge. The same arguments give the same report."""
    is_thin = any(MOMENTS[cell.moment].is_thin for cell in cells)
    settings, feed = script.market(seed, is_thin=is_thin)
    journals = folder / "journals"
    report = Report(tuple(cells), seed)
    script.Script.mischief = None
    with pytest.MonkeyPatch.context() as patch, World(f"matrix {seed}") as world:
        patch.setenv("BYBIT_SANDBOX_KEY", script.KEY)
        patch.setenv("BYBIT_SANDBOX_SECRET", script.SECRET)
        with running_in(world, settings, feed) as sandbox:
            show = Show(sandbox, journals, seed, script.InParts if is_thin else script.Script, patch)
            show.expects(len(cells))
            for number, cell in enumerate(cells):
                _arm(show, number, cell)
            world.run(show.play())
            _judge(show, report)
    return report


def _arm(show: Show, number: int, cell: Cell) -> None:
    fault, moment = FAULTS[cell.fault], MOMENTS[cell.moment]

    def go() -> None:
        show.struck(number, fault.lasts_s, lambda: fault.begin(show, moment), must_act=_must_act(fault, moment))

    moment.arm(show, go)


def _judge(show: Show, report: Report) -> None:
    faults = [FAULTS[cell.fault] for cell in report.cells]
    report.notices = [f"{notice.code}: {notice.text}" for notice in show.notices]
    report.refused, report.state = show.refused, show.state
    report.problems += show.problems
    if show.live is None:
        report.problems.append("no session was ever up")
        return
    folder = report.folder = show.live.journal.folder
    truth = show.truth if show.truth is not None else show.sandbox.truth(script.KEY)
    report.digest = _digest(folder)
    remembers = all(fault.remembers for fault in faults)
    remembered = memories(folder, show.live.instruments, show.strategy, of_prefixes=False) if remembers else {}
    report.memory = remembered.get("its journal", "")
    if remembers:
        keep(folder, show.live.instruments, show.strategy)
    seen = Seen(
        wire=show.server.wire.state(), account=script.KEY, rate_factor=script.FACTOR, grids={script.SYMBOL: ("0.1", "0.001")},
        limits=script.LIMITS, latched_ms=show.latched_ms, rearmed_ms=show.rearmed_ms,
        faults_over_ms=show.faults_over_ms, ended_ms=show.ended_ms, bar_ms=script.BAR_MS,
        candles=candles_of(show.server), memories=remembered, words=(script.KEY, script.SECRET),
        texts={"the notices": "\n".join(report.notices), "the ends": repr(show.endings) + repr(show.refused)},
        before=show.before, after=show.after,
    )  # fmt: skip
    slack_ms = max(fault.slack_ms for fault in faults)
    report.problems += check(
        truth, folder, strangers=show.strangers, settled=show.state == "READY", clock_slack_ms=slack_ms, seen=seen
    )  # fmt: skip
    report.problems += _came_to_an_end(show, faults, report.cells)
    records = list(read(folder, types=TYPES))
    for number, (cell, fault) in enumerate(zip(report.cells, faults, strict=True)):
        if show.is_alone and number in show.struck_ms:
            at, how = show.struck_ms[number]
            report.problems += [
                f"F{fault.number} {how}: {each}" for each in fault.expected(After(show, records, truth, cell.moment, at, how))
            ]


def _must_act(fault: Fault, moment: Moment) -> bool:
    """Whether a fault's rules must have acted. A panic ends the session, which may have nothing left to say that they could strike."""
    return fault.must_act and not moment.ends_session


def _came_to_an_end(show: Show, faults: Sequence[Fault], cells: Sequence[Cell]) -> list[str]:
    found = []
    if len(show.struck_ms) < (1 if not show.is_alone else len(faults)):
        found.append("no fault has struck")
    if show.is_alone and _must_act(faults[0], MOMENTS[cells[0].moment]) and not show.acted:
        found.append("no rule has acted")
    if show.state != "READY" and not show.may_end_otherwise:
        found.append(f"in the end it is not READY: {show.state}")
    if show.refused and not any(fault.stops for fault in faults) and show.latched_ms is None:
        found.append(f"a session stopped, and none of these faults stops one: {show.refused[0]}")
    return found


def _digest(folder: Path) -> str:
    return hashlib.blake2b(b"".join(path.read_bytes() for path in segment_paths(folder))).hexdigest()[:24]
