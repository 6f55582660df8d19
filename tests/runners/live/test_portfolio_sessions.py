"""Portfolio strategies in sessions: what they are shown, what they order and what becomes of it is as in a backtest of the same bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.model.frame import Frame
from keel.core.model.messages import Fill, SubmitOrder
from keel.core.model.time_range import to_ms
from keel.core.risk.position_manager import PositionManager
from keel.core.strategy.portfolio_order import Order
from keel.core.system.config import ExecutionConfig, RiskConfig, SizingConfig, SystemConfig, for_epoch
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import wire_backtest
from keel.runners.home import Home
from keel.runners.live.reporting.outcome import session_result
from keel.runners.live.session_journal import find_session
from keel.runners.research.session_replay import replay_session
from keel.runners.systems import LoadedSystem
from keel.strategies.base import PortfolioStrategy
from keel.strategies.hold import HoldStrategy
from tests.builders import DAY, HOUR, add_series, builtin, coarser, made_ready, plain_system, sample, spot_pair
from tests.runners.live.conftest import Ran, plan_of, run_session, stored_sandbox
from tests.runners.live.test_same_decisions import FROM, both, check_same, marked_store

PAIR = ("BTCUSDT", "ETHUSDT")
TO = FROM + 16 * HOUR


class Rotates(PortfolioStrategy):
    """Every third hour other targets: long, short, closed, by value and by the manager; the names are its own. Keeps what it was shown."""

    symbols: Sequence[str] = ("BTC-USDT", "ETH-USDT-PERP")
    lookback_days = 1
    shorts: ClassVar[bool] = True
    timeframes: ClassVar[Sequence[str]] = ("5m", "15m", "1h", "4h")
    looks_every: ClassVar[int] = 1
    made: ClassVar[list[Rotates]] = []

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.made.append(self)

    def on_start(self, params: Mapping[str, Any]) -> None:
        self.position_manager = PositionManager(40.0, 1.0)

    def run_strategy(self, oms_client: Any, data_manager: Any) -> Sequence[Any]:
        hour = int(oms_client.current_time.timestamp()) // 3600
        if hour % self.looks_every == 0:
            self.seen.append(shown(oms_client, data_manager, self.timeframes))
        if hour % 3:
            return []
        first, second = self.symbols
        kind = oms_client.instrument_type
        turn = hour // 3 % 5
        away = "SHORT" if self.shorts else "CLOSE"
        plans: list[list[Any]] = [
            [Order(first, kind, "LONG", 2000.0), {"symbol": second, "instrument_type": kind, "side": away, "value": 1500.0}],
            [Order(first, kind, "LONG", 900.0), Order(second, kind, "LONG")],
            [Order(first, kind, "LONG"), Order(second, kind, "LONG")],
            [Order(first, kind, away, 1200.0), Order(second, kind, "CLOSE")],
            [Order(second, kind, "LONG", 3.0), Order(first, kind, "CLOSE")],
        ]
        return plans[turn]


class RotatesForLong(Rotates):
    """Keeps less: bars of 15m and longer ones, every sixth hour."""

    timeframes = ("15m", "1h", "4h")
    looks_every = 6


class RotatesInSpot(Rotates):
    symbols = ("BTC-USDT", "ETHUSDT")
    shorts = False


def shown(oms_client: Any, data_manager: Any, timeframes: Sequence[str]) -> list[Any]:
    """Everything that can be read, as plain data: frames with their dtypes."""
    now, names = oms_client.current_time, list(oms_client.positions)
    mappings = [data_manager.spot_ohlcv_data, data_manager.perpetual_mark_ohlcv_data, data_manager.perpetual_index_ohlcv_data]
    kinds = ["ohlcv_spot"] if oms_client.instrument_type == "spot" else ["mark_ohlcv_futures", "index_ohlcv_futures"]
    asked = [
        data_manager.load_data_period("BTCUSDT", timeframe, kind, now.replace(hour=0), "2030-01-01")
        for timeframe in timeframes
        for kind in kinds
    ]
    frames = [*asked, *(frame for mapping in [*mappings, data_manager.funding_rates_data] for frame in mapping.values())]
    account = [now, oms_client.timestep, dict(oms_client.balance), oms_client.get_total_portfolio_value(), oms_client.summary()]
    return [
        *account, oms_client.positions_table(), names, [dict(each) for each in oms_client.positions.values()],
        [dict(entry) for entry in oms_client.trade_history], [list(mapping) for mapping in mappings], [plain(frame) for frame in frames],
    ]  # fmt: skip


def plain(frame: Frame) -> list[Any]:
    """A frame with its dtypes; of each column a digest, to hold many."""
    columns = frame.to_dict().values()
    digests = [(str(column.dtype), column.flags.writeable, blake2b(column.tobytes(), digest_size=16).hexdigest()) for column in columns]
    return [frame.symbol, frame.timeframe, frame.kind, frame.columns, len(frame), digests]


def linear(**changes: Any) -> SystemConfig:
    values: dict[str, Any] = {
        "timeframe": "1h", "execution_timeframe": "5m", "warmup_bars": None, "risk": RiskConfig(leverage=2.0, max_gross_usd=5000),
        "sizing": SizingConfig(model="fixed_usd", usd=500), "execution": ExecutionConfig(),
    }  # fmt: skip
    return plain_system(*PAIR, **(values | changes))


def spot_store() -> HistoricalDataStore:
    store = HistoricalDataStore(":memory:")
    steps = {"BTCUSDT": ("0.1", "0.000001"), "ETHUSDT": ("0.01", "0.00001")}
    for symbol, made in sample(PAIR, 40).series.items():
        add_series(store, coarser(made.last, 5), symbol, "5m", spot_pair(symbol, *steps[symbol], min_notional=5 * 10**8))
    return store


def check_shown(kind: type[Rotates]) -> None:
    backtest, session = kind.made[-2:]
    assert len(backtest.seen) == len(session.seen) == 16
    for there, here in zip(backtest.seen, session.seen, strict=True):
        assert there == here


@pytest.mark.parametrize("margin_mode", ["isolated", pytest.param("cross", marks=pytest.mark.long)])
def test_perpetuals_are_rebalanced_as_in_the_backtest(margin_mode: str, journals: Path) -> None:
    system = linear()
    options = {"profile": "demo"} if margin_mode == "cross" else {}
    if margin_mode == "cross":
        system = for_epoch(msgspec.structs.replace(system, demo=type(system.demo)(margin_mode="cross")), "demo")
    with marked_store(symbols=PAIR) as store:
        parts, ran, truth = both(store, system, Rotates, (FROM, TO), journals, **options)
    check_same(parts, ran, truth)
    check_shown(Rotates)
    assert {fill.symbol for fill in parts.venue.fills} == set(PAIR) and len(parts.venue.fills) > 6
    assert parts.portfolio.funding and ran.live.books.actors.risk.counts == parts.risk.counts
    assert truth["margin_mode"] == margin_mode
    result = session_result(ran.live, ran.ending, wall_s=1.0)
    assert result.funnel is not None and not result.funnel.signals_missing and not result.funnel.orders_missing
    assert {each.reason for each in result.funnel.ignored} <= {"held_already", "flat_already"}


@pytest.mark.long
def test_spot_is_rebalanced_as_in_the_backtest(journals: Path) -> None:
    """Fees in coins, rests that are flat, no shorts; 3 USDT is less than the exchange takes, and the funnel says so."""
    system = linear(category="spot", risk=RiskConfig(leverage=1.0))
    with spot_store() as store:
        parts, ran, truth = both(store, system, RotatesInSpot, (FROM, TO), journals)
    check_same(parts, ran, truth)
    check_shown(RotatesInSpot)
    assert {fill.fee_coin for fill in parts.venue.fills} == {"BTC", "ETH", "USDT"}
    counts = ran.live.books.actors.risk.counts
    assert counts == parts.risk.counts and "below_min_notional" in {each.reason for each in counts.denied.values()}


class Remembers(Rotates):
    """The same with a memory of its own: it counts its steps, and says so with ``state()``."""

    def __init__(self) -> None:
        self.steps = 0

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]

    def run_strategy(self, oms_client: Any, data_manager: Any) -> Sequence[Any]:
        self.steps += 1
        self.seen = []
        orders = list(super().run_strategy(oms_client, data_manager))
        return orders if self.steps % 4 else [*orders, Order(self.symbols[0], oms_client.instrument_type, "CLOSE")][-1:]


class RemembersInSpot(Remembers):
    symbols = RotatesInSpot.symbols
    shorts = False


@pytest.mark.long
@pytest.mark.parametrize("category", ["linear", "spot"])
@pytest.mark.parametrize("snapshots", [pytest.param(True, id="snapshots"), pytest.param(False, id="whole journal")])
def test_a_restart_goes_on(snapshots: bool, category: str, journals: Path, tmp_path: Path) -> None:
    """Two restarts: the account, the trade history and the memory of the strategy are those of one session, which are the backtest's."""
    is_spot = category == "spot"
    system = linear(category="spot", risk=RiskConfig(leverage=1.0)) if is_spot else linear()
    strategy = RemembersInSpot if is_spot else Remembers
    with spot_store() if is_spot else marked_store(symbols=PAIR) as store:
        prepared = made_ready(store, system, FROM, TO, strategy())
        parts = wire_backtest(prepared, "bt")
        replay(parts.feed, parts.engine, parts.venue)
        with stored_sandbox(store, system, FROM, TO) as sandbox:
            for bars in (41, 84, None):
                ran = run_session(plan_of(system, strategy, store, sandbox.url, journals), max_bars=bars)
                assert ran.ending.failure is None and ran.ending.differences == []
                if not snapshots:
                    for path in ran.live.journal.folder.glob("*.snapshot"):
                        path.unlink()
    recovery = ran.live.journal.recovery
    assert bool(recovery.snapshot_seq) is snapshots and ran.live.journal.session == 3
    books, desk = ran.live.books, parts.desk
    assert books.portfolio.equity_values == parts.portfolio.equity_values and len(parts.venue.fills) > 6
    assert books.portfolio_desk is not None and desk is not None
    assert list(books.portfolio_desk.oms.trade_history) == list(desk.oms.trade_history)
    assert books.portfolio_desk.schedule.due == desk.schedule.due
    assert books.actors.strategy.strategy.steps == parts.strategy.strategy.steps == 16
    journal = find_session(str(ran.live.journal.folder), Home(tmp_path))
    found = replay_session(journal, LoadedSystem(system, strategy, "test", "file"))
    assert found.difference is None and found.compared["PortfolioOrders"] > 5 and found.sessions == 3


