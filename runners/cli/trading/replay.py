"""``keel replay``: a recorded session through the engine again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keel.runners.cli.session import Session, common, example

if TYPE_CHECKING:
    from keel.runners.tools.trading.replay import ReplayResponse


@click.command(
    epilog=example("keel replay last", "keel replay run-0123456789ab --json", "keel replay runs/journals/demo_1/ema_cross-0123456789ab")
)
@click.argument("run", metavar="RUN|last|PATH")
@click.option("--with-current-code", is_flag=True, help="Run the code that is there now, though it is not the code that ran then.")
@common
@click.pass_obj
def replay(session: Session, run: str, with_current_code: bool) -> int:
    """Let the journal of a session be heard again, in this process, and compare every decision of the system (signals, orders, amendments,
    cancels, denials) with the one that was recorded, byte for byte.

    RUN is the id of a session's run, `last` the newest session, PATH the folder of a journal. Neither the exchange nor the store is asked.
    Exits 1 at the first decision that differs, and shows it.
    """
    from keel.runners.tools.trading.replay import ReplayRequest, session_replay_tool

    answer = session_replay_tool.run(ReplayRequest(run, with_current_code), session.context())
    if answer.changed_code:
        session.note(f"NOT the code that ran: {answer.changed_code}")
    session.answer(answer, lambda: show(answer))
    return 0 if answer.identical else 1


def show(answer: ReplayResponse) -> None:
    """What was compared, and the first difference, for people."""
    sessions = f"{answer.sessions} session{'' if answer.sessions == 1 else 's'}"
    click.echo(f"{answer.system}: {answer.records:,} records of {sessions}, {answer.journal}")
    for kind, count in answer.compared.items():
        click.echo(f"  {kind:18}{count:>12,}")
    if not answer.compared and answer.difference is None:
        click.echo("  no decision was recorded: the strategy said nothing")
    for note in answer.notes:
        click.echo(f"NOT COMPARED  {note}")
    found = answer.difference
    if found is None:
        then = f", recorded under Python {answer.recorded_python}" if answer.recorded_python != answer.python else ""
        click.echo(f"identical (Python {answer.python}{then})")
        return
    click.echo(f"the first difference is at record {found.record} of session {found.session}, {found.time}")
    click.echo(f"  after     {found.after or 'the beginning'}")
    click.echo(f"  recorded  {found.recorded or 'nothing'}")
    click.echo(f"  replayed  {found.replayed or 'nothing'}")
