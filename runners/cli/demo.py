"""``keel demo``: a system on a demo account, or on a sandbox of this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from runners.cli.session import Session, common, example
from runners.supervisor.command import is_trader, supervise, supervised_option


@click.command(
    epilog=example(
        "keel demo ema_cross --sandbox http://127.0.0.1:8686",
        "keel demo ema_cross --sandbox http://127.0.0.1:8686 --timeframe 5m --execution-timeframe 1m --bars 60",
        "keel demo ema_cross --key-file ~/.keel-demo --set demo.margin_mode=cross",
    )
)
@click.argument("system")
@click.option("--sandbox", "sandbox_url", metavar="URL", help="A running `keel sandbox` instead of the demo account.")
@click.option("--symbol", "symbols", multiple=True, metavar="S", help="Trade this symbol in place of the system's; may be repeated.")
@click.option("--without", multiple=True, metavar="S", help="Leave this symbol out, such as one that was delisted; may be repeated.")
@click.option("--timeframe", metavar="TF", help="Decision bars, such as 1h.")
@click.option("--execution-timeframe", metavar="TF", help="Bars at which the account is marked and limits are looked at, such as 1m.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the system file, such as params.fast=10.")
@click.option(
    "--key-file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Key and secret (mode 0600); else BYBIT_DEMO_KEY."
)
@click.option("--bars", "max_bars", type=click.IntRange(min=1), metavar="N", help="Stop after so many execution bars.")
@click.option(
    "--grace", "grace_ms", type=click.IntRange(0, 60_000), default=2_000, show_default=True, metavar="MS", help="Wait for late bars."
)
@click.option("--fresh", is_flag=True, help="Begin a new journal; what the account holds is taken over as it is.")
@click.option("--log", type=click.Choice(["text", "json", "none"]), help="Log lines on stderr. Default: none under the screen, else text.")
@click.option("--no-report", is_flag=True, help="Do not write report.html.")
@supervised_option(default=False)
@common
@click.pass_obj
def demo(
    session: Session,
    system: str,
    sandbox_url: str | None,
    symbols: tuple[str, ...],
    without: tuple[str, ...],
    timeframe: str | None,
    execution_timeframe: str | None,
    overrides: tuple[str, ...],
    key_file: Path | None,
    max_bars: int | None,
    grace_ms: int,
    fresh: bool,
    log: Literal["text", "json", "none"] | None,
    no_report: bool,
    supervised: bool,
) -> int:
    """Run SYSTEM (an id, or a file) on Bybit's demo account, or on a sandbox, until Ctrl-C. No real money.

    A restart goes on where the last session ended, however that was.
    """
    from adapters.bybit.endpoints import Environment

    home = session.context().home
    shows = sys.stdout.isatty() and not session.as_json and session.verbosity >= 0 and log in (None, "none")
    texts = list(overrides)
    texts += [f"symbols=[{', '.join(symbol.upper() for symbol in symbols)}]"] if symbols else []
    texts += [f"timeframe={timeframe}"] if timeframe else []
    texts += [f"execution_timeframe={execution_timeframe}"] if execution_timeframe else []
    if supervised and not is_trader():
        environment = Environment.DEMO if sandbox_url is None else Environment.SANDBOX
        return supervise(
            home, system, texts, environment, sandbox_url, key_file, arguments=session.arguments, kind="demo", shows=shows
        )  # fmt: skip
    from adapters.logging import set_up_logging
    from runners.cli.session_end import console_of, tell_end
    from runners.demo import DemoOptions, run_demo
    from runners.live.banner import banner_text
    from runners.live.display import Display
    from runners.systems import load_system

    level = "debug" if session.verbosity > 1 else "info"  # of the file: --quiet is about the terminal
    set_up_logging(level=level, file=home.logs / "demo.jsonl", console=console_of(log, session, shows))
    loaded = load_system(system, home, texts)
    options = DemoOptions(sandbox_url, key_file, max_bars, fresh, not no_report, grace_ms, tuple(symbol.upper() for symbol in without))
    if shows:
        session.note(f"{loaded.config.system}: reading the account and the bars before it; Ctrl-C stops")
    session.note(banner_text("demo" if sandbox_url is None else "sandbox"))
    made = run_demo(loaded, home, options, beside=Display().beside if shows else None)
    return tell_end(session, made)
