"""The panic latch: a file whose mere existence stops every order that would add, in this and every later session of its environment.

It lies in this user's state folder, whatever the home folder or TMPDIR, one per environment: ``live``, ``demo``, or a sandbox's host and
port. Whatever is found under its name latches: empty, damaged, of a later version, unreadable, a folder, a link that leads nowhere. Only
"there is no such file" does not. ``keel session rearm`` takes it away, and keeps it under another name as evidence.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.core.errors import SafetyError
from keel.runners.process.state_folder import state_root, state_variable

VERSION = 1
_MAX_BYTES = 65_536


class Latch(msgspec.Struct, frozen=True):
    """What a latch says of itself. made: ISO time (UTC); by: what was pressed; process, host, user: whose hand."""

    version: int = VERSION
    environment: str = ""
    made: str = ""
    by: str = ""
    process: int = 0
    host: str = ""
    user: str = ""


def latch_name(environment: Environment, rest_url: str) -> str:
    """``live``, ``demo``, or ``sandbox-<host>-<port>`` of the sandbox's URL; this machine's names for itself are one host."""
    if environment is not Environment.SANDBOX:
        return str(environment.value)
    parts = urlsplit(rest_url)
    host = "127.0.0.1" if parts.hostname in ("localhost", "::1") else str(parts.hostname)
    return re.sub(r"[^A-Za-z0-9.-]", "_", f"sandbox-{host}-{parts.port or 80}")


def latch_path(environment: Environment, rest_url: str) -> Path:
    """Where this environment's latch is, or would be."""
    return state_root() / "panic" / f"{latch_name(environment, rest_url)}.latch"


def latch_of(environment: Environment, sandbox_url: str | None) -> Path:
    """``latch_path`` for a sandbox's URL, or None for the environment's own. Raises ConfigError for a URL of another machine."""
    return latch_path(environment, endpoints(environment, sandbox_url).rest)


def standing_latches() -> list[Path]:
    """Every latch that stands in this user's state folder. Raises SafetyError for a folder that cannot be read."""
    folder = state_root() / "panic"
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".latch")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SafetyError(f"{folder} cannot be read ({error.strerror}): panic latches may stand there") from error


def is_latched(path: Path | str) -> bool:
    """Whether anything stands there. What cannot be looked at counts as latched: only its absence counts as not latched."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def read_latch(path: Path) -> Latch | None:
    """What the latch says; None where it says nothing that can be read (it latches all the same)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            return msgspec.json.decode(file.read(_MAX_BYTES), type=Latch)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def latch_text(path: Path) -> str:
    """For people: what stands, since when, by whom, and the way out."""
    found = read_latch(path)
    told = (
        "it says nothing that can be read" if found is None else f"made {found.made} by {found.by} (process {found.process}, {found.user})"
    )
    return f"the panic latch {path} stands ({told}): once you have looked at the account, {rearm_command(path)} takes it away"


def refuse_latched(path: Path) -> None:
    """Before a start: raises SafetyError while the latch stands, with what it says and the way out."""
    if is_latched(path):
        raise SafetyError(f"{latch_text(path)}; until then nothing is started in this environment")


def rearm_command(path: Path) -> str:
    """What a person types to take this latch away."""
    name = path.stem
    if not name.startswith("sandbox-"):
        return f"{state_variable()}keel session rearm --env {name}"
    host, _, port = name.removeprefix("sandbox-").rpartition("-")
    return f"{state_variable()}keel session rearm --env sandbox --sandbox http://{host}:{port}"


class LatchWatch:
    """A session's eye on its latch: once seen, always seen, even where the file is taken away again."""

    def __init__(self, path: Path) -> None:
        self._name = os.fspath(path)
        self._text = ""

    def press(self, text: str) -> None:
        """Panic was pressed in this very process: it counts even where no latch could be made. text: why, and the way out."""
        self._text = self._text or text

    def why(self) -> str:
        """Why nothing that adds may leave; "" while no latch stands."""
        if not self._text and is_latched(self._name):
            self._text = latch_text(Path(self._name))
        return self._text
