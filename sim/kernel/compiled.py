"""The kernel, compiled: numba is imported here and nowhere else in keel, when a run first asks for it.

The functions that the exchange calls are registered as they are: compiled code and Python run one source. The one exception is
``mul_div_floor`` and ``mul_div_ceil``, which are plain arithmetic of Python's unbounded integers: here they get a form for 64 bits that
gives the same integer wherever the kernel's bounds let it be asked (a property holds that over the whole domain). Two functions of the loop
that do nothing in Python (``bare``, ``fetch``) are how the compiled form spares itself what costs time and changes nothing, and one
(``next_change``) gets a form that looks at many signals at once.

numba looks only at one file to tell whether what it has kept on disk is still right; so whoever names a folder for it has to name another
one when any of ``SOURCES`` changes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import keel.core.model.costs
import keel.core.model.instrument
import keel.core.model.money
import keel.core.model.position
import keel.core.model.timeframe
import keel.core.risk.exits
import keel.core.risk.limits
import keel.core.risk.rules
import keel.core.risk.sizing
import keel.sim.exchange.exhaustion
import keel.sim.margin.funding
import keel.sim.margin.isolated
import keel.sim.margin.liquidation
import keel.sim.margin.settlement
import keel.sim.matching.execution
import keel.sim.matching.intrabar_path
import keel.sim.matching.triggers
from keel.core.errors import ConfigError
from keel.core.model.money import UNIT
from keel.sim.kernel import layout, logs, loop, money, risk, trips, venue, walk

SHARED: Final[tuple[Callable[..., Any], ...]] = (
    keel.core.model.instrument.grid_count,
    keel.core.model.instrument.grid_value,
    keel.core.model.instrument.grid_floor,
    keel.core.model.instrument.grid_ceil,
    keel.core.model.instrument.nearly,
    keel.core.model.instrument.size_count,
    keel.core.model.instrument.notional_of,
    keel.core.model.instrument.notional_up,
    keel.core.model.money.fee_on,
    keel.core.model.position.apply_fill,
    keel.core.model.position.released_cost,
    keel.core.model.position.realized_pnl,
    keel.core.model.position.unrealized_at,
    keel.core.model.timeframe.floor_time,
    keel.core.risk.exits.percent_of,
    keel.core.risk.exits.is_beyond,
    keel.core.risk.exits.outward,
    keel.core.risk.limits.floor_of,
    keel.core.risk.rules.affordable_usd,
    keel.core.risk.rules.carried_usd,
    keel.core.risk.sizing.equity_share,
    keel.core.model.costs.taker_ticks,
    keel.core.model.costs.reference_count,
    keel.core.model.costs.taker_price,
    keel.sim.margin.funding.funding_payment,
    keel.sim.margin.funding.charge_parts,
    keel.sim.margin.isolated.initial_margin,
    keel.sim.margin.isolated.fee_to_close,
    keel.sim.margin.isolated.margin_to_hold,
    keel.sim.margin.isolated.order_margin,
    keel.sim.margin.isolated.bankruptcy_price,
    keel.sim.margin.isolated.liquidation_price,
    keel.sim.margin.isolated.liquidation_price_by_tier,
    keel.sim.margin.isolated.tier_leverage,
    keel.sim.margin.liquidation.is_touched,
    keel.sim.margin.liquidation.isolated_loss,
    keel.sim.matching.intrabar_path.low_comes_first,
    keel.sim.matching.intrabar_path.points,
    keel.sim.matching.intrabar_path.fraction_met,
    keel.sim.matching.intrabar_path.fraction_due,
    keel.sim.matching.intrabar_path.time_at,
    keel.sim.matching.intrabar_path.price_at,
    keel.sim.margin.settlement.settle_linear,
    keel.sim.margin.settlement.shortfall,
    keel.sim.exchange.exhaustion.smallest_notional,
    keel.sim.matching.triggers.is_reached,
    keel.sim.matching.triggers.trailing_trigger,
)
"""What the exchange, the actors and the kernel all call."""

OWN: Final[tuple[ModuleType, ...]] = (logs, money, trips, venue, walk, risk, loop)
"""The kernel's own modules, whose functions are all compiled."""

SOURCES: Final[tuple[ModuleType, ...]] = (
    keel.core.model.money, keel.core.model.instrument, keel.core.model.costs, keel.core.model.position, keel.core.model.timeframe,
    keel.core.risk.exits, keel.core.risk.limits, keel.core.risk.rules, keel.core.risk.sizing,
    keel.sim.matching.execution, keel.sim.margin.funding, keel.sim.margin.isolated, keel.sim.margin.liquidation,
    keel.sim.matching.intrabar_path, keel.sim.margin.settlement, keel.sim.exchange.exhaustion, keel.sim.matching.triggers,
    layout, *OWN,
    sys.modules[__name__],
)  # fmt: skip
"""Every module whose source is part of the compiled code."""