def test_orders_for_a_symbol_that_is_left_out_are_denied_and_share_no_budget(journals: Path) -> None:
    """The strategy names ETH by itself; it is given BTC alone, which gets the whole budget of 40 % at the third hour's fifth turn."""
    system = msgspec.structs.replace(linear(), symbols=["BTCUSDT"])
    with marked_store(symbols=PAIR) as store, stored_sandbox(store, linear(), FROM, TO) as sandbox:
        ran = run_session(plan_of(system, OrdersBoth, store, sandbox.url, journals, without=("ETHUSDT",)), max_bars=13)
    assert ran.ending.failure is None
    (strategy,) = OrdersBoth.made
    assert strategy.symbols == ("BTC-USDT",)
    counts = ran.live.books.actors.risk.counts
    assert [(each.reason, each.symbol, each.count) for each in counts.denied.values()] == [("left_out", "ETHUSDT", 1)]
    (fill,) = ran.of(Fill)
    assert isinstance(fill, Fill) and fill.symbol == "BTCUSDT" and fill.qty * fill.price == pytest.approx(4000, rel=0.02)


class OrdersBoth(Rotates):
    made: ClassVar[list[Rotates]] = []

    def run_strategy(self, oms_client: Any, data_manager: Any) -> Sequence[Any]:
        return [Order(name, "future", "LONG") for name in ("ETH-USDT", "BTC-USDT")]


