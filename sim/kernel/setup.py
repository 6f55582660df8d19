"""One parameter set as numbers, and what of a system the kernel does not model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keel.core.model.costs import MAX_COST_RATE
from keel.core.model.instrument import Grid, Instrument, generic_tiers
from keel.core.model.money import LIMIT, UNIT, to_units
from keel.core.model.timeframe import tf_ms, tf_origin
from keel.core.risk.exits import atr_feature, volatility_feature
from keel.core.risk.rules import carry_margin, unit_margin
from keel.core.system.config import Distance, SystemConfig
from keel.sim.exchange.book import SOURCES
from keel.sim.kernel import layout as at
from keel.sim.margin.isolated import NO_LIMIT, leverage_caps, leverage_limit, tiers_as_floats

_MODELS = {
    "fixed_qty": at.FIXED_QTY, "fixed_usd": at.FIXED_USD, "percent_equity": at.PERCENT_EQUITY, "risk_per_trade": at.RISK_PER_TRADE,
    "inverse_vol": at.INVERSE_VOL,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class KernelSetup:
    """One parameter set of one instrument: plain read-only arrays (see ``layout``), to be made once and shared by threads.

    ``feature_names``: the features of the decision frame that stop-loss, take-profit, trailing stop and sizer read; empty: none.
    """

    rules: npt.NDArray[np.int64]
    rates: npt.NDArray[np.float64]
    tiers: npt.NDArray[np.float64]
    caps: npt.NDArray[np.int64]
    feature_names: tuple[str, str, str, str]

    @classmethod
    def of(cls, system: SystemConfig, instrument: Instrument) -> KernelSetup:
        """The numbers of a system for one of its symbols. What ``unsupported`` names is not in them: ask it first."""
        tiers = instrument.tiers or generic_tiers()
        rules, rates = np.zeros(at.RULES_SIZE, dtype=np.int64), np.zeros(at.RATES_SIZE)
        _set_market(rules, rates, system, instrument)
        _set_risk(rules, rates, system, instrument)
        names = _set_exits_and_size(rules, rates, system)
        rows = np.array(tiers_as_floats(tiers))
        caps = np.array(leverage_caps(tiers), dtype=np.int64)
        for array in (rules, rates, rows, caps):
            array.flags.writeable = False
        return cls(rules, rates, rows, caps, names)


def unsupported(system: SystemConfig, instrument: Instrument) -> str | None:
    """What of a system the kernel does not model, in a few words for people; None when it models all of it."""
    execution, risk = system.execution, system.risk
    numerator, denominator = instrument.notional_factor
    found = [
        (len(system.symbols) > 1, "several symbols (symbols)"),
        (system.category != "linear", "spot (category: spot)"),
        (risk.margin_mode != "isolated", "cross margin (risk.margin_mode: cross)"),
        (execution.latency_ms > 0, "latency (execution.latency_ms)"),
        (execution.impact != "none", "market impact (execution.impact)"),
        (bool(execution.costs.named), "cost models of one's own, which are Python (execution.costs)"),
        (execution.max_volume_share != "none", "a cap on volume (execution.max_volume_share)"),
        (risk.policy == "rules" and risk.max_orders_per_minute is not None, "an order rate limit (risk.max_orders_per_minute)"),
        (to_units(risk.leverage) > instrument.max_leverage, f"a leverage that {instrument.symbol} does not have (risk.leverage)"),
        (to_units(system.initial_equity) >= LIMIT, "an equity beyond the ledger's bound (initial_equity)"),
        (denominator >= 2**45 or numerator >= 2**53, f"the grids of {instrument.symbol}, which are too fine for 64 bits"),
    ]
    return next((what for is_wanted, what in found if is_wanted), None)


def taker_fee(system: SystemConfig, instrument: Instrument) -> int:
    """The rate of a taker's fee in 1e-8: the system's, or the instrument's."""
    return instrument.taker_fee if system.execution.taker_fee is None else to_units(system.execution.taker_fee)


def _set_market(rules: npt.NDArray[np.int64], rates: npt.NDArray[np.float64], system: SystemConfig, instrument: Instrument) -> None:
    execution, risk, tiers = system.execution, system.risk, instrument.tiers or generic_tiers()
    leverage, taker = to_units(risk.leverage), taker_fee(system, instrument)
    numerator, denominator = instrument.notional_factor
    duration = tf_ms(system.timeframe)
    values = {
        at.INITIAL: to_units(system.initial_equity),
        at.LEVERAGE: leverage,
        at.TAKER_FEE: taker,
        at.COST_RATE: min(execution.half_spread_rate + execution.slippage_rate, MAX_COST_RATE),
        at.PRICE_NUM: instrument.price_grid.num,
        at.PRICE_DEN: instrument.price_grid.den,
        at.QTY_NUM: instrument.qty_grid.num,
        at.QTY_DEN: instrument.qty_grid.den,
        at.VALUE_NUM: numerator,
        at.VALUE_DEN: denominator,
        at.MIN_STEPS: max(1, instrument.qty_grid.ceil(instrument.min_qty)),
        at.MIN_NOTIONAL: instrument.min_notional,
        at.UNLIMITED_TO: leverage_limit(leverage, tiers),
        at.PESSIMISTIC: execution.path == "pessimistic",
        at.DECISION_MS: duration,
        at.DECISION_ORIGIN: tf_origin(duration),
        at.BAR_MS: tf_ms(system.execution_timeframe or system.timeframe),
    }
    for place, value in values.items():
        rules[place] = value
    rates[at.LEVERAGE_RATE], rates[at.TAKER_RATE] = leverage / UNIT, taker / UNIT
    rates[at.MOST_WANTED] = instrument.max_market_qty or np.inf
    rates[at.COST_SHARE] = rules[at.COST_RATE] / UNIT
    rules[at.LEAST_STEPS] = _least_steps(instrument.min_qty, instrument.qty_grid)
    rules[at.WANTED_STEPS] = _most_steps(float(rates[at.MOST_WANTED]), instrument.qty_grid)
    rules[at.TAKEN_STEPS] = _most_steps(instrument.max_market_qty, instrument.qty_grid)


