"""``keel doctor``: whether this machine and this home can do what is asked of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keel.runners.cli.session import Session, common, example

if TYPE_CHECKING:
    from keel.runners.tools.research.diagnostics import DoctorResponse


@click.command(epilog=example("keel doctor", "keel doctor --json"))
@common
@click.pass_obj
def doctor(session: Session) -> int:
    """Look at Python, packages, home, disk, store, indicators, clock and terminal; exit code 1 when one of them fails."""
    from keel.runners.tools.research.diagnostics import DoctorRequest, doctor_tool

    answer = doctor_tool.run(DoctorRequest(), session.context())
    session.answer(answer, lambda: _show(answer))
    return 0 if answer.ok else 1


def _show(answer: DoctorResponse) -> None:
    for check in answer.checks:
        click.echo(f"{check.status:<4}  {check.name:<10}  {check.detail}")
        if check.way_out:
            click.echo(f"      {'':<10}  -> {check.way_out}")
