"""No redirect is followed, not even by the handshake of a WebSocket, whose first message holds the key: where an URL points is checked
before anything is sent, and an answer must not lead elsewhere."""

from __future__ import annotations

from types import SimpleNamespace

import aiohttp


class RedirectedError(aiohttp.ClientError):
    """An answer pointed to another URL."""


async def _refuse(session: aiohttp.ClientSession, context: SimpleNamespace, answer: aiohttp.TraceRequestRedirectParams) -> None:
    place = answer.response.headers.get("Location", "")[:200]
    raise RedirectedError(f"{answer.url.origin()} answers with a redirect to {place!r}: not followed")


def refuse_redirects(session: aiohttp.ClientSession) -> None:
    """From now on no request of this session follows one. May be asked again."""
    if any(_refuse in config.on_request_redirect for config in session.trace_configs):
        return
    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(_refuse)
    config.freeze()
    session.trace_configs.append(config)
