"""What a session's command says when it has ended, and where its log goes meanwhile: the same for demo and live."""

from __future__ import annotations

from typing import Literal

import click

from runners.cli.figures import key_figures, show_funnel
from runners.cli.output import pairs, warn
from runners.cli.session import Session
from runners.session_run import SessionRun


def tell_end(session: Session, made: SessionRun) -> int:
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


def console_of(wanted: Literal["text", "json", "none"] | None, session: Session, shows: bool) -> bool | Literal["text", "json"]:
    """What of the log goes to stderr. Lines would break the screen that is drawn on a terminal: it is for where there is none."""
    if wanted is not None:
        return False if wanted == "none" else wanted
    return not shows and session.verbosity >= 0
