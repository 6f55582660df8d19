"""The system file as types: what a run is made of, with its defaults. Decoding is in core/system/file.py, rules between keys in
core/system/checks.py.

Keys, meanings and defaults are explained in docs/system-file.md, one by one. Percentages are in percent, bps in basis points, times in ms.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from keel.core.model.money import BPS, UNIT, to_units
from keel.core.model.timeframe import TIMEFRAMES
from keel.core.model.words import check_fields

Positive = Annotated[float, msgspec.Meta(gt=0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]
Percent = Annotated[float, msgspec.Meta(gt=0, le=100)]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the system file: unknown keys are refused, and so are values that a key does not take, made in Python or in YAML."""

    def __post_init__(self) -> None:
        check_fields(self)


# --- exits -----------------------------------------------------------------------------------------------------------


class Distance(Strict, frozen=True, kw_only=True):
    """A distance from the decision bar's close: percent of it, or ``atr`` times the ATR of ``period`` bars; one of the two.

    ``activate_percent`` (trailing only): how far the price must go our way before the stop follows.
    """

    percent: Positive | None = None
    atr: Positive | None = None
    period: Annotated[int, msgspec.Meta(ge=1)] = 14
    activate_percent: NonNegative = 0.0


class ExitsConfig(Strict, frozen=True, kw_only=True):
    """Exits attached to each entry at the venue. ``max_bars``: decision bars after which the position is closed at market."""

    stop_loss: Distance | None = None
    take_profit: Distance | None = None
    trailing: Distance | None = None
    max_bars: Annotated[int, msgspec.Meta(ge=1)] | None = None
    trigger: Literal["last", "mark", "index"] = "last"


# --- sizing and risk -------------------------------------------------------------------------------------------------


class SizingConfig(Strict, frozen=True, kw_only=True):
    """How large an entry is, in notional at the decision price."""

    model: Literal["fixed_qty", "fixed_usd", "percent_equity", "risk_per_trade", "inverse_vol"] = "percent_equity"
    qty: Positive | None = None
    usd: Positive | None = None
    percent: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = 10.0
    stop_atr: Positive | None = None
    atr_period: Annotated[int, msgspec.Meta(ge=1)] = 14
    budget_percent: Percent = 10.0
    lookback_bars: Annotated[int, msgspec.Meta(ge=8)] = 96


MarginMode = Literal["isolated", "cross"]


class RiskConfig(Strict, frozen=True, kw_only=True):
    """The limits of the risk actor. None: no such limit. policy none: nothing is limited but what the venue itself refuses."""

    policy: Literal["rules", "none"] = "rules"
    leverage: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 1.0
    margin_mode: MarginMode = "isolated"
    """isolated: each position has its own margin. cross: the whole account stands for all of them."""
    max_position_usd: Positive | None = None
    max_gross_usd: Positive | None = None
    max_open_positions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    daily_loss_percent: Percent | None = None
    max_drawdown_percent: Percent | None = None
    on_limit: Literal["flatten", "hold"] = "flatten"
    cooldown_bars: Annotated[int, msgspec.Meta(ge=0)] = 0
    price_collar_percent: Positive | None = None
    max_orders_per_minute: Annotated[int, msgspec.Meta(ge=1)] | None = None
    margin_reserve_percent: Annotated[float, msgspec.Meta(ge=0, lt=100)] = 0.5
    """Share of the account that sizes leave untouched: room for what the price moves between decision and fill."""


# --- execution -------------------------------------------------------------------------------------------------------


class ImpactConfig(Strict, frozen=True, kw_only=True):
    """Square-root impact: base_bps + coefficient x volatility_bps x sqrt(qty / bar volume); volatility over ``window`` earlier bars."""

    base_bps: NonNegative = 0.0
    coefficient: NonNegative = 0.0
    window: Annotated[int, msgspec.Meta(ge=2)] = 60


class ConstantFunding(Strict, frozen=True, kw_only=True):
    """One rate for every funding time, as a fraction."""

    constant: float


class CostModelConfig(Strict, frozen=True, kw_only=True):
    """A class that is asked what a fill or a funding time costs. params: the arguments of its constructor."""

    model: Annotated[str, msgspec.Meta(description="path/to/file.py:Class, package.module:Class, or the name of a built-in model.")]
    params: Annotated[dict[str, Any], msgspec.Meta(description="The arguments of its constructor.")] = {}


class CostsConfig(Strict, frozen=True, kw_only=True, omit_defaults=True):
    """Cost models of one's own, each in place of what the other keys of ``execution`` say. None: as these say."""

    fees: CostModelConfig | None = None
    slippage: CostModelConfig | None = None
    impact: CostModelConfig | None = None
    funding: CostModelConfig | None = None

    @property
    def named(self) -> dict[str, CostModelConfig]:
        """The models that are named, by kind."""
        kinds = {"fees": self.fees, "slippage": self.slippage, "impact": self.impact, "funding": self.funding}
        return {kind: model for kind, model in kinds.items() if model is not None}


