"""What must hold between the keys of a system: rules that no single key's type can say. Nothing here raises; problems are listed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from keel.core.errors import ConfigError
from keel.core.model.money import LIMIT, to_units
from keel.core.model.time_range import to_ms
from keel.core.model.timeframe import TIMEFRAMES, is_finer
from keel.core.system.config import Distance, ExitsConfig, SizingConfig, SystemConfig
from keel.core.system.file_names import LONGEST_ID
from keel.core.system.promotion import PromotionRule
from keel.core.system.suggestions import did_you_mean
from keel.core.system.types import Problem
from keel.core.system.yaml_source import KeyPath

PROMOTION_EPOCHS: Final = ("demo", "live")
"""Epochs that are opened by a promotion: only the steps up into these ask for one."""

MAX_FEE: Final = 0.05
"""A fee above 5 % is taken for percent written where a fraction belongs (0.055 for 0.055 %)."""

_SYMBOL: Final = re.compile(r"[A-Z0-9]+")
_SYSTEM_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SIZING_KEYS: Final = {"qty": ("fixed_qty",), "usd": ("fixed_usd",), "stop_atr": ("risk_per_trade",)}
_SIZING_READERS: Final = {
    "percent": ("percent_equity", "risk_per_trade"),
    "budget_percent": ("inverse_vol",),
    "lookback_bars": ("inverse_vol",),
    "atr_period": ("risk_per_trade",),
}
"""Keys of sizing that have a default, and the models that read them: they are refused only where they were written down."""
_SIZING_NEEDS: Final = {"fixed_qty": "qty", "fixed_usd": "usd"}


def cross_problems(config: SystemConfig, written: Collection[KeyPath] = ()) -> Iterator[Problem]:
    """Every rule between keys that a system breaks, in the order of its keys. written: the keys that somebody wrote down, of those
    that hold: a key that has a default and is not read here is refused only among these."""
    if not _SYSTEM_ID.fullmatch(config.system):
        yield Problem(("system",), f"{config.system!r} cannot name files and folders: use letters, digits, _ . and -")
    elif len(config.system) > LONGEST_ID:
        told = f"has {len(config.system):,} characters, and files and folders are named after it"
        yield Problem(("system",), f"{told}: use at most {LONGEST_ID}")
    if not config.strategy.strip():
        yield Problem(("strategy",), "must name a strategy: an id, package.module:Class or path/to/file.py:Class")
    yield from _symbols(config)
    yield from _timeframes(config)
    yield from _features(config)
    yield from _equity(config)
    if config.exits is not None:
        yield from _exits(config.exits)
    yield from _sizing(config.sizing)
    yield from _unread_sizing(config.sizing, written)
    yield from _execution(config)
    if config.category == "spot":
        yield from _spot(config)
    yield from _windows(config)
    yield from _promotion(config)


def _symbols(config: SystemConfig) -> Iterator[Problem]:
    for index, symbol in enumerate(config.symbols):
        path = ("symbols", index)
        if not _SYMBOL.fullmatch(symbol):
            plain = re.sub(r"[^A-Z0-9]", "", symbol.upper())
            yield Problem(path, f"{symbol!r} is not a symbol: use capitals and digits" + (f", such as {plain}" if plain else ""))
        elif symbol in config.symbols[:index]:
            yield Problem(path, f"{symbol} stands twice")


def _timeframes(config: SystemConfig) -> Iterator[Problem]:
    if config.timeframe not in TIMEFRAMES:
        yield _unknown_timeframe(config.timeframe, ("timeframe",))
    fine = config.execution_timeframe
    if fine is None:
        return
    if fine not in TIMEFRAMES:
        yield _unknown_timeframe(fine, ("execution_timeframe",))
    elif config.timeframe in TIMEFRAMES and fine != config.timeframe and not is_finer(fine, config.timeframe):
        yield Problem(("execution_timeframe",), f"{fine} must be finer than the timeframe {config.timeframe} and divide it")


def _unknown_timeframe(name: str, path: KeyPath) -> Problem:
    return Problem(path, f"unknown timeframe {name!r}: use one of {', '.join(TIMEFRAMES)}")


def _features(config: SystemConfig) -> Iterator[Problem]:
    for name, spec in config.features.items():
        path = ("features", name)
        if not name.isidentifier():
            yield Problem(path, f"{name!r} is not a name: use letters, digits and _")
        if not isinstance(spec.get("fn"), str):
            yield Problem(path, "needs fn: the name of a TA-Lib function, or path:function")
        timeframe = spec.get("timeframe", config.timeframe)
        if not isinstance(timeframe, str) or timeframe.startswith("$"):
            continue
        if timeframe not in TIMEFRAMES:
            yield _unknown_timeframe(timeframe, (*path, "timeframe"))
        elif config.timeframe in TIMEFRAMES and timeframe != config.timeframe and not is_finer(config.timeframe, timeframe):
            yield Problem((*path, "timeframe"), f"{timeframe} is not a multiple of the system's timeframe {config.timeframe}")


def _equity(config: SystemConfig) -> Iterator[Problem]:
    if not 0 < to_units(config.initial_equity) < LIMIT:
        yield Problem(("initial_equity",), f"{config.initial_equity:g} is outside what the ledger holds: 1e-8 to 4 billion")


def _exits(exits: ExitsConfig) -> Iterator[Problem]:
    for name in ("stop_loss", "take_profit", "trailing"):
        distance: Distance | None = getattr(exits, name)
        if distance is None:
            continue
        path = ("exits", name)
        if (distance.percent is None) == (distance.atr is None):
            given = "neither" if distance.percent is None else "both"
            yield Problem(path, f"needs exactly one of percent and atr, and has {given}")
        if distance.percent is not None and distance.percent >= 100 and name != "take_profit":
            yield Problem((*path, "percent"), f"{distance.percent:g} % of the price leaves no price to stop at")
        if distance.activate_percent and name != "trailing":
            yield Problem((*path, "activate_percent"), "belongs to trailing only")


def _sizing(sizing: SizingConfig) -> Iterator[Problem]:
    needed = _SIZING_NEEDS.get(sizing.model)
    if needed is not None and getattr(sizing, needed) is None:
        yield Problem(("sizing",), f"the model {sizing.model} needs {needed}")
    for key, models in _SIZING_KEYS.items():
        if getattr(sizing, key) is not None and sizing.model not in models:
            yield Problem(("sizing", key), f"belongs to the model {models[0]}, and the model is {sizing.model}")


def _unread_sizing(sizing: SizingConfig, written: Collection[KeyPath]) -> Iterator[Problem]:
    """A section that is written whole, as a run records it, says no more than what holds; one that is not was meant key by key."""
    if all(("sizing", key) in written for key in sizing.__struct_fields__):
        return
    for key, models in _SIZING_READERS.items():
        if ("sizing", key) in written and sizing.model not in models:
            read = f"the model{'s' if len(models) > 1 else ''} {' and '.join(models)}"
            yield Problem(("sizing", key), f"is read by {read} only, and the model is {sizing.model}: leave it out")


def _execution(config: SystemConfig) -> Iterator[Problem]:
    for key in ("taker_fee", "maker_fee"):
        fee = getattr(config.execution, key)
        if fee is not None and abs(fee) > MAX_FEE:
            yield Problem(("execution", key), f"{fee:g} is {fee * 100:g} %: fees are fractions, 0.00055 is 0.055 %")
    for key in ("half_spread_bps", "slippage_bps"):
        if getattr(config.execution, key) >= 10_000:
            yield Problem(("execution", key), "must be below 10000: that many basis points are the whole price")
    for kind, chosen in config.execution.costs.named.items():
        if not chosen.model.strip():
            yield Problem(("execution", "costs", kind, "model"), "must name a class: path/to/file.py:Class, package.module:Class or flat")
    if config.execution.costs.funding is not None and config.execution.funding == "none":
        yield Problem(("execution", "costs", "funding"), "execution.funding is none: there is no funding time to ask about")


def _spot(config: SystemConfig) -> Iterator[Problem]:
    if config.risk.leverage != 1:
        yield Problem(("risk", "leverage"), f"spot has no leverage: write 1, not {config.risk.leverage:g} (--set risk.leverage=1)")
    if config.risk.margin_mode != "isolated":
        yield Problem(("risk", "margin_mode"), "spot has no margin: leave the key out (--set risk.margin_mode=isolated)")
    if config.demo.margin_mode is not None:
        yield Problem(("demo", "margin_mode"), "spot has no margin: leave the key out (--set demo.margin_mode=null)")
    if config.execution.costs.funding is not None:
        yield Problem(("execution", "costs", "funding"), "spot pays no funding: leave the key out")
    if not isinstance(config.execution.funding, str):
        yield Problem(("execution", "funding"), "spot pays no funding: leave the key out (--set execution.funding=history)")
    if config.exits is not None and config.exits.trigger != "last":
        yield Problem(("exits", "trigger"), f"spot has no {config.exits.trigger} price: use last (--set exits.trigger=last)")


def _windows(config: SystemConfig) -> Iterator[Problem]:
    for name, window in config.windows.items():
        broken = False
        for key, moment in (("start", window.start), ("end", window.end)):
            try:
                to_ms(moment)
            except ConfigError as error:
                broken = True
                yield Problem(("windows", name, key), str(error))
        if not broken and to_ms(window.start) >= to_ms(window.end):
            yield Problem(("windows", name), f"the window is empty: its end, {window.end}, must be later than its start, {window.start}")


def _promotion(config: SystemConfig) -> Iterator[Problem]:
    for epoch, rules in config.promotion.items():
        if epoch == "backtest":
            yield Problem(
                ("promotion", epoch),
                "rules are written under the epoch that they open: write demo in place of backtest, and live in place of demo",
            )
        elif epoch not in PROMOTION_EPOCHS:
            yield Problem(("promotion", epoch), f"no promotion opens {epoch}: {did_you_mean(epoch, PROMOTION_EPOCHS)}")
        for index, rule in enumerate(rules):
            try:
                PromotionRule.parse(rule)
            except ConfigError as error:
                yield Problem(("promotion", epoch, index), str(error))
