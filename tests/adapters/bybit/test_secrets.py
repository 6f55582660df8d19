"""A secret shows itself nowhere, comes from proper places only, and its environment alone ever sees it."""

from __future__ import annotations

import copy
import itertools
import json
import logging
import pickle
import sys
import traceback
from pathlib import Path

import aiohttp
import msgspec
import pytest

from keel.adapters.bybit.transport.credentials import Credentials, Secret, load_credentials
from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.adapters.bybit.transport.exchange_clock import ServerClock
from keel.adapters.bybit.transport.rate_budget import Budget
from keel.adapters.bybit.transport.rest import RestClient
from keel.adapters.bybit.transport.signing import rest_headers
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal
from keel.core.errors import ConfigError, KeelError, SafetyError
from tests.adapters.bybit.conftest import fast_ms, fast_sleep

CANARY = "canary-5f1e9c-never-seen"


def canary(environment: Environment = Environment.SANDBOX) -> Credentials:
    return Credentials(environment, Secret(CANARY), Secret(CANARY))


def test_no_way_of_showing_shows_it() -> None:
    secret, keys = Secret(CANARY), canary()
    shown = [
        repr(secret), str(secret), f"{secret}", f"{secret:>40}", f"{secret!s} {secret!r}", repr(keys), str([keys]), repr({"k": secret}),
        json.dumps({"k": secret}, default=str), msgspec.json.encode({"k": secret}, enc_hook=repr).decode(),
        pickle.dumps(secret).decode("latin-1"), pickle.dumps(keys.secret, protocol=0).decode("latin-1"),
        repr(copy.deepcopy(secret)), str(dir(secret)), repr(msgspec.structs.asdict(keys)),
    ]  # fmt: skip
    assert not [text for text in shown if CANARY in text]
    assert pickle.loads(pickle.dumps(secret)).reveal() == "***"
    with pytest.raises(TypeError):
        msgspec.json.encode(keys)
    with pytest.raises(TypeError):
        hash(secret)


