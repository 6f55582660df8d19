"""Whether a system says how much it may lose and hold at most, and where it stops: what is not written is missing, what is beyond a ceiling
is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from keel.core.risk.controls.limits import ROOM, ControlLimits
from keel.core.system.config import SystemConfig
from keel.runners.live.arming.missing import Missing

HIGHEST_DAILY_LOSS_PERCENT: Final = 20.0
HIGHEST_DRAWDOWN_PERCENT: Final = 50.0
"""Ceilings that no system file lifts; those of ``live:`` stand at its keys (core/system/config.py)."""
_STOP: Final = "exits: {stop_loss: {percent: P}}"


def limits_missing(system: SystemConfig) -> Iterator[Missing]:
    """``mode: live``, a stop or the word that there is none, and every hard limit."""
    if system.mode != "live":
        yield Missing("mode", f"{system.system} is not meant to trade live (mode: {system.mode})", "write mode: live in its system file")
    if system.risk.policy != "rules":
        yield Missing("limit", "risk.policy is none: nothing would be limited", "write risk.policy: rules")
    if no_stop(system) and not system.live.without_stop:
        way = f"write {_STOP} in the system file; or live: {{without_stop: true}}, where it is to trade without a stop"
        yield Missing("stop", "exits.stop_loss is not written: the exchange would hold positions without a stop of the system's", way)
    wanted = _wanted(system)
    for key, value in wanted.items():
        if value is None:
            yield Missing("limit", f"{key} is not written", f"write {key} in the system file: a live session has no default for it")
    yield from _ceilings(system, wanted)


def no_stop(system: SystemConfig) -> str:
    """What a person is told of a system that sets no stop-loss; "" of one that does."""
    if system.exits is not None and system.exits.stop_loss is not None:
        return ""
    return "NO STOP: the system sets no exits.stop_loss; at the exchange a position has a stop only where its strategy gives it one"


def limit_lines(system: SystemConfig) -> list[str]:
    """The hard limits as a person is shown them at arming, with the number above which an order is denied where that is another."""
    effective, live = _effective(system), system.live
    counts = {name: float(getattr(live, name)) for name in ("max_open_orders", "max_orders_per_minute", "price_collar_percent")}
    lines = []
    for key, value in (_wanted(system) | {f"live.{name}": count for name, count in counts.items()}).items():
        if value is not None:
            above = effective.get(key, value)
            lines.append(f"{key} {value:g}" + (f" (denied above {above:g})" if above != value else ""))
    return lines


def _effective(system: SystemConfig) -> dict[str, float]:
    """Above which number an order is denied, by the key that asks for it: each limit holds besides the others."""
    hard, symbols = ControlLimits.of(system, live=True), len(system.symbols)
    position = min(hard.max_position_usd, hard.max_gross_usd)
    return {
        "live.max_order_usd": min(hard.max_order_usd, 2.0 * position),
        "risk.max_position_usd": position,
        "risk.max_gross_usd": hard.max_gross_usd,
        "live.max_net_usd": min(hard.max_net_usd, hard.max_gross_usd),
        "live.max_leverage": hard.most_exposure,
        "live.max_open_orders": min(hard.max_open_orders, hard.max_open_orders_per_symbol * symbols),
        "live.max_orders_per_minute": min(hard.max_orders_per_minute, hard.max_orders_per_symbol_per_minute * symbols),
        "live.price_collar_percent": hard.price_collar_percent,
    }


def _wanted(system: SystemConfig) -> dict[str, float | None]:
    risk, live = system.risk, system.live
    wanted = {
        "live.max_order_usd": live.max_order_usd,
        "risk.max_position_usd": risk.max_position_usd,
        "risk.max_gross_usd": risk.max_gross_usd,
        "live.max_net_usd": live.max_net_usd,
        "live.max_leverage": live.max_leverage,
        "risk.daily_loss_percent": risk.daily_loss_percent,
        "risk.max_drawdown_percent": risk.max_drawdown_percent,
    }
    if system.category == "spot":  # what is held was paid for
        del wanted["live.max_leverage"]
    return wanted


def _ceilings(system: SystemConfig, wanted: dict[str, float | None]) -> Iterator[Missing]:
    leverage, position, gross = system.live.max_leverage, wanted["risk.max_position_usd"], wanted["risk.max_gross_usd"]
    ceilings = (
        ("risk.daily_loss_percent", wanted["risk.daily_loss_percent"], HIGHEST_DAILY_LOSS_PERCENT, "the ceiling of a live session"),
        ("risk.max_drawdown_percent", wanted["risk.max_drawdown_percent"], HIGHEST_DRAWDOWN_PERCENT, "the ceiling of a live session"),
        ("risk.leverage", system.risk.leverage if system.category == "linear" else None, leverage, "live.max_leverage"),
        ("risk.max_position_usd", position, gross, "risk.max_gross_usd"),
        ("live.max_position_usd", system.live.max_position_usd, _times(ROOM, position), f"{ROOM:g} times risk.max_position_usd"),
        ("live.max_gross_usd", system.live.max_gross_usd, _times(ROOM, gross), f"{ROOM:g} times risk.max_gross_usd"),
        ("live.max_net_usd", wanted["live.max_net_usd"], _times(ROOM, gross), f"{ROOM:g} times risk.max_gross_usd"),
        ("live.max_order_usd", wanted["live.max_order_usd"], _times(2.0, position), "twice risk.max_position_usd"),
    )
    for key, value, most, name in ceilings:
        if value is not None and most is not None and value > most:
            yield Missing("limit", f"{key} is {value:g}, above {name} ({most:g})", f"lower {key}")


def _times(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value
