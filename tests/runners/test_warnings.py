"""What a run must say before its figures: liquidations, limits, holes, guesses; and nothing where nothing was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.store import HistoricalDataStore
from core.frame import Frame
from core.messages import Halt, Liquidation, Resume
from core.money import UNIT, to_units
from core.result import BacktestResult, StopReason
from core.timeframe import DAY_MS
from runners.warnings import run_warnings
from tests.builders import HOUR, START, builtin, perpetual, plain_system, run, sample_store, store_of
from tests.runners.test_outcome import Enters

Keel = Callable[..., Any]
Make = Callable[..., BacktestResult]
WINDOW = ("--start", "2024-01-15", "--end", "2024-01-22")
BEGIN = 1_735_689_600_000  # 2025-01-01, where small_result begins
