"""``keel parity``: the kernel against the actors over one window, or a session over the wire against the backtest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from keel.runners.cli.session import Session, common, example

if TYPE_CHECKING:
    from keel.runners.tools.research.parity import ParityResponse
    from keel.runners.tools.trading.wire_parity import WireParityResponse


@click.command(
    epilog=example(
        "keel parity ema_cross",
        "keel parity rsi_reversion --start 2025-01-01 --end 2025-10-01 --set risk.leverage=10 --json",
        "keel parity my_system.yaml --symbol ETHUSDT --window 6M",
        "keel parity ema_cross --wire --start 2025-06-01 --end 2025-06-08",
    )
)
@click.argument("system")
@click.option("--symbol", "symbols", multiple=True, metavar="S", help="Trade this symbol in place of the system's; may be repeated.")
@click.option("--start", metavar="D", help="First day or time, UTC; with --end.")
@click.option("--end", metavar="D", help="The day or time before which it ends, UTC.")
@click.option("--window", metavar="W", help="A window of the system, or a span back from the last stored bar, such as 6M.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the system file, such as risk.leverage=10.")
@click.option("--wire", is_flag=True, help="A session over a sandbox (HTTP and WebSocket) against the backtest, in place of the kernel.")
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
    wire: bool,
) -> int:
    """Run SYSTEM by the kernel and by the actors, and compare every order, fill, fee, funding payment, liquidation, trade, equity point and
    account, to the last unit.

    With --wire: as a backtest, and as a session over a sandbox of its own in lock-step; bars and mark prices are compared, too. Without a
    span it takes the last 30 days of the system's window. A bar takes about two milliseconds: a month of minutes, a bit more than a minute.

    Exits 1 when anything differs, and shows the first difference with its bar; 2 when the system has what the kernel does not model.
    """
    if wire:
        return _over_the_wire(session, system, symbols, start, end, window, overrides)
    from keel.runners.tools.research.parity import ParityRequest, parity_check_tool

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
    _side_by_side("kernel", found.kernel, "actors", found.actors)


def _over_the_wire(
    session: Session, system: str, symbols: tuple[str, ...], start: str | None, end: str | None, window: str | None,
    overrides: tuple[str, ...],
) -> int:  # fmt: skip
    from keel.runners.tools.trading.wire_parity import WireParityRequest, wire_parity_check_tool

    answer = wire_parity_check_tool.run(WireParityRequest(system, window, list(overrides), start, end, symbols), session.context())
    session.note(answer.window_note)
    session.answer(answer, lambda: show_wire(answer))
    return 0 if answer.identical else 1


def show_wire(answer: WireParityResponse) -> None:
    """What was compared over the wire, and the first difference, for people."""
    click.echo(
        f"{answer.system} on {', '.join(answer.symbols)}, {answer.window['start']} to {answer.window['end']}, over HTTP and WebSocket"
    )
    for kind, count in answer.compared.items():
        click.echo(f"  {kind:18}{count:>12,}")
    if answer.rounded_marks:
        click.echo(
            f"NOTE {answer.rounded_marks:,} mark prices have more digits than an exchange publishes: both sides had them to the tick"
        )
    if answer.problem:
        click.echo(f"PROBLEM {answer.problem}")
    found = answer.difference
    if found is None:
        verdict = "identical" if answer.identical else "no row differs, and yet the session is not whole"
        click.echo(f"{verdict} (backtest {answer.backtest_s:.2f} s, session {answer.session_s:.2f} s)")
        return
    where = f" in the bar of {found.bar}" if found.bar else " at the end"
    symbol = f" of {found.symbol}" if found.symbol else ""
    click.echo(f"the first difference is number {found.number} of the {found.kind}{symbol}{where}; it begins in: {found.begins_in}")
    _side_by_side("backtest", found.backtest, "session", found.session)
    click.echo(f"it may come of this: {found.cause}")


def _side_by_side(ours: str, our_row: dict[str, Any] | None, theirs: str, their_row: dict[str, Any] | None) -> None:
    names = list(dict.fromkeys([*(our_row or {}), *(their_row or {})]))
    click.echo(f"  {'':18}{ours:>28}{theirs:>28}")
    for name in names:
        a, b = (_text(row, name) for row in (our_row, their_row))
        click.echo(f"{'* ' if a != b else '  '}{name:18}{a:>28}{b:>28}")


def _text(side: dict[str, Any] | None, name: str) -> str:
    return "-" if side is None else repr(side[name]) if isinstance(side[name], float) else str(side[name])
