"""Faults on purpose: rules that make the sandbox misbehave, all chance from one seed.

A rule says where (``match``), on which side of the effect (``when``) and what (``action``). A rule without a match acts at once. See
docs/sandbox.md for the grammar.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
import numpy as np

from keel.core.errors import ConfigError
from keel.core.model.timeframe import DAY_MS
from keel.sim.sandbox.http.errors import is_count

Kind = Literal[
    "drop", "delay", "dup", "reorder", "error", "truncate", "mutate", "close", "abort", "freeze", "clock", "lag_query", "restart", "ban"
]
When = Literal["before_apply", "after_apply"]

_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "drop": (), "delay": ("ms",), "dup": ("n", "gap_ms"), "reorder": ("window",), "error": ("http", "ret_code", "ret_msg", "reset"),
    "truncate": ("bytes",), "mutate": ("patch",), "close": ("code",), "abort": (), "freeze": ("keep_pong",), "clock": ("ms",),
    "lag_query": ("ms",), "restart": ("clear_closed",), "ban": ("s",),
}  # fmt: skip
AT_ONCE: Final = ("clock", "lag_query", "restart", "ban")
"""Actions on the server as a whole."""
_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "ms": (0, DAY_MS), "n": (1, 1000), "gap_ms": (0, DAY_MS), "window": (2, 1000), "http": (100, 599), "bytes": (0, 1 << 24),
    "code": (1000, 4999), "s": (0, DAY_MS / 1000), "ret_code": (-(10**9), 10**9),
}  # fmt: skip
"""What numbers of an action may be; a clock may be behind, too."""
_MATCH_BOUNDS: Final[dict[str, tuple[float, float]]] = {"nth": (1, 10**9), "times": (1, 10**9), "prob": (0, 1)}
_SEEDS: Final = (0, 2**63 - 1)
_HTTP_AFTER_ONLY: Final = ("truncate", "mutate")
_WS_ONLY: Final = ("reorder", "close")


class Patch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One operation of a JSON patch (RFC 6902): add, replace or remove at a pointer."""

    op: Literal["add", "replace", "remove"]
    path: str
    value: Any = None


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests or frames. ``topic`` also names control frames: op:auth, op:subscribe, op:ping, and order.create ... of the trade
    stream; a topic matches what begins with it. ``from_state``: an order's status, or confirm for a candle that says so. ``nth``: the nth
    that fits (1 is the first) and, with ``times``, those after it."""

    side: Literal["http", "ws"]
    path: str | None = None
    topic: str | None = None
    symbol: str | None = None
    account: str | None = None
    nth: int | None = None
    prob: float | None = None
    times: int | None = None
    from_state: str | None = None


class Action(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done. Each kind has its own fields; others are refused."""

    kind: Kind
    ms: int | None = None
    n: int | None = None
    gap_ms: int | None = None
    window: int | None = None
    http: int | None = None
    ret_code: int | None = None
    ret_msg: str | None = None
    reset: Literal["future", "past", "absent"] | None = None
    bytes: int | None = None
    patch: tuple[Patch, ...] | None = None
    code: int | None = None
    keep_pong: bool | None = None
    clear_closed: bool | None = None
    s: float | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule."""

    action: Action
    match: Match | None = None
    when: When = "after_apply"


class RuleSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``POST /admin/faults`` takes: rules to add, after clearing the old ones when asked; a seed begins chance anew."""

    rules: tuple[Rule, ...] = ()
    clear: bool = False
    seed: int | None = None


