"""ccxt pointed at a sandbox as any of its users can: by the URLs of its constructor's configuration."""

from __future__ import annotations

from typing import Any


def options(url: str, kind: str) -> dict[str, Any]:
    """Of ``ccxt.bybit`` and ``ccxt.pro.bybit``. kind: swap or spot, as ``defaultType`` has it."""
    socket = url.replace("http", "ws", 1)
    public = {category: f"{socket}/v5/public/{category}" for category in ("spot", "linear", "inverse", "option")}
    private = {"spot": {"unified": f"{socket}/v5/private"}, "contract": f"{socket}/v5/private", "trade": f"{socket}/v5/trade"}
    rest = dict.fromkeys(("spot", "futures", "v2", "public", "private"), url)
    return {
        "apiKey": "sandbox-key",
        "secret": "sandbox-secret",
        "urls": {"api": {**rest, "ws": {"public": public, "private": private}}},
        "options": {"defaultType": kind},
    }