@pytest.mark.long
def test_the_built_in_one_is_traded_as_in_the_backtest(journals: Path) -> None:
    system, strategy = builtin("inverse_vol_hold", "params.budget_percent=30")
    with marked_store(symbols=PAIR) as store:
        parts, ran, truth = both(store, system, strategy, (FROM, FROM + DAY), journals)
    check_same(parts, ran, truth)
    assert {fill.symbol for fill in parts.venue.fills} == set(PAIR)


class Documents(HoldStrategy):
    """The documents' example: hold, sized by their position manager, over symbols of its own."""

    def __init__(self) -> None:
        super().__init__(symbols=["BTC-USDT", "ETH-USDT"], lookback_days=0)
        self.position_manager = PositionManager()


@pytest.mark.long
def test_the_documents_strategy_at_daily_steps(journals: Path) -> None:
    with marked_store(symbols=PAIR) as store:
        parts, ran, truth = both(store, linear(timeframe="1d", risk=RiskConfig()), Documents, (FROM, FROM + 2 * DAY), journals)
    check_same(parts, ran, truth)
    assert {fill.symbol for fill in parts.venue.fills} == set(PAIR)
    assert not ran.live.books.notes and 900 < sum(fill.qty * fill.price for fill in ran.of(Fill)) < 1000  # type: ignore[attr-defined]