INLINED: Final = frozenset(
    {
        "_bare_prices",
        "_check",
        "_check_entry",
        "_close_trip",
        "_enter",
        "_go",
        "_moment",
        "_note_side",
        "_room",
        "_set_exits",
        "_size",
        "_take_entry",
        "_wanted",
        "along",
        "arrive",
        "begin",
        "book_trip",
        "decide",
        "end_order",
        "has_exits",
        "is_quiet",
        "least_of",
        "log_fill",
        "log_order",
        "note_equity",
        "ohlc",
        "post",
        "price_point",
        "reaches",
        "read",
        "rest",
        "rest_keeping",
        "row_of",
        "soon",
        "stand",
        "stand_at",
        "trail",
        "wake",
        "within_bounds",
    }
)
"""Functions of the loop that are compiled into their callers: what each bar with an event goes through."""

Simulate = Callable[..., None]
MISSING: Final = "the kernel needs numba, which is not installed: pip install keel-trader[fast]"

_loaded: dict[str, Simulate] = {}


def load(folder: str = "") -> Simulate:
    """``loop.simulate``, compiled. folder: where numba keeps it for other processes; empty: nowhere.

    The first call of a process takes seconds where the folder does not have it yet; later ones answer at once. Threads have it made before
    they begin. Raises ConfigError where numba is not installed.
    """
    if "simulate" not in _loaded:
        _loaded["simulate"] = _compile(folder)
    return _loaded["simulate"]


def is_loaded() -> bool:
    """Whether this process has it already."""
    return "simulate" in _loaded


def is_installed() -> bool:
    """Whether numba can be had (it is not imported for that)."""
    from importlib.util import find_spec

    return find_spec("numba") is not None


def _compile(folder: str) -> Simulate:
    try:
        import numba
        from numba import types
        from numba.extending import intrinsic, overload, register_jitable
    except ImportError as error:
        raise ConfigError(MISSING) from error
    overload(loop.bare)(lambda column: _address_of(types, intrinsic, column))
    overload(loop.fetch)(lambda column, row: _fetch_of(types, intrinsic))
    overload(loop.next_change)(lambda signals, count, point, acted: _next_change_of(types, intrinsic))
    overload(keel.core.model.money.mul_div_floor)(lambda a, b, c: exact_floor)
    overload(keel.core.model.money.mul_div_ceil)(lambda a, b, c: exact_ceil)
    register_jitable(forceinline=True)(_estimate)
    for function in SHARED:
        register_jitable(forceinline=True)(function)
    for module in OWN:
        for function in vars(module).values():
            if (
                getattr(function, "__module__", "") == module.__name__
                and hasattr(function, "__code__")
                and function not in (loop.bare, loop.fetch, loop.next_change)
            ):
                register_jitable(forceinline=function.__name__ in INLINED)(function)
    if numba.config.DISABLE_JIT:
        return in_python
    before = numba.config.CACHE_DIR
    try:
        if folder:
            numba.config.CACHE_DIR = folder
        made: Simulate = numba.njit(_signature(types), nogil=True, cache=bool(folder), error_model="numpy")(loop.simulate)
    finally:
        numba.config.CACHE_DIR = before
    return made


def in_python(*arrays: Any) -> None:
    """``loop.simulate`` over lists of Python's own numbers, whose integers have no bounds. The last three arrays are copied back."""
    *given, equity, daily, tables, denials, state, levels = arrays
    lists = [array.tolist() for array in (denials, state, levels)]
    uncompiled: Any = loop.simulate
    uncompiled(*(_as_lists(each) for each in given), equity, daily, tables, *lists)
    for array, numbers in zip((denials, state, levels), lists, strict=True):
        array[:] = numbers


def _as_lists(value: Any) -> Any:
    return tuple(_as_lists(each) for each in value) if isinstance(value, tuple) else value.tolist()


def exact_floor(a, b, c):  # type: ignore[no-untyped-def]  # compiled for whatever integers it meets; see the module's text
    """floor(a x b / c) in 64 bits: the quotient is estimated in floating point, the remainder of the estimate taken modulo 2**64, where it
    fits, and the estimate corrected by it. Exact for c > 0 with |result| < 2**62 and c < 2**45, or |result| < 2**55 and c < 2**59."""
    estimate = _estimate(a, b, c)
    rest = a * b - estimate * c
    return estimate if 0 <= rest < c else estimate + rest // c


