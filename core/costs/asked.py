"""Asks cost models, and lets no answer in that is not one: each is checked where it enters, and told with file, line, symbol and time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from keel.core.costs.inputs import FillInputs, FundingInputs
from keel.core.costs.kinds import KINDS, Kind
from keel.core.errors import ConfigError, StrategyError
from keel.core.model.instrument import grid_ceil
from keel.core.model.money import BPS, UNIT, to_units
from keel.core.model.time_range import to_iso
from keel.core.strategy.raised import evidence_lines, user_error

_NOWHERE: Final[Mapping[str, str]] = {}


class CostModels:
    """The models of one run, each an object or None: the built-in one. Rates go out as integers of 1e-8.

    places: kind -> where a system file names it, which errors begin with. Raises ConfigError for an object that is no model of its kind.
    """

    __slots__ = ("_fees", "_funding", "_impact", "_slippage")

    def __init__(
        self, *, fees: Any = None, slippage: Any = None, impact: Any = None, funding: Any = None, places: Mapping[str, str] = _NOWHERE
    ) -> None:
        def question(name: str, model: Any) -> Question | None:
            return None if model is None else Question(KINDS[name], model, places.get(name, f"execution.costs.{name}"))

        self._fees, self._slippage = question("fees", fees), question("slippage", slippage)
        self._impact, self._funding = question("impact", impact), question("funding", funding)

    @property
    def has_fees(self) -> bool:
        """Whether fees are asked for."""
        return self._fees is not None

    @property
    def has_prices(self) -> bool:
        """Whether what moves a taker's price is asked for: slippage, impact or both."""
        return self._slippage is not None or self._impact is not None

    @property
    def has_slippage(self) -> bool:
        """Whether slippage is asked for."""
        return self._slippage is not None

    @property
    def has_impact(self) -> bool:
        """Whether impact is asked for."""
        return self._impact is not None

    @property
    def has_funding(self) -> bool:
        """Whether funding rates are asked for."""
        return self._funding is not None

    def fee_rate(self, fill: FillInputs) -> int:
        """The fee of a fill. This and the next raise StrategyError for what is no answer."""
        return to_units(_asked(self._fees).answer(fill))

    def slippage_rate(self, fill: FillInputs) -> int:
        """Slippage, rounded up."""
        return grid_ceil(_asked(self._slippage).answer(fill), 1, BPS)

    def impact_rate(self, fill: FillInputs) -> int:
        """Impact, rounded up."""
        return grid_ceil(_asked(self._impact).answer(fill), 1, BPS)

    def funding_rate(self, position: FundingInputs) -> int:
        """The rate at a funding time."""
        return to_units(_asked(self._funding).answer(position))

    def reserved_fee_rate(self, symbol: str, built_in: int) -> int:
        """What is set aside for a taker's fee; built_in: the rate of the system file or the instrument, which holds where no model says."""
        rate = None if self._fees is None else self._fees.reserved(symbol, built_in / UNIT)
        return built_in if rate is None else to_units(rate)

    def reserved_slippage_rate(self, symbol: str, built_in: int) -> int:
        """Likewise for a taker's slippage."""
        bps = None if self._slippage is None else self._slippage.reserved(symbol, built_in / BPS)
        return built_in if bps is None else grid_ceil(bps, 1, BPS)


class Question:
    """One model, and what is asked of it."""

    __slots__ = ("_ask", "_kind", "_lowest", "_model", "_place")

    def __init__(self, kind: Kind, model: Any, place: str) -> None:
        self._kind, self._model, self._place = kind, model, place
        name = type(model).__name__
        self._ask = _method(model, kind.method, (kind.argument,), place)
        if kind.reserved and hasattr(model, kind.reserved):
            _method(model, kind.reserved, ("symbol", "built_in"), place)
        rebate = getattr(model, "max_rebate", 0.0) if kind.name == "fees" else 0.0
        if isinstance(rebate, bool) or not isinstance(rebate, (int, float)) or not 0.0 <= rebate <= kind.most:
            raise ConfigError(f"{place}: {name}.max_rebate is {rebate!r}: a fraction from 0 to {kind.most:g} is needed")
        self._lowest = kind.lowest(model)

    def answer(self, inputs: FillInputs | FundingInputs) -> float:
        """The answer to one question, checked. Raises StrategyError with the question and the line of the model's own."""
        when = f"for {inputs.symbol} at {to_iso(inputs.ts)}"
        asked = {name: getattr(inputs, name) for name in inputs.__struct_fields__}
        return self._checked(self._kind.method, self._ask, (inputs,), when, {"asked": asked})

    def reserved(self, symbol: str, built_in: float) -> float | None:
        """What the model sets aside for a symbol, checked; None where it does not say."""
        name = self._kind.reserved
        ask = getattr(self._model, name, None)
        if ask is None:
            return None
        return self._checked(name, ask, (symbol, built_in), f"for {symbol}", {"asked": {"symbol": symbol, "built_in": built_in}})

    def _checked(self, method: str, ask: Callable[..., Any], given: tuple[Any, ...], when: str, seen: Mapping[str, Any]) -> float:
        try:
            value, again = ask(*given), ask(*given)
        except (Exception, SystemExit) as error:
            told = f"{self._place}: {type(self._model).__name__}.{method} raised {type(error).__name__} {when}: {error}"
            raise user_error(told, error, seen) from error
        problem = self._kind.problem(value, self._lowest) or self._kind.problem(again, self._lowest)
        if not problem and value != again:
            problem = f"answered {value!r} and then {again!r} to the same question: an answer may depend on nothing but what is asked"
        if problem:
            raise self._refused(method, ask, problem, when, seen)
        return float(value)

    def _refused(self, method: str, ask: Callable[..., Any], problem: str, when: str, seen: Mapping[str, Any]) -> StrategyError:
        evidence = {**_place_of(ask), **seen}
        told = f"{self._place}: {type(self._model).__name__}.{method} {problem}; asked {when}"
        error = StrategyError("\n".join([told, *evidence_lines(evidence)]))
        error.evidence = evidence
        return error


def _asked(question: Question | None) -> Question:
    if question is None:
        raise ConfigError("there is no such cost model to be asked")
    return question


def _method(model: Any, name: str, arguments: tuple[str, ...], place: str) -> Callable[..., Any]:
    """A model's method, once it is known to take these arguments. Raises ConfigError where it does not."""
    owner = type(model).__name__
    method = getattr(model, name, None)
    call = f"{name}(self, {', '.join(arguments)})"
    if not callable(method):
        raise ConfigError(f"{place}: {owner} has no method {name}: write def {call}")
    where = _place_of(method)
    line = f" ({where['file']}:{where['line']})" if where else ""
    if inspect.iscoroutinefunction(method) or inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
        raise ConfigError(f"{place}: {owner}.{name}{line} is a coroutine or a generator: a plain method is needed, def {call}")
    try:
        inspect.signature(method).bind(*arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{place}: {owner}.{name}{line} takes other arguments: write def {call}") from error
    found: Callable[..., Any] = method
    return found


def _place_of(function: Callable[..., Any]) -> dict[str, Any]:
    """file, line, function and source of a method of the user's; empty for what is compiled."""
    code = getattr(function, "__code__", None)
    if code is None:
        return {}
    return {"file": code.co_filename, "line": code.co_firstlineno, "function": code.co_qualname, "source": ""}
