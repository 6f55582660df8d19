"""What a client's run says: a line of JSON for each thing that was tried, which ``tests.clients`` reads. Nothing of keel is imported."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from typing import Any


class Report:
    """Things tried, one after another. ``failed`` counts those that went otherwise than they should."""

    def __init__(self, setting: str = "") -> None:
        self.setting = setting
        self.failed = 0

    def say(self, what: str, outcome: str, detail: str = "") -> None:
        """outcome: ok, refused (as it should be) or failed."""
        self.failed += outcome == "failed"
        print(json.dumps({"setting": self.setting, "what": what, "outcome": outcome, "detail": detail[:300]}), flush=True)

    def check(self, what: str, holds: bool, detail: str = "") -> None:
        """Something that must be so."""
        self.say(what, "ok" if holds else "failed", detail)

    def tried(self, what: str, call: Callable[[], Any], *, refusal: str = "") -> Any:
        """A call's result. refusal: the name of the error that it must end with instead."""
        try:
            result = call()
        except Exception as error:  # noqa: BLE001 (whatever a client raises is its result)
            self.settle(what, error, refusal)
            return None
        self.settle(what, None, refusal)
        return result

    def settle(self, what: str, error: BaseException | None, refusal: str = "") -> None:
        """How a call has ended."""
        if error is None:
            self.check(what, not refusal, f"{refusal} was expected" if refusal else "")
        elif refusal and type(error).__name__ == refusal:
            self.say(what, "refused", str(error))
        else:
            self.say(what, "failed", "".join(traceback.format_exception_only(error)).strip())
