"""What must be known of a run before a figure of it is read: one list of sentences, for the terminal, the files and the report.

Each is "what: how", the worst first. Only what a reader would otherwise miss stands here; all that the numbers rest on is in ``trust``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from adapters.store.gaps import bar_gaps
from core.actors.order_log import Kind
from core.frame import Frame
from core.messages import Halt, Resume
from core.money import to_float
from core.result import BacktestResult
from core.time_range import TimeRange, to_iso
from core.timeframe import floor_ts, tf_ms

MANY_AMBIGUOUS: Final = 0.1
"""From one ambiguous bar for every ten closed trades on, the path inside the bars may be what made the result."""

Denials = Mapping[tuple[Kind, str], int]
"""How many signals and orders were denied, by (kind, reason)."""


def run_warnings(result: BacktestResult, halts: Sequence[Halt | Resume], denials: Denials, *, quote: str) -> list[str]:
    """Everything about a finished run that must not be overlooked. halts: closings and openings of the gate, in order."""
    return [
        *_stop(result),
        *_liquidations(result, quote),
        *_limits(result, halts, denials),
        *_missing_bars(result),
        *_completed(result),
        *_ambiguous(result),
        *_off_grid(result),
    ]


def _stop(result: BacktestResult) -> Iterator[str]:
    stop = result.stop_reason
    if stop is not None:
        rest = f"the window goes on to {_when(result.window.end_ms)}"
        yield f"stopped early: {stop.code.replace('_', ' ')} at {_when(stop.ts)}, {rest}; {stop.detail}"


def _liquidations(result: BacktestResult, quote: str) -> Iterator[str]:
    events = result.liquidations
    if not events:
        return
    lost = to_float(sum(event.loss for event in events))
    first = events[0]
    some = f"1 position ({first.symbol}) was taken over by the exchange"
    if len(events) > 1:
        some = f"{len(events):,} positions were taken over by the exchange, the first ({first.symbol})"
    yield f"liquidated: {some} at {_when(first.ts)}; {lost:,.2f} {quote} of margin was lost"


def _limits(result: BacktestResult, halts: Sequence[Halt | Resume], denials: Denials) -> Iterator[str]:
    """One sentence for each limit that broke, and for each other reason for which trading was halted."""
    broken = [halt for halt in halts if isinstance(halt, Halt)]
    for reason in dict.fromkeys(halt.reason for halt in broken):
        own = [halt for halt in broken if halt.reason == reason]
        size = getattr(result.system.risk, reason, None)
        limit = f"{reason} ({size:g} %)" if isinstance(size, float | int) else reason
        times = "" if len(own) == 1 else f"{len(own):,} times, first "
        done = "positions were closed (flatten)" if own[0].flatten else "positions were kept (hold)"
        yield f"limit broke: the limit {limit} {times}at {_when(own[0].ts)}: {done}; {_denied(result, own, halts, denials)}"


def _denied(result: BacktestResult, own: Sequence[Halt], halts: Sequence[Halt | Resume], denials: Denials) -> str:
    """How many signals a halt cost, and until when: the resume after its last, else the end of the run."""
    reason = own[-1].reason
    count = denials.get(("signal_denied", reason), 0)
    end = result.stop_reason.ts if result.stop_reason is not None else result.window.end_ms
    until = next((event.ts for event in halts if isinstance(event, Resume) and event.reason == reason and event.ts > own[-1].ts), end)
    last = ", the last time" if len(own) > 1 else ""
    signals = f"{count:,} signal{'' if count == 1 else 's'} {'was' if count == 1 else 'were'} denied after it"
    return f"{signals}{last} until {_when(until)}" + (", the end of the run" if until == end else "")


def _missing_bars(result: BacktestResult) -> Iterator[str]:
    """With ``gaps: skip``: what share of the window has no bars, where the longest hole is, and data that end too early."""
    for symbol, bars in result.bars.items():
        span, duration = result.window, tf_ms(bars.timeframe)
        begin, end = floor_ts(span.start_ms, bars.timeframe), floor_ts(span.end_ms, bars.timeframe)
        gaps = bar_gaps(bars.ts, bars.timeframe, begin, end) if len(bars) else []
        if not gaps:
            continue
        missing, wanted = sum(gap.missing for gap in gaps), (end - begin) // duration
        longest = max(gaps, key=lambda gap: gap.missing)
        yield (
            f"bars missing: {symbol} {bars.timeframe} lacks {missing:,} of {wanted:,} bars of the window ({100 * missing / wanted:.1f} %);"
            f" the longest hole is from {_when(longest.start)} to {_when(longest.end)}"
        )
        yield from _early_end(symbol, bars, TimeRange(begin, end))


def _early_end(symbol: str, bars: Frame, span: TimeRange) -> Iterator[str]:
    last = int(bars.ts[-1]) + tf_ms(bars.timeframe)
    if last < span.end_ms:
        yield f"data end early: {symbol} {bars.timeframe} ends at {_when(last)}, the window at {_when(span.end_ms)}"


def _completed(result: BacktestResult) -> Iterator[str]:
    """Stored series that are stale or have holes, and that finer bars have completed."""
    for symbol, facts in (result.trust.get("symbols") or {}).items():
        for said in facts.get("completed") or ():
            yield f"bars built: {symbol}: {said}"


def _ambiguous(result: BacktestResult) -> Iterator[str]:
    count, trades = int(result.trust.get("ambiguous_bars") or 0), len(result.trades)
    if count and count >= MANY_AMBIGUOUS * trades:
        yield (
            f"ambiguous bars: in {count:,} bar{'' if count == 1 else 's'} the outcome hung on which price came first,"
            f" for {trades:,} closed trades;"
            " --bounds shows the other path, a finer execution_timeframe leaves less to guess"
        )


def _off_grid(result: BacktestResult) -> Iterator[str]:
    for symbol, facts in (result.trust.get("symbols") or {}).items():
        count, bars = int(facts.get("off_grid_prices") or 0), int(facts.get("bars") or 0)
        if count:
            yield f"prices off the grid: {count:,} of {bars:,} closes of {symbol} are not on its tick: is it the right instrument?"


def _when(ts: int) -> str:
    """2024-03-05 12:00 UTC; seconds only where there are any."""
    text = to_iso(ts).removesuffix("Z").replace("T", " ")
    return f"{text.removesuffix(':00')} UTC"
