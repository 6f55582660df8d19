"""The system's clock, for what people start: runs are stamped with it, never decided by it."""

from __future__ import annotations

from adapters import present_ms as system_now

__all__ = ["system_now"]
