"""``keel alerts``: the targets of alerts.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keel.runners.cli.session import Session, common, example

if TYPE_CHECKING:
    from keel.runners.tools.trading.alerts import AlertsTestResponse


@click.group("alerts", no_args_is_help=True, epilog=example("keel alerts test"))
@common
def alerts() -> None:
    """Alerts: what a session tells, sent to where a person looks. The targets are in alerts.yaml of the home folder."""


@alerts.command(epilog=example("keel alerts test", "keel alerts test --json"))
@common
@click.pass_obj
def test(session: Session) -> int:
    """Send one alert to every target, and say which took it.

    Exit code 0: all did; 5: one did not; 2: there is no alerts.yaml, or it cannot be used as it stands; 4: others can read it.
    """
    from keel.runners.tools.trading.alerts import AlertsTestRequest, alerts_test_tool

    answer = alerts_test_tool.run(AlertsTestRequest(), session.context())
    session.answer(answer, lambda: _show(answer))
    return 0 if answer.ok else 5


def _show(answer: AlertsTestResponse) -> None:
    width = max(len(each.target) for each in answer.targets)
    for each in answer.targets:
        outcome = "sent" if each.is_sent else f"NOT SENT  {each.why}"
        click.echo(f"{each.target:<{width}}  {each.type:<8}  {each.seconds:5.2f} s  {outcome}")
