"""What a session's command says when it has ended: the same for demo and live."""

from __future__ import annotations

import click

from keel.runners.cli.output import pairs, warn
from keel.runners.cli.research.figures import key_figures, show_funnel
from keel.runners.cli.session import Session
from keel.runners.live.session_run import SessionRun


def show_end(session: Session, made: SessionRun) -> int:
    """Tell it; returns the exit code: 5 where the exchange differs or was not read, 4 where nothing that adds could be sent any more."""
    answer = {
        "run_id": made.epoch.run_id,
        "artifacts": str(made.epoch.artifacts),
        "account": made.account,
        "journal": str(made.journal),
        "ended": made.ending.reason,
        "cancelled": made.ending.cancelled,
        "protective": made.ending.protective,
        "positions": made.ending.positions,
        "unanswered": made.ending.unanswered,
        "compared": made.ending.is_compared,
        "differences": [each.text for each in made.ending.differences],
        "state": made.ending.state,
        "restrictions": made.ending.restrictions,
        "statement": made.ending.statement,
        "metrics": made.result.metrics,
        "funnel": made.result.funnel.to_plain(),
        "warnings": made.result.warnings,
        "report": None if made.report is None else str(made.report),
    }

    def show() -> None:
        for line in made.lines:
            click.echo(line)
        report = None if made.report is None else str(made.report)
        kept = [("run", made.epoch.run_id), ("artifacts", str(made.epoch.artifacts)), ("report", report), ("journal", str(made.journal))]
        warn(made.result.warnings)
        pairs([*key_figures(made.result.metrics, made.quote), *kept])
        show_funnel(made.result.funnel.to_plain(), made.quote)

    session.answer(answer, show)
    return made.ending.exit_code
