"""A key travels to the hosts of its own environment and to no other, whatever is configured: no private request of a wrong mix leaves."""

from __future__ import annotations

import asyncio
import socket
from itertools import product
from typing import Any

import aiohttp
import msgspec
import pytest

from keel.adapters.bybit.transport.credentials import Credentials, Secret, load_credentials
from keel.adapters.bybit.transport.endpoints import Endpoints, Environment, endpoints
from keel.adapters.bybit.transport.exchange_clock import ServerClock
from keel.adapters.bybit.transport.rate_budget import Budget
from keel.adapters.bybit.transport.rest import RestClient
from keel.adapters.machine import monotonic_ms
from keel.core.errors import ConfigError, KeelError, SafetyError

HOSTS = (
    "https://api.bybit.com",
    "https://api-demo.bybit.com",
    "http://127.0.0.1:8686",
    "https://api-testnet.bybit.com",
    "https://api.bybit.com.example.org",
)
KEYS = ("sandbox", "demo", "live", "none", "swapped")
OWN = {Environment.LIVE: HOSTS[0], Environment.DEMO: HOSTS[1], Environment.SANDBOX: HOSTS[2]}


class Wire(aiohttp.TCPConnector):
    """A connector that notes where it is asked to go, and goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, int | None]] = []

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        self.asked.append((req.url.host, req.url.port))
        raise aiohttp.ClientConnectorError(req.connection_key, OSError("no wire here"))


def credentials(kind: str, environment: Environment) -> Credentials | None:
    if kind == "none":
        return None
    of = environment if kind == "swapped" else Environment(kind)
    return Credentials(of, Secret("a-key-of-the-wrong-account"), Secret("its-secret-of-32-characters-here"))


async def try_it(where: Endpoints, keys: Credentials | None) -> list[tuple[str, int | None]]:
    """Where one private read and one private command go."""
    wire = Wire()
    async with aiohttp.ClientSession(connector=wire) as session:
        try:
            client = RestClient(session, where, keys, ServerClock(), Budget(monotonic_ms, asyncio.sleep), sleep=_at_once)
            await client.command("/v5/order/create", {"category": "linear"})
            await client.ask("/v5/user/query-api")
        except KeelError:
            pass
    return wire.asked


async def _at_once(seconds: float) -> None:
    return None


@pytest.mark.parametrize(("host", "kind"), list(product(HOSTS, KEYS)), ids=str)
@pytest.mark.parametrize("environment", list(Environment))
def test_every_mix_of_environment_host_and_key(environment: Environment, host: str, kind: str) -> None:
    """5 hosts x 5 keys in each environment: a request leaves in the right mix alone."""
    where = msgspec.structs.replace(endpoints(environment), rest=host)
    asked = asyncio.run(try_it(where, credentials(kind, environment)))
    is_right = host == OWN[environment] and kind in (environment.value, "swapped")  # swapped: labelled as ours, whatever it says
    assert bool(asked) == is_right
    assert all(host.endswith(f"//{name}") or f"//{name}:" in host for name, _ in asked)


@pytest.mark.parametrize(
    "url", [HOSTS[0], HOSTS[1], HOSTS[3], "http://api.bybit.com", "http://127.0.0.1@api.bybit.com", "http://10.0.0.1:8686"]
)
def test_no_url_makes_another_host_a_sandbox(url: str) -> None:
    with pytest.raises(ConfigError, match="of this machine"):
        endpoints(Environment.SANDBOX, url)


@pytest.mark.parametrize("environment", list(Environment))
@pytest.mark.parametrize(
    "name", ["https://stream.bybit.com/v5/private", "wss://stream-demo.bybit.com/v5/private", "ws://127.0.0.1:1/v5/private"]
)
def test_private_streams_are_held_to_the_same_list(environment: Environment, name: str) -> None:
    where = endpoints(environment)
    host = {Environment.LIVE: "stream.bybit.com", Environment.DEMO: "stream-demo.bybit.com", Environment.SANDBOX: "127.0.0.1"}[environment]
    if f"//{host}" in name:
        assert where.check_url(name, private=True) == name
    else:
        with pytest.raises(SafetyError, match="may not go to"):
            where.check_url(name, private=True)


def test_a_demo_key_is_never_read_for_live_nor_the_reverse(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BYBIT_DEMO_KEY", "BYBIT_DEMO_SECRET"):
        monkeypatch.setenv(name, "x" * 20)
    for name in ("BYBIT_LIVE_KEY", "BYBIT_LIVE_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="no key for the live account"):
        load_credentials(endpoints(Environment.LIVE))


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY and its like would see whom we talk to, and for the sandbox what we say: a request goes where its URL says, or nowhere."""
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        proxy.settimeout(0.05)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, address)
        where = endpoints(Environment.SANDBOX, "http://127.0.0.1:9")

        async def ask() -> None:
            async with aiohttp.ClientSession() as session:
                keys = credentials("sandbox", Environment.SANDBOX)
                client = RestClient(session, where, keys, ServerClock(), Budget(monotonic_ms, asyncio.sleep), sleep=_at_once)
                answer = await client.command("/v5/order/create", {})
                assert answer.outcome.value == "not_sent"

        asyncio.run(ask())
        with pytest.raises(TimeoutError):
            proxy.accept()