class ExecutionConfig(Strict, frozen=True, kw_only=True):
    """How the simulated exchange fills. ``taker_fee`` and ``maker_fee`` are fractions; None: the instrument's."""

    latency_ms: Annotated[int, msgspec.Meta(ge=0)] = 0
    half_spread_bps: NonNegative = 0.0
    slippage_bps: NonNegative = 1.0
    impact: ImpactConfig | Literal["none"] = "none"
    max_volume_share: Annotated[float, msgspec.Meta(gt=0, le=1)] | Literal["none"] = "none"
    limit_fill: Literal["through", "touch"] = "through"
    path: Literal["ohlc", "pessimistic"] = "ohlc"
    funding: Literal["history", "none"] | ConstantFunding = "history"
    gaps: Literal["error", "skip"] = "error"
    taker_fee: float | None = None
    maker_fee: float | None = None
    costs: CostsConfig = CostsConfig()

    @classmethod
    def frictionless(cls) -> ExecutionConfig:
        """No fee, no slippage, no funding: what the portfolio documents compute with."""
        return cls(slippage_bps=0.0, funding="none", taker_fee=0.0, maker_fee=0.0)

    @property
    def slippage_rate(self) -> int:
        """Slippage as an integer of 1e-8."""
        return bps_rate(self.slippage_bps)

    @property
    def half_spread_rate(self) -> int:
        """Half the spread as an integer of 1e-8."""
        return bps_rate(self.half_spread_bps)

    @property
    def volatility_window(self) -> int | None:
        """Over how many earlier bars volatility is measured; None where nobody asks for it."""
        if self.impact != "none":
            return self.impact.window
        is_asked = self.costs.fees or self.costs.slippage or self.costs.impact
        return ImpactConfig().window if is_asked else None


def bps_rate(bps: float) -> int:
    """Basis points (2.5) as an integer rate of 1e-8 (25000), by their decimal text."""
    return to_units(bps) * BPS // UNIT


# --- the system ------------------------------------------------------------------------------------------------------


Timeframe = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(TIMEFRAMES)})]
Symbol = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": "^[A-Z0-9]+$"})]


class Window(Strict, frozen=True, kw_only=True):
    """A named span: [start, end), ISO dates or times in UTC."""

    start: str
    end: str


class DemoConfig(Strict, frozen=True, kw_only=True, omit_defaults=True):
    """What the demo account needs in place of the system's own keys. None: the system's."""

    margin_mode: MarginMode | None = None
    """Instead of ``risk.margin_mode``."""


class LiveConfig(Strict, frozen=True, kw_only=True, omit_defaults=True):
    """Hard limits of a live session, beside those of ``risk``: the last look at every order, which denies and never makes smaller. Money in
    quote coins; None: not written, and a live session is not armed without it. What a bound refuses, no system file can allow."""

    account: Annotated[int, msgspec.Meta(gt=0)] | None = None
    """UID of the account that may be traded; None: the one that is typed at arming."""
    max_order_usd: Positive | None = None
    max_net_usd: Positive | None = None
    max_position_usd: Positive | None = None
    """Above which an order is denied; None: ``risk.max_position_usd`` (what sizing aims at) and a tenth, for the move until the fill."""
    max_gross_usd: Positive | None = None
    """Likewise of ``risk.max_gross_usd``."""
    max_leverage: Annotated[float, msgspec.Meta(ge=0.01, le=25)] | None = None
    """Most gross exposure per equity, and the most leverage that is set at the exchange."""
    max_open_orders: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    max_orders_per_minute: Annotated[int, msgspec.Meta(ge=1, le=120)] = 60
    price_collar_percent: Annotated[float, msgspec.Meta(gt=0, le=10)] = 5.0
    without_stop: Annotated[
        bool, msgspec.Meta(description="true: it may trade without exits.stop_loss; shown as NO STOP for as long as it does.")
    ] = False