def test_candles_finer_than_the_systems_are_read_for_the_screen(journals: Path) -> None:
    """Bars of 1h are all that the system hears; the position manager's candles of 15m are read beside them."""
    system = linear(execution_timeframe=None, risk=RiskConfig())
    with marked_store(symbols=PAIR) as store, stored_sandbox(store, linear(), FROM, FROM + 2 * HOUR) as sandbox:
        ran = run_session(plan_of(system, Documents, store, sandbox.url, journals))
    assert ran.ending.failure is None and len(ran.of(Fill)) == 2 and not ran.live.books.notes
    history = ran.live.books.inputs.history
    assert history is not None and history.bases == ("15m",)
    assert len(history.series("BTCUSDT", "15m", "mark_ohlcv_futures", FROM)) == 24 * 4 + 8


@pytest.mark.real_data
@pytest.mark.long
@pytest.mark.parametrize(
    ("profile", "timeframe", "until"), [("mainnet", "15m", "2025-06-29"), ("demo", "15m", "2025-06-07"), ("demo", "1m", "2025-06-01")]
)
def test_a_real_month(profile: str, timeframe: str, until: str, real_data: Path, journals: Path) -> None:
    """BTCUSDT and ETHUSDT from 31 May 2025, filled inside bars of this timeframe; on demo under cross margin. Of minutes a day."""
    system, strategy = linear(execution_timeframe=timeframe), Rotates if timeframe == "1m" else RotatesForLong
    if profile == "demo":
        system = for_epoch(msgspec.structs.replace(system, demo=type(system.demo)(margin_mode="cross")), "demo")
    with HistoricalDataStore(":memory:") as store:
        for folder in (f"kline_{timeframe}", "kline_1h", "kline_4h", "funding"):
            for symbol in PAIR:
                store.import_file(real_data / "bybit" / "linear" / folder / f"{symbol}.parquet")
        span = (to_ms("2025-05-31"), to_ms(until))
        parts, ran, truth = both(store, system, strategy, span, journals, profile=profile)
    check_same(parts, ran, truth)
    backtest, session = Rotates.made[-2:]
    days = (span[1] - span[0]) // DAY
    assert backtest.seen == session.seen and len(session.seen) == 24 * days // strategy.looks_every
    assert len(parts.venue.fills) > 6 * days


# --- what does not go as ordered ---


class Insists(PortfolioStrategy):
    """The same targets at every step; looks at each whether what it is shown of the account agrees with itself."""

    targets: ClassVar[Mapping[str, tuple[str, float]]] = {"BTCUSDT": ("LONG", 30_000.0), "ETHUSDT": ("SHORT", 20_000.0)}

    def __init__(self) -> None:
        self.partly = 0

    def run_strategy(self, oms_client: Any, data_manager: Any) -> Sequence[Order]:
        check_views(oms_client)
        held = {name: entry["value"] for name, entry in oms_client.positions.items()}
        self.partly += any(100.0 < value < self.targets[name][1] * 0.9 for name, value in held.items())
        return [Order(name, oms_client.instrument_type, side, value) for name, (side, value) in self.targets.items()]  # type: ignore[arg-type]


def check_views(oms: Any) -> None:
    """Positions are what the trades add up to, at the prices that are shown; the value is the wallet's and theirs; the table has them."""
    net: dict[str, float] = {}
    for entry in oms.trade_history:
        adds = entry["action"] in ("open", "increase")
        sign = (1 if entry["side"] == "LONG" else -1) * (1 if adds else -1)
        net[entry["symbol"]] = net.get(entry["symbol"], 0.0) + sign * entry["quantity"]
        assert entry["quantity"] > 0 and entry["timestamp"] <= oms.current_time
    for name, held in oms.positions.items():
        signed = held["quantity"] if held["side"] == "LONG" else -held["quantity"]
        assert net.pop(name) == pytest.approx(signed, abs=1e-9)
        price = oms.get_current_price(name)
        assert held["value"] == held["quantity"] * price
        assert held["pnl"] == pytest.approx(signed * (price - held["entry_price"]), abs=1e-4)
        assert name in oms.positions_table()
    assert all(rest == pytest.approx(0.0, abs=1e-9) for rest in net.values())
    gain = sum(held["pnl"] for held in oms.positions.values())
    assert oms.get_total_portfolio_value() == pytest.approx(oms.balance["USDT"] + gain, abs=1e-4)
    assert oms.summary()["open_positions"] == len(oms.positions) and oms.summary()["trades"] == len(oms.trade_history)


