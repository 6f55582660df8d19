"""Integers of money: the only place where money is multiplied.

Cash, cost, notional, fees, funding and PnL are integers of 1e-8 of their coin. Rates (fees, funding, basis points, leverage) are
integers of 1e-8 too, converted once from decimal text. A product is divided exactly, in a direction that the name says: Python's integers
do not overflow, so that one multiplication and one floor division are the whole of it. What compiles this code has to bring its own exact
form for 64 bits; every result must stay within 2**62, which the bounds below see to.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from keel.core.errors import ConfigError, InvariantError

UNIT = 10**8
"""One whole coin (or a rate of 1) in integer units."""

LIMIT = 4 * 10**17
"""Bound of every |cash|, |cost| and |notional|: 4 billion USDT."""

BPS = 10**4
"""One basis point as a rate."""


def mul_div_floor(a: int, b: int, c: int) -> int:
    """a * b / c, rounded down (towards minus infinity); exact.  c > 0."""
    return a * b // c


def mul_div_ceil(a: int, b: int, c: int) -> int:
    """a * b / c, rounded up (towards plus infinity); exact.  c > 0."""
    return -(-a * b // c)


def fee_on(amount: int, rate: int) -> int:
    """The fee on an amount at a rate, in the amount's unit: rounded up against the trader. A negative one is a rebate."""
    return mul_div_ceil(amount, rate, UNIT)


def check_bound(value: int, what: str) -> int:
    """The value itself, when it is within ``LIMIT``; an ``InvariantError`` that names it otherwise."""
    if not -LIMIT < value < LIMIT:
        raise InvariantError(f"{what} of {to_text(value)} is beyond the ledger's bound of {to_text(LIMIT)}")
    return value


def to_units(value: str | float | int | Decimal) -> int:
    """A decimal amount or rate as an integer of 1e-8, rounded half-even once.

    A float is read by its shortest text (0.00055 is 55000, not 54999). Raises ConfigError for what is not a finite number.
    """
    try:
        number = Decimal(value) if isinstance(value, (str, int, Decimal)) else Decimal(repr(float(value)))
        return int((number * UNIT).to_integral_value(ROUND_HALF_EVEN))
    except (InvalidOperation, ValueError, OverflowError, TypeError) as error:
        raise ConfigError(f"{value!r} is not a decimal number") from error


def to_text(units: int) -> str:
    """An integer of 1e-8 as plain decimal text without trailing zeros: 5250000000 is "52.5"."""
    if units < 0:
        return "-" + to_text(-units)
    whole, rest = divmod(units, UNIT)
    return f"{whole}.{rest:08d}".rstrip("0") if rest else str(whole)


def to_float(units: int) -> float:
    """An integer of 1e-8 as a float of whole coins, for display and statistics."""
    return units / UNIT
