"""``keel panic`` as a person pastes it into another terminal: whatever its PATH, its environment and its folder are."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from keel.runners.process.state_folder import state_variable


def panic_command(environment: str, sandbox_url: str | None, key_file: Path | None) -> str:
    """Of one account: this program, the state folder that its sessions look into, the sandbox, the key file. It needs no home folder.

    environment: ``demo``, ``live`` or ``sandbox``; sandbox_url: of the sandbox, None for the usual one.
    """
    beside = Path(sys.executable).with_name("keel")
    words = [str(beside)] if beside.exists() else [sys.executable, "-m", "keel.runners.cli.main"]
    words += ["panic", "--env", environment]
    words += [] if sandbox_url is None or environment != "sandbox" else ["--sandbox", sandbox_url]
    words += [] if key_file is None else ["--key-file", str(key_file.expanduser().absolute())]
    return f"{state_variable()}{shlex.join(words)}"