def insisting(**execution: Any) -> SystemConfig:
    risk = RiskConfig(leverage=10.0)
    return linear(timeframe="15m", risk=risk, execution=ExecutionConfig(**execution), initial_equity=20_000.0)


def check_reached(ran: Ran) -> None:
    portfolio = ran.live.books.portfolio
    for name, (side, value) in Insists.targets.items():
        line = portfolio.lines[name]
        steps = line.instrument.qty_grid.value(1)
        assert (line.qty > 0) == (side == "LONG") and abs(abs(line.qty) * line.mark - value) <= 1.5 * steps * line.mark + 0.01 * value


def test_what_is_filled_in_part_is_completed_by_the_next_steps(journals: Path) -> None:
    """A market order that finds no more is cancelled by the exchange; the next step orders what is missing."""
    system = insisting(max_volume_share=0.003)
    with marked_store(symbols=PAIR) as store, stored_sandbox(store, system, FROM, FROM + 2 * HOUR) as sandbox:
        ran = run_session(plan_of(system, Insists, store, sandbox.url, journals))
    assert ran.ending.failure is None and ran.ending.differences == []
    strategy: Any = ran.live.books.actors.strategy.strategy
    assert strategy.partly
    expired = session_result(ran.live, ran.ending, wall_s=1.0).funnel.expired
    assert [each.reason for each in expired] == ["EC_NoImmediateQtyToFill"]
    check_reached(ran)


@pytest.mark.parametrize("code", [110007, pytest.param(10006, marks=pytest.mark.long), pytest.param(110094, marks=pytest.mark.long)])
def test_what_is_rejected_is_ordered_again_by_the_next_step(code: int, journals: Path) -> None:
    """No balance, too many requests, too small: the first order, and one of the second step."""
    error = {"kind": "error", "ret_code": code, "ret_msg": "planted"}
    rules = [{"match": {"side": "http", "path": "/v5/order/create", "nth": nth}, "action": error} for nth in (1, 3)]
    with marked_store(symbols=PAIR) as store, stored_sandbox(store, insisting(), FROM, FROM + 2 * HOUR) as sandbox:
        sandbox.faults(*rules)
        ran = run_session(plan_of(insisting(), Insists, store, sandbox.url, journals))
    assert ran.ending.failure is None and ran.ending.differences == []
    check_reached(ran)
    rejected = session_result(ran.live, ran.ending, wall_s=1.0).funnel.rejected
    assert bool(rejected) is (code != 10006)  # a request that was one too many is sent again at once


class StepsOver(Rotates):
    made: ClassVar[list[Rotates]] = []


@pytest.mark.long
def test_bars_that_are_missing_of_one_symbol_hold_up_nobody_as_in_the_backtest(journals: Path) -> None:
    """From ten minutes before an hour to ten minutes after the next one ETH has no bars; it is ordered all the same in between."""
    system = linear(execution=ExecutionConfig(gaps="skip"))
    begin, end = FROM + 2 * HOUR - 600_000, FROM + 3 * HOUR + 600_000
    with HistoricalDataStore(":memory:") as store:
        for symbol, made in sample(PAIR, 40).series.items():
            bars = coarser(made.last, 5)
            keep = (bars["ts"] < begin) | (bars["ts"] >= end) if symbol == "ETHUSDT" else bars["ts"] >= 0
            add_series(store, {name: column[keep] for name, column in bars.items()}, symbol, "5m", made.instrument)
            store.upsert_funding(symbol, made.funding, source="test")
        parts, ran, truth = both(store, system, StepsOver, (FROM, FROM + 10 * HOUR), journals)
    check_same(parts, ran, truth)
    backtest, session = StepsOver.made[-2:]
    assert [step[0] for step in session.seen] == [step[0] for step in backtest.seen]
    assert len(session.seen) == 10 and {order.ts for order in ran.of(SubmitOrder) if order.symbol == "ETHUSDT"} >= {FROM + 3 * HOUR}  # type: ignore[attr-defined]
    for there, here in zip(backtest.seen, session.seen, strict=True):
        assert there == here
