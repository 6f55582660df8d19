"""Opens a file in the browser where there is one to open it in, and says nothing where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

from keel.runners.process.child_environment import child_environment


def open_quietly(path: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Hand a file to the system's opener, without waiting and without its chatter; whether there was one, and a screen."""
    if sys.platform == "win32":
        os.startfile(path)
        return True
    has_screen = sys.platform == "darwin" or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
    opener = shutil.which("open" if sys.platform == "darwin" else "xdg-open", path=environment.get("PATH"))
    if opener is None or not has_screen:
        return False
    subprocess.Popen(
        [opener, path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env=child_environment(environment),
    )  # fmt: skip
    return True
