"""keel: the same actors trade in a backtest, on a demo account and live.

The names that a strategy or a notebook is written with. Each is looked up when it is asked for, so that ``import keel`` costs nothing.
"""

from __future__ import annotations
