"""What a run's function and ``run_epoch`` both call by one name.

``run_epoch(..., timeframes=["1h"])`` takes the name for itself, and a function that has a parameter ``timeframes`` would never see it. So
what such a function asks for by name is handed to it, too: the same value, under the same name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any


def shared_arguments(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Of run_epoch's own arguments those that the function has a parameter for: where they say something, or the function must have them.

    A function whose signature Python cannot tell, and one that takes anything (``**kwargs``), gets none.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    wanted = {}
    for name, value in given.items():
        parameter = parameters.get(name)
        if parameter is None or parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if value not in (None, "", (), False) or parameter.default is parameter.empty:
            wanted[name] = value
    return wanted