class _Counted:
    __slots__ = ("applied", "rule", "seen")

    def __init__(self, rule: Rule) -> None:
        self.rule, self.seen, self.applied = rule, 0, 0


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A request or frame, as rules see it."""

    side: Literal["http", "ws"]
    name: str
    when: When
    symbol: str = ""
    account: str = ""
    state: str = ""


class Faults:
    """The rules in force."""

    def __init__(self, seed: int) -> None:
        self._rules: list[_Counted] = []
        self._rng = np.random.Generator(np.random.PCG64([seed, 31]))

    def read(self, body: bytes) -> RuleSet:
        """Rules out of JSON; raises ConfigError that names what is wrong. ``"action": "drop"`` stands for ``{"kind": "drop"}``."""
        try:
            plain = msgspec.json.decode(body)
            rules = plain.get("rules") if isinstance(plain, dict) else None
            for rule in rules if isinstance(rules, list) else ():
                if isinstance(rule, dict) and isinstance(rule.get("action"), str):
                    rule["action"] = {"kind": rule["action"]}
            given = msgspec.convert(plain, RuleSet)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
            raise ConfigError(f"faults: {error}") from error
        for number, rule in enumerate(given.rules):
            _check(rule, number)
        if given.seed is not None:
            _check_number("faults: seed", given.seed, _SEEDS)
        return given

    def put(self, given: RuleSet) -> None:
        """Take rules on (those with a match)."""
        if given.clear:
            self._rules.clear()
        if given.seed is not None:
            self._rng = np.random.Generator(np.random.PCG64([given.seed, 31]))
        self._rules += [_Counted(rule) for rule in given.rules if rule.match is not None]

    def state(self) -> list[dict[str, Any]]:
        """Each rule with how often it was met and how often it acted."""
        return [{"rule": msgspec.to_builtins(counted.rule), "seen": counted.seen, "applied": counted.applied} for counted in self._rules]

    @property
    def is_quiet(self) -> bool:
        """Whether there is no rule at all."""
        return not self._rules

    def fire(self, event: Event) -> list[Action]:
        """What is to be done about an event, in the order of the rules."""
        actions = []
        for counted in self._rules:
            match = counted.rule.match
            if match is None or counted.rule.when != event.when or not _fits(match, event):
                continue
            counted.seen += 1
            if match.nth is not None and not match.nth <= counted.seen < match.nth + (match.times or 1):
                continue
            if match.nth is None and match.times is not None and counted.applied >= match.times:
                continue
            if match.prob is not None and self._rng.random() >= match.prob:
                continue
            counted.applied += 1
            actions.append(counted.rule.action)
        return actions

    def shuffled(self, count: int) -> list[int]:
        """A random order of so many places, never the one they are in (where there are two or more)."""
        places = list(range(count))
        while count > 1 and places == list(range(count)):
            places = self._rng.permutation(count).tolist()
        return places


def _check(rule: Rule, number: int) -> None:
    _check_words(rule, number)
    for name, bounds in _BOUNDS.items():
        value = getattr(rule.action, name)
        is_clock = rule.action.kind == "clock" and name == "ms"
        if value is not None:
            _check_number(f"faults: rules[{number}]: action {name}", value, (-bounds[1], bounds[1]) if is_clock else bounds)
    for name, bounds in _MATCH_BOUNDS.items():
        value = getattr(rule.match, name, None)
        if value is not None:
            _check_number(f"faults: rules[{number}]: match {name}", value, bounds)


def _check_number(where: str, value: float, bounds: tuple[float, float]) -> None:
    low, high = bounds
    if not low <= value <= high:
        raise ConfigError(f"{where} is {value:g}; it must lie from {low:g} to {high:g}")


def _check_words(rule: Rule, number: int) -> None:
    action, match = rule.action, rule.match
    given = [name for name in Action.__struct_fields__ if name != "kind" and getattr(action, name) is not None]
    unknown = [name for name in given if name not in _FIELDS[action.kind]]
    where = f"faults: rules[{number}]"
    if unknown:
        raise ConfigError(
            f"{where}: action {action.kind} has no {', '.join(unknown)}; it takes {', '.join(_FIELDS[action.kind]) or 'nothing'}"
        )
    missing = {"delay": "ms", "truncate": "bytes", "mutate": "patch", "clock": "ms", "lag_query": "ms", "ban": "s", "reorder": "window"}
    needed = missing.get(action.kind)
    if needed is not None and getattr(action, needed) is None:
        raise ConfigError(f"{where}: action {action.kind} needs {needed}")
    if match is None:
        if action.kind not in AT_ONCE:
            raise ConfigError(f"{where}: action {action.kind} needs a match; without one there are {', '.join(AT_ONCE)}")
        return
    if match.side == "http" and (action.kind in _WS_ONLY or (action.kind in _HTTP_AFTER_ONLY and rule.when == "before_apply")):
        raise ConfigError(f"{where}: action {action.kind} is not for http {rule.when}")
    if (match.topic is not None) == (match.side == "http") and (match.topic or match.path):
        raise ConfigError(f"{where}: http is matched by path, ws by topic")


def _fits(match: Match, event: Event) -> bool:
    named = match.path if match.side == "http" else match.topic
    return (
        match.side == event.side
        and (named is None or event.name.startswith(named))
        and (match.symbol is None or match.symbol == event.symbol)
        and (match.account is None or match.account == event.account)
        and (match.from_state is None or match.from_state == event.state)
    )


def patched(document: Any, patches: tuple[Patch, ...]) -> Any:
    """A copy of a JSON document with a patch; an operation whose place does not exist is left out."""
    copy = msgspec.json.decode(msgspec.json.encode(document))
    for patch in patches:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in patch.path.split("/")[1:]]
        if not parts:
            copy = patch.value
            continue
        holder = copy
        for part in parts[:-1]:
            holder = _child(holder, part)
        _put(holder, parts[-1], patch)
    return copy


def _child(holder: Any, part: str) -> Any:
    if isinstance(holder, dict):
        return holder.get(part)
    if isinstance(holder, list) and is_count(part) and int(part) < len(holder):
        return holder[int(part)]
    return None


def _put(holder: Any, part: str, patch: Patch) -> None:
    if isinstance(holder, dict):
        if patch.op == "remove":
            holder.pop(part, None)
        elif patch.op == "add" or part in holder:
            holder[part] = patch.value
    elif isinstance(holder, list) and (part == "-" or is_count(part)):
        at = len(holder) if part == "-" else int(part)
        if patch.op == "add":
            holder.insert(at, patch.value)
        elif at < len(holder):
            if patch.op == "remove":
                del holder[at]
            else:
                holder[at] = patch.value