def exact_ceil(a, b, c):  # type: ignore[no-untyped-def]  # as exact_floor
    """ceil(a x b / c), likewise."""
    estimate = _estimate(a, b, c)
    rest = estimate * c - a * b
    return estimate if 0 <= rest < c else estimate - rest // c


def _estimate(a: int, b: int, c: int) -> int:
    """a x b / c, nearly: by one whole coin with a multiplication, which takes a third of a division's time."""
    product = float(a) * float(b)
    return int(product * 1e-8) if c == UNIT else int(product / float(c))


def _address_of(types: Any, intrinsic: Any, column: Any) -> Any:
    """``loop.bare``, compiled: a pointer to the numbers of an array."""

    @intrinsic  # type: ignore[untyped-decorator]  # numba has no types
    def address(typing: Any, array: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return context.make_array(signature.args[0])(context, builder, arguments[0]).data

        return types.CPointer(array.dtype)(array), generate

    return lambda column: address(column)


def _fetch_of(types: Any, intrinsic: Any) -> Any:
    """``loop.fetch``, compiled: the processor's prefetch."""

    @intrinsic  # type: ignore[untyped-decorator]  # numba has no types
    def prefetch(typing: Any, column: Any, row: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            from numba.core.cgutils import ir

            number = ir.IntType(32)
            place = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), ir.IntType(8).as_pointer())
            kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), number, number, number])
            builder.call(builder.module.declare_intrinsic("llvm.prefetch", [ir.IntType(8).as_pointer()], kind), [
                place, number(0), number(3), number(1),
            ])  # fmt: skip
            return context.get_dummy_value()

        return types.void(column, row), generate

    return lambda column, row: prefetch(column, row)


def _next_change_of(types: Any, intrinsic: Any) -> Any:
    """``loop.next_change``, compiled: so many decisions at once as the processor compares."""
    width, hold = 32, loop.HOLD

    @intrinsic  # type: ignore[untyped-decorator]  # numba has no types
    def others(typing: Any, signals: Any, point: Any, acted: Any) -> Any:
        """A bit for each of ``width`` decisions from ``point`` on: whether it is neither the one acted on nor HOLD."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            from numba.core.cgutils import ir

            byte, number = ir.IntType(8), ir.IntType(32)
            lanes = ir.VectorType(byte, width)
            address = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), lanes.as_pointer())
            decisions = builder.load(address, align=1)
            single = builder.insert_element(ir.Constant(lanes, ir.Undefined), builder.trunc(arguments[2], byte), number(0))
            same = builder.shuffle_vector(single, ir.Constant(lanes, ir.Undefined), ir.Constant(ir.VectorType(number, width), [0] * width))
            differ = builder.icmp_unsigned("!=", decisions, same)
            wanted = builder.icmp_unsigned("!=", decisions, ir.Constant(lanes, [hold] * width))
            bits = builder.bitcast(builder.and_(differ, wanted), ir.IntType(width))
            return builder.zext(bits, ir.IntType(64))

        return types.uint64(signals, types.int64, types.int64), generate

    @intrinsic  # type: ignore[untyped-decorator]  # numba has no types
    def first_of(typing: Any, bits: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            from numba.core.cgutils import ir

            return builder.cttz(arguments[0], ir.IntType(1)(1))

        return types.int64(types.uint64), generate

    def next_change(signals, count, point, acted):  # type: ignore[no-untyped-def]  # compiled
        while point + width <= count:
            bits = others(signals, point, acted)
            if bits:
                return point + first_of(bits)
            point += width
        while point < count and (signals[point] == acted or signals[point] == hold):
            point += 1
        return point

    return next_change


def _signature(types: Any) -> Any:
    """The arrays of ``simulate``: what is read is read-only, so that threads share it."""

    def shared(kind: Any, dimensions: int = 1) -> Any:
        return types.Array(kind, dimensions, "C", readonly=True)

    ints, floats = shared(types.int64), shared(types.float64)
    prices, reach = types.UniTuple(floats, 4), types.UniTuple(floats, 3)
    terms = types.Tuple((ints, floats, floats, ints))
    own_ints, own_floats = types.Array(types.int64, 1, "C"), types.Array(types.float64, 1, "C")
    tables = types.Tuple((own_ints, own_ints, own_ints, own_ints, own_floats, own_ints))
    return types.void(
        ints, prices, prices, prices, floats, reach, types.UniTuple(ints, 4), ints, shared(types.int8), prices, terms, ints,
        own_floats, own_floats, tables, own_ints, own_ints, own_floats,
    )  # fmt: skip
