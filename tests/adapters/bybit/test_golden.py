"""Recorded payloads become exactly these messages. Where they come from: payloads/SOURCES.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from keel.adapters.bybit.execution.tracking.order_tracker import OrderTracker
from keel.adapters.bybit.execution.tracking.past import Past
from keel.adapters.bybit.execution.tracking.queries import Moment
from keel.adapters.bybit.market import instruments
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.return_codes import Outcome, PayloadError, of_code
from keel.core.errors import ConfigError
from keel.core.model.instrument import RiskTier
from keel.core.model.messages import BalanceReport, Bar, Fill, FundingRate, MarkPrice, Message, PositionReport
from keel.core.model.money import to_units
from tests.builders import perpetual, spot_pair

XRP = perpetual("XRPUSDT", "0.0001", "1")
BTC = perpetual("BTCUSDT", "0.1", "0.001")
ETHPERP = perpetual("ETHPERP", "0.05", "0.01", quote="USDC", base="ETH")


NOW = Moment(0, 0, 0)


def tracker_of(*known: Any) -> tuple[OrderTracker, list[Message]]:
    out: list[Message] = []
    tracker = OrderTracker(
        {one.symbol: one for one in known}, lambda one: out.append(one) if isinstance(one, Message) else None, Past(), NOW
    )
    return tracker, out


def load(folder: Path, name: str) -> Any:
    return msgspec.json.decode((folder / name).read_bytes())


def rows(folder: Path, name: str, shape: type[Any]) -> list[Any]:
    """The rows of a recorded list: a whole answer, a bare result, or a stream frame."""
    document = load(folder, name)
    inner = document.get("result", document).get("list", document.get("data"))
    refused: list[PayloadError] = []
    found = wire.decode_rows(shape, msgspec.json.encode(inner), refused.append)
    assert not refused
    return found


def test_an_execution_of_the_stream(payloads: Path) -> None:
    tracker, out = tracker_of(XRP)
    (row,) = rows(payloads, "ws/private_execution.gocryptotrader.5.json", wire.ExecutionRow)
    tracker.on_execution(row, NOW)
    tracker.give_up_on(row.orderId)
    assert out == [
        Fill(
            "7e2ae69c-4edf-5800-a352-893d52b446aa", "external-7e2ae69c-4edf-5800-a352-893d52b446aa", "XRPUSDT", 1672364174443, "SELL", 25.0,
            0.3374, 506_100, 0, False, 0.3374, "trade", "USDT", 0, "external",
        )
    ]  # fmt: skip


def test_a_documented_execution_with_its_tax(payloads: Path) -> None:
    (row,) = rows(payloads, "ws/private_execution.docs.2.example.json", wire.ExecutionRow)
    fill = translate.fill(row, BTC, "mine", "signal", to_units(str(row.execPnl)))
    assert (fill.qty, fill.price, fill.fee_coin, fill.realized_pnl) == (0.5, 95900.1, "USDT", 5_000_000)
    assert fill.fee == to_units("26.3725275") + to_units("0.006403779")


def test_recorded_executions_of_the_list(payloads: Path) -> None:
    (row,) = rows(payloads, "rest/v5-execution-get-execution-list.hirokisan.json", wire.ExecutionRow)
    fill = translate.fill(row, BTC, "x", "signal", 0)
    assert (fill.ts, fill.side, fill.qty, fill.price, fill.fee) == (1684314652233, "SELL", 0.01, 26816.8, 16_090_080)
    (row,) = rows(payloads, "rest/execution_list.docs.1.example.json", wire.ExecutionRow)
    fill = translate.fill(row, ETHPERP, "x", "signal", 0)
    assert (fill.price, fill.qty, fill.fee, fill.fee_coin) == (1190.15, 0.1, 7_140_900, "USDC")


def test_post_only_that_would_take_has_expired(payloads: Path) -> None:
    (row,) = rows(payloads, "rest/order_history.docs.1.example.json", wire.OrderRow)
    assert translate.order_status(row, 0) == ("expired", "EC_PostOnlyWillTakeLiquidity")


def test_a_resting_order(payloads: Path) -> None:
    (row,) = rows(payloads, "rest/order_realtime.docs.1.example.json", wire.OrderRow)
    assert translate.order_status(row, 0) == ("accepted", "")
    assert (row.orderLinkId, row.price, row.qty, row.triggerPrice) == ("test-000005", "1600.00", "0.10", "0.00")
    assert translate.price_or_none(perpetual("ETHUSDT", "0.01", "0.01"), row.triggerPrice) is None


def test_a_filled_order_with_empty_leaves(payloads: Path) -> None:
    (row,) = rows(payloads, "ws/private_order.docs.2.example.json", wire.OrderRow)
    assert translate.order_status(row, 1) == ("filled", "")
    assert translate.number(row.leavesQty) is None


def test_recorded_history_of_orders_is_read_whole(payloads: Path) -> None:
    for name in (
        "rest/v5-get-history-orders.hirokisan.json",
        "rest/v5-get-open-orders.hirokisan.json",
        "ws/private_order.gocryptotrader.6.json",
    ):
        for row in rows(payloads, name, wire.OrderRow):
            assert translate.order_status(row, 0) is not None


def test_positions(payloads: Path) -> None:
    (row,) = rows(payloads, "rest/v5-position-get-position-info.hirokisan.json", wire.PositionRow)
    assert translate.position_report(row, BTC, 5) == PositionReport("BTCUSDT", 1691735404177, 0.0, 0.0, 0)
    (row,) = rows(payloads, "rest/position_list.docs.1.example.json", wire.PositionRow)
    inverse = perpetual("BTCUSD", "0.5", "1")
    assert translate.position_report(row, inverse, 5) == PositionReport("BTCUSD", 1697673600012, -300.0, 27464.50441675, 0)
    (row,) = rows(payloads, "ws/private_position.docs.2.example.json", wire.PositionRow)
    assert translate.position_report(row, BTC, 5) == PositionReport("BTCUSDT", 1697682317038, 0.0, 0.0, 2)


def test_the_wallet(payloads: Path) -> None:
    tracker, out = tracker_of()
    (row,) = rows(payloads, "ws/private_wallet.docs.2.example.json", wire.WalletRow)
    tracker.stated.on_wallet(row, 1700034722104)
    tracker.stated.on_wallet(row, 1700034722105)
    assert out == [BalanceReport("BTC", 1700034722104, 102_964)]
    (row,) = rows(payloads, "ws/private_wallet.gocryptotrader.7.json", wire.WalletRow)
    tracker.stated.on_wallet(row, 9)
    assert out[1:] == [BalanceReport("BREAK", 9, 20_134_882_644)]


def test_klines_of_the_list_come_newest_first(payloads: Path) -> None:
    document = load(payloads, "rest/market_kline.docs.1.example.json")
    bars = [translate.bar_of_list("BTCUSD", "1h", row) for row in document["result"]["list"]]
    assert bars[0] == Bar("BTCUSD", "1h", 1670608800000, 1670612400000, 17071.0, 17073.0, 17027.0, 17055.5, 268611.0)
    assert [bar.ts_open for bar in bars] == sorted((bar.ts_open for bar in bars), reverse=True)
    mark = load(payloads, "rest/market_mark-price-kline.docs.1.example.json")["result"]["list"][0]
    assert translate.bar_of_list("BTCUSD", "15m", mark).volume == 0.0


def test_a_kline_of_the_stream(payloads: Path) -> None:
    (row,) = rows(payloads, "ws/public_kline.docs.1.example.json", wire.KlineRow)
    assert row.confirm is False
    assert translate.bar_of_push("BTCUSDT", "5m", row) == Bar(
        "BTCUSDT", "5m", 1672324800000, 1672325100000, 16649.5, 16677.0, 16608.0, 16677.0, 2.081
    )


def test_tickers(payloads: Path) -> None:
    document = load(payloads, "ws/public_tickers.docs.1.example.json")
    row = wire.decode(wire.TickerRow, msgspec.json.encode(document["data"]))
    assert translate.mark_price(row.symbol, document["ts"], row.markPrice) == MarkPrice("BTCUSDT", 1760325052630, 66666.6)
    observed = load(payloads, "ws/observed_linear_frames_2026-09.json")["ticker_delta"]
    delta = wire.decode(wire.TickerRow, msgspec.json.encode(observed["data"]))
    assert (delta.markPrice, delta.fundingRate) == ("86716.30", None)


def test_funding(payloads: Path) -> None:
    (row,) = rows(payloads, "rest/market_funding_history.docs.1.example.json", wire.FundingRow)
    assert translate.funding_rate(row) == FundingRate("ETHPERP", 1672041600000, 0.0001)


def test_a_linear_instrument(payloads: Path) -> None:
    (row,) = rows(payloads, "rest/market_instruments-info.docs.1.example.json", wire.InstrumentRow)
    (fees,) = rows(payloads, "rest/account_fee-rate.docs.1.example.json", wire.FeeRow)
    found = instruments.instrument(row, "linear", 7, [], fees)
    assert (found.price_grid.text(1), found.qty_grid.text(1), found.min_notional) == ("0.1", "0.001", to_units(5))
    assert (found.max_qty, found.max_market_qty, found.funding_interval_min) == (1190.0, 500.0, 480)
    assert (found.taker_fee, found.maker_fee, found.max_leverage) == (60_000, 10_000, to_units(100))
    assert (found.price_limit_x, found.price_limit_y, found.source, found.known_since) == (
        to_units("0.01"),
        to_units("0.02"),
        "exchange",
        7,
    )


def test_a_spot_instrument(payloads: Path) -> None:
    (row,) = rows(payloads, "rest/market_instruments-info.docs.4.example.json", wire.InstrumentRow)
    found = instruments.instrument(row, "spot", 0, [], None)
    assert (found.qty_grid.text(1), found.min_qty, found.max_qty, found.max_market_qty) == ("0.000001", 0.000011, 83.0, 41.5)
    assert (found.taker_fee, found.min_notional) == (to_units("0.001"), to_units(5))


def test_what_is_not_trading_is_refused(payloads: Path) -> None:
    (row,) = rows(payloads, "rest/market_instruments-info.docs.2.example.json", wire.InstrumentRow)
    with pytest.raises(ConfigError, match="PreLaunch"):
        instruments.check_tradable(row, "linear")


def test_risk_tiers_in_fractions_and_in_percent(payloads: Path) -> None:
    """The deductions are the exchange's own: 1,200 and 3,020."""
    recorded = [row for row in rows(payloads, "rest/v5-market-get-risk-limit.hirokisan.json", wire.TierRow) if row.symbol == "BTCUSDT"]
    tiers = instruments.risk_tiers("BTCUSDT", recorded)
    assert tiers[0] == RiskTier(to_units(2_000_000), to_units("0.01"), to_units("0.005"), to_units(100), 0)
    assert [tier.deduction for tier in tiers[1:3]] == [to_units(1200), to_units(3020)]
    percent = rows(payloads, "rest/market_risk-limit.docs.1.example.json", wire.TierRow)
    assert instruments.risk_tiers("BTCUSD", percent)[0].maintenance_rate == to_units("0.005")


