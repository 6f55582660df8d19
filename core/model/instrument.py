"""Instruments: the grid of prices and quantities, limits, fee rates and risk tiers.

A grid is an integer fraction num/den taken from decimal *text* (0.1 is 1/10, 5 is 5/1). A float on the grid recovers its count exactly,
``k = round(x * den / num)``, and goes back as ``k * num / den``; never ``k * tick``, which is the wrong double for a third of
the levels at tick 0.1.
"""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from functools import cache, cached_property
from typing import Final, Literal

import msgspec

from keel.core.errors import ConfigError
from keel.core.model.money import UNIT, mul_div_ceil, mul_div_floor, to_units
from keel.core.model.words import check_fields

Category = Literal["linear", "spot"]


class Grid(msgspec.Struct, frozen=True, gc=False):
    """Multiples of num/den. Counts are ints, values floats, texts exact decimals."""

    num: int
    den: int

    @classmethod
    def from_text(cls, step: str) -> Grid:
        """The grid of a step in decimal text, such as "0.10" or "5". Raises ConfigError unless it is positive."""
        try:
            value = Decimal(step)
            if not value.is_finite() or value <= 0:
                raise InvalidOperation
        except (InvalidOperation, TypeError, ValueError):
            raise ConfigError(f"{step!r} is not a tick or step: a positive decimal number is needed") from None
        num, den = value.as_integer_ratio()
        return cls(num, den)

    def count(self, value: float) -> int:
        """The nearest count; exact for a value on the grid. Halves go to the even count."""
        return round(value * self.den / self.num)

    def floor(self, value: float) -> int:
        """The largest count whose value is not above ``value``; one that is nearly on the grid (``nearly``) is on it."""
        return grid_floor(value, self.num, self.den)

    def ceil(self, value: float) -> int:
        """The smallest count whose value is not below ``value``; one that is nearly on the grid (``nearly``) is on it."""
        return grid_ceil(value, self.num, self.den)

    def value(self, count: int) -> float:
        """The float nearest to count x num/den."""
        return count * self.num / self.den

    def is_on(self, value: float) -> bool:
        """Whether the float is exactly a grid value."""
        return math.isfinite(value) and self.value(self.count(value)) == value

    @property
    def decimals(self) -> int:
        """Digits after the point that a value of this grid needs."""
        return _places(self.num, self.den)

    def text(self, count: int) -> str:
        """The exact decimal text of a count, with as many decimals as the grid has."""
        places = _places(self.num, self.den)
        units, rest = divmod(abs(count) * self.num * 10**places, self.den)
        if rest:  # a step that no decimal number ends, such as a third
            return f"{Decimal(count * self.num) / Decimal(self.den):.{places}f}"
        digits = f"{units:0{places + 1}d}"
        sign = "-" if count < 0 else ""
        return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else sign + digits


@cache
def _places(num: int, den: int) -> int:
    exponent = (Decimal(num) / Decimal(den)).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def grid_count(value: float, num: int, den: int) -> int:
    """``Grid.count`` as a function of numbers, for code that is compiled. Where num is 1, as it mostly is, a division is
    saved."""
    return round(value * den if num == 1 else value * den / num)


def grid_value(count: int, num: int, den: int) -> float:
    """``Grid.value`` as a function of numbers; exact as long as count x num stays below 2**53."""
    return count * num / den


def grid_floor(value: float, num: int, den: int) -> int:
    """``Grid.floor`` as a function of numbers."""
    count = value * den if num == 1 else value * den / num
    nearest = round(count)
    return nearest if nearest * num / den <= value or nearly(count, nearest) else nearest - 1


def grid_ceil(value: float, num: int, den: int) -> int:
    """``Grid.ceil`` as a function of numbers."""
    count = value * den if num == 1 else value * den / num
    nearest = round(count)
    return nearest if nearest * num / den >= value or nearly(count, nearest) else nearest + 1


def size_count(value: float, num: int, den: int) -> int:
    """``grid_floor`` of a size: only what floats themselves round off (70.07 / 100.1 is 0.7) is given back. A step that is 1e-9 more than
    an account has would be refused."""
    count = value * den if num == 1 else value * den / num
    nearest = round(count)
    return nearest if nearest * num / den <= value or abs(count - nearest) <= _ROUNDED_OFF * count else nearest - 1


