"""What must be known of a run before a figure of it is read: one list of sentences, for the terminal, the files and the report.

Each is "what: how", the worst first. Only what a reader would otherwise miss stands here; all that the numbers rest on is in ``trust``.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Final

from keel.adapters.store.gaps import bar_gaps
from keel.core.actors.order_log import Kind
from keel.core.model.frame import Frame
from keel.core.model.messages import Halt, Resume
from keel.core.model.money import to_float
from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import floor_ts, tf_ms
from keel.core.results.funnel import Counted, Funnel, total, why_no_trades
from keel.core.results.reasons import TOO_SMALL, example_of, meaning_of, when
from keel.core.results.result import BacktestResult

MANY_AMBIGUOUS: Final = 0.1
"""From one ambiguous bar for every ten closed trades on, the path inside the bars may be what made the result."""

MANY_REFUSED: Final = 0.2
"""From more than this share of signals denied, or of orders rejected, on, what traded is not what was meant."""

Denials = Mapping[tuple[Kind, str], int]
"""How many signals and orders were denied, by (kind, reason)."""


def run_warnings(result: BacktestResult, halts: Sequence[Halt | Resume], denials: Denials, *, quote: str) -> list[str]:
    """Everything about a finished run that must not be overlooked. halts: closings and openings of the gate, in order."""
    return [
        *_stop(result),
        *_liquidations(result, quote),
        *_limits(result, halts, denials),
        *_funnel(result, halts),
        *_missing_bars(result),
        *_completed(result),
        *_doubts(result),
        *_ambiguous(result),
        *_off_grid(result),
    ]


def _stop(result: BacktestResult) -> Iterator[str]:
    stop = result.stop_reason
    if stop is not None:
        rest = f"the window goes on to {when(result.window.end_ms)}"
        yield f"stopped early: {stop.code.replace('_', ' ')} at {when(stop.ts)}, {rest}; {stop.detail}"


def _liquidations(result: BacktestResult, quote: str) -> Iterator[str]:
    events = result.liquidations
    if not events:
        return
    lost = to_float(sum(event.loss for event in events))
    first = events[0]
    some = f"1 position ({first.symbol}) was taken over by the exchange"
    if len(events) > 1:
        some = f"{len(events):,} positions were taken over by the exchange, the first ({first.symbol})"
    yield f"liquidated: {some} at {when(first.ts)}; {lost:,.2f} {quote} of margin was lost"


def _limits(result: BacktestResult, halts: Sequence[Halt | Resume], denials: Denials) -> Iterator[str]:
    """One sentence for each limit that broke, and for each other reason for which trading was halted."""
    broken = [halt for halt in halts if isinstance(halt, Halt)]
    for reason in dict.fromkeys(halt.reason for halt in broken):
        own = [halt for halt in broken if halt.reason == reason]
        size = getattr(result.system.risk, reason, None)
        limit = f"{reason} ({size:g} %)" if isinstance(size, float | int) else reason
        times = "" if len(own) == 1 else f"{len(own):,} times, first "
        done = "positions were closed (flatten)" if own[0].flatten else "positions were kept (hold)"
        yield f"limit broke: the limit {limit} {times}at {when(own[0].ts)}: {done}; {_denied(result, own, halts, denials)}"


def _denied(result: BacktestResult, own: Sequence[Halt], halts: Sequence[Halt | Resume], denials: Denials) -> str:
    """How many signals a halt cost, and until when: the resume after its last, else the end of the run."""
    reason = own[-1].reason
    count = denials.get(("signal_denied", reason), 0)
    end = result.stop_reason.ts if result.stop_reason is not None else result.window.end_ms
    until = next((event.ts for event in halts if isinstance(event, Resume) and event.reason == reason and event.ts > own[-1].ts), end)
    last = ", the last time" if len(own) > 1 else ""
    signals = f"{count:,} signal{'' if count == 1 else 's'} {'was' if count == 1 else 'were'} denied after it"
    return f"{signals}{last} until {when(until)}" + (", the end of the run" if until == end else "")


def _funnel(result: BacktestResult, halts: Sequence[Halt | Resume]) -> Iterator[str]:
    """That nothing traded, and why; else what refused a large share. Signals that a broken limit denied are told with the limit."""
    if not (result.fills or result.trades or result.funnel.fills):
        yield nothing_traded(result)
    else:
        yield from many_refused(result.funnel, {halt.reason for halt in halts}, _inferred(result))


def nothing_traded(result: BacktestResult) -> str:
    """Why no order was filled, with what came of most signals or orders as the example."""
    funnel = result.funnel
    ends = [*funnel.denied, *funnel.rejected, *funnel.expired, *funnel.cancelled]
    if not funnel.signals or not ends:
        decisions = sum(len(bars) for bars in result.bars.values())
        rest = f" in {decisions:,} bars" if decisions and not funnel.signals else ""
        advice = "look at the strategy's conditions and parameters, and whether its features have values in this window"
        if funnel.resting:
            advice = "the price did not come to them: put limit_price nearer to it, or use order_type market"
        return f"nothing traded: {why_no_trades(funnel)}{rest}; {advice}"
    return f"nothing traded: {why_no_trades(funnel)}; {explained(max(ends, key=lambda each: each.count), _inferred(result))}"


def many_refused(funnel: Funnel, told: Container[str] = (), inferred: Container[str] = ()) -> Iterator[str]:
    """A sentence where more than MANY_REFUSED of the signals that asked for something were denied, and one where so many orders were
    rejected. told: reasons that are told elsewhere.  inferred: symbols whose instrument is a guess."""
    denied = [each for each in funnel.denied if each.reason not in told]
    for what, counted, of, noun in (
        ("denied", denied, funnel.wishes, "signals"),
        ("rejected", funnel.rejected, funnel.orders_sent, "orders"),
    ):
        number = total(counted)
        if number > MANY_REFUSED * of:
            most = max(counted, key=lambda each: each.count)
            reasons = f"all {most.reason}" if len(counted) == 1 else f"{most.count:,} of them {most.reason}"
            yield f"{what}: {number:,} of {of:,} {noun} ({100 * number / of:.1f} %), {reasons}; {explained(most, inferred)}"


def explained(counted: Counted, inferred: Container[str] = ()) -> str:
    """What a reason means, the first time with its numbers, and what to look at."""
    meaning, example = meaning_of(counted.reason), example_of(counted)
    first = f"the first for {counted.symbol} at {when(counted.ts)}{f': {example}' if example else ''}" if counted.ts else ""
    guess = counted.reason.startswith(TOO_SMALL) and counted.symbol in inferred
    return "; ".join(filter(None, (meaning.words, first, INFERRED if guess else "", meaning.advice)))


INFERRED: Final = (
    "steps and minimums of this instrument are inferred from the history's own numbers: if they are wrong,"
    " keel data import-instruments FILE takes the exchange's"
)


def _inferred(result: BacktestResult) -> set[str]:
    symbols = result.trust.get("symbols") or {}
    return {symbol for symbol, facts in symbols.items() if facts.get("instrument") == "inferred"}


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
            f" the longest hole is from {when(longest.start)} to {when(longest.end)}"
        )
        yield from _early_end(symbol, bars, TimeRange(begin, end))


def _early_end(symbol: str, bars: Frame, span: TimeRange) -> Iterator[str]:
    last = int(bars.ts[-1]) + tf_ms(bars.timeframe)
    if last < span.end_ms:
        yield f"data end early: {symbol} {bars.timeframe} ends at {when(last)}, the window at {when(span.end_ms)}"


def _doubts(result: BacktestResult) -> Iterator[str]:
    """What is doubtful about an instrument that was read off the bars."""
    for symbol, facts in (result.trust.get("symbols") or {}).items():
        for said in facts.get("doubts") or ():
            yield f"instrument in doubt: {symbol}: {said}; import the exchange's answers (keel data import-instruments FILE)"


def _completed(result: BacktestResult) -> Iterator[str]:
    """Stored series that are stale or have holes, and that finer bars have completed."""
    for symbol, facts in (result.trust.get("symbols") or {}).items():
        for said in facts.get("completed") or ():
            yield f"bars built: {symbol}: {said}"


def _ambiguous(result: BacktestResult) -> Iterator[str]:
    count, trades = int(result.trust.get("ambiguous_bars") or 0), len(result.trades)
    if count and count >= MANY_AMBIGUOUS * trades:
        late = " (with latency_ms nearly every bar with an order counts, if only by a tick)" if result.system.execution.latency_ms else ""
        yield (
            f"ambiguous bars: in {count:,} bar{'' if count == 1 else 's'} the outcome hung on which price came first,"
            f" for {trades:,} closed trades{late};"
            " --bounds shows the other path, a finer execution_timeframe leaves less to guess"
        )


def _off_grid(result: BacktestResult) -> Iterator[str]:
    for symbol, facts in (result.trust.get("symbols") or {}).items():
        count, bars = int(facts.get("off_grid_prices") or 0), int(facts.get("bars") or 0)
        if count:
            yield f"prices off the grid: {count:,} of {bars:,} closes of {symbol} are not on its tick: is it the right instrument?"
