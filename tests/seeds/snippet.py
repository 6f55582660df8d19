"""A user's snippet as it stands in the document, and what had to be changed in it to run here: imports, undefined names, dates, folder.

Each change is listed beside its snippet as (what stands there, what stands here, why); one that no longer applies fails the test.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

Change = tuple[str, str, str]


def changed(text: str, changes: Sequence[Change]) -> str:
    """The snippet with its changes."""
    for old, new, why in changes:
        assert old in text, f"the snippet has no {old!r} ({why})"
        text = text.replace(old, new)
    return text


def run_snippet(text: str, changes: Sequence[Change] = (), names: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], str]:
    """Run it in a namespace of its own; gives the namespace afterwards, and what was printed. names: what the document takes as given."""
    namespace: dict[str, Any] = {"__name__": "snippet", **(names or {})}
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(changed(text, changes), "snippet", "exec"), namespace)  # noqa: S102  # the user's own lines
    return namespace, printed.getvalue()
