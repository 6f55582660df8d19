"""What a reason of the funnel means, what its numbers are, and what to look at: a sentence each, for warnings, terminal and report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from keel.core.model.time_range import to_iso
from keel.core.results.funnel import BY_SIZER, Counted, Funnel, total
from keel.core.risk.decision import RENAMED, ControlReason, Reason


class Meaning(NamedTuple):
    """words: what was wrong.  advice: what to look at.  example: a worked example, of ``{value}`` and ``{limit}``; empty: no numbers."""

    words: str
    advice: str
    example: str = ""


_SIZE: Final = "raise the size (sizing, or the signal's size_usd) or initial_equity, or trade an instrument of smaller steps"

DENIALS: Final[dict[Reason, Meaning]] = {
    "trading_reducing": Meaning("only reductions may go: trading was halted from outside", "see what halted it before it is resumed"),
    "daily_loss_percent": Meaning(
        "the day's loss limit had broken",
        "look at risk.daily_loss_percent and at the size of one position",
        "{value} % lost, the limit is {limit} %",
    ),
    "max_drawdown_percent": Meaning(
        "the drawdown limit had broken, which ends trading for good",
        "look at risk.max_drawdown_percent and at the size of one position",
        "{value} % lost, the limit is {limit} %",
    ),
    "short_not_allowed": Meaning("spot knows no short sale", "use FLAT to sell what is held, or category: linear to trade the perpetual"),
    "cooldown_bars": Meaning(
        "the symbol had been left too few bars before", "look at risk.cooldown_bars", "{value} bars after the exit, {limit} are wanted"
    ),
    "max_orders_per_minute": Meaning(
        "too many orders in one minute", "look at risk.max_orders_per_minute", "{value} orders in the minute, {limit} are allowed"
    ),
    "price_collar_percent": Meaning(
        "the limit price was too far from the mark",
        "look at limit_price in the strategy, and at risk.price_collar_percent",
        "{value} % away, {limit} % are allowed",
    ),
    "max_open_positions": Meaning(
        "as many symbols as allowed were held already",
        "look at risk.max_open_positions",
        "{value} other positions, {limit} are allowed in all",
    ),
    "max_position_usd": Meaning(
        "the limit of one position leaves no tradable size",
        "raise risk.max_position_usd above the exchange's smallest order",
        "{value}, the limit is {limit}",
    ),
    "max_gross_usd": Meaning(
        "the limit of all positions together leaves no tradable size",
        "raise risk.max_gross_usd, or make each position smaller (sizing)",
        "{value} left, the limit is {limit}",
    ),
    "leverage": Meaning(
        "the account cannot pay the margin of a tradable size",
        "look at initial_equity, risk.leverage and risk.margin_reserve_percent, and at what other positions bind",
        "{value} of room at a leverage of {limit}",
    ),
    "max_qty": Meaning("the exchange's largest order is below its smallest", "look at the instrument: its max_qty is {limit}"),
    "below_min_qty": Meaning(
        "the size is less than the exchange's smallest quantity", _SIZE, "{value} after rounding down, the smallest is {limit}"
    ),
    "below_min_notional": Meaning("the order is worth less than the exchange takes", _SIZE, "worth {value}, at least {limit} is needed"),
    "no_equity": Meaning("there was nothing to trade with", "look at initial_equity and sizing: the size came out as 0 or less"),
    "no_price": Meaning("there was no price for the symbol yet", "begin the window where its bars begin"),
    "unknown_symbol": Meaning("the system does not trade the symbol", "add it to symbols in the system file"),
    "left_out": Meaning(
        "the symbol is left out of this session (it does not trade, or --without names it), and what is held of it is not touched",
        "start without --without once it trades, or take it out of the strategy",
    ),
    "stop_distance_unknown": Meaning(
        "the sizer had no distance to a stop-loss",
        "give the signal a stop_loss, or set exits.stop_loss or sizing.stop_atr; after the start an ATR needs warmup_bars",
    ),
    "exit_distance_unknown": Meaning("the ATR of an exit was not known yet", "raise warmup_bars above exits' period"),
    "volatility_unknown": Meaning(
        "the volatility that the sizer divides by was 0 or not known yet", "raise warmup_bars above sizing.lookback_bars"
    ),
    "limit_price_missing": Meaning("a limit order came without a limit_price", "give the signal a limit_price, or order_type market"),
    "invalid_size": Meaning("size_usd was negative", "give a size_usd of 0 (the sizer decides) or more", "{value}"),
    "invalid_stop_loss": Meaning(
        "the stop-loss lay on the wrong side of the entry price",
        "a LONG needs its stop_loss below the price, a SHORT above it",
        "stop-loss {value}, entry {limit}",
    ),
    "invalid_take_profit": Meaning(
        "the take-profit lay on the wrong side of the entry price",
        "a LONG needs its take_profit above the price, a SHORT below it",
        "take-profit {value}, entry {limit}",
    ),
    "invalid_trailing": Meaning(
        "the trailing distance was not positive, or its activation price not",
        "look at the signal's trailing and at exits.trailing",
        "{value}",
    ),
    "position_manager": Meaning("the position manager left the order out", "look at filter_orders of the position manager"),
    "max_daily_volatility": Meaning(
        "the position manager holds nothing that is so volatile",
        "look at max_daily_volatility of the PositionManager",
        "{value} per day, the limit is {limit}",
    ),
    "beyond_cash": Meaning(
        "all orders of the step together were worth more than the cash",
        "give orders smaller values, or look at budget_percent of the PositionManager",
        "{value} wanted, {limit} in cash",
    ),
}
"""Why risk said no."""

CONTROLS: Final[dict[ControlReason, Meaning]] = {
    "trading_halted": Meaning("nothing but cancels may leave", "keel session status says which cause of the gate stands, and what ends it"),
    "not_armed": Meaning("the live session was not armed", "arm it: keel live SYSTEM --arm"),
    "symbol_not_allowed": Meaning("the system does not trade the symbol", "add it to symbols in the system file"),
    "symbol_frozen": Meaning("a cause of the gate stood for the symbol", "keel session status says which, and what ends it"),
    "qty_off_grid": Meaning("the quantity is no whole number of the instrument's steps", "report it: risk rounds every order"),
    "price_off_grid": Meaning("a price is no whole number of the instrument's ticks", "report it: risk rounds every order"),
    "price_stale": Meaning(
        "the symbol's latest price was too old",
        "look at the network, and whether the symbol trades",
        "{value} ms old, at most {limit}",
    ),
    "max_order_usd": Meaning(
        "one order was worth more than allowed",
        "look at risk.max_position_usd (twice of it, and a tenth) and, live, at max_order_usd under live:",
        "worth {value}, the limit is {limit}",
    ),
    "max_open_orders_per_symbol": Meaning(
        "too many orders of the symbol rest", "let the strategy cancel what it does not need", "{value}, the limit is {limit}"
    ),
    "max_open_orders": Meaning("too many orders rest", "let the strategy cancel what it does not need", "{value}, the limit is {limit}"),
    "max_net_usd": Meaning(
        "in the worst case all positions together lean too far to one side",
        "look at risk.max_gross_usd (a tenth more is let through) and, live, at max_net_usd under live:",
        "{value}, the limit is {limit}",
    ),
    "max_leverage": Meaning(
        "in the worst case the exposure is too much for the equity",
        "look at risk.leverage (a twentieth more is let through) and, live, at max_leverage under live:",
        "{value} of the equity, the limit is {limit}",
    ),
    "margin_headroom": Meaning(
        "in the worst case the equity does not pay the margin and this order's fee", "lower sizing", "{value} needed, {limit} is there"
    ),
    "reduce_only_increases": Meaning(
        "an order that only reduces had less to reduce", "an exit had closed the position before", "{value} ordered, {limit} held"
    ),
    "duplicate_order": Meaning(
        "the same order had left a moment before",
        "look at the strategy: it asks for it twice",
        "{value} ms before",
    ),
    "max_orders_per_symbol_per_minute": Meaning(
        "too many orders of the symbol in one minute",
        "let the strategy ask less often",
        "{value} orders in the minute, {limit} are allowed",
    ),
    "cancel_ratio": Meaning(
        "too many cancels for each order", "look why so much is cancelled, then: keel session release SYSTEM --cause cancel_ratio"
    ),
    "reject_breaker": Meaning(
        "the exchange had rejected too many orders of the symbol in a row", "look at the rejections; after ten minutes it goes on"
    ),
    "repeated_execution": Meaning(
        "too many orders to one side of a symbol in one minute",
        "look at the strategy, then: keel session release SYSTEM --cause repeated_execution",
        "{value} orders in the minute, {limit} are allowed",
    ),
    "self_trade": Meaning("it would have met an order of our own that rests", "cancel that one first", "at {limit}, ours rests at {value}"),
    "dry_run": Meaning("nothing is sent in a dry run", "leave --dry out to trade"),
    "replaced_rests": Meaning("an order that it replaces had not ended in time", "nothing, once; often: look at the network"),
}
"""Why a session's controls said no, beside the reasons that they share with risk."""

