"""The home folder: where data, systems of the user's own, runs and logs live. ``--home DIR``, else KEEL_HOME, else the current folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from keel.core.errors import ConfigError
from keel.runners.user_path import user_path

ENVIRONMENT_NAME = "KEEL_HOME"


@dataclass(frozen=True, slots=True)
class Home:
    """The folders under one root. Nothing is created until something is written there."""

    root: Path

    @classmethod
    def find(cls, home: Home | Path | str | None = None, environment: Mapping[str, str] = os.environ) -> Home:
        """The home that was asked for; None: KEEL_HOME where it is set and not empty, else the current folder.

        Raises ConfigError where that is a file.
        """
        if isinstance(home, Home):
            return home
        named = home if home is not None else environment.get(ENVIRONMENT_NAME) or "."
        root = user_path(named).absolute()
        if root.exists() and not root.is_dir():
            source = "the home folder" if home is not None else f"the environment's {ENVIRONMENT_NAME}"
            raise ConfigError(f"{source} {root} is a file: give a folder (--home DIR)")
        return cls(root)

    @property
    def store(self) -> Path:
        """The DuckDB file of history."""
        return self.root / "data" / "keel.duckdb"

    @property
    def strategies(self) -> Path:
        """The user's own strategies."""
        return self.root / "strategies"

    @property
    def systems(self) -> Path:
        """The user's own system files."""
        return self.root / "systems"

    @property
    def backtests(self) -> Path:
        """Artifacts of everything that runs over history."""
        return self.root / "backtests"

    @property
    def runs(self) -> Path:
        """Artifacts of demo and live sessions, in a folder for each."""
        return self.root / "runs"

    @property
    def sweeps(self) -> Path:
        """Sweeps, in a folder for each."""
        return self.root / "sweeps"

    @property
    def promotions(self) -> Path:
        """The records of promotions, a file for each."""
        return self.root / "promotions"

    @property
    def logs(self) -> Path:
        """The events of all runs, and the logs of sessions."""
        return self.root / "logs"
