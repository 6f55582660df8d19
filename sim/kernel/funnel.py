"""The funnel of a run of the kernel (core/results/funnel.py): counts, without examples."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from keel.core.results.funnel import BRACKET, Funnel, counted_only
from keel.sim.exchange import order_validation
from keel.sim.kernel import layout as at

WORDS: Final = (
    "", order_validation.NOT_ENOUGH_MARGIN, order_validation.EXCEEDS_TIER, order_validation.WOULD_LIQUIDATE, "110094", "10001 StopLoss",
    "10001 TakeProfit", order_validation.REDUCE_ONLY_FLAT, order_validation.QTY_TOO_SMALL[False], order_validation.QTY_TOO_LARGE[False],
    order_validation.BEFORE_LIQUIDATION, order_validation.BY_CLEAR, order_validation.TP_BY_SL, order_validation.SL_BY_TP,
)  # fmt: skip
"""How the venue's reason for an end begins, by the kernel's word for it."""

_CAPS: Final = at.DENIALS[at.DENY_LEVERAGE : at.DENY_MAX_QTY + 1]
_EXITS: Final = ("stop_loss", "take_profit", "trailing")
_CANCELLATIONS: Final = range(at.WORD_BEFORE_LIQUIDATION, len(WORDS))


def word_of(reason: str) -> str:
    """The kernel's word for a reason of the venue, which may go on with numbers; the reason itself where it has none."""
    return next((word for word in WORDS[1:] if reason.startswith(word)), reason)


def funnel_of(denials: Any, state: Any) -> Funnel:
    """What became of the signals and orders of a finished run."""
    ends = {word: int(state[at.ENDS + number]) for number, word in enumerate(WORDS)}
    origins: Counter[str] = Counter()
    for number, reason in enumerate(at.ORDER_REASONS):
        origins[BRACKET if reason in _EXITS else reason] += int(state[at.ORIGINS + number])
    orders = int(state[at.ORDERS])
    return Funnel(
        signals=int(state[at.SIGNALS]),
        ordered=int(state[at.ORDERED]),
        ignored=counted_only({"held_already": int(state[at.HELD_ALREADY]), "flat_already": int(state[at.FLAT_ALREADY])}),
        denied=counted_only({reason: int(denials[number]) for number, reason in enumerate(at.DENIALS)}),
        capped=counted_only({reason: int(state[at.CAPPED + number]) for number, reason in enumerate(_CAPS)}),
        orders=orders,
        origins={reason: number for reason, number in origins.items() if number},
        filled=ends[""],
        rejected=counted_only({word: ends[word] for number, word in enumerate(WORDS) if number and number not in _CANCELLATIONS}),
        cancelled=counted_only({WORDS[number]: ends[WORDS[number]] for number in _CANCELLATIONS}),
        resting=orders - sum(ends.values()),
        fills=int(state[at.FILLS]),
        takeovers=int(state[at.LIQUIDATIONS]),
        trades=int(state[at.TRADES]),
    )
