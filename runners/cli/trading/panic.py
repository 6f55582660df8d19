"""``keel panic``: cancels every order and closes every position of an account. A thin face of ``keel.runners.safety``: nothing slow is
imported before the latch stands."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from keel.runners import safety
from keel.runners.cli.session import Session, common, example

if TYPE_CHECKING:
    from keel.runners.live.session_address import Card


@click.command(
    epilog=example(
        "keel panic --env demo",
        "keel panic --env live --yes --key-file ~/.keel-live",
        "keel panic --env sandbox --sandbox http://127.0.0.1:8686 --yes",
    )
)
@click.option("--env", "environment", type=click.Choice(["demo", "live", "sandbox"]), help="Whose account [the running session's].")
@click.option("--sandbox", "sandbox_url", metavar="URL", help="Which sandbox [http://127.0.0.1:8686].")
@click.option("--yes", is_flag=True, help="Do not ask; without a terminal it is needed.")
@click.option("--sell-spot", is_flag=True, help="Sell spot holdings other than USDT and USDC, too.")
@click.option("--key-file", metavar="FILE", help="Key and secret (mode 0600); else BYBIT_<ENV>_KEY and BYBIT_<ENV>_SECRET.")
@common
@click.pass_obj
def panic(session: Session, environment: str | None, sandbox_url: str | None, yes: bool, sell_spot: bool, key_file: str | None) -> int:
    """Cancel every order and close every position of an account, whoever made them; nothing that adds leaves until keel session rearm.

    The latch stands before anything is asked. Exit code 0: no order rests and no position is held, seen twice; 5: not so; 2, 4: nothing
    was cancelled or closed. It keeps trying until all is closed; Ctrl-C breaks it off and says what is left.
    """
    if environment is None:
        environment, sandbox_url = _running(sandbox_url)
    if sandbox_url is not None and environment != "sandbox":
        raise click.UsageError(f"--sandbox goes with --env sandbox, not with --env {environment}")
    words = ["--env", environment, *([] if sandbox_url is None else ["--sandbox", sandbox_url])]
    words += ["--yes"] * yes + ["--sell-spot"] * sell_spot + ["--json"] * session.as_json
    words += [] if key_file is None else ["--key-file", key_file]
    return safety.main(words)


def _running(sandbox_url: str | None) -> tuple[str, str | None]:
    """Whose session runs; with none or several a person is asked, or the option is needed."""
    if sandbox_url is not None:
        return "sandbox", sandbox_url
    from keel.runners.live.session_address import sessions

    cards = [card for card, _ in sessions()]
    if len(cards) == 1:
        return _account_of(cards[0])
    known = "no session runs" if not cards else f"{len(cards)} sessions run: {'; '.join(card.account for card in cards)}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"{known}: say whose account with --env demo, live or sandbox (and --sandbox URL)")
    click.echo(known, err=True)
    if cards:
        for number, card in enumerate(cards, 1):
            click.echo(f"  {number}  {card.account}  ({card.system}, process {card.process})", err=True)
        return _account_of(cards[click.prompt("which", type=click.IntRange(1, len(cards)), err=True) - 1])
    return click.prompt("whose account", type=click.Choice(["demo", "live", "sandbox"]), err=True), None


def _account_of(card: Card) -> tuple[str, str | None]:
    """Its environment, and the sandbox's URL where it is one: an account is named ``sandbox HOST:PORT INSTANCE NUMBER``."""
    return card.environment, f"http://{card.account.split()[1]}" if card.environment == "sandbox" else None
