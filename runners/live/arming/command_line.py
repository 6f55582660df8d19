"""The command line of a live session, whole, so that it works when it is pasted into another terminal: in any folder, with the same home,
state folder, system file, keys that are set, symbols that are left out, key file and token. A key in the environment stays unsaid."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from keel.runners.process.state_folder import state_variable


@dataclass(frozen=True, slots=True)
class LiveCommand:
    """What a session was started with; all paths absolute. system: an id, or the path of a file; arm_token: where its arming came from,
    None: a terminal."""

    system: str
    home: Path
    sandbox_url: str | None = None
    overrides: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    key_file: Path | None = None
    arm_token: Path | None = None

    def start(self, token: Path) -> str:
        """Starts a session with the token in this file."""
        return self._text("--arm-token", str(token))

    def arm(self, token: Path | None = None) -> str:
        """Arms it at a terminal. token: where to; None: where the session's own came from, else where a running session looks anyway."""
        place = self.arm_token if token is None else token
        return self._text("--arm", *([] if place is None else ["--arm-token", str(place)]))

    def demo(self) -> str:
        """A demo session of one bar on the same sandbox, which sets margin mode, leverage and added margin as the system has them."""
        return self._text("--bars", "1", command="demo")

    def _text(self, *more: str, command: str = "live") -> str:
        return state_variable() + shlex.join(["keel", command, self.system, *self._options(), *more])

    def _options(self) -> Iterator[str]:
        yield from ("--home", str(self.home))
        if self.sandbox_url is not None:
            yield from ("--sandbox", self.sandbox_url)
        for override in self.overrides:
            yield from ("--set", override)
        for symbol in self.without:
            yield from ("--without", symbol)
        if self.key_file is not None:
            yield from ("--key-file", str(self.key_file))
