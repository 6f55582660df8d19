"""``keel parity``: the kernel against the actors over one window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from runners.cli.session import Session, common, example

if TYPE_CHECKING:
    from runners.tools.parity import ParityResponse


@click.command(
    epilog=example(
        "keel parity ema_cross",
        "keel parity rsi_reversion --start 2025-01-01 --end 2025-10-01 --set risk.leverage=10 --json",
        "keel parity my_system.yaml --symbol ETHUSDT --window 6M",
    )
)
@click.argument("system")
@click.option("--symbol", "symbols", multiple=True, metavar="S", help="Trade this symbol in place of the system's; may be repeated.")
@click.option("--start", metavar="D", help="First day or time, UTC; with --end.")
@click.option("--end", metavar="D", help="The day or time before which it ends, UTC.")
@click.option("--window", metavar="W", help="A window of the system, or a span back from the last stored bar, such as 6M.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the system file, such as risk.leverage=10.")
@common
@click.pass_obj
def parity(
    session: Session,
    system: str,
    symbols: tuple[str, ...],
    start: str | None,
    end: str | None,
    window: str | None,
    overrides: tuple[str, ...],
) -> int:
    """Run SYSTEM by the kernel and by the actors, and compare every order, fill, fee, funding payment, liquidation, trade, equity point and
    account, to the last unit.

    Exits 1 when anything differs, and shows the first difference with its bar; 2 when the system has what the kernel does not model.
    """
    from runners.tools.parity import ParityRequest, parity_check_tool

    answer = parity_check_tool.run(ParityRequest(system, window, list(overrides), start, end, symbols), session.context())
    session.note(answer.window_note)
    session.answer(answer, lambda: show(answer))
    return 0 if answer.identical else 1


def show(answer: ParityResponse) -> None:
    """What was compared, and the first difference, for people."""
    click.echo(f"{answer.system} on {answer.symbol}, {answer.window['start']} to {answer.window['end']}, {answer.bars:,} bars")
    for kind, count in answer.compared.items():
        click.echo(f"  {kind:18}{count:>12,}")
    if answer.difference is None:
        click.echo(f"identical (kernel {answer.kernel_s:.3f} s, actors {answer.actors_s:.3f} s)")
        return
    found = answer.difference
    where = f" in the bar of {found.bar}" if found.bar else ""
    click.echo(f"the first difference is number {found.number} of the {found.kind}{where}")
    names = list(dict.fromkeys([*(found.kernel or {}), *(found.actors or {})]))
    click.echo(f"  {'':18}{'kernel':>28}{'actors':>28}")
    for name in names:
        ours, theirs = (_text(side, name) for side in (found.kernel, found.actors))
        click.echo(f"{'* ' if ours != theirs else '  '}{name:18}{ours:>28}{theirs:>28}")


def _text(side: dict[str, object] | None, name: str) -> str:
    return "-" if side is None else repr(side[name]) if isinstance(side[name], float) else str(side[name])
