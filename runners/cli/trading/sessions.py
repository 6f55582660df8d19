"""``keel session``: how a running session is, and lifting what needs a person."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keel.runners.cli.output import pairs
from keel.runners.cli.session import Session, common, example

if TYPE_CHECKING:
    from keel.runners.live.reporting.status import SessionStatus


@click.group(
    "session",
    no_args_is_help=True,
    epilog=example("keel session status ema_cross", "keel session release ema_cross --symbol BTCUSDT --cause execution_external"),
)
@common
def sessions() -> None:
    """Running sessions: how one is, and lifting what stands in the way of its orders and needs a person."""


@sessions.command(epilog=example("keel session status", "keel session status ema_cross", "keel session status ema_cross --json"))
@click.argument("system", required=False)
@common
@click.pass_obj
def status(session: Session, system: str | None) -> int:
    """How the session of SYSTEM is, and what stands in the way of its orders; without SYSTEM: all sessions.

    Exit code 0: an order that adds could be sent now; 4: none could; 5: the session does not answer; 2: none runs.
    """
    from keel.runners.tools.trading.session import SessionRequest, SessionsRequest, session_list_tool, session_status_tool

    context = session.context()
    if system is not None:
        answer = session_status_tool.run(SessionRequest(system), context)
        session.answer(answer, lambda: _show(answer.session))
        return 0 if answer.session.state == "ACTIVE" else 4
    listed = session_list_tool.run(SessionsRequest(), context)

    def show() -> None:
        for each in listed.sessions:
            _show(each)
        for card in listed.hung:
            click.echo(f"{card.system}  process {card.process}  DOES NOT ANSWER: its event loop hangs")
        if not (listed.sessions or listed.hung):
            click.echo("no session runs on this machine under this user: keel demo or keel live SYSTEM starts one")

    session.answer(listed, show)
    if not (listed.sessions or listed.hung):
        return 2
    return 5 if listed.hung else 0 if all(each.state == "ACTIVE" for each in listed.sessions) else 4


@sessions.command(epilog=example("keel session release ema_cross --symbol BTCUSDT --cause execution_external"))
@click.argument("system")
@click.option("--cause", required=True, metavar="C", help="What is lifted: a cause that keel session status names.")
@click.option("--symbol", metavar="S", help="For this symbol only; else wherever the cause stands.")
@common
@click.pass_obj
def release(session: Session, system: str, cause: str, symbol: str | None) -> None:
    """Lift a cause that needs a person, after you have looked. The journal keeps who did it, and when.

    Refused while the reason persists, and for what ends by itself.
    """
    from keel.runners.tools.trading.session import ReleaseRequest, session_release_tool

    answer = session_release_tool.run(ReleaseRequest(system, cause, symbol), session.context())

    def show() -> None:
        for each in answer.lifted:
            click.echo(f"lifted by {answer.by}: {each.symbol or 'all symbols'}  {each.cause}: {each.text}")
        _show(answer.session)

    session.answer(answer, show)


@sessions.command(epilog=example("keel session rearm --env demo", "keel session rearm --env sandbox --sandbox http://127.0.0.1:8686"))
@click.option("--env", "environment", type=click.Choice(["demo", "live", "sandbox"]), help="Whose panic latch [the one that stands].")
@click.option("--sandbox", "sandbox_url", metavar="URL", help="Of which sandbox [http://127.0.0.1:8686].")
@click.option("--reason", metavar="TEXT", help="Why it may trade again, as a sentence; asked for where it is not given.")
@common
@click.pass_obj
def rearm(session: Session, environment: str | None, sandbox_url: str | None, reason: str | None) -> None:
    """Let an environment trade again after a panic: takes the latch away, and keeps it and your reason as evidence.

    It needs a person at a terminal, who types the reason and the environment's name; a script is refused (exit code 4).
    """
    from keel.adapters.bybit.transport.endpoints import Environment
    from keel.core.errors import ConfigError, SafetyError
    from keel.runners.live.panic.latch import is_latched, latch_of, latch_text
    from keel.runners.live.panic.rearm import rearm as take_away

    environment = environment or (None if sandbox_url is None else "sandbox")
    if sandbox_url is not None and environment != "sandbox":
        raise ConfigError(f"--sandbox goes with --env sandbox, not with --env {environment}")
    if environment is None:
        path = _only_latch()
        environment = path.stem.partition("-")[0]
    else:
        path = latch_of(Environment(environment), sandbox_url)
    if not is_latched(path):
        raise ConfigError(f"no panic latch stands at {path}: there is nothing to re-arm")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise SafetyError(f"re-arming needs a person at a terminal: {latch_text(path)}")
    click.echo(latch_text(path), err=True)
    reason = reason or click.prompt("why may it trade again", err=True)
    typed = click.prompt(f"type {environment} to re-arm it", err=True)
    if typed.strip() != environment:
        raise SafetyError(f"{typed.strip()!r} is not {environment!r}: the latch stays")
    kept = take_away(path, reason)
    answer = {"environment": environment, "rearmed": str(path), "kept": str(kept), "reason": reason}
    session.answer(answer, lambda: click.echo(f"{environment} may trade again; the latch is kept at {kept}. {_start_again(path)}"))


def _start_again(latch: Path) -> str:
    """What a person does to trade again: by the command that is for this environment."""
    environment = latch.stem.partition("-")[0]
    live = "keel live (it asks to be armed anew: no arming survives a panic)"
    command = {"demo": "keel demo", "live": live}.get(environment, f"keel demo, or {live}")
    return f"A session that runs stays halted: end it, and start again with {command}"


def _only_latch() -> Path:
    from keel.core.errors import ConfigError
    from keel.runners.live.panic.latch import rearm_command, standing_latches
    from keel.runners.process.state_folder import state_root

    found = standing_latches()
    if not found:
        raise ConfigError(f"no panic latch stands in {state_root() / 'panic'}: there is nothing to re-arm")
    if len(found) > 1:
        raise ConfigError(f"{len(found)} panic latches stand: say which: {'; '.join(map(rearm_command, found))}")
    return found[0]


def _show(found: SessionStatus) -> None:
    positions = ", ".join(f"{symbol} {qty:g}" for symbol, qty in found.positions.items()) or "none"
    pairs(
        [("session", f"{found.system}  {found.environment}  process {found.process}"), ("account", found.account),
         ("state", found.state), ("time", found.market_time), ("equity", f"{found.equity:,.2f}"), ("positions", positions)]
    )  # fmt: skip
    if found.armed_until:
        click.echo(f"armed until {found.armed_until}")
    for each in found.restrictions:
        click.echo(f"STOPPED BY  {each.line}")
    for words, count in found.counted.items():
        click.echo(f"counted: {words} {count:,}")
    if found.unknown:
        click.echo(f"being looked for: {', '.join(found.unknown)}")