def test_what_the_account_says_of_itself(payloads: Path) -> None:
    info = wire.decode(wire.AccountInfo, msgspec.json.encode(load(payloads, "rest/account_info.docs.1.example.json")["result"]))
    assert info.marginMode == "REGULAR_MARGIN"
    key = wire.decode(wire.KeyInfo, msgspec.json.encode(load(payloads, "rest/user_query-api.docs.1.example.json")["result"]))
    assert (key.readOnly, key.userID, key.permissions["ContractTrade"]) == (1, 1448939, ["Order", "Position"])


def test_batches_have_a_fate_per_item(payloads: Path) -> None:
    document = load(payloads, "ws/trade_guideline.docs.6.example.json")
    fates = wire.decode(wire.ItemResults, msgspec.json.encode(document["retExtInfo"])).rows
    assert [fate.code for fate in fates] == [10001, 10001, 10001]
    envelope = wire.decode(wire.Envelope, (payloads / "rest/order_create-batch.docs.1.example.json").read_bytes())
    assert [fate.code for fate in wire.decode(wire.ItemResults, envelope.retExtInfo).rows] == [0, 0]


CLASSES = {
    "10002": Outcome.CLOCK, "10004": Outcome.DENIED, "10016": Outcome.UNKNOWN, "10032": Outcome.REFUSED, "110001": Outcome.GONE,
    "110007": Outcome.REFUSED, "110017": Outcome.REFUSED, "110043": Outcome.UNCHANGED, "110094": Outcome.REFUSED,
    "10001_idx": Outcome.REFUSED, "170371": Outcome.REFUSED,
}  # fmt: skip


def test_observed_errors_fall_into_their_classes(payloads: Path) -> None:
    observed = load(payloads, "rest/errors_observed.json")
    for name, expected in CLASSES.items():
        envelope = wire.decode(wire.Envelope, msgspec.json.encode(observed[name]))
        assert of_code(envelope.retCode) is expected, name


def test_spot_fees_are_taken_in_what_is_received() -> None:
    row = wire.ExecutionRow("BTCUSDT", "e", "Trade", "Buy", "50000", "0.002", "1700000000000", execFee="0.000002")
    assert translate.fill(row, spot_pair(), "x", "signal", 0).fee_coin == "BTC"
    assert translate.fill(row, spot_pair(), "x", "signal", 0).fee == 200
    sold = wire.ExecutionRow("BTCUSDT", "e", "Trade", "Sell", "50000", "0.002", "1700000000000", execFee="0.1")
    assert (translate.fill(sold, spot_pair(), "x", "signal", 0).fee_coin, translate.fill(sold, spot_pair(), "x", "signal", 0).fee) == (
        "USDT",
        10_000_000,
    )
