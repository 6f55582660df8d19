"""The exchange's refusals: code and words ("Error Codes", and recorded bodies)."""

from __future__ import annotations

from typing import Any, Final


class ApiError(Exception):
    """A request was refused: ``code`` and ``text`` go into the envelope; HTTP 200 unless told."""

    def __init__(self, code: int, text: str, *, result: dict[str, Any] | None = None, status: int = 200) -> None:
        super().__init__(f"{code} {text}")
        self.code, self.text, self.result, self.status = code, text, result, status

    @classmethod
    def from_reason(cls, reason: str) -> ApiError:
        """Out of the simulated exchange's reason, which begins with the code."""
        code, _, text = reason.partition(" ")
        return cls(int(code), text) if code.isdigit() else cls(10001, reason)


def is_count(text: str) -> bool:
    """Whether a word from outside is a whole number from 0 up that ``int`` can read: plain digits, and no more of them than a time has."""
    return text.isascii() and text.isdigit() and len(text) < 20


Refusal = tuple[int, str]
"""Code and text of an ApiError that may be raised."""


def bad_params(what: str) -> Refusal:
    """10001 in the form that was recorded."""
    return 10001, f"params error: {what}"


def params_error(what: str) -> ApiError:
    """The error of it."""
    return ApiError(*bad_params(what))


SYMBOL_INVALID: Final = "symbol invalid"
NOT_ON_DEMO: Final = (10032, "Demo trading are not supported.")
TOO_MANY: Final = (10006, "Too many visits. Exceeded the API Rate Limit.")
ORDER_UNKNOWN: Final = {"linear": (110001, "order not exists or too late to cancel"), "spot": (170213, "Order does not exist.")}
AMEND_UNKNOWN: Final = {"linear": (110001, "order not exists or too late to replace"), "spot": (170213, "Order does not exist.")}
DUPLICATE_ID: Final = {"linear": (110072, "OrderLinkedID is duplicate"), "spot": (170141, "Duplicate clientOrderId.")}
