"""``keel demo``: a system on a demo account, or on a sandbox of this machine."""

from __future__ import annotations

import click

from keel.runners.cli.session import Session, common, example
from keel.runners.cli.trading.session_options import SessionWords, session_options
from keel.runners.live.supervisor.command import is_trader, supervise, supervised_option


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
@click.option("--timeframe", metavar="TF", help="Decision bars, such as 1h.")
@click.option("--execution-timeframe", metavar="TF", help="Bars at which the account is marked and limits are looked at, such as 1m.")
@session_options(key_name="BYBIT_DEMO_KEY", set_help="Set a key of the system file, such as params.fast=10.")
@supervised_option(default=False)
@common
@click.pass_obj
def demo(
    session: Session,
    system: str,
    sandbox_url: str | None,
    symbols: tuple[str, ...],
    timeframe: str | None,
    execution_timeframe: str | None,
    supervised: bool,
    words: SessionWords,
) -> int:
    """Run SYSTEM (an id, or a file) on Bybit's demo account, or on a sandbox, until Ctrl-C. No real money.

    A restart goes on where the last session ended, however that was.
    """
    from keel.adapters.bybit.transport.endpoints import Environment

    home = session.context().home
    shows = words.shows_screen(session)
    texts = list(words.overrides)
    texts += [f"symbols=[{', '.join(symbol.upper() for symbol in symbols)}]"] if symbols else []
    texts += [f"timeframe={timeframe}"] if timeframe else []
    texts += [f"execution_timeframe={execution_timeframe}"] if execution_timeframe else []
    if supervised and not is_trader():
        environment = Environment.DEMO if sandbox_url is None else Environment.SANDBOX
        return supervise(
            home, system, texts, environment, sandbox_url, words.key_file, arguments=session.arguments, kind="demo", shows=shows
        )  # fmt: skip
    from keel.runners.cli.trading.session_end import show_end
    from keel.runners.live.demo import DemoOptions, run_demo
    from keel.runners.live.reporting.display import Display
    from keel.runners.live.startup.banner import banner_text
    from keel.runners.systems import load_system

    words.set_up_logging(session, home, "demo")
    loaded = load_system(system, home, texts)
    options = DemoOptions(
        sandbox_url, words.key_file, words.max_bars, words.fresh, not words.no_report, words.grace_ms, words.without
    )  # fmt: skip
    if shows:
        session.note(f"{loaded.config.system}: reading the account and the bars before it; Ctrl-C stops")
    session.note(banner_text("demo" if sandbox_url is None else "sandbox"))
    made = run_demo(loaded, home, options, beside=Display().beside if shows else None)
    return show_end(session, made)
