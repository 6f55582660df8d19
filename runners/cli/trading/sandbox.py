"""``keel sandbox``: an exchange on this machine that speaks Bybit's protocol."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keel.core.errors import ConfigError
from keel.runners.cli.session import Session, common, example

if TYPE_CHECKING:
    from keel.sim.sandbox.engine import Feed
    from keel.sim.sandbox.settings import AccountSettings, SandboxSettings

_SPEED = re.compile(r"x(\d+(?:\.\d+)?)")
_TICK_MS = 100
"""How often the market moves where nobody says: Bybit's public streams send every 10 to 200 ms."""
_REPLAY_BUDGETS = 100.0
"""By how much request budgets grow where market time is not wall time."""


@click.command(
    epilog=example(
        "keel sandbox",
        "keel sandbox --feed store --symbols BTCUSDT --start 2024-06-01 --end 2024-07-01 --speed lockstep",
        "keel sandbox --feed store --symbols BTCUSDT --timeframe 1h --start 2024-01-01 --end 2025-01-01 --speed lockstep",
        "keel sandbox --speed x60 --account alice:secret:5000 --account bob:other:5000 --profile demo",
    )
)
@click.option("--port", type=click.IntRange(0, 65_535), default=0, metavar="P", help="Port on 127.0.0.1; 0: any free one.  [default: 0]")
@click.option(
    "--feed", "feed_name", type=click.Choice(["walk", "store"]), default="walk", show_default=True, help="Invented, or stored bars."
)
@click.option("--symbols", default="BTCUSDT,ETHUSDT", show_default=True, metavar="S,S", help="What is traded, separated by commas.")
@click.option("--start", metavar="D", help="With --feed store: first day or time, UTC.")
@click.option("--end", metavar="D", help="With --feed store: the day or time before which it ends, UTC.")
@click.option("--timeframe", metavar="TF", help="Length of the bars: store: the shortest that all symbols have; walk: 1m.")
@click.option("--speed", default="real", show_default=True, metavar="V", help="real, max, lockstep (moves on command only), or xN.")
@click.option("--account", "accounts", multiple=True, metavar="KEY:SECRET:USDT", help="May be repeated; else sandbox-key with 100000 USDT.")
@click.option(
    "--key-address", "addresses", multiple=True, metavar="IP", help="To what keys say that they are bound; * is: to none. [127.0.0.1]"
)
@click.option(
    "--key-right", "rights", multiple=True, metavar="R", help="A right over funds that keys have, such as Withdraw; may be repeated."
)
@click.option(
    "--profile", type=click.Choice(["mainnet", "demo"]), default="mainnet", show_default=True, help="Which of Bybit's it is like."
)
@click.option(
    "--margin-mode", type=click.Choice(["isolated", "cross"]), help="In which accounts begin.  [default: isolated; --profile demo: cross]"
)
@click.option("--demo-isolated", is_flag=True, help="With --profile demo: accounts may be switched to isolated margin.")
@click.option(
    "--tick",
    "tick_ms",
    type=click.IntRange(10, 60_000),
    metavar="MS",
    help="Between two moves of the market, at --speed real and xN.  [default: 100]",
)
@click.option(
    "--ack",
    "ack_ms",
    type=click.IntRange(0, 10_000),
    default=20,
    show_default=True,
    metavar="MS",
    help="About how long sockets take to acknowledge an order; drawn around it.",
)
@click.option(
    "--volume-share",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="X",
    help="A thin book: orders take at most this share of what a move trades.",
)
@click.option(
    "--shift-to-now", is_flag=True, help="With --feed store: the bars' dates are moved by whole days, so that they are played now."
)
@click.option(
    "--ids",
    type=click.Choice(["fresh", "fixed"]),
    help="fresh: no id of an earlier start comes again; fixed: the same at every start.  [default: fresh; --speed lockstep: fixed]",
)
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Of the walk, of books and of faults.")
@click.option(
    "--faults", "fault_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Fault rules to begin with (JSON)."
)
@common
@click.pass_obj
def sandbox(
    session: Session,
    port: int,
    feed_name: str,
    symbols: str,
    start: str | None,
    end: str | None,
    timeframe: str | None,
    speed: str,
    accounts: tuple[str, ...],
    addresses: tuple[str, ...],
    rights: tuple[str, ...],
    profile: Any,
    margin_mode: Any,
    demo_isolated: bool,
    tick_ms: int | None,
    ack_ms: int,
    volume_share: float | None,
    shift_to_now: bool,
    ids: Any,
    seed: int,
    fault_file: Path | None,
) -> None:
    """Serve an exchange on this machine that speaks Bybit's v5 protocol, REST and WebSocket on one port, until Ctrl-C."""
    from keel.core.system.config import ExecutionConfig
    from keel.runners.sandbox.assembly import serve
    from keel.sim.sandbox.settings import SandboxSettings

    pace, factor = _read_speed(speed)
    names = [name.strip().upper() for name in symbols.split(",") if name.strip()]
    if not names:
        raise ConfigError("--symbols: name at least one symbol, such as BTCUSDT")
    _check_margin_mode(profile, margin_mode, demo_isolated)
    settings = SandboxSettings(
        profile=profile, pace=pace, factor=factor, seed=seed, limit_factor=factor if pace == "real" else _REPLAY_BUDGETS,
        margin_mode=margin_mode, demo_isolated=demo_isolated, tick_ms=tick_ms or _TICK_MS, ack_ms=ack_ms, ids=ids,
        execution=ExecutionConfig() if volume_share is None else ExecutionConfig(max_volume_share=volume_share),
    )  # fmt: skip
    settings = _with_accounts(settings, accounts, addresses, rights)
    faults = None
    if fault_file is not None:
        try:
            faults = fault_file.read_bytes()
        except OSError as error:
            raise ConfigError(f"--faults {fault_file}: {error.strerror or error}") from error
    if tick_ms is not None and pace != "real":
        raise ConfigError(f"--tick belongs to --speed real and xN: at --speed {speed} the market moves by whole bars")
    if shift_to_now and speed != "real":
        raise ConfigError("--shift-to-now plays stored bars at the wall's time: it goes with --speed real, which is the default")
    feed = _make_feed(session, feed_name, names, start, end, timeframe, seed, shift_to_now)
    try:
        serve(settings, feed, port, faults, lambda url: session.answer({"url": url}, lambda: click.echo(f"sandbox listening on {url}")))
    except OSError as error:
        raise ConfigError(
            f"port {port} cannot be opened: {error.strerror or error}; choose another, or --port 0 for any free one"
        ) from error


