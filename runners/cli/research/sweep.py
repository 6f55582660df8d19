"""``keel sweep``: a system under many parameter sets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from keel.runners.cli.output import percent, ratio, table
from keel.runners.cli.session import Session, common, example
from keel.runners.research.sweep.defaults import LIMIT, MIN_TRADES

if TYPE_CHECKING:
    from keel.runners.tools.research.sweep import SweepResponse

ROWS = 15
"""Settings that are listed; the page and results.csv have all."""
REASONS = 5
"""Reasons that are listed, of settings without a score and of refused ones."""
WIDEST = 16
"""Columns of a map that are written as numbers; wider ones as shades."""
SHADES = " ░▒▓█"
_COLORS = ("red", "yellow", "white", "cyan", "green")


@click.command(
    epilog=example(
        "keel sweep ema_cross --param fast=5:50:5 --param slow=20,50,100",
        "keel sweep ema_cross --param fast=5:50 --param risk.leverage=1:4:0.5 --search tpe --trials 200 --windows train,test",
        "keel sweep rsi_reversion --param exits.stop_loss.percent=1:5:1 --symbols BTCUSDT,ETHUSDT --timeframes 1h,4h",
        "keel sweep --resume last",
    )
)
@click.argument("system", required=False)
@click.option("--param", "params", multiple=True, metavar="KEY=VALUES", help="LOW:HIGH:STEP, or values such as 5,10,20; may be repeated.")
@click.option("--symbols", metavar="S,S", help="Try each of these symbols by itself.")
@click.option("--timeframes", metavar="TF,TF", help="Try these decision bars.")
@click.option("--windows", metavar="W,W", help="Windows; the search looks at the first, the others stand beside it.")
@click.option("--search", type=click.Choice(["grid", "random", "tpe"]), default="grid", show_default=True, help="How to choose points.")
@click.option("--trials", type=int, metavar="N", help="Settings that random and tpe try [100].")
@click.option("--metric", default="sharpe", show_default=True, metavar="M", help="What a good result is.")
@click.option("--on", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="This machine, or a Ray cluster.")
@click.option("--address", metavar="HOST:PORT", help="The Ray cluster; without it one is started on this machine.")
@click.option("--workers", type=int, metavar="N", help="Runs at a time [one per processor].")
@click.option("--engine", type=click.Choice(["auto", "kernel", "actors"]), default="auto", show_default=True, help="What runs a point.")
@click.option("--resume", metavar="ID", help="Go on with a sweep that was interrupted; last is the newest.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of random and tpe.")
@click.option("--start", metavar="T", help="Run over one window that begins here, e.g. 2025-01-01 (with --end; not with --windows).")
@click.option("--end", metavar="T", help="The window's end, which is not part of it.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="A key of the system file for all points; may be repeated.")
@click.option(
    "--min-trades",
    type=click.IntRange(min=1),
    default=MIN_TRADES,
    show_default=True,
    metavar="N",
    help="Closed trades without which a setting has no score.",
)
@click.option("--limit", type=int, default=LIMIT, show_default=True, metavar="N", help="At most so many points.")
@common
@click.pass_obj
def sweep(
    session: Session,
    system: str | None,
    params: tuple[str, ...],
    symbols: str | None,
    timeframes: str | None,
    windows: str | None,
    search: str,
    trials: int | None,
    metric: str,
    on: str,
    address: str | None,
    workers: int | None,
    engine: str,
    resume: str | None,
    seed: int,
    start: str | None,
    end: str | None,
    overrides: tuple[str, ...],
    min_trades: int,
    limit: int,
) -> None:
    """Run SYSTEM under many parameter sets, and find where good results do not hang on one exact value.

    Any key of the system file may be searched; a name without a dot is a parameter of the strategy. Every finished point is kept at once:
    after Ctrl-C, --resume goes on without computing any again.
    """
    from keel.runners.tools.research.sweep import Interrupted, SweepRequest, sweep_run_tool

    request = SweepRequest(
        system, params, _split(symbols), _split(timeframes), _split(windows), search, trials, metric, on, address, workers, engine,  # type: ignore[arg-type]  # click has checked the choices
        resume, seed, limit, start, end, overrides, min_trades,
    )  # fmt: skip
    try:
        answer = sweep_run_tool.run(request, session.context())
    except Interrupted as stopped:
        session.note(f"{stopped}: go on with keel sweep --resume {stopped.sweep_id}")
        raise
    session.answer(answer, lambda: _show(answer))


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _show(answer: SweepResponse) -> None:
    from keel.core.model.time_range import to_iso

    spans = ", ".join(f"{name} {to_iso(span['start_ms'])[:10]} to {to_iso(span['end_ms'])[:10]}" for name, span in answer.windows.items())
    click.echo(f"{answer.system}: {answer.tried:,} settings by {answer.search}, {answer.points:,} runs over {spans}")
    for note in answer.notes:
        click.echo(f"note: {note}")
    _show_table(answer)
    if answer.heat is not None and len(answer.heat.y_labels) > 1:
        _show_map(answer)
    click.echo("\nRobust region: the median of each setting's neighbourhood counts, not the setting's own peak")
    for line in answer.region_text:
        click.echo(f"  {line}")
    if answer.peak is not None:
        value = ratio(next(iter(answer.peak.by_window.values())))
        click.echo(f"  The peak: {_setting(answer.peak.setting)} with {answer.metric} {value}, the best of {answer.tried:,} tries.")
    if answer.luck is not None:
        click.echo(f"  {answer.tried:,} independent tries that spread like these would reach {ratio(answer.luck)} by luck alone.")
    else:
        click.echo(f"  {answer.no_luck[:1].upper()}{answer.no_luck[1:]}.")
    _show_reasons("Without a score", answer.unscored)
    _show_reasons("Refused", answer.refused)
    click.echo(f"\n{_counts(answer)}")
    click.echo(f"sweep   {answer.sweep_id}\nreport  {answer.report}\npoints  {answer.results}")


def _show_reasons(what: str, reasons: dict[str, int]) -> None:
    """How many settings, and why; the most frequent reasons."""
    if not reasons:
        return
    click.echo(f"{what}: {sum(reasons.values()):,} settings")
    for reason, count in list(reasons.items())[:REASONS]:
        click.echo(f"  {count:,}  {reason}")
    if len(reasons) > REASONS:
        click.echo(f"  ... and {len(reasons) - REASONS:,} more reasons in the report")


def _counts(answer: SweepResponse) -> str:
    rate = answer.computed / answer.seconds if answer.seconds else 0.0
    kept = answer.points - answer.computed
    words = [
        f"{answer.done:,} settings done ({sum(answer.unscored.values()):,} without a score)",
        f"{answer.failed:,} failed",
        f"{answer.invalid:,} refused as invalid",
    ]
    again = f", {kept:,} runs were there already" if kept > 0 else ""
    return f"{', '.join(words)}; {answer.computed:,} runs in {answer.seconds:,.1f} s ({rate:,.1f} per s, {answer.engine or 'none'}){again}"


def _setting(setting: dict[str, object]) -> str:
    return ", ".join(f"{key.removeprefix('params.')} {value}" for key, value in setting.items())


def _show_table(answer: SweepResponse) -> None:
    keys = list(answer.entries[0].setting)
    listed = answer.entries[:ROWS]
    troubled = [entry for entry in answer.entries[ROWS:] if entry.status != "done"]
    heads = [*(key.removeprefix("params.") for key in keys), *(f"{answer.metric} {name}" for name in answer.windows)]
    heads += ["robust", "worst near", "return", "drawdown", "trades", ""]
    rows = []
    for entry in [*listed, *troubled[:3]]:
        beside = entry.beside
        total = beside["total_return"]
        trouble = f"no score: {entry.no_score}" if entry.no_score else ""
        mark = "region" if entry.in_region else trouble if entry.status == "done" else f"{entry.status}: {entry.reason}"
        rows.append(
            [
                *(str(entry.setting[key]) for key in keys),
                *(ratio(value) for value in entry.by_window.values()),
                ratio(entry.robust),
                ratio(entry.worst),
                percent(None if total is None else 100 * total, 1),
                percent(beside["max_drawdown_pct"], 1),
                ratio(beside["total_trades"], 0),
                mark,
            ]
        )
    click.echo()
    table(heads, rows, right=range(len(heads) - 1))
    if len(answer.entries) > len(rows):
        click.echo(f"... {len(answer.entries) - len(rows):,} more in the report")


def _show_map(answer: SweepResponse) -> None:
    """The map, the larger values of y on top; a star marks the robust region."""
    heat = answer.heat
    assert heat is not None
    fixed = f", cut at {_setting(heat.fixed)}" if heat.fixed else ""
    click.echo(f"\n{answer.metric} in {next(iter(answer.windows))}{fixed}{'; * is the robust region' if answer.region is not None else ''}")
    known = sorted(value for row in heat.values for value in row if value is not None)
    wide = len(heat.x_labels) > WIDEST
    width = 2 if wide else max(7, *(len(label) + 1 for label in heat.x_labels))
    margin = max(len(heat.y), *(len(label) for label in heat.y_labels))
    for y in reversed(range(len(heat.y_labels))):
        cells = [
            _cell(value, inside, known, answer.lower_is_better, width) for value, inside in zip(heat.values[y], heat.region[y], strict=True)
        ]
        click.echo(f"{heat.y_labels[y]:>{margin}} {''.join(cells)}")
    if wide:
        click.echo(f"{heat.y:>{margin}} {heat.x}: {heat.x_labels[0]} to {heat.x_labels[-1]}; the denser the better")
    else:
        click.echo(f"{heat.y:>{margin}} {''.join(f'{label:>{width}}' for label in heat.x_labels)}  {heat.x}")


def _cell(value: float | None, inside: bool, known: Sequence[float], lower: bool, width: int) -> str:
    if value is None:
        return f"{'–':>{width}}"
    share = sum(other < value for other in known) / max(1, len(known) - 1)
    place = 1.0 - share if lower else share
    shade = SHADES[min(4, int(place * 5))]
    text = f"{shade}{'*' if inside else shade}" if width == 2 else f"{value:>{width - 1}.2f}{'*' if inside else ' '}"
    if not sys.stdout.isatty():
        return text
    return click.style(text, fg=_COLORS[min(4, int(place * 5))], bold=inside)
