"""``keel live``: a system on the real account, armed by a person; or by the same rules on a sandbox of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from keel.core.model.timeframe import HOUR_MS
from keel.runners.cli.session import Session, common, example
from keel.runners.cli.trading.session_options import SessionWords, session_options
from keel.runners.live.supervisor.command import is_trader, supervise, supervised_option

if TYPE_CHECKING:
    from keel.runners.home import Home
    from keel.runners.live.live_account import DryEnding, LiveOptions
    from keel.runners.systems import LoadedSystem

_NOT_WITH: Final[Mapping[str, Mapping[str, str]]] = {
    "--dry": {
        "--arm": "a dry run sends nothing, so it needs no arming",
        "--arm-token": "a dry run sends nothing, so it needs no arming",
        "--arm-hours": "a dry run sends nothing, so it needs no arming",
        "--log": "a dry run keeps no log: it says on stdout what it would do",
        "--no-report": "a dry run writes no report",
        "--supervised": "nobody watches a run that sends nothing",
    },
    "--arm": {
        "--bars": "arming ends before the first bar: give it to the start",
        "--grace": "arming ends before the first bar: give it to the start",
        "--log": "arming keeps no log",
        "--no-report": "arming writes no report",
        "--supervised": "nobody watches what only arms: give it to the start",
    },
    "--arm-token": {"--arm-hours": "a token holds for as long as it was made for: give it to --arm"},
}
"""What an option leaves no use for, and why: refused, where it would do nothing. The last row holds without --arm."""


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
@session_options(key_name="BYBIT_LIVE_KEY", set_help="Set a key of the system file; but for live.* it voids a promotion.")
@supervised_option(default=True)
@common
@click.pass_context
def live(
    ctx: click.Context,
    system: str,
    dry: bool,
    arm: bool,
    arm_token: Path | None,
    arm_hours: float,
    sandbox_url: str | None,
    supervised: bool,
    words: SessionWords,
) -> int:
    """Run SYSTEM (an id, or a file) with REAL MONEY on Bybit, until Ctrl-C; or, with --sandbox, by all the same rules on a sandbox.

    What is missing is listed at once, with the way out, and nothing is sent. A person types the account's UID and a phrase; without a
    terminal --arm-token takes what --arm has made. Never run against the real exchange by its makers: see docs/live.md.
    """
    from keel.adapters.bybit.transport.endpoints import Environment

    session: Session = ctx.obj
    _refuse_unused(ctx)
    home = session.context().home
    if supervised and not (dry or arm or is_trader()):
        environment = Environment.LIVE if sandbox_url is None else Environment.SANDBOX
        return supervise(
            home, system, words.overrides, environment, sandbox_url, words.key_file, arguments=session.arguments, kind="live",
            shows=words.shows_screen(session),
        )  # fmt: skip
    from keel.runners.live.live_account import LiveOptions
    from keel.runners.systems import load_system

    loaded = load_system(system, home, list(words.overrides))
    options = LiveOptions(
        sandbox_url, words.key_file, words.max_bars, words.fresh, not words.no_report, words.grace_ms, words.without,
        arm_token=arm_token, life_ms=round(arm_hours * HOUR_MS),
    )  # fmt: skip
    if arm:
        return _arm(session, loaded, home, options)
    return _run_dry(session, loaded, home, options) if dry else _run(session, loaded, home, options, words)


def _refuse_unused(ctx: click.Context) -> None:
    """Raises UsageError for an option that would do nothing."""
    given = {
        option: name for option, name in _names(ctx).items()
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE and ctx.params.get(name) is not False
    }  # fmt: skip
    for option, unused in _NOT_WITH.items():
        if option not in given or (option == "--arm-token" and "--arm" in given):
            continue
        for other, why in unused.items():
            if other in given:
                raise click.UsageError(f"{other} does nothing with {option}: {why}; leave {other} out")


def _names(ctx: click.Context) -> dict[str, str]:
    """Each option as it is written -> the name of its value."""
    return {option.opts[0]: option.name for option in ctx.command.params if isinstance(option, click.Option) and option.name is not None}


def _run(session: Session, loaded: LoadedSystem, home: Home, options: LiveOptions, words: SessionWords) -> int:
    from keel.runners.cli.trading.session_end import show_end
    from keel.runners.live.arming.limits import no_stop
    from keel.runners.live.live_account import run_live
    from keel.runners.live.reporting.display import Display
    from keel.runners.live.startup.banner import banner_text

    words.set_up_logging(session, home, "live")
    where, without = "live" if options.sandbox_url is None else "sandbox", no_stop(loaded.config)
    session.note(banner_text(where, is_live=True, has_no_stop=bool(without)))
    beside = Display().beside if words.shows_screen(session) else None
    return show_end(session, run_live(loaded, home, options, beside=beside))


def _arm(session: Session, loaded: LoadedSystem, home: Home, options: LiveOptions) -> int:
    from keel.runners.live.live_account import make_arm_token

    kept = make_arm_token(loaded, home, options)
    token = kept.token
    answer = {"token": str(kept.path), "account": token.uid, "until": token.until, "nonce": token.nonce, "next": kept.next_step}

    def show() -> None:
        click.echo(f"armed for account {token.uid} until {token.until}: {kept.path}")
        click.echo(kept.next_step)

    session.answer(answer, show)
    return 0


def _run_dry(session: Session, loaded: LoadedSystem, home: Home, options: LiveOptions) -> int:
    from keel.runners.live.arming.limits import no_stop
    from keel.runners.live.live_account import run_dry

    without = no_stop(loaded.config)

    def say(line: str) -> None:
        click.echo(line, err=session.as_json)

    if without:
        say(without)
    ending: DryEnding = run_dry(loaded, home, options, say)
    missing = [each.line for each in ending.missing]
    answer = {
        "dry": True, "account": ending.account, "ended": ending.reason, "instants": ending.instants, "would": ending.lines,
        "orders": ending.orders, "missing": missing, "no_stop": without,
    }  # fmt: skip

    def show() -> None:
        click.echo(f"dry run of {loaded.config.system} on {ending.account}: {ending.reason}; nothing was sent")
        click.echo(f"orders that would have been sent: {ending.orders}")
        if without:
            click.echo(without)
        for line in missing:
            click.echo(f"MISSING for a live session: {line}")

    session.answer(answer, show)
    return 4 if missing else 0
