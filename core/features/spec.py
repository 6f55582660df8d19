"""Declarations of features, checked once and made into specs, in an order in which each comes after its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from keel.core.errors import ConfigError
from keel.core.features.indicators import Indicator, find_indicator, indicator_names, resolve_parameters
from keel.core.model.frame import BAR_COLUMNS
from keel.core.model.timeframe import TIMEFRAMES, is_finer, tf_ms
from keel.core.system.suggestions import did_you_mean, nearest_name

EXTRA_COLUMNS = ("mark_close", "funding_rate", "open_interest")
"""Inputs beside the bar's own columns; known at the bar's close. NaN before the first one."""

_KEYS = ("fn", "timeframe", "input", "output")
_RESERVED = (*BAR_COLUMNS, *EXTRA_COLUMNS, "ts", "signal")  # "signal" is the name under which a vector strategy's array is revealed


class FeatureSpec(msgspec.Struct, frozen=True):
    """One feature, with everything resolved.

    fn: a TA-Lib name, or ``path/to/file.py:function`` or ``package.module:function``.  timeframe: None for the decision timeframe.
    inputs: columns or other features, in the function's order.  output: the name of one of several outputs, else None.
    params: name and value; for a TA-Lib function all of its parameters, defaults included.
    """

    name: str
    fn: str
    timeframe: str | None
    inputs: tuple[str, ...]
    output: str | None
    params: tuple[tuple[str, Any], ...]

    @property
    def is_user_function(self) -> bool:
        """Whether fn is the user's own function and not TA-Lib's."""
        return ":" in self.fn


def parse_features(declared: Mapping[str, Mapping[str, Any]], params: Mapping[str, Any], base_timeframe: str) -> list[FeatureSpec]:
    """Specs of the declared features, each after its inputs, otherwise in the order of declaration.

    params: the strategy's parameters, for values of the form ``$name``.  base_timeframe: the decision timeframe.
    Raises ConfigError that names the feature, the key and the nearest valid name.
    """
    specs = {name: _parse(name, body, params, base_timeframe) for name, body in declared.items()}
    for spec in specs.values():
        _check_inputs(spec, specs, base_timeframe)
    return _in_order(specs)


def by_timeframe(specs: Iterable[FeatureSpec], base_timeframe: str) -> dict[str, list[FeatureSpec]]:
    """The specs of each timeframe, shortest first; the base timeframe is always there."""
    groups: dict[str, list[FeatureSpec]] = {base_timeframe: []}
    for spec in specs:
        groups.setdefault(spec.timeframe or base_timeframe, []).append(spec)
    return {timeframe: groups[timeframe] for timeframe in sorted(groups, key=tf_ms)}


def extra_columns(specs: Iterable[FeatureSpec]) -> tuple[str, ...]:
    """Those of EXTRA_COLUMNS that the specs take as inputs."""
    used = {name for spec in specs for name in spec.inputs}
    return tuple(name for name in EXTRA_COLUMNS if name in used)


def _parse(name: str, body: Mapping[str, Any], params: Mapping[str, Any], base_timeframe: str) -> FeatureSpec:
    _check_name(name)
    if not isinstance(body, Mapping):
        raise ConfigError(f"feature {name!r} must be a mapping such as {{fn: EMA, timeperiod: 20}}, not {body!r}")
    values = {key: _substitute(name, key, value, params) for key, value in body.items()}
    fn = values.get("fn")
    if not isinstance(fn, str) or not fn:
        known = ", ".join(map(repr, body)) or "nothing"
        raise ConfigError(f"feature {name!r} needs fn: a TA-Lib function such as EMA, or file.py:function; it has {known}")
    timeframe = _timeframe(name, values.get("timeframe"), base_timeframe)
    given = {key: value for key, value in values.items() if key not in _KEYS}
    if ":" in fn:
        inputs = _inputs(name, values.get("input"), ())
        if values.get("output") is not None:
            raise ConfigError(f"feature {name!r}, key 'output': {fn} has one output; leave the key out")
        return FeatureSpec(name, fn, timeframe, inputs, None, tuple(given.items()))
    indicator = _indicator(name, fn)
    inputs = _inputs(name, values.get("input"), indicator.inputs)
    if len(inputs) != len(indicator.inputs):
        wanted = f"{len(indicator.inputs)} ({', '.join(indicator.inputs)})"
        raise ConfigError(f"feature {name!r}, key 'input': {fn} takes {wanted}, not {len(inputs)} ({', '.join(inputs)})")
    output = _output(name, indicator, values.get("output"))
    return FeatureSpec(name, fn, timeframe, inputs, output, resolve_parameters(name, indicator, given, _KEYS))


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise ConfigError(f"feature {name!r}: a name is made of letters, digits and _, and does not begin with a digit")
    if name in _RESERVED:
        raise ConfigError(f"feature {name!r}: this is the name of a column; choose another")


def _substitute(name: str, key: str, value: Any, params: Mapping[str, Any]) -> Any:
    """The value with ``$parameter`` replaced by that parameter, inside lists too."""
    if isinstance(value, (list, tuple)):
        return [_substitute(name, key, item, params) for item in value]
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    if value[1:] not in params:
        raise ConfigError(f"feature {name!r}, key {key!r}: the strategy has no parameter {value[1:]!r}; {did_you_mean(value[1:], params)}")
    return params[value[1:]]


def _timeframe(name: str, timeframe: Any, base_timeframe: str) -> str | None:
    if timeframe is None or timeframe == base_timeframe:
        return None
    if not isinstance(timeframe, str) or timeframe not in TIMEFRAMES:
        raise ConfigError(f"feature {name!r}, key 'timeframe': unknown timeframe {timeframe!r}: use one of {', '.join(TIMEFRAMES)}")
    if not is_finer(base_timeframe, than=timeframe):
        raise ConfigError(
            f"feature {name!r}, key 'timeframe': {timeframe} cannot be built from the decision timeframe {base_timeframe}; "
            "use a multiple of it"
        )
    return timeframe


def _indicator(name: str, fn: str) -> Indicator:
    indicator = find_indicator(fn)
    if indicator is None:
        near = nearest_name(fn, indicator_names())
        hint = f"did you mean {near}?" if near else "your own is written file.py:function or package.module:function"
        raise ConfigError(f"feature {name!r}, key 'fn': TA-Lib has no function {fn!r}; {hint}")
    return indicator


def _inputs(name: str, value: Any, default: tuple[str, ...]) -> tuple[str, ...]:
    if value is None:
        return default
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str) for item in items):
        raise ConfigError(f"feature {name!r}, key 'input': {value!r} is not the name of a column or a feature, nor a list of such names")
    return tuple(items)


def _output(name: str, indicator: Indicator, value: Any) -> str | None:
    """The name of the chosen output; a number counts from 0. None when there is only one."""
    outputs = indicator.outputs
    if value is None and len(outputs) > 1:
        raise ConfigError(f"feature {name!r} needs output: {indicator.name} has {len(outputs)} ({', '.join(outputs)})")
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(outputs):
        value = outputs[value]
    if value is not None and value not in outputs:
        raise ConfigError(f"feature {name!r}, key 'output': {indicator.name} has no output {value!r}; {did_you_mean(str(value), outputs)}")
    return value if len(outputs) > 1 else None


def _check_inputs(spec: FeatureSpec, specs: Mapping[str, FeatureSpec], base_timeframe: str) -> None:
    for item in spec.inputs:
        if item in BAR_COLUMNS or item in EXTRA_COLUMNS:
            continue
        if item not in specs:
            hint = did_you_mean(item, (*BAR_COLUMNS, *EXTRA_COLUMNS, *specs))
            raise ConfigError(f"feature {spec.name!r}, key 'input': there is no column or feature {item!r}; {hint}")
        if specs[item].timeframe != spec.timeframe:
            own, other = spec.timeframe or base_timeframe, specs[item].timeframe or base_timeframe
            raise ConfigError(
                f"feature {spec.name!r} is on {own}, its input {item!r} on {other}: a feature takes only features of its own timeframe"
            )


def _in_order(specs: Mapping[str, FeatureSpec]) -> list[FeatureSpec]:
    """Depth first over inputs. Raises ConfigError that shows the way round a cycle."""
    done: dict[str, FeatureSpec] = {}

    def visit(name: str, path: Sequence[str]) -> None:
        if name in done:
            return
        if name in path:
            cycle = " -> ".join((*path[path.index(name) :], name))
            raise ConfigError(f"feature {name!r}: it takes itself as input ({cycle}); break the circle")
        for item in specs[name].inputs:
            if item in specs:
                visit(item, (*path, name))
        done[name] = specs[name]

    for name in specs:
        visit(name, ())
    return list(done.values())
