"""Where the arming of a supervised session lies, so that a restart within its life finds it: named after the supervisor's run alone.

The file is an arming token as any other (sealed, bound to account, code and configuration, void after a panic or its life); the supervisor
takes it away when it ends.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from keel.runners.live.supervisor.heartbeat import RESTARTS_NAME, RUN_NAME
from keel.runners.process.state_folder import state_folder


def arming_place(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where a trader leaves what a person has armed at the terminal; None for one that nobody supervises."""
    return of_run(environ.get(RUN_NAME, ""))


def armed_before(environ: Mapping[str, str] = os.environ) -> Path | None:
    """What a trader before this one was armed with, under the same supervisor; None at the first start."""
    path = arming_place(environ)
    return path if path is not None and environ.get(RESTARTS_NAME, "0") != "0" and path.exists() else None


def of_run(run: str) -> Path | None:
    """The file of what a run was armed with, by the run's id; None where there is none."""
    return state_folder("arming") / f"supervised-{run}.token" if re.fullmatch(r"[0-9a-f]{32}", run) else None
