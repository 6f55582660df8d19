"""What a case is, and the one table of what differs between clients.

A case is a market, an account and a script of acts, questions and expectations (``Then``). Every constant in the tables was worked out by
hand from the rules at the top of ``market``: nothing of ours computes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from tests.conformance.market import Market
from tests.conformance.words import Account, Act, Expected, Place, Question, Seen

DIFFERENCES: Final[dict[str, str]] = {
    "names are counted": (
        "An executor counts its orders' names and gives none twice, so that no actor can say this. That a repeated create does nothing "
        "more is the adapter's business (tests/adapters/bybit/test_venue_outcomes.py)."
    ),
    "an order carries no trailing stop": (
        "Bybit's create has no field for it: pybit's user sets it on the position (its own case). The adapter does so by itself after the "
        "fill, one request later than the exchange in this process, which begins to trail at the fill: other prices are its first."
    ),
    "a stop-limit is new again": (
        "When a stop-limit fires and rests, Bybit says Triggered and then New, as of any order in the book; the exchange in this process "
        "says triggered, and then what becomes of it."
    ),
    "history is its own": (
        "The exchange in this process has no lists to be asked: a backtest's bars and rates are the store's, its orders the actors'."
    ),
    "a late no has no word": (
        "In lock-step the sandbox refuses at once what the request alone shows; what only the next bar can know is a Rejected order, "
        "and Bybit's enum of reasons has EC_Others for it. The meaning in the tables is then the exchange's own, out of its truth."
    ),
    "a sweep ends with the next bar": (
        "The adapter asks to cancel everything and looks until nothing rests, which in lock-step is after the next bar: its client waits "
        "for the request's arrival, not for its end, before that bar."
    ),
    "exits are refused in silence": (
        "In lock-step the sandbox says yes to exits at once and looks at them with the next bar's prices; Bybit's streams have no message "
        "for a no that late. Neither client is told, and no exits are set."
    ),
}
"""Key -> why a client honestly cannot, or sees other numbers. A test holds that each is used, and that nothing else is."""

IN_CLIENTS: Final = ("a late no has no word", "a sweep ends with the next bar")
"""Those that the sandbox's clients deal with themselves (``sandboxed.why``, ``adapter``), so that tables need not speak of them."""


class Then:
    """What is seen now: some fields of ``Seen``. ``but`` says what a kind of client sees instead, and by which difference."""

    def __init__(self, **expected: object) -> None:
        unknown = set(expected) - {one.name for one in fields(Seen)}
        assert not unknown, f"nothing is seen of {unknown}"
        self.expected: Expected = expected
        self.others: dict[str, tuple[str, Expected]] = {}

    def but(self, *kinds: str, because: str, **expected: object) -> Then:
        """Other values for some kinds of client (pybit, adapter, exchange)."""
        self.others |= dict.fromkeys(kinds, (because, expected))
        return self

    def of(self, kind: str) -> Expected:
        """What this kind of client is to see."""
        return {**self.expected, **self.others.get(kind, ("", {}))[1]}


@dataclass(frozen=True)
class Ask:
    """A question, and its answer."""

    question: Question
    answer: Sequence[str]


@dataclass(frozen=True)
class Case:
    """``cannot``: kind of client -> the difference for which it does not take part."""

    name: str
    market: Market
    script: Sequence[Act | Then | Ask]
    account: Account = field(default_factory=Account)
    cannot: Mapping[str, str] = field(default_factory=dict)


# --- what many cases share ---------------------------------------------------------------------------------------------

FLAT_90: Final = Market((90.0,) * 6)
FLAT_100: Final = Market((100.0,) * 6)
UP_TO_95: Final = Market((90.0, 90.0, 95.0, 95.0, 95.0))
UNTOUCHED: Final = {"fills": [], "position": "0", "balance": "100000"}
SMALL: Final = Account(usdt="1000")

BOUGHT: Final = "a BUY 2 @ 90.01 taker fee 0.099011"
"""2 x 90.01 = 180.02; x 0.00055 = 0.099011."""
BUY: Final = Place("a", "BUY", "2.0")