def _with_accounts(
    settings: SandboxSettings, accounts: tuple[str, ...], addresses: tuple[str, ...], rights: tuple[str, ...]
) -> SandboxSettings:
    import msgspec

    made = _read_accounts(accounts) if accounts else settings.accounts
    if addresses:
        made = tuple(msgspec.structs.replace(account, addresses=addresses) for account in made)
    if rights:
        made = tuple(msgspec.structs.replace(account, wallet_rights=rights) for account in made)
    return msgspec.structs.replace(settings, accounts=made)


def _check_margin_mode(profile: str, margin_mode: str | None, demo_isolated: bool) -> None:
    if demo_isolated and profile != "demo":
        raise ConfigError("--demo-isolated belongs to --profile demo: mainnet accounts may always be switched")
    if profile == "demo" and margin_mode == "isolated" and not demo_isolated:
        raise ConfigError("--margin-mode isolated: accounts of the demo profile have cross margin; add --demo-isolated to allow it")


def _read_speed(text: str) -> tuple[Any, float]:
    if text in ("real", "max", "lockstep"):
        return text, 1.0
    match = _SPEED.fullmatch(text)
    if match is None or not 0 < float(match[1]) <= 100_000:
        raise ConfigError(f"--speed {text}: use real, max, lockstep, or xN such as x60 (up to x100000)")
    return "real", float(match[1])


def _read_accounts(texts: tuple[str, ...]) -> tuple[AccountSettings, ...]:
    from keel.sim.sandbox.settings import AccountSettings

    found: dict[str, AccountSettings] = {}
    for place, text in enumerate(texts, start=1):
        parts = text.split(":")
        try:
            key, secret, usdt = parts[0], parts[1], float(parts[2])
        except (IndexError, ValueError):
            raise ConfigError(f"--account number {place} is not KEY:SECRET:USDT, such as alice:secret:5000") from None
        if len(parts) != 3 or not key or not secret or not 0 < usdt <= 1e9:
            raise ConfigError(f"--account number {place} is not KEY:SECRET:USDT: a key, a secret and an amount of at most 1000000000")
        if key in found:
            raise ConfigError(f"--account: the key {key} is given twice; each account needs its own")
        found[key] = AccountSettings(key=key, secret=secret, usdt=usdt)
    return tuple(found.values())


def _make_feed(
    session: Session, name: str, symbols: list[str], start: str | None, end: str | None, timeframe: str | None, seed: int, is_shifted: bool
) -> Feed:  # fmt: skip
    from keel.adapters.machine import wall_ms
    from keel.core.model.timeframe import tf_ms
    from keel.sim.sandbox.market.feeds import BarFeed, WalkFeed

    if name == "walk":
        if start is not None or end is not None:
            raise ConfigError("--start and --end belong to --feed store: a walk begins now and never ends")
        if is_shifted:
            raise ConfigError("--shift-to-now belongs to --feed store: a walk is played now anyway")
        return WalkFeed(symbols, wall_ms(), seed, duration_ms=tf_ms(timeframe or "1m"))
    from keel.adapters.store import HistoricalDataStore
    from keel.core.model.time_range import TimeRange
    from keel.core.system.config import ExecutionConfig
    from keel.runners.sandbox.assembly import shifted_to, stored_bars

    if start is None or end is None:
        raise ConfigError("--feed store needs --start and --end, such as --start 2024-06-01 --end 2024-07-01")
    with HistoricalDataStore(session.context().home.store, read_only=True) as store:
        bars = stored_bars(store, symbols, TimeRange.from_dates(start, end), ExecutionConfig(), timeframe=timeframe)
    return BarFeed(shifted_to(bars, wall_ms()), is_now=True) if is_shifted else BarFeed(bars)
