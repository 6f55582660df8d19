"""Whether a system says how much it may lose and hold at most: what is not written is missing, what is beyond a ceiling is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from core.config import SystemConfig
from runners.arming.missing import Missing
from runners.live.control_limits import ControlLimits

HIGHEST_DAILY_LOSS_PERCENT: Final = 20.0
HIGHEST_DRAWDOWN_PERCENT: Final = 50.0
"""Ceilings that no system file lifts; those of ``live:`` stand at its keys (core/config.py)."""


def limits_missing(system: SystemConfig) -> Iterator[Missing]:
    """``mode: live``, and every hard limit."""
    if system.mode != "live":
        yield Missing("mode", f"{system.system} is not meant to trade live (mode: {system.mode})", "write mode: live in its system file")
    if system.risk.policy != "rules":
        yield Missing("limit", "risk.policy is none: nothing would be limited", "write risk.policy: rules")
    wanted = _wanted(system)
    for key, value in wanted.items():
        if value is None:
            yield Missing("limit", f"{key} is not written", f"write {key} in the system file: a live session has no default for it")
    yield from _ceilings(system, wanted)


def limit_lines(system: SystemConfig) -> list[str]:
    """The hard limits as a person is shown them at arming, with the number above which an order is denied where that is another."""
    hard = ControlLimits.of(system, live=True)
    denied = {"risk.max_position_usd": hard.max_position_usd, "risk.max_gross_usd": hard.max_gross_usd}
    lines = []
    for key, value in _wanted(system).items():
        if value is not None:
            above = denied.get(key, value)
            lines.append(f"{key} {value:g}" + (f" (denied above {above:g})" if above != value else ""))
    return lines


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
    leverage = system.live.max_leverage
    ceilings = (
        ("risk.daily_loss_percent", wanted["risk.daily_loss_percent"], HIGHEST_DAILY_LOSS_PERCENT, "the ceiling of a live session"),
        ("risk.max_drawdown_percent", wanted["risk.max_drawdown_percent"], HIGHEST_DRAWDOWN_PERCENT, "the ceiling of a live session"),
        ("risk.leverage", system.risk.leverage if system.category == "linear" else None, leverage, "live.max_leverage"),
        ("risk.max_position_usd", wanted["risk.max_position_usd"], wanted["risk.max_gross_usd"], "risk.max_gross_usd"),
        ("live.max_net_usd", wanted["live.max_net_usd"], _doubled(wanted["risk.max_gross_usd"]), "twice risk.max_gross_usd"),
        ("live.max_order_usd", wanted["live.max_order_usd"], _doubled(wanted["risk.max_position_usd"]), "twice risk.max_position_usd"),
    )
    for key, value, most, name in ceilings:
        if value is not None and most is not None and value > most:
            yield Missing("limit", f"{key} is {value:g}, above {name} ({most:g})", f"lower {key}")


def _doubled(value: float | None) -> float | None:
    return None if value is None else 2.0 * value
