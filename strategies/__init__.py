"""Strategies: the interface, the registry, and the built-in ones with their systems.

The names that a strategy is written with may be imported from here. They are looked up when they are asked for, so that importing a part
of this package loads nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keel.strategies.base import HOLD, BaseStrategy, PortfolioStrategy, VectorStrategy

__all__ = ["HOLD", "BaseStrategy", "PortfolioStrategy", "VectorStrategy"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("keel.strategies.base"), name)