async def test_no_error_path_tells_it(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    where = endpoints(Environment.SANDBOX, "http://127.0.0.1:9")  # nobody listens there
    said: list[str] = []
    async with aiohttp.ClientSession() as session:
        clock = ServerClock()
        rest = RestClient(
            session, where, canary(), clock, Budget(fast_ms, fast_sleep), notify=lambda n: said.append(repr(n)), sleep=fast_sleep
        )
        said += [repr(rest), repr(vars(rest)), repr(await rest.command("/v5/order/create", {"symbol": "BTCUSDT"}))]
        try:
            await rest.ask("/v5/account/info")
        except ExchangeRefusal as error:
            said += [*traceback.format_exception(error), repr(error), repr(vars(error))]
            frame = error.__traceback__
            while frame is not None:
                said.append(repr(frame.tb_frame.f_locals))
                frame = frame.tb_next
    captured = capsys.readouterr()
    assert CANARY not in "".join(said) + caplog.text + captured.out + captured.err


def test_keys_of_the_environment_s_own_name_are_found() -> None:
    where = endpoints(Environment.DEMO)
    keys = load_credentials(where, environ={"BYBIT_DEMO_KEY": "k", "BYBIT_DEMO_SECRET": "s"})
    assert (keys.key.reveal(), keys.secret.reveal(), keys.environment) == ("k", "s", Environment.DEMO)
    with pytest.raises(ConfigError, match="BYBIT_LIVE_KEY"):
        load_credentials(endpoints(Environment.LIVE), environ={"BYBIT_DEMO_KEY": "k", "BYBIT_DEMO_SECRET": "s"})


@pytest.mark.parametrize(
    ("mode", "is_taken"), [(0o600, True), (0o400, True), (0o640, False), (0o644, False), (0o666, False), (0o700, False)]
)
def test_a_key_file_is_its_owner_s_alone(tmp_path: Path, mode: int, is_taken: bool) -> None:
    file = tmp_path / "keys"
    file.write_text('# demo\nBYBIT_DEMO_KEY=abc\nexport BYBIT_DEMO_SECRET="def"\n')
    file.chmod(mode)
    if is_taken:
        keys = load_credentials(endpoints(Environment.DEMO), file=file, environ={})
        assert (keys.key.reveal(), keys.secret.reveal()) == ("abc", "def")
    else:
        with pytest.raises(SafetyError, match="chmod 600"):
            load_credentials(endpoints(Environment.DEMO), file=file, environ={})


def test_a_link_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("BYBIT_DEMO_KEY=a\nBYBIT_DEMO_SECRET=b\n")
    (tmp_path / "real").chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("link", "missing"):
        with pytest.raises(ConfigError, match="cannot be opened"):
            load_credentials(endpoints(Environment.DEMO), file=tmp_path / name, environ={})


# --- whose host is it ---

HOSTS = {
    "demo": "https://api-demo.bybit.com",
    "live": "https://api.bybit.com",
    "sandbox": "http://127.0.0.1:1234",
    "testnet": "https://api-testnet.bybit.com",
    "other": "https://api.bybit.com.evil.example",
    "plain live": "http://api.bybit.com",
    "user part": "https://api-demo.bybit.com@evil.example",
}


@pytest.mark.parametrize(("environment", "host"), list(itertools.product(Environment, HOSTS)))
def test_a_private_request_goes_to_its_own_environment_or_nowhere(environment: Environment, host: str) -> None:
    where = endpoints(environment)
    if host == environment.value:
        where.check_url(HOSTS[host] + "/v5/order/create", private=True)
    else:
        with pytest.raises(SafetyError):
            where.check_url(HOSTS[host] + "/v5/order/create", private=True)


def test_the_public_stream_of_demo_is_the_real_one_and_takes_no_key() -> None:
    demo = endpoints(Environment.DEMO)
    assert demo.public_url("linear") == "wss://stream.bybit.com/v5/public/linear"
    demo.check_url(demo.public_url("linear"), private=False)
    with pytest.raises(SafetyError):
        demo.check_url(demo.public_url("linear"), private=True)
    assert demo.trade_url() is None


@pytest.mark.parametrize(("keys_of", "used_in"), [pair for pair in itertools.product(Environment, repeat=2) if pair[0] is not pair[1]])
async def test_a_key_of_one_environment_makes_no_client_of_another(keys_of: Environment, used_in: Environment) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(SafetyError, match="key may not be used"):
            RestClient(session, endpoints(used_in), canary(keys_of), ServerClock(), Budget(fast_ms, fast_sleep))


@pytest.mark.parametrize("url", ["https://api.bybit.com", "http://192.168.0.5:80", "http://0.0.0.0:80", "127.0.0.1:80", ""])
def test_a_sandbox_is_on_this_machine(url: str) -> None:
    with pytest.raises(KeelError):
        endpoints(Environment.SANDBOX, url)


def test_headers_are_the_only_place() -> None:
    headers = rest_headers(canary(), 1, 5000, "")
    assert headers["X-BAPI-API-KEY"] == CANARY
    assert CANARY not in headers["X-BAPI-SIGN"]


def test_a_keyring_is_asked_last_and_by_its_own_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {("keel-bybit-demo", "key"): "ring-key", ("keel-bybit-demo", "secret"): "ring-secret"}
    (tmp_path / "keyring.py").write_text(f"def get_password(service, name):\n    return {kept!r}.get((service, name))\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keyring", raising=False)
    found = load_credentials(endpoints(Environment.DEMO), environ={})
    assert (found.key.reveal(), found.secret.reveal()) == ("ring-key", "ring-secret")
    environ = {"BYBIT_DEMO_KEY": "k", "BYBIT_DEMO_SECRET": "s"}
    assert load_credentials(endpoints(Environment.DEMO), environ=environ).key.reveal() == "k"
    with pytest.raises(ConfigError, match="keel-bybit-live"):
        load_credentials(endpoints(Environment.LIVE), environ={})
    sys.modules.pop("keyring")  # the fake leaves with its test


def test_an_answer_is_read_without_them() -> None:
    keys = Credentials(Environment.SANDBOX, Secret("the-key-123"), Secret("the-secret-456"))
    raw = b'{"retMsg":"error sign! origin_string[17the-key-1235000a=b] for the-secret-456"}'
    assert keys.without(raw) == b'{"retMsg":"error sign! origin_string[17***5000a=b] for ***"}'
    short = Credentials(Environment.SANDBOX, Secret("e"), Secret("r"))
    assert short.without(raw) == raw
