"""Which water this is, so that it can be told from across the room: in a colour that fills the line, and in words without any colour."""

from __future__ import annotations

from typing import Any, Final

_WORDS: Final = {"live": "LIVE: REAL MONEY", "demo": "DEMO: play money at Bybit", "sandbox": "SANDBOX: an exchange of this machine"}
_COLOURS: Final = {"live": "bold white on red", "demo": "bold white on blue", "sandbox": "bold black on green"}


def banner_text(environment: str, *, is_live: bool = False, has_no_stop: bool = False) -> str:
    """One line without colours. is_live: by the rules of a live session; has_no_stop: of a system that sets no stop-loss."""
    words = _WORDS[environment]
    if is_live and environment == "sandbox":
        words += ", by all rules of a live session"
    if has_no_stop:
        words += ", NO STOP"
    return f"*** {words} ***" if environment != "live" else f"!!! {words} !!! {words} !!!"


def banner(environment: str, *, is_live: bool = False, has_no_stop: bool = False) -> Any:
    """A line that fills the terminal with the environment's colour."""
    from rich.align import Align
    from rich.text import Text

    style = _COLOURS[environment]
    return Align.center(Text(banner_text(environment, is_live=is_live, has_no_stop=has_no_stop), style=style), style=style)


def border(environment: str) -> str:
    """The colour of a frame."""
    return {"live": "bold red", "demo": "blue", "sandbox": "green"}[environment]
