"""The stages of a strategy's life, and the rules by which it moves between them.

A strategy enters at the epoch of its first run. Going back, or running an epoch again, is always allowed. Only the step up into DEMO or
LIVE asks for a promotion, one step at a time. ARCHIVED is left only by an explicit restore.

What a strategy has reached is derived from its events (``runners/lifecycle/events.py``), so every process that reads them agrees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from keel.core.errors import ConfigError, SafetyError


class StrategyEpoch(StrEnum):
    """A stage of a strategy's life; members are equal to their lower-case names."""

    IDEA = "idea"
    CREATION = "creation"
    BACKTEST = "backtest"
    DEMO = "demo"
    LIVE = "live"
    ARCHIVED = "archived"

    @classmethod
    def of(cls, epoch: StrategyEpoch | str) -> StrategyEpoch:
        """The epoch of this name. Raises ConfigError for another."""
        try:
            return cls(epoch)
        except ValueError:
            raise ConfigError(f"{epoch!r} is not an epoch: use one of {', '.join(cls)}") from None

    @property
    def rank(self) -> int:
        """Its place in the order of life, from 0."""
        return list(StrategyEpoch).index(self)


GATED = (StrategyEpoch.DEMO, StrategyEpoch.LIVE)
"""The epochs into which the step up asks for a promotion."""


@dataclass(frozen=True, slots=True)
class LifeCycle:
    """What a strategy has reached. ``current``: the epoch of its latest run; ``reached``: the highest that it ran in or was promoted to."""

    strategy_id: str
    current: StrategyEpoch | None = None
    reached: StrategyEpoch | None = None
    archived: bool = False

    @classmethod
    def derived(cls, strategy_id: str, events: Iterable[Mapping[str, Any]]) -> LifeCycle:
        """The state after these events of the strategy, oldest first; events of other kinds change nothing."""
        state = cls(strategy_id)
        for event in events:
            state = state.after(event)
        return state

    def after(self, event: Mapping[str, Any]) -> LifeCycle:
        """The state after one more event."""
        kind = event.get("event")
        if kind == "epoch_started":
            epoch = StrategyEpoch.of(event["epoch"])
            return LifeCycle(self.strategy_id, epoch, self._higher(epoch), self.archived)
        if kind == "epoch_promoted":
            return LifeCycle(self.strategy_id, self.current, self._higher(StrategyEpoch.of(event["next_epoch"])), self.archived)
        if kind in ("strategy_archived", "strategy_restored"):
            return LifeCycle(self.strategy_id, self.current, self.reached, kind == "strategy_archived")
        return self

    def check_run(self, epoch: StrategyEpoch) -> None:
        """Whether it may run in this epoch now. Raises SafetyError when it may not, ConfigError for ARCHIVED, in which nothing runs."""
        if epoch is StrategyEpoch.ARCHIVED:
            raise ConfigError(f"{self.strategy_id}: nothing runs in the epoch archived; archive() retires a strategy")
        self._check_not_archived()
        if epoch in GATED and self.reached is not None and epoch.rank > self.reached.rank:
            raise SafetyError(
                f"{self.strategy_id} has reached {self.reached} and is not promoted to {epoch}: run {_below(epoch)} with promotion criteria"
                f" and next_epoch={epoch}, or promote it by hand"
            )

    def check_promotion(self, epoch: StrategyEpoch, next_epoch: StrategyEpoch) -> None:
        """Whether a run in ``epoch`` may promote to ``next_epoch``. Raises ConfigError or SafetyError when it may not."""
        self._check_not_archived()
        if next_epoch is StrategyEpoch.ARCHIVED:
            raise ConfigError(f"{self.strategy_id}: nothing is promoted to archived; archive() retires a strategy")
        if next_epoch.rank <= epoch.rank:
            raise ConfigError(f"{self.strategy_id}: from {epoch}, {next_epoch} is no step up; going back needs no promotion")
        if next_epoch in GATED and next_epoch.rank != epoch.rank + 1:
            raise SafetyError(f"{self.strategy_id}: {epoch} cannot promote to {next_epoch}; the step before it is {_below(next_epoch)}")

    def _check_not_archived(self) -> None:
        if self.archived:
            raise SafetyError(f"{self.strategy_id} is archived: restore() it first")

    def _higher(self, epoch: StrategyEpoch) -> StrategyEpoch:
        return epoch if self.reached is None or epoch.rank > self.reached.rank else self.reached


def _below(epoch: StrategyEpoch) -> StrategyEpoch:
    return list(StrategyEpoch)[epoch.rank - 1]
