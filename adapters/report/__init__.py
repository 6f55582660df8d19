"""The HTML report of one run: a single file that needs nothing but a browser, and asks the network for nothing."""

from __future__ import annotations

from keel.adapters.report.page import write_report

__all__ = ["write_report"]