_BEYOND = 2 * at.MOST_STEPS
"""More steps than the kernel counts."""


def _least_steps(qty: float, grid: Grid) -> int:
    """The fewest steps whose value is not below ``qty``: what a comparison of values would say, without working out a value each time."""
    if grid.value(_BEYOND) < qty:
        return NO_LIMIT
    steps = max(0, int(qty * grid.den / grid.num) - 1)
    while grid.value(steps) < qty:
        steps += 1
    return steps


def _most_steps(qty: float, grid: Grid) -> int:
    """The most steps whose value is not above ``qty`` (>= 0), likewise."""
    if grid.value(_BEYOND) <= qty:
        return NO_LIMIT
    steps = int(qty * grid.den / grid.num) + 1
    while grid.value(steps) > qty:
        steps -= 1
    return steps


def _set_risk(rules: npt.NDArray[np.int64], rates: npt.NDArray[np.float64], system: SystemConfig, instrument: Instrument) -> None:
    risk = system.risk
    has_rules = risk.policy == "rules"
    rules[at.HAS_RULES], rules[at.FLATTENS] = has_rules, risk.on_limit == "flatten"
    rules[at.COOLDOWN_BARS] = risk.cooldown_bars if has_rules else 0
    rules[at.ONE_POSITION] = has_rules and risk.max_open_positions == 1
    taker = taker_fee(system, instrument)
    rates[at.UNIT_MARGIN], rates[at.CARRY_FEE] = unit_margin(risk.leverage, taker), max(0, taker) / UNIT
    rates[at.CARRY_LONG], rates[at.CARRY_SHORT] = (carry_margin(risk.leverage, taker, side) for side in (1, -1))
    rates[at.ACCOUNT_SHARE] = 1.0 - risk.margin_reserve_percent / 100.0
    rates[at.MAX_POSITION], rates[at.MAX_GROSS] = risk.max_position_usd or np.inf, risk.max_gross_usd or np.inf
    limits = ((at.DAILY_LOSS, risk.daily_loss_percent), (at.MAX_DRAWDOWN, risk.max_drawdown_percent))
    for place, percent in limits:
        rates[place] = percent if has_rules and percent is not None else at.UNLIMITED


def _set_exits_and_size(rules: npt.NDArray[np.int64], rates: npt.NDArray[np.float64], system: SystemConfig) -> tuple[str, str, str, str]:
    """The rest of the numbers; returns the names of the features that are read at a decision."""
    sizing, exits = system.sizing, system.exits
    rules[at.SIZING] = _MODELS[sizing.model]
    sizes: dict[str, Any] = {"fixed_qty": sizing.qty, "fixed_usd": sizing.usd, "inverse_vol": sizing.budget_percent}
    rates[at.SIZE] = sizes.get(sizing.model, sizing.percent)
    rates[at.SIZE_STOP] = at.UNLIMITED if sizing.stop_atr is None else sizing.stop_atr
    size_name = volatility_feature(sizing.lookback_bars) if sizing.model == "inverse_vol" else ""
    if sizing.model == "risk_per_trade" and sizing.stop_atr is not None:
        size_name = atr_feature(sizing.atr_period)
    if exits is None:
        return "", "", "", size_name
    rules[at.SOURCE], rules[at.MAX_BARS] = SOURCES[exits.trigger], exits.max_bars or 0
    rules[at.STOP_KIND], rates[at.STOP_LENGTH], stop_name = _distance(exits.stop_loss)
    rules[at.TARGET_KIND], rates[at.TARGET_LENGTH], target_name = _distance(exits.take_profit)
    rules[at.TRAIL_KIND], rates[at.TRAIL_LENGTH], trail_name = _distance(exits.trailing)
    if exits.trailing is not None and exits.trailing.activate_percent:
        rules[at.ACTIVATES], rates[at.ACTIVATE] = 1, exits.trailing.activate_percent
    return stop_name, target_name, trail_name, size_name


def _distance(distance: Distance | None) -> tuple[int, float, str]:
    """(what it is a multiple of, the multiple, the feature that it reads)."""
    if distance is None:
        return at.NO_EXIT, 0.0, ""
    if distance.percent is not None:
        return at.BY_PERCENT, distance.percent, ""
    return at.BY_ATR, distance.atr or 0.0, atr_feature(distance.period)
