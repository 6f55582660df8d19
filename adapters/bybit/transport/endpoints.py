"""Where each environment lives, whose key it takes, and which hosts may ever see that key.

One enum decides everything. A key that is bound to one environment never travels to a host of another: every URL of a private request is
checked against the environment's own short list, and public streams carry no key at all.
"""

from __future__ import annotations

from enum import Enum
from urllib.parse import urlsplit

import msgspec

from keel.core.errors import ConfigError, SafetyError
from keel.core.model.instrument import Category


class Environment(Enum):
    """The three waters."""

    SANDBOX = "sandbox"
    DEMO = "demo"
    LIVE = "live"


class Endpoints(msgspec.Struct, frozen=True):
    """URLs of one environment. ``trade_stream`` is None where orders go by REST only (the demo account)."""

    environment: Environment
    rest: str
    public_stream: str
    private_stream: str
    trade_stream: str | None
    private_hosts: frozenset[str]
    public_hosts: frozenset[str]

    @property
    def key_name(self) -> str:
        """Name of the environment variable with the API key."""
        return f"BYBIT_{self.environment.name}_KEY"

    @property
    def secret_name(self) -> str:
        """Name of the environment variable with the API secret."""
        return f"BYBIT_{self.environment.name}_SECRET"

    def public_url(self, category: Category) -> str:
        """The public stream of a category."""
        return f"{self.public_stream}/v5/public/{category}"

    def private_url(self) -> str:
        """The private stream."""
        return f"{self.private_stream}/v5/private"

    def trade_url(self) -> str | None:
        """The stream for order entry, where the environment has it."""
        return None if self.trade_stream is None else f"{self.trade_stream}/v5/trade"

    def check_url(self, url: str, *, private: bool) -> str:
        """The URL itself when this environment may open it. Raises SafetyError, before anything is sent, when it may not."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        allowed = self.private_hosts if private else self.private_hosts | self.public_hosts
        is_plain = parts.scheme in ("http", "ws")
        if host not in allowed or is_plain != (self.environment is Environment.SANDBOX):
            kind = "private" if private else "public"
            raise SafetyError(f"a {kind} request of the {self.environment.value} environment may not go to {parts.scheme}://{host}")
        return url


SANDBOX_URL = "http://127.0.0.1:8686"
"""Where a sandbox is, unless something else is said."""
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def endpoints(environment: Environment, sandbox_url: str | None = None) -> Endpoints:
    """The endpoints of an environment; ``sandbox_url`` counts for the sandbox only, and must be of this machine. None: SANDBOX_URL.

    Raises ConfigError for a sandbox URL that is not plain http on a loopback address.
    """
    if environment is Environment.DEMO:
        return Endpoints(
            environment,
            "https://api-demo.bybit.com",
            "wss://stream.bybit.com",
            "wss://stream-demo.bybit.com",
            None,
            frozenset({"api-demo.bybit.com", "stream-demo.bybit.com"}),
            frozenset({"stream.bybit.com"}),
        )
    if environment is Environment.LIVE:
        hosts = frozenset({"api.bybit.com", "stream.bybit.com"})
        stream = "wss://stream.bybit.com"
        return Endpoints(environment, "https://api.bybit.com", stream, stream, stream, hosts, hosts)
    url = SANDBOX_URL if sandbox_url is None else sandbox_url
    parts = urlsplit(url)
    is_bare = parts.path in ("", "/") and not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK or not is_bare:
        raise ConfigError(f"sandbox URL {url!r}: an address of this machine is needed, such as {SANDBOX_URL}")
    base = url.rstrip("/")
    stream = "ws" + base[len("http") :]
    return Endpoints(environment, base, stream, stream, stream, _LOOPBACK, _LOOPBACK)