VENUE: Final[dict[str, Meaning]] = {
    "110007": Meaning(
        "the free balance does not pay the order's margin and fees",
        "lower sizing or raise risk.margin_reserve_percent: fees, slippage and a gap at the open come on top of the margin",
    ),
    "110090": Meaning("the position would be beyond its risk tier at this leverage", "lower sizing or risk.leverage"),
    "110011": Meaning("the position would be liquidated at once", "lower sizing or risk.leverage"),
    "110017": Meaning(
        "there was nothing left to reduce", "an exit had closed the position before: nothing is lost, unless it is most of the orders"
    ),
    "110094": Meaning("the order is worth less than the exchange takes", _SIZE),
    "170140": Meaning("the order is worth less than the exchange takes", _SIZE),
    "170131": Meaning("the balance does not pay the order", "lower sizing: fees and a gap at the open come on top"),
    "10001 StopLoss": Meaning(
        "the price had passed the stop-loss before the order arrived", "widen the stop: a gap at the open is larger than its distance"
    ),
    "10001 TakeProfit": Meaning(
        "the price had passed the take-profit before the order arrived", "widen the target: a gap at the open is larger than its distance"
    ),
    "10001 The number of contracts exceeds minimum": Meaning("the quantity is below the exchange's smallest", _SIZE),
    "170136": Meaning("the quantity is below the exchange's smallest", _SIZE),
    "10001 The number of contracts exceeds maximum": Meaning("the quantity is above the exchange's largest", "lower sizing"),
    "170135": Meaning("the quantity is above the exchange's largest", "lower sizing"),
    "170193": Meaning("the limit price was outside the exchange's price band", "put limit_price nearer to the price"),
    "170194": Meaning("the limit price was outside the exchange's price band", "put limit_price nearer to the price"),
    "EC_PostOnlyWillTakeLiquidity": Meaning("a post-only order would have taken at once", "put its price further from the market"),
    "EC_NoImmediateQtyToFill": Meaning("an IOC order met nothing to fill with", "put its price through the market, or use GTC"),
    "EC_CancelForNoFullFill": Meaning("a FOK order could not be filled whole", "make it smaller, or use IOC or GTC"),
    "CancelByUser": Meaning(
        "limit orders were cancelled before the price came to them",
        "put limit_price nearer to the price, or send another signal less often: each replaces the order that waits",
    ),
    "denied": Meaning("the session's own controls held the order back", "see docs/gate.md"),
}
"""Why a venue rejected, let expire or cancelled an order, by how its words begin."""

