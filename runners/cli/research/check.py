"""``keel check``: whether a system looks ahead, and whether its warm-up is long enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from keel.runners.cli.output import moment, pairs, table
from keel.runners.cli.session import Session, common, example

if TYPE_CHECKING:
    from keel.runners.tools.research.check import LookaheadResponse, WarmupResponse

F = TypeVar("F", bound=Callable[..., Any])


@click.group(no_args_is_help=True, epilog=example("keel check lookahead ema_cross", "keel check warmup ema_cross --window 3M"))
@common
def check() -> None:
    """Whether a system looks ahead, and whether its warm-up is long enough."""


def _asked(function: F) -> F:
    """The options of both checks."""
    options = (
        click.option("--symbol", "symbols", multiple=True, metavar="S", help="This symbol in place of the system's; may be repeated."),
        click.option("--window", metavar="W", help="A window of the system, or a span back from the last stored bar, such as 6M."),
        click.option("--start", metavar="D", help="First day or time, UTC; with --end."),
        click.option("--end", metavar="D", help="The day or time before which it ends, UTC."),
        click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the system file."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@check.command(epilog=example("keel check lookahead ema_cross", "keel check lookahead my_system.yaml --symbol ETHUSDT --window 1M --json"))
@click.argument("system")
@_asked
@common
@click.pass_obj
def lookahead(
    session: Session,
    system: str,
    symbols: tuple[str, ...],
    window: str | None,
    start: str | None,
    end: str | None,
    overrides: tuple[str, ...],
) -> int:
    """Compare SYSTEM with itself over history that is cut off at every bar; exit code 1 when anything looks ahead.

    Features, higher timeframes, a vector strategy's array and the decisions: each is computed at each bar of the window with nothing
    after it there, and with the whole history.
    """
    from keel.runners.tools.research.check import CheckRequest, check_lookahead_tool

    answer = check_lookahead_tool.run(CheckRequest(system, window, list(overrides), start, end, symbols), session.context())
    session.note(answer.window_note)
    session.answer(answer, lambda: _show_lookahead(answer))
    return 0 if answer.ok else 1


@check.command(epilog=example("keel check warmup ema_cross", "keel check warmup ema_cross --set warmup_bars=100 --json"))
@click.argument("system")
@_asked
@common
@click.pass_obj
def warmup(
    session: Session,
    system: str,
    symbols: tuple[str, ...],
    window: str | None,
    start: str | None,
    end: str | None,
    overrides: tuple[str, ...],
) -> int:
    """How much each feature and decision of SYSTEM depends on where history starts, and the warm-up bars that it needs.

    Exit code 1 when a feature has not settled by the first decision, or a decision changes with a longer history.
    """
    from keel.runners.tools.research.check import CheckRequest, check_warmup_tool

    answer = check_warmup_tool.run(CheckRequest(system, window, list(overrides), start, end, symbols), session.context())
    session.note(answer.window_note)
    session.answer(answer, lambda: _show_warmup(answer))
    return 0 if answer.ok else 1


def _head(system: str, window: dict[str, str]) -> str:
    name = f" (window {window['name']})" if window["name"] else ""
    return f"{system}, {window['start']} to {window['end']}{name}"


def _show_lookahead(answer: LookaheadResponse) -> None:
    click.echo(f"{_head(answer.system, answer.window)}: {answer.bars:,} decision bars, history cut off at each\n")
    rows = [
        [
            entry.kind,
            entry.name,
            entry.symbol,
            entry.timeframe,
            entry.compared,
            entry.differing,
            "–" if entry.ts is None else moment(entry.ts),
        ]
        for entry in answer.looked
    ]
    table(["what", "name", "symbol", "bars", "compared", "differ", "first at"], rows, right=(4, 5))
    click.echo()
    for entry in answer.found:
        click.echo(
            f"LOOKS AHEAD: {entry.kind} {entry.name!r} ({entry.symbol} {entry.timeframe}), first at {moment(entry.ts or 0)}:"
            f" {entry.whole} with the whole history, {entry.cut} with the history until then"
        )
    click.echo("PASS: nothing depends on a later bar" if answer.ok else "FAIL: what looks ahead cannot be traded")


def _show_warmup(answer: WarmupResponse) -> None:
    click.echo(_head(answer.system, answer.window))
    pairs(
        [
            ("warm-up", ", ".join(f"{bars:,} bars of {timeframe}" for timeframe, bars in answer.warmup.items())),
            ("held against", ", ".join(f"{bars:,} bars of {timeframe}" for timeframe, bars in answer.longest.items())),
        ]
    )
    click.echo()
    if answer.features:
        rows = [
            [
                entry.name,
                entry.symbol,
                entry.timeframe,
                "no longer history" if entry.difference is None else f"{entry.difference:.1e}" if entry.difference else "none",
                _after(entry.close_after, entry.rows),
                _after(entry.equal_after, entry.rows),
                "yes" if entry.is_settled else "NO",
            ]
            for entry in answer.features
        ]
        heads = ["feature", "symbol", "bars", "difference at first decision", "bars until < 1e-6", "until the same bits", "settled"]
        table(heads, rows, right=(3, 4, 5))
        click.echo()
    for changed in answer.decisions or ():
        text = f"{changed.symbol}: {changed.decisions:,} decisions, {changed.changed:,} change with a longer history"
        first = f"; the first at {moment(changed.ts or 0)}: {changed.short}, with a longer history {changed.long}"
        click.echo(text + (first if changed.changed else ""))
    if answer.decisions is None:
        click.echo("decisions: not compared, the store has no longer history before the window")
    _show_advice(answer)


def _after(bars: int | None, rows: int) -> str:
    return f"not in {rows:,}" if bars is None else f"{bars:,}"


def _show_advice(answer: WarmupResponse) -> None:
    never = [entry.name for entry in answer.features if entry.close_after is None]
    if never:
        names = ", ".join(dict.fromkeys(never))
        click.echo(f"{names}: no warm-up settles it within the history there is; use its changes, not its level, or more history")
    if answer.advice is not None:
        bits = f"; {answer.advice_for_bits} for the same bits" if answer.advice_for_bits is not None else ""
        click.echo(f"advice: warmup_bars: {answer.advice} or more{bits}")
    click.echo("PASS: the warm-up is long enough" if answer.ok else "FAIL: what comes out depends on where history starts")
