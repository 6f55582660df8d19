"""The tool behind ``keel alerts test``."""

from __future__ import annotations

from keel.core.errors import ConfigError
from keel.runners.live.alerts.alerts import Tried, try_targets
from keel.runners.live.alerts.config import FILE_NAME
from keel.runners.tools.registry import Request, Response, ToolContext, tool


class AlertsTestRequest(Request, frozen=True):
    """Nothing is asked."""


class AlertsTestResponse(Response, frozen=True, kw_only=True):
    """ok: every target took its alert."""

    ok: bool
    targets: list[Tried]


@tool("alerts_test", AlertsTestRequest, AlertsTestResponse)
def alerts_test_tool(request: AlertsTestRequest, context: ToolContext) -> AlertsTestResponse:
    """Send one alert to every target of the home's alerts.yaml, and say which took it."""
    tried = try_targets(context.home)
    if tried is None:
        raise ConfigError(f"there is no {context.home.root / FILE_NAME}: docs/alerts.md shows one to begin with")
    return AlertsTestResponse(ok=all(each.is_sent for each in tried), targets=tried)