CAPS: Final[dict[str, Meaning]] = {
    BY_SIZER: Meaning(
        "size_usd was more than the sizer gives, and only makes its answer smaller",
        "raise sizing in the system file (percent, usd or qty) to what signals may ask for",
    ),
}
"""What made a size smaller beside the limits, which are named as where they deny."""

TOO_SMALL: Final = ("below_min_qty", "below_min_notional", "110094", "170140", "170136", "10001 The number of contracts exceeds minimum")
"""Beginnings of the reasons that say that an order is smaller than the exchange takes."""

_OWN: Final = {str(name): meaning for name, meaning in (*DENIALS.items(), *CONTROLS.items())}
_UNKNOWN: Final = Meaning("", "order_log in result.json has the exchange's own words for each order")


def meaning_of(reason: str) -> Meaning:
    """What a reason means, of risk, of the controls (``denied: CODE ...``) or of a venue; words are empty for one that is not known."""
    code = reason.removeprefix("denied: ").partition(" ")[0]
    own = _OWN.get(RENAMED.get(code, code))
    if own is not None:
        return own
    return next((meaning for head, meaning in (*DENIALS.items(), *VENUE.items(), *CAPS.items()) if reason.startswith(head)), _UNKNOWN)


def example_of(counted: Counted) -> str:
    """The numbers of the first time in words; empty where there are none."""
    if counted.detail:
        return counted.detail
    example = _ASKED if counted.reason in IGNORED and counted.reason not in USUAL else meaning_of(counted.reason).example
    return example.format(value=f"{counted.value:,.10g}", limit=f"{counted.limit:,.10g}")