class SupervisionConfig(Strict, frozen=True, kw_only=True):
    """What the supervisor of a demo or live session does, and what the session does without it. Positions that nobody flattens keep the
    stops that rest at the exchange."""

    on_hang: Annotated[
        Literal["stop", "flatten"],
        msgspec.Meta(description="A session that hangs is ended; flatten: then the account is flattened by the panic path."),
    ] = "stop"
    on_crash: Annotated[
        Literal["restart", "stop", "flatten"],
        msgspec.Meta(description="A session that crashed is started again, left ended, or the account is flattened by the panic path."),
    ] = "restart"
    on_supervisor_gone: Annotated[
        Literal["trade", "stop"],
        msgspec.Meta(description="A session whose supervisor is gone trades on, or ends in order half a minute later."),
    ] = "trade"
    max_restarts: Annotated[int, msgspec.Meta(ge=0, le=1000, description="Restarts within the window; one more crash ends all.")] = 5
    restart_window_minutes: Annotated[float, msgspec.Meta(gt=0, le=1440, description="The window of max_restarts.")] = 10.0
    silent_s: Annotated[float, msgspec.Meta(ge=2, le=300, description="Without a heartbeat for so long a session is taken to hang.")] = 5.0
    hang_s: Annotated[float, msgspec.Meta(ge=2, le=300, description="Its event loop may not return for so long.")] = 10.0
    stop_s: Annotated[float, msgspec.Meta(ge=5, le=600, description="How long an end in order may take before it is killed.")] = 45.0
    data_age_s: Annotated[float, msgspec.Meta(ge=5, le=3600, description="A price older than this is told.")] = 60.0
    max_memory_mb: Annotated[int, msgspec.Meta(ge=64, description="More memory than this ends the session in order.")] | None = None


class SystemConfig(Strict, frozen=True, kw_only=True):
    """One system file, decoded."""

    system: Annotated[str, msgspec.Meta(description="Id of the system; names its runs.")]
    strategy: Annotated[str, msgspec.Meta(description="Registry id, package.module:Class, or path/to/file.py:Class.")]
    symbols: Annotated[list[Symbol], msgspec.Meta(min_length=1, description="Symbols as the exchange writes them.")]
    category: Annotated[Literal["linear", "spot"], msgspec.Meta(description="linear: USDT perpetuals.")] = "linear"
    timeframe: Annotated[Timeframe, msgspec.Meta(description="Decisions are made at the close of these bars.")]
    execution_timeframe: Annotated[
        Timeframe | None, msgspec.Meta(description="Bars inside which orders are filled; finer than timeframe. Default: timeframe.")
    ] = None
    params: Annotated[
        dict[str, Any], msgspec.Meta(description="The strategy's parameters; what is not given keeps the strategy's default.")
    ] = {}
    features: Annotated[
        dict[str, dict[str, Any]],
        msgspec.Meta(description="Features by name, beside the strategy's own: fn, its parameters, timeframe, input, output."),
    ] = {}
    warmup_bars: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None,
        msgspec.Meta(description="Bars of each timeframe before the first decision. Default: max(500, 5 x the largest period)."),
    ] = None
    initial_equity: Annotated[Positive, msgspec.Meta(description="In quote coins.")] = 10_000.0
    exits: Annotated[ExitsConfig | None, msgspec.Meta(description="Exits attached to every entry.")] = None
    sizing: SizingConfig = SizingConfig()
    risk: RiskConfig = RiskConfig()
    execution: ExecutionConfig = ExecutionConfig()
    demo: Annotated[DemoConfig, msgspec.Meta(description="What the demo account needs in place of the keys above.")] = DemoConfig()
    benchmark: Annotated[Literal["hold", "none"], msgspec.Meta(description="hold: buy and hold of the first symbol beside the result.")] = (
        "hold"
    )
    windows: Annotated[dict[str, Window], msgspec.Meta(description="Named spans of time to run over.")] = {}
    promotion: Annotated[
        dict[str, list[str]],
        msgspec.Meta(description="Rules to be met before an epoch opens, by that epoch (demo, live): metric, operator, number."),
    ] = {}
    on_fault: Annotated[Literal["halt", "flatten"], msgspec.Meta(description="What happens to positions when something breaks.")] = "halt"
    on_unprotected: Annotated[
        Literal["flatten", "hold"],
        msgspec.Meta(description="A position without the stop that it was to have: close it at market, or hold it and add nothing."),
    ] = "flatten"
    mode: Annotated[Literal["demo", "live"], msgspec.Meta(description="live: keel live may trade this system, once it is armed.")] = "demo"
    supervision: Annotated[SupervisionConfig, msgspec.Meta(description="What the supervisor of a demo or live session does.")] = (
        SupervisionConfig()
    )
    live: Annotated[LiveConfig, msgspec.Meta(description="Hard limits of a live session.")] = LiveConfig()
    description: Annotated[str, msgspec.Meta(description="A sentence for lists and reports.")] = ""


def for_epoch(system: SystemConfig, epoch: str) -> SystemConfig:
    """The system as an epoch runs it: on "demo" the keys of ``demo`` stand in place of its own; elsewhere it is what it is."""
    mode = system.demo.margin_mode
    if epoch != "demo" or mode is None:
        return system
    return msgspec.structs.replace(system, risk=msgspec.structs.replace(system.risk, margin_mode=mode))
