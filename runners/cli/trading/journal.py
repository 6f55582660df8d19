"""``keel journal``: the journals of demo sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keel.runners.cli.output import moment, pairs, table
from keel.runners.cli.session import Session, common, example

if TYPE_CHECKING:
    from keel.adapters.journal import Inspection


@click.group(no_args_is_help=True, epilog=example("keel journal list", "keel journal verify last"))
@common
def journal() -> None:
    """The journals of demo sessions: what was heard and ordered, record by record."""


@journal.command("list", epilog=example("keel journal list", "keel journal list --json"))
@common
@click.pass_obj
def list_(session: Session) -> int:
    """The journals of this home, the one written last first; exit code 3 when one is damaged."""
    from keel.runners.tools.trading.journal import JournalsRequest, journal_list_tool

    answer = journal_list_tool.run(JournalsRequest(), session.context())

    def show() -> None:
        if not answer.journals:
            click.echo("no journals yet: keel demo or keel live begins one")
            return
        rows = [
            [one.name, one.records, one.sessions, one.snapshots, one.bytes, moment(one.last_ts), one.problem or one.held_by or "whole"]
            for one in answer.journals
        ]
        table(["journal", "records", "sessions", "snapshots", "bytes", "last record", "state"], rows, right=(1, 2, 3, 4))

    session.answer(answer, show)
    return 3 if any(one.problem for one in answer.journals) else 0


@journal.command(epilog=example("keel journal verify last", "keel journal verify ema_cross --json"))
@click.argument("which", metavar="PATH|RUN")
@common
@click.pass_obj
def verify(session: Session, which: str) -> int:
    """Check every byte of a journal: its folder, a part of its name, a run id, or last. Nothing is changed. Exit code 3 for damage."""
    from keel.runners.tools.trading.journal import JournalRequest, journal_verify_tool

    answer = journal_verify_tool.run(JournalRequest(which), session.context())
    session.answer(answer, lambda: _show(answer.path, answer.found))
    return 0 if answer.ok else 3


@journal.command(epilog=example("keel journal repair last", "keel journal repair runs/journals/demo_1/ema_cross-0123456789ab --out saved"))
@click.argument("which", metavar="PATH|RUN")
@click.option("--out", metavar="DIR", help="A new folder for what is whole; else it takes the journal's place.")
@common
@click.pass_obj
def repair(session: Session, which: str, out: str | None) -> None:
    """Keep every record before the first damage. What later records held, the next session reads from the exchange."""
    from keel.runners.tools.trading.journal import RepairRequest, journal_repair_tool

    answer = journal_repair_tool.run(RepairRequest(which, out), session.context())

    def show() -> None:
        pairs(
            [("kept", f"{answer.records:,} records"), ("left", f"{answer.left_bytes:,} bytes"), ("damage", answer.damage),
             ("repaired", answer.path), ("original", answer.original)]
        )  # fmt: skip

    session.answer(answer, show)


def _show(path: str, found: Inspection) -> None:
    torn = f"{found.torn_bytes:,} at {found.torn_at}: a write that was cut short; the next session cuts it off" if found.torn_bytes else "0"
    span = f"{moment(found.first_ts)} to {moment(found.last_ts)}" if found.records else ""
    pairs(
        [("journal", path), ("records", f"{found.records:,} in {found.segments:,} files, {found.bytes:,} bytes"),
         ("sessions", found.sessions), ("written", span), ("cut bytes", torn), ("snapshots", f"{found.snapshots} whole"),
         ("open", found.held_by)]
    )  # fmt: skip
    for refused in found.snapshots_refused:
        click.echo(f"a snapshot is passed over: {refused}")
    if found.damage:
        click.echo(f"DAMAGED  {found.damaged_file}, byte {found.damaged_offset}: {found.damage}")
        click.echo("keel journal repair keeps what is before it")
    else:
        click.echo("whole")