_ROUNDED_OFF: Final = 1e-12
NOISE: Final = 1e-9
"""A float within this relative distance of a grid value is that value: 0.03 x 119.3 is 3.579, and 67.1 - 6.71 is 60.39."""
_NOISE_IN_STEPS: Final = 0.01
"""And within this part of a step: far out on a fine grid 1e-9 would be whole steps."""


def nearly(count: float, nearest: int) -> bool:
    """Whether a count of steps that is no whole number only because floats are rounded is this one."""
    return abs(count - nearest) <= min(NOISE * abs(count), _NOISE_IN_STEPS)


def order_parts(grid: Grid, steps: int, most: float, *, equal: bool = False) -> list[int]:
    """The sizes (steps of ``grid``) of the orders that make up ``steps``, as few as the exchange's maximum allows; none for 0 steps.

    most: base units; 0 or inf where no maximum is known. The full ones come first and a rest last, which a reduction may leave; ``equal``:
    as equal as steps allow, where a small rest would be less than the exchange takes.
    """
    if steps <= 0 or most <= 0.0 or grid.value(steps) <= most:
        return [steps] if steps > 0 else []
    largest = max(1, grid.floor(most))
    count = -(-steps // largest)
    if not equal:
        return [largest] * (count - 1) + [steps - largest * (count - 1)]
    each, longer = divmod(steps, count)
    return [each + 1] * longer + [each] * (count - longer)


def notional_of(ticks: int, steps: int, numerator: int, denominator: int) -> int:
    """``Instrument.notional`` as a function of numbers; a rest is rounded down. The fraction is ``Instrument.notional_factor``."""
    if denominator == 1:
        return ticks * steps * numerator
    return mul_div_floor(ticks * steps, numerator, denominator)


def notional_up(ticks: int, steps: int, numerator: int, denominator: int) -> int:
    """``notional_of`` with a remainder rounded up."""
    if denominator == 1:
        return ticks * steps * numerator
    return mul_div_ceil(ticks * steps, numerator, denominator)


class RiskTier(msgspec.Struct, frozen=True, gc=False):
    """One step of the exchange's risk-limit table, for position values up to ``limit`` (1e-8 of the quote coin)."""

    limit: int
    initial_rate: int
    maintenance_rate: int
    max_leverage: int
    deduction: int
    """Rates and leverage in 1e-8; the deduction makes the maintenance margin continuous at the tier's edge."""


class Instrument(msgspec.Struct, frozen=True, dict=True):
    """What the exchange says of one symbol. Quantities are in base units, rates in 1e-8, times in ms UTC."""

    symbol: str
    category: Category
    base: str
    quote: str
    price_grid: Grid
    qty_grid: Grid
    min_qty: float
    max_qty: float
    max_market_qty: float
    min_notional: int
    """Smallest order value in 1e-8 of the quote coin."""
    taker_fee: int
    maker_fee: int
    max_leverage: int = 100 * UNIT
    tiers: tuple[RiskTier, ...] = ()
    funding_interval_min: int = 480
    price_limit_x: int = 0
    price_limit_y: int = 0
    """The price band around the mark, as rates (Bybit's priceLimitRatioX and Y); 0: no band."""
    base_unit: int = UNIT
    """Units of the base coin's ledger in one coin (1e-8, finer where the step asks for it); spot only."""
    known_since: int = 0
    source: str = "inferred"
    """exchange | inferred | synthetic | default."""

    def __post_init__(self) -> None:
        check_fields(self)

    @cached_property
    def notional_factor(self) -> tuple[int, int]:
        """(numerator, denominator) of the value of one tick x one step in 1e-8 of the quote coin, in lowest terms."""
        numerator = UNIT * self.price_grid.num * self.qty_grid.num
        denominator = self.price_grid.den * self.qty_grid.den
        divisor = math.gcd(numerator, denominator)
        return numerator // divisor, denominator // divisor

    @cached_property
    def book_grid(self) -> Grid:
        """The grid in which positions are counted: the quantity step; for spot the ledger's unit of the base coin, since a
        buy's fee is taken in base and leaves a holding off the step."""
        return self.qty_grid if self.category == "linear" else Grid(1, self.base_unit)

    def notional(self, ticks: int, steps: int, *, up: bool = False) -> int:
        """Value of ``steps`` at ``ticks`` in 1e-8 of the quote coin; where a rest is left, rounded up or down as told."""
        numerator, denominator = self.notional_factor
        if denominator == 1:
            return ticks * steps * numerator  # every USDT perpetual: exact, so either function would say the same
        return (notional_up if up else notional_of)(ticks, steps, numerator, denominator)

    def round_price(self, price: float) -> float:
        """The nearest price on the grid."""
        return self.price_grid.value(self.price_grid.count(price))

    def round_qty(self, qty: float) -> float:
        """The largest quantity on the grid that is not above ``qty``."""
        return self.qty_grid.value(self.qty_grid.floor(qty))

    def format_price(self, price: float) -> str:
        """The exact decimal text of a price on the grid, as the exchange wants it."""
        return self.price_grid.text(self.price_grid.count(price))

    def format_qty(self, qty: float) -> str:
        """The exact decimal text of a quantity on the grid, as the exchange wants it."""
        return self.qty_grid.text(self.qty_grid.count(qty))


PERPETUAL_TAKER = to_units("0.00055")
PERPETUAL_MAKER = to_units("0.0002")
SPOT_FEE = to_units("0.001")
"""Bybit's rates at VIP 0 (help centre, "Trading Fee Structure")."""


LARGE_COINS = ("BTC", "ETH")
"""Coins whose perpetuals have the deepest risk tiers; every other one is treated as a small coin where its own tiers are not known."""
_LARGE_TIERS = (("2000000", "0.005", "100"), ("10000000", "0.01", "50"), ("50000000", "0.025", "20"), ("3000000000", "0.05", "10"))
_SMALL_TIERS = (
    ("100000", "0.02", "25"), ("500000", "0.04", "12"), ("1000000", "0.05", "10"), ("5000000", "0.1", "5"), ("50000000", "0.25", "2"),
    ("3000000000", "0.5", "1"),
)  # fmt: skip


def generic_tiers(base: str = "BTC", max_leverage: int | None = None) -> tuple[RiskTier, ...]:
    """The table used where the exchange's own is not known, of BTC and ETH, or a careful one of any other coin.

    BTC and ETH: 0.5 % to 2 million, 1 % to 10 million, 2.5 % to 50 million, 5 % above. Others: 2 % (25 x) to 100,000, 4 % to 500,000,
    5 % to 1 million, 10 % to 5 million, 25 % to 50 million, 50 % above. max_leverage (1e-8): what is known of it; of others than BTC and
    ETH the lowest tier has it, with half its initial margin rate as maintenance, and no tier has more.
    """
    table = _LARGE_TIERS if base in LARGE_COINS else _SMALL_TIERS
    rows = [(to_units(limit), to_units(rate), to_units(leverage)) for limit, rate, leverage in table]
    if base not in LARGE_COINS and max_leverage is not None:
        least = mul_div_ceil(UNIT, UNIT, 2 * max_leverage)
        rows = [(rows[0][0], least, max_leverage)] + [(limit, max(rate, least), min(top, max_leverage)) for limit, rate, top in rows[1:]]
    return build_tiers(rows)


def build_tiers(rows: list[tuple[int, int, int]]) -> tuple[RiskTier, ...]:
    """Tiers from (limit, maintenance rate, maximum leverage), all in 1e-8, with the deductions that make margin continuous.

    Source: Bybit API documentation v5, "Get Risk Limit": d_1 = 0, d_k = d_(k-1) + limit_(k-1) x (r_k - r_(k-1)).
    """
    tiers: list[RiskTier] = []
    deduction = 0
    for limit, rate, leverage in sorted(rows):
        if tiers:
            deduction += mul_div_floor(tiers[-1].limit, rate - tiers[-1].maintenance_rate, UNIT)
        tiers.append(RiskTier(limit, mul_div_ceil(UNIT, UNIT, leverage), rate, leverage, deduction))
    return tuple(tiers)
