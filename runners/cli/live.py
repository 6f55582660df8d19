"""``keel live``: a system on the real account, armed by a person; or by the same rules on a sandbox of this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from runners.cli.session import Session, common, example
from runners.supervisor.command import is_trader, supervise, supervised_option

if TYPE_CHECKING:
    from runners.home import Home
    from runners.live_account import DryEnding, LiveOptions
    from runners.systems import LoadedSystem


@click.command(
    epilog=example(
        "keel live my_trend --dry",
        "keel live my_trend",
        "keel live my_trend --arm --arm-token /run/keel/my_trend.token",
        "keel live my_trend --arm-token /run/keel/my_trend.token",
        "keel live my_trend --sandbox http://127.0.0.1:8686 --dry",
    )
)
@click.argument("system")
@click.option("--dry", is_flag=True, help="Send nothing: say what would be done, order by order, and what is missing.")
@click.option("--arm", is_flag=True, help="Only arm, at a terminal, and write the token; also renews the arming of a running session.")
@click.option(
    "--arm-token",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Take the arming from (with --arm: write it to) FILE.",
)
@click.option(
    "--arm-hours", type=click.FloatRange(0, 12, min_open=True), default=12.0, show_default=True, metavar="H", help="How long it holds."
)
@click.option("--sandbox", "sandbox_url", metavar="URL", help="A running `keel sandbox` instead of the real account; all rules hold.")
@click.option("--without", multiple=True, metavar="S", help="Leave this symbol out, such as one that was delisted; may be repeated.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the system file; but for live.* it voids a promotion."
)
@click.option(
    "--key-file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Key and secret (mode 0600); else BYBIT_LIVE_KEY."
)
@click.option("--bars", "max_bars", type=click.IntRange(min=1), metavar="N", help="Stop after so many execution bars.")
@click.option(
    "--grace", "grace_ms", type=click.IntRange(0, 60_000), default=2_000, show_default=True, metavar="MS", help="Wait for late bars."
)
@click.option("--fresh", is_flag=True, help="Begin a new journal; what the account holds is taken over as it is.")
@click.option("--log", type=click.Choice(["text", "json", "none"]), help="Log lines on stderr. Default: none under the screen, else text.")
@click.option("--no-report", is_flag=True, help="Do not write report.html.")
@supervised_option(default=True)
@common
@click.pass_obj
def live(
    session: Session,
    system: str,
    dry: bool,
    arm: bool,
    arm_token: Path | None,
    arm_hours: float,
    sandbox_url: str | None,
    without: tuple[str, ...],
    overrides: tuple[str, ...],
    key_file: Path | None,
    max_bars: int | None,
    grace_ms: int,
    fresh: bool,
    log: Literal["text", "json", "none"] | None,
    no_report: bool,
    supervised: bool,
) -> int:
    """Run SYSTEM (an id, or a file) with REAL MONEY on Bybit, until Ctrl-C; or, with --sandbox, by all the same rules on a sandbox.

    What is missing is listed at once, with the way out, and nothing is sent. A person types the account's UID and a phrase; without a
    terminal --arm-token takes what --arm has made. Never run against the real exchange by its makers: see docs/live.md.
    """
    from adapters.bybit.endpoints import Environment

    if dry and (arm or arm_token is not None):
        raise click.UsageError("--dry sends nothing, so it needs no arming: leave --arm and --arm-token out")
    home = session.context().home
    if supervised and not (dry or arm or is_trader()):
        environment = Environment.LIVE if sandbox_url is None else Environment.SANDBOX
        shows = _shows(session, log)
        return supervise(
            home, system, overrides, environment, sandbox_url, key_file, arguments=session.arguments, kind="live", shows=shows
        )  # fmt: skip
    from runners.live_account import LiveOptions
    from runners.systems import load_system

    loaded = load_system(system, home, list(overrides))
    options = LiveOptions(
        sandbox_url, key_file, max_bars, fresh, not no_report, grace_ms, tuple(symbol.upper() for symbol in without),
        arm_token=arm_token, life_ms=round(arm_hours * 3_600_000),
    )  # fmt: skip
    if arm:
        return _arm(session, loaded, home, options)
    return _run_dry(session, loaded, home, options) if dry else _run(session, loaded, home, options, log)


def _run(session: Session, loaded: LoadedSystem, home: Home, options: LiveOptions, log: Literal["text", "json", "none"] | None) -> int:
    from adapters.logging import set_up_logging
    from runners.cli.session_end import console_of, tell_end
    from runners.live.banner import banner_text
    from runners.live.display import Display
    from runners.live_account import run_live

    level = "debug" if session.verbosity > 1 else "info"
    shows = _shows(session, log)
    set_up_logging(level=level, file=home.logs / "live.jsonl", console=console_of(log, session, shows))
    session.note(banner_text("live" if options.sandbox_url is None else "sandbox", is_live=True))
    return tell_end(session, run_live(loaded, home, options, beside=Display().beside if shows else None))


def _shows(session: Session, log: str | None) -> bool:
    """Whether a screen is drawn."""
    return sys.stdout.isatty() and not session.as_json and session.verbosity >= 0 and log in (None, "none")


def _arm(session: Session, loaded: LoadedSystem, home: Home, options: LiveOptions) -> int:
    from runners.live_account import make_arm_token

    token, path = make_arm_token(loaded, home, options)
    answer = {"token": str(path), "account": token.uid, "until": token.until, "nonce": token.nonce}

    def show() -> None:
        click.echo(f"armed for account {token.uid} until {token.until}: {path}")
        if options.arm_token is None:
            click.echo("a running session of this system takes it within seconds; another start needs --arm-token with this file")

    session.answer(answer, show)
    return 0


def _run_dry(session: Session, loaded: LoadedSystem, home: Home, options: LiveOptions) -> int:
    from runners.live_account import run_dry

    def say(line: str) -> None:
        click.echo(line, err=session.as_json)

    ending: DryEnding = run_dry(loaded, home, options, say)
    missing = [each.line for each in ending.missing]
    answer = {
        "dry": True, "account": ending.account, "ended": ending.reason, "instants": ending.instants, "would": ending.lines,
        "orders": ending.orders, "missing": missing,
    }  # fmt: skip

    def show() -> None:
        click.echo(f"dry run of {loaded.config.system} on {ending.account}: {ending.reason}; nothing was sent")
        click.echo(f"orders that would have been sent: {ending.orders}")
        for line in missing:
            click.echo(f"MISSING for a live session: {line}")

    session.answer(answer, show)
    return 4 if missing else 0
