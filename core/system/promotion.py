"""Promotion rules: what a result must show before the next epoch. One rule is "metric op number", such as "sharpe > 1.0"."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from keel.core.errors import ConfigError
from keel.core.system.suggestions import did_you_mean

_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_RULE: Final = re.compile(r"^\s*([A-Za-z_]\w*)\s*(>=|<=|==|!=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*$", re.ASCII)


class RuleVerdict(msgspec.Struct, frozen=True):
    """One rule against one result. ``value`` None: the metric is not known; ``reason`` says why a rule failed."""

    rule: str
    value: float | None
    threshold: float
    passed: bool
    reason: str = ""


class PromotionRule(msgspec.Struct, frozen=True):
    """``metric`` compared with ``threshold``; units are the metric's own."""

    metric: str
    op: str
    threshold: float

    @classmethod
    def parse(cls, text: str) -> PromotionRule:
        """A rule from its text. Raises ConfigError for what is not "metric op number"."""
        match = _RULE.match(text)
        if match is None or not math.isfinite(float(match[3])):
            raise ConfigError(f'{text!r} is not a rule: write a metric, one of {" ".join(_OPERATORS)} and a number, such as "sharpe > 1.0"')
        return cls(match[1], match[2], float(match[3]))

    def __str__(self) -> str:
        return f"{self.metric} {self.op} {self.threshold:.15g}"

    def evaluate(self, metrics: Mapping[str, Any], notes: Mapping[str, str] | None = None) -> RuleVerdict:
        """The verdict on a result's metrics. A metric that is missing, None or no finite number fails, with the reason.

        notes: why a metric is None, by name (``BacktestResult.metric_notes``).
        """
        if self.metric not in metrics:
            return self._fail(None, f"the result has no metric {self.metric}: {did_you_mean(self.metric, metrics)}")
        value = metrics[self.metric]
        if value is None:
            note = (notes or {}).get(self.metric)
            return self._fail(None, f"{self.metric} has no value" + (f": {note}" if note else ""))
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return self._fail(None, f"{self.metric} is {value!r}, not a finite number")
        if _OPERATORS[self.op](value, self.threshold):
            return RuleVerdict(str(self), float(value), self.threshold, True)
        return self._fail(float(value), f"{self.metric} is {value:.6g}")

    def _fail(self, value: float | None, reason: str) -> RuleVerdict:
        return RuleVerdict(str(self), value, self.threshold, False, reason)
