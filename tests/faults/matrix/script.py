"""What is traded while faults strike: one short story that passes every moment of the matrix, the same each time.

A market of made minutes that moves by itself, each minute in ten seconds, with a funding time in the middle. By the number of the minute:
nothing; long at market; (funding); flat; a resting entry, which is amended; short, which cancels it; flat; and all over again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from keel.core.model.messages import Signal
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import Distance, ExecutionConfig, ExitsConfig, RiskConfig, SizingConfig, SystemConfig
from keel.runners.live.startup.plan import Plan
from keel.sim.sandbox.market.feeds import BarFeed
from keel.sim.sandbox.settings import AccountSettings, SandboxSettings
from keel.strategies.base import BaseStrategy
from tests.builders import plain_system
from tests.faults.checker import Limits
from tests.runners.live.conftest import plan_of
from tests.sim.sandbox.conftest import Bars, made_bars

SYMBOL: Final = "BTCUSDT"
KEY, SECRET = "canary-key-5b1c9e", "canary-secret-7d20aa"
FACTOR: Final = 6.0
BAR_MS: Final = 10_000
"""Wall time of a minute of the market."""
FIRST: Final = 55
"""Minutes that are past when the story begins; funding is settled at minute 60."""
PERIOD: Final = 9
IDLE, LONG, FLAT, REST, SHORT, OUT = 2, 3, 6, 7, 8, 10
"""Numbers of minutes, counted from the first decision."""
THIN: Final = 0.001
"""Share of a minute's volume that one order may take where orders are to fill in parts."""
LIMITS: Final = Limits(max_position_usd=1_300.0, max_gross_usd=1_300.0, leverage=1.0)


class Script(BaseStrategy):
    """What it does follows from the number of the minute alone."""

    bars = 0
    in_parts = False
    """Whether the entry is an order that fills in parts, and rests between them."""
    mischief: Callable[[], None] | None = None
    """What a fault makes of it, once."""

    def state(self) -> dict[str, Any]:
        return {"bars": self.bars}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.bars = state["bars"]

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        self.bars += 1
        mischief, Script.mischief = Script.mischief, None
        if mischief is not None:
            mischief()
        number = self.bars if self.bars <= OUT else LONG + (self.bars - LONG) % PERIOD
        if number == REST:
            return Signal(snapshot.symbol, "LONG", order_type="limit", limit_price=round(snapshot.bar_ltf.close * 0.97, 0))
        if number == LONG and self.in_parts:
            return Signal(snapshot.symbol, "LONG", order_type="limit", limit_price=round(snapshot.bar_ltf.close * 1.002, 0))
        direction = {LONG: "LONG", FLAT: "FLAT", SHORT: "SHORT", OUT: "FLAT"}.get(number)
        return None if direction is None else Signal(snapshot.symbol, direction)  # type: ignore[arg-type]  # one of the three


def system() -> SystemConfig:
    """About 1,000 USDT each time, with exits that the market seldom meets, and limits."""
    exits = ExitsConfig(stop_loss=Distance(percent=2.0), take_profit=Distance(percent=2.0))
    risk = RiskConfig(max_position_usd=LIMITS.max_position_usd, max_gross_usd=LIMITS.max_gross_usd)
    return plain_system(SYMBOL, timeframe="1m", sizing=SizingConfig(model="fixed_usd", usd=1_000), exits=exits, risk=risk)


def plan(url: str, journals: Path, strategy: type[BaseStrategy] = Script) -> Plan:
    """The same system and uid each time: one journal."""
    return plan_of(system(), strategy, None, url, journals, grace_ms=400)


class InParts(Script):
    """Where orders may take a share of the market only."""

    in_parts = True


def market(seed: int, *, is_thin: bool) -> tuple[SandboxSettings, BarFeed]:
    """A sandbox's settings and feed. Its prices are the same for each seed; what is drawn besides is by the seed."""
    execution = ExecutionConfig(max_volume_share=THIN if is_thin else "none")
    settings = SandboxSettings(
        pace="real", factor=FACTOR, tick_ms=1_000, limit_factor=FACTOR, seed=seed, execution=execution,
        accounts=(AccountSettings(key=KEY, secret=SECRET),),
    )  # fmt: skip
    return settings, BarFeed(Bars(made_bars(400, first=FIRST, deviation=0.0005)))
