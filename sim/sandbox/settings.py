"""How a sandbox is set up: profile, pace, accounts, and the exchange's own times."""

from __future__ import annotations

from typing import Literal

import msgspec

from keel.core.model.words import check_fields
from keel.core.system.config import ExecutionConfig, MarginMode

Profile = Literal["mainnet", "demo"]
Pace = Literal["real", "max", "lockstep"]

DEFAULT_KEY = "sandbox-key"
DEFAULT_SECRET = "sandbox-secret"
DEFAULT_USDT = 100_000.0


class AccountSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One account: its key pair, its USDT (a float on 1e-8), and how its positions are held."""

    key: str = DEFAULT_KEY
    secret: str = DEFAULT_SECRET
    usdt: float = DEFAULT_USDT
    leverage: float = 10.0
    """Of every linear symbol until set-leverage (ASSUMED: Bybit's default of 10x)."""
    margin_mode: MarginMode | None = None
    """In which it begins; None: as the sandbox's accounts do."""
    hedge: bool = False
    read_only: bool = False
    """A key without the permission to trade: 10005."""
    wallet_rights: tuple[str, ...] = ()
    """What the key may do with funds, such as ``Withdraw`` or ``AccountTransfer``: query-api says so."""
    addresses: tuple[str, ...] = ("127.0.0.1",)
    """What query-api says that the key is bound to; requests are taken from anywhere."""
    deadline_days: int = -2
    """Days until the key expires; -2: never."""

    def __post_init__(self) -> None:
        check_fields(self)


class SandboxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One sandbox. Times in ms."""

    profile: Profile = "mainnet"
    pace: Pace = "real"
    factor: float = 1.0
    """Market time per wall time at pace real."""
    tick_ms: int = 1000
    """Wall time between two moves of the market at pace real."""
    seed: int = 7
    ids: Literal["fresh", "fixed"] | None = None
    """Whether ids and sequence numbers go on from start to start, as an exchange's do and as bots with a database need, or are the same at
    every start. None: fresh, in lock-step fixed."""
    accounts: tuple[AccountSettings, ...] = (AccountSettings(),)
    margin_mode: MarginMode | None = None
    """In which accounts begin that do not say; None: isolated, with the demo profile cross (ASSUMED)."""
    demo_isolated: bool = False
    """Whether the demo profile takes ISOLATED_MARGIN. ASSUMED that it does not (110073): one report says so, the documents do not."""
    execution: ExecutionConfig = ExecutionConfig()
    ack_ms: int = 20
    """How long a socket takes to acknowledge a subscription, and about an order (ASSUMED; drawn around it: ``ws/push_order.py``).
    pybit cannot bear an answer that comes at once: it looks for what it waits for after sending. 0: every push comes before its answer."""
    rest_lag_ms: int = 0
    """How far order, execution and closed-pnl lists are behind the private stream."""
    limit_factor: float = 1.0
    """Multiplies every request budget; replays faster than real time would otherwise be bounded by them (ASSUMED)."""
    ban_ms: int = 600_000
    """How long an address that broke the IP limit gets HTTP 403."""
    idle_ms: int = 600_000
    unsubscribed_idle_ms: int = 61_000
    idle_check_ms: int = 1_000
    level1_repeat_ms: int = 3_000
    clock_skew_ms: int = 0
    """By how much the server's clock is ahead of the given one."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def has_fresh_ids(self) -> bool:
        """Whether no id of an earlier start comes again."""
        return self.ids == "fresh" or (self.ids is None and self.pace != "lockstep")

    def mode_of(self, account: AccountSettings) -> MarginMode:
        """The margin mode in which an account begins."""
        return account.margin_mode or self.margin_mode or ("cross" if self.profile == "demo" else "isolated")