_ASKED: Final = "{value} was asked for, {limit} when the position was opened"


NOT_ACTED_ON: Final = (
    "a position keeps the size and the exits with which it was opened: the signal's trailing or exits.trailing moves a stop,"
    " FLAT and then the direction again makes another size"
)
"""What to look at where signals asked for more than their direction, and it was not done."""

IGNORED: Final[dict[str, str]] = {
    "held_already": "the position had this direction already",
    "other_size": "another size for a position that is held already",
    "other_exits": "another stop-loss, take-profit or trailing stop for a position that is held already",
    "other_size_and_exits": "another size and other exits for a position that is held already",
    "flat_already": "FLAT, and nothing was held",
}
"""Why a signal changed nothing."""


def funnel_lines(funnel: Funnel) -> list[tuple[str, str]]:
    """The funnel as names and texts: three lines, and one more for each reason that is worth a look."""
    signals = [
        ("ordered", funnel.ordered),
        ("withdrawn", funnel.withdrawn),
        ("ignored", total(funnel.ignored)),
        ("denied", total(funnel.denied)),
    ]
    ends = [
        ("filled", funnel.filled), ("rejected", total(funnel.rejected)), ("expired", total(funnel.expired)),
        ("cancelled", total(funnel.cancelled)), ("still open", funnel.resting),
    ]  # fmt: skip
    own, brackets = funnel.orders_sent, funnel.orders - funnel.orders_sent
    made = f" ({own:,} sent, {brackets:,} exits of the exchange)" if brackets else ""
    trips = f"{funnel.trades:,} closed round trip{'' if funnel.trades == 1 else 's'}" + (
        f", {len(funnel.open):,} open" if funnel.open else ""
    )
    taken = f", {funnel.takeovers:,} of them by liquidation" if funnel.takeovers else ""
    return [
        ("signals", f"{funnel.signals:,}{_parts(signals)}"),
        *_reasons("ignored", (each for each in funnel.ignored if each.reason not in USUAL)),
        *_reasons("denied", funnel.denied),
        *_reasons("capped", funnel.capped),
        ("orders", f"{funnel.orders:,}{made}{_parts(ends)}"),
        *_reasons("rejected", funnel.rejected),
        *_reasons("expired", funnel.expired),
        *_reasons("exit refused", funnel.exits_refused),
        ("fills", f"{funnel.fills:,}{taken}: {trips}"),
    ]


USUAL: Final = ("held_already", "flat_already")
"""Reasons for ignoring a signal that cost nobody anything: it asked for nothing new."""


def told(counted: Counted) -> str:
    """A reason with what it means, and the first time with its numbers."""
    words = IGNORED.get(counted.reason) or meaning_of(counted.reason).words
    example = example_of(counted)
    closed = f"; {counted.closed:,} of them closed what was held" if counted.closed else ""
    first = f"first {counted.symbol} {when(counted.ts)}{f' ({example})' if example else ''}" if counted.ts else ""
    return "; ".join(filter(None, (f"{counted.reason}: {words}" if words else counted.reason, first))) + closed


def when(ts: int) -> str:
    """2024-03-05 12:00 UTC; seconds only where there are any."""
    text = to_iso(ts).removesuffix("Z").replace("T", " ")
    return f"{text.removesuffix(':00')} UTC"


def _reasons(what: str, counted: Iterable[Counted]) -> list[tuple[str, str]]:
    ordered = sorted(counted, key=lambda each: -each.count)
    return [(f"  {what}", f"{each.count:,} {told(each)}") for each in ordered]


def _parts(numbers: Sequence[tuple[str, int]]) -> str:
    """: 12 filled, 3 cancelled"""
    shown = ", ".join(f"{number:,} {name}" for name, number in numbers if number)
    return f": {shown}" if shown else ""
