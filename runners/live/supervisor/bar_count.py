"""How many bars a supervised session has closed before a restart, so that ``--bars`` goes on counting and does not begin anew.

The first trader of a supervisor's run writes down where its journal stood; a later one counts from there. The supervisor takes the file
away when it ends.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from keel.adapters.whole_file import json_text, whole_file
from keel.core.errors import SafetyError
from keel.runners.live.supervisor.heartbeat import RESTARTS_NAME, RUN_NAME
from keel.runners.process.state_folder import state_folder


class _Began(msgspec.Struct, frozen=True):
    """Where the first trader began. closes: instants that its journal held."""

    journal: str
    closes: int


def bars_before(journal: Path, closes: int, environ: Mapping[str, str] = os.environ) -> int:
    """Bars that traders before this one have closed under the same supervisor; 0 for the first, and where nobody supervises.

    journal: its folder; closes: the instants that it holds now. Raises SafetyError where they cannot be known any more, DataError where
    the first trader cannot write.
    """
    place = of_run(environ.get(RUN_NAME, ""))
    if place is None:
        return 0
    if environ.get(RESTARTS_NAME, "0") == "0" or not place.exists():
        with whole_file(place) as part:
            part.write_bytes(json_text(msgspec.to_builtins(_Began(str(journal), closes))))
        return 0
    try:
        began = msgspec.json.decode(place.read_bytes(), type=_Began)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SafetyError(
            f"--bars: {place} does not say where the count began ({error}): start again, with the bars that are left"
        ) from error
    if began.journal != str(journal):
        raise SafetyError(
            f"--bars: the bars before this restart are in another journal ({began.journal}): start again, with those that are left"
        )
    return max(0, closes - began.closes)


def of_run(run: str) -> Path | None:
    """Where the count of a supervisor's run lies; None for what is no id of one."""
    return state_folder("supervisors") / f"{run}.bars" if re.fullmatch(r"[0-9a-f]{32}", run) else None
