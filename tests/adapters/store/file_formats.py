"""Small files in the true shape of those who write them, and how pandas reads each: the rows of the table of formats in docs/data.md."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

START = 1_735_689_600_000  # 2025-01-01
HOUR = 3_600_000
ROWS = 36
Reader = Callable[[bytes], pd.DataFrame]


@dataclass(frozen=True)
class FileFormat:
    """One row of the table: who writes it, the file, the options that it needs (beside --symbol), and what is read of it.

    refused: the words of each refusal on the way, the first without any option; each names the option that comes next.
    """

    writer: str
    name: str
    content: Callable[[], bytes]
    expected: Reader | None
    series: str = "last 1h"
    symbol: str = "BTCUSDT"
    category: str = "linear"
    needs_symbol: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    refused: tuple[str, ...] = ()

    @property
    def how(self) -> str:
        """How the table says that it is imported."""
        if self.expected is None:
            return "refused"
        return ", ".join(f"`--{option.replace('_', '-')}`" for option in self.options) or "as it is"


def bars(step: int = HOUR, *, newest_first: bool = False) -> pd.DataFrame:
    """Bars on a tick of 0.1 and a step of 0.001, ts in ms."""
    rng = np.random.default_rng(5)
    ticks = 940_000 + np.cumsum(rng.integers(-300, 301, ROWS + 1))
    opens, closes = ticks[:-1], ticks[1:]
    frame = pd.DataFrame(
        {
            "ts": START + step * np.arange(ROWS, dtype=np.int64),
            "open": opens / 10,
            "high": (np.maximum(opens, closes) + rng.integers(1, 90, ROWS)) / 10,
            "low": (np.minimum(opens, closes) - rng.integers(1, 90, ROWS)) / 10,
            "close": closes / 10,
            "volume": rng.integers(1, 100_000, ROWS) / 1000,
        }
    )
    return frame[::-1].reset_index(drop=True) if newest_first else frame


def moments(frame: pd.DataFrame, text: str, zone: str = "UTC") -> list[str]:
    """The times as text of a zone."""
    local = pd.to_datetime(frame.ts, unit="ms", utc=True).dt.tz_convert(zone)
    return list(local.dt.strftime(text))


def csv(frame: pd.DataFrame, **options: Any) -> bytes:
    return frame.to_csv(index=False, **options).encode()


def zipped(name: str, content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return target.getvalue()


def unzipped(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(archive.namelist()[0])


OHLCV = ["ts", "open", "high", "low", "close", "volume"]
KLINE = ["open_time", *OHLCV[1:], "close_time", "quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume", "ignore"]


def binance_klines(unit: int, volume: float = 1.0) -> pd.DataFrame:
    frame = bars()
    frame["volume"] *= volume
    frame["ts"] *= unit
    frame["close_time"] = frame.ts + HOUR * unit - 1
    frame["quote_volume"] = (frame.volume * frame.close).round(5)
    frame["count"], frame["tb"], frame["tq"], frame["ignore"] = 7, frame.volume / 2, frame.quote_volume / 2, 0
    return frame.set_axis(KLINE, axis=1)


def headed(data: bytes, times: str = "open_time", unit: float = 1) -> pd.DataFrame:
    """A CSV with names, numbers of s, ms or us."""
    frame = pd.read_csv(io.BytesIO(data)).rename(columns=str.lower).rename(columns={times: "ts"})
    frame["ts"] = (frame.ts * unit).round().astype("int64")
    return frame


def bare(data: bytes, names: list[str], unit: float = 1, **options: Any) -> pd.DataFrame:
    """A CSV without names."""
    frame = pd.read_csv(io.BytesIO(data), header=None, names=names, **options)
    if frame.ts.dtype.kind in "if":
        frame["ts"] = (frame.ts * unit).round().astype("int64")
    return frame


def from_text(frame: pd.DataFrame, column: str, text: str | None = None, zone: str = "UTC", **options: Any) -> pd.DataFrame:
    """Times as text -> ms."""
    parsed = pd.to_datetime(frame[column], format=text, **options)
    utc = parsed.dt.tz_localize(zone).dt.tz_convert("UTC") if parsed.dt.tz is None else parsed.dt.tz_convert("UTC")
    return frame.assign(ts=utc.dt.tz_localize(None).to_numpy("datetime64[ms]").astype("int64"))


def trades() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "id": 4_100_000_000 + np.arange(ROWS),
            "price": (940_000 + rng.integers(-300, 300, ROWS)) / 10,
            "qty": rng.integers(1, 900, ROWS) / 1000,
            "ts": START + np.sort(rng.integers(0, 60_000, ROWS)),
            "maker": rng.random(ROWS) < 0.5,
        }
    )


def as_trades(frame: pd.DataFrame, side: str) -> pd.DataFrame:
    """side: the column that says whether the buyer was the maker, or the side of the taker."""
    if frame[side].dtype == bool:
        return frame.assign(side=np.where(frame[side], -1, 1))
    return frame.assign(side=np.where(frame[side].astype(str).str.lower() == "buy", 1, -1))


def binance_trades() -> bytes:
    frame = trades()
    frame.insert(3, "quote", (frame.price * frame.qty).round(6))
    return csv(frame.assign(best=True), header=False)


def binance_agg_trades() -> bytes:
    frame = trades()
    frame.insert(3, "first", frame.id)
    frame.insert(4, "last", frame.id)
    return csv(
        frame.set_axis(["agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "transact_time", "is_buyer_maker"], axis=1)
    )


def bybit_trades() -> bytes:
    frame = trades()[::-1]
    return csv(
        pd.DataFrame(
            {
                "timestamp": [f"{ts / 1000:.4f}" for ts in frame.ts],
                "symbol": "BTCUSDT",
                "side": np.where(frame.maker, "Sell", "Buy"),
                "size": frame.qty,
                "price": frame.price,
                "tickDirection": "PlusTick",
                "trdMatchID": [f"id-{each}" for each in frame.id],
                "grossValue": frame.price * frame.qty * 1e8,
                "homeNotional": frame.qty,
                "foreignNotional": frame.price * frame.qty,
            }
        )
    )


def bybit_spot_trades() -> bytes:
    frame = trades()
    side = np.where(frame.maker, "sell", "buy")
    return csv(pd.DataFrame({"id": frame.id, "timestamp": frame.ts, "price": frame.price, "volume": frame.qty, "side": side, "rpi": 0}))


def mt4(frame: pd.DataFrame) -> bytes:
    return csv(frame.assign(ts=moments(frame, "%Y.%m.%d %H:%M")), header=False)


def bybit_answer() -> bytes:
    rows = [[str(row.ts), *(str(each) for each in (row.open, row.high, row.low, row.close, row.volume)), str(row.volume * row.close)]
            for row in bars(newest_first=True).itertuples()]  # fmt: skip
    return json.dumps(
        {"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "symbol": "BTCUSDT", "list": rows}, "time": 1}
    ).encode()


def cdd_new() -> bytes:
    frame = bars(newest_first=True)
    made = pd.DataFrame({"unix": frame.ts // 1000, "date": moments(frame, "%Y-%m-%d %H:%M:%S"), "symbol": "BTC/USD"})
    made[["open", "high", "low", "close"]] = frame[["open", "high", "low", "close"]]
    made["Volume BTC"], made["Volume USD"] = frame.volume, frame.volume * frame.close
    return b"https://www.CryptoDataDownload.com\n" + csv(made)


def cdd_old() -> bytes:
    frame = bars(newest_first=True)
    made = pd.DataFrame({"Date": moments(frame, "%Y-%m-%d %I-%p"), "Symbol": "BTCUSDT"})
    made[["Open", "High", "Low", "Close"]] = frame[["open", "high", "low", "close"]]
    made["Volume BTC"], made["Volume USDT"] = frame.volume, frame.volume * frame.close
    return csv(made)


def cdd_mixed() -> bytes:
    """Their files of Binance change from s to ms on the way."""
    frame = bars(newest_first=True)
    unix = np.where(frame.index < ROWS // 2, frame.ts, frame.ts // 1000)
    made = pd.DataFrame({"Unix": unix, "Date": moments(frame, "%Y-%m-%d %H:%M:%S"), "Symbol": "BTCUSDT"})
    made[["Open", "High", "Low", "Close"]] = frame[["open", "high", "low", "close"]]
    made["Volume BTC"], made["Volume USDT"], made["tradecount"] = frame.volume, frame.volume * frame.close, 5
    return b"https://www.CryptoDataDownload.com\n" + csv(made)


def feather(frame: pd.DataFrame) -> bytes:
    """As freqtrade writes it: lz4, times in ms UTC."""
    import pyarrow as pa
    from pyarrow import feather as arrow

    table = pa.table({"date": pa.array(frame.ts, pa.timestamp("ms", "UTC")), **{name: pa.array(frame[name]) for name in OHLCV[1:]}})
    target = io.BytesIO()
    arrow.write_feather(table, target, compression="lz4", compression_level=9)
    return target.getvalue()


def read_feather(data: bytes) -> pd.DataFrame:
    return from_text(pd.read_feather(io.BytesIO(data)), "date")


def mark() -> pd.DataFrame:
    return bars().assign(volume=0.0)


def funding() -> pd.DataFrame:
    rates = np.random.default_rng(4).integers(-300, 300, 9) / 1e6
    empty = dict.fromkeys(("high", "low", "close", "volume"), 0.0)
    return pd.DataFrame({"ts": START + 8 * HOUR * np.arange(9, dtype=np.int64), "open": rates, **empty})


def rows_json(frame: pd.DataFrame) -> bytes:
    return json.dumps([[int(row[0]), *map(float, row[1:])] for row in frame[OHLCV].itertuples(index=False)]).encode()


def read_rows(data: bytes, names: list[str] = OHLCV) -> pd.DataFrame:
    return pd.DataFrame(json.loads(data), columns=names)


def freqtrade_trades() -> bytes:
    frame = trades()
    return json.dumps(
        [
            [int(row.ts), str(row.id), None, "sell" if row.maker else "buy", row.price, row.qty, row.price * row.qty]
            for row in frame.itertuples()
        ]
    ).encode()


JESSE = ["ts", "open", "close", "high", "low", "volume"]


def jesse_table() -> bytes:
    frame = bars(60_000)
    made = frame[JESSE].rename(columns={"ts": "timestamp"}).assign(exchange="Bybit USDT Perpetual", symbol="BTC-USDT", timeframe="1m")
    made.insert(0, "id", [f"{n:032x}" for n in range(ROWS)])
    return csv(made)


def tradingview() -> bytes:
    frame = bars()
    made = frame.assign(ts=frame.ts // 1000, ema=frame.close, plot=np.nan)
    return csv(made.set_axis(["time", "open", "high", "low", "close", "Volume", "EMA", "Plot"], axis=1))


def metatrader5() -> bytes:
    frame = bars()
    athens = pd.to_datetime(frame.ts, unit="ms", utc=True).dt.tz_convert("Europe/Athens")
    made = pd.DataFrame({"<DATE>": athens.dt.strftime("%Y.%m.%d"), "<TIME>": athens.dt.strftime("%H:%M:%S")})
    made[["<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>"]] = frame[["open", "high", "low", "close"]]
    made["<TICKVOL>"], made["<VOL>"], made["<SPREAD>"] = 321, 0, 5
    return csv(made, sep="\t", lineterminator="\r\n")


def read_metatrader5(data: bytes) -> pd.DataFrame:
    frame = pd.read_csv(io.BytesIO(data), sep="\t").rename(columns=lambda name: name.strip("<>").lower())
    return from_text(frame.assign(at=frame.date + " " + frame.time, volume=0.0), "at", "%Y.%m.%d %H:%M:%S", "Europe/Athens")


def metatrader4() -> bytes:
    frame = bars()
    made = frame.assign(ts=moments(frame, "%Y.%m.%d", "Etc/GMT-2"))
    made.insert(1, "clock", moments(frame, "%H:%M", "Etc/GMT-2"))
    return csv(made, header=False)


def read_metatrader4(data: bytes) -> pd.DataFrame:
    frame = pd.read_csv(io.BytesIO(data), header=None, names=["day", "clock", *OHLCV[1:]])
    return from_text(frame.assign(at=frame.day + " " + frame.clock), "at", "%Y.%m.%d %H:%M", "Etc/GMT-2")


def histdata() -> bytes:
    frame = bars(60_000).assign(volume=0)
    return csv(frame.assign(ts=moments(frame, "%Y%m%d %H%M%S", "Etc/GMT+5")), header=False, sep=";")


def yahoo() -> bytes:
    frame = bars(24 * HOUR)
    made = pd.DataFrame({"Date": moments(frame, "%Y-%m-%d")})
    made[["Close", "High", "Low", "Open"]] = frame[["close", "high", "low", "open"]]
    made["Volume"] = (frame.volume * 1e6).astype("int64")
    head = "Price,Close,High,Low,Open,Volume\nTicker,BTC-USD,BTC-USD,BTC-USD,BTC-USD,BTC-USD\nDate,,,,,\n"
    return head.encode() + csv(made, header=False)


def read_yahoo(data: bytes) -> pd.DataFrame:
    frame = pd.read_csv(io.BytesIO(data), skiprows=3, header=None, names=["date", "close", "high", "low", "open", "dollars"])
    return from_text(frame.assign(volume=(frame.dollars / frame.close).round(8)), "date")


def kaggle() -> bytes:
    frame = bars(60_000)
    made = frame.assign(ts=frame.ts // 1000, currency=frame.volume * frame.close, weighted=frame.close)
    made.loc[3:7, made.columns[1:]] = np.nan
    names = ["Timestamp", "Open", "High", "Low", "Close", "Volume_(BTC)", "Volume_(Currency)", "Weighted_Price"]
    return csv(made.set_axis(names, axis=1), na_rep="NaN")


def day_first() -> bytes:
    frame = bars()
    return csv(frame.assign(ts=moments(frame, "%d/%m/%Y %H:%M")).rename(columns={"ts": "Date"}))


def decimal_comma() -> bytes:
    frame = bars()
    return csv(frame.assign(ts=moments(frame, "%Y-%m-%d %H:%M")), sep=";", decimal=",")


def local_time() -> bytes:
    """An autumn in Berlin: an hour of the clock comes twice."""
    frame = bars()
    frame["ts"] += 1_729_987_200_000 - 12 * HOUR - START  # about 2024-10-27
    return csv(frame.assign(ts=moments(frame, "%Y-%m-%d %H:%M", "Europe/Berlin")))


def read_local(data: bytes) -> pd.DataFrame:
    return from_text(pd.read_csv(io.BytesIO(data)), "ts").assign(
        ts=lambda frame: (
            pd.DatetimeIndex(pd.to_datetime(pd.read_csv(io.BytesIO(data)).ts))
            .tz_localize("Europe/Berlin", ambiguous="infer")
            .tz_convert("UTC")
            .tz_localize(None)
            .to_numpy("datetime64[ms]")
            .astype("int64")
        )
    )


def preamble() -> bytes:
    return b"".join(b"# line %d of words about the data\n" % n for n in range(15)) + csv(bars())


def pandas_parquet() -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    frame = bars().assign(ts=lambda made: pd.to_datetime(made.ts, unit="ms")).set_index("ts").rename_axis(None)
    target = io.BytesIO()
    parquet.write_table(pa.Table.from_pandas(frame), target)
    return target.getvalue()


def read_pandas_parquet(data: bytes) -> pd.DataFrame:
    return from_text(pd.read_parquet(io.BytesIO(data)).rename_axis("at").reset_index(), "at")


def excel() -> bytes:
    return zipped("xl/workbook.xml", b"<workbook/>")


def two_files() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("BTCUSDT_1h.csv", csv(bars()))
        archive.writestr("ETHUSDT_1h.csv", csv(bars()))
    return target.getvalue()


def _read(**options: Any) -> Reader:
    return lambda data: from_text(pd.read_csv(io.BytesIO(data), **options), "ts", None)


TRADES = "trades"
FORMATS = (
    FileFormat(
        "Binance, bars of spot (no names, us)",
        "data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01.zip",
        lambda: zipped("BTCUSDT-1h-2025-01.csv", csv(binance_klines(1000), header=False)),
        lambda data: bare(unzipped(data), ["ts", *KLINE[1:]], 1e-3),
        category="spot",
    ),
    FileFormat(
        "Binance, bars of futures (names, ms)",
        "data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-01.zip",
        lambda: zipped("BTCUSDT-1h-2025-01-01.csv", csv(binance_klines(1))),
        lambda data: headed(unzipped(data)),
    ),
    FileFormat(
        "Binance, mark prices",
        "data/futures/um/daily/markPriceKlines/BTCUSDT/1h/BTCUSDT-1h-2025-01-01.zip",
        lambda: zipped("BTCUSDT-1h-2025-01-01.csv", csv(binance_klines(1, 0.0))),
        lambda data: headed(unzipped(data)),
        "mark 1h",
    ),
    FileFormat(
        "Binance, trades (no names)",
        "BTCUSDT-trades-2025-01-01.csv",
        binance_trades,
        lambda data: as_trades(bare(data, ["id", "price", "qty", "quote", "ts", "maker", "best"]), "maker"),
        TRADES,
    ),
    FileFormat(
        "Binance, aggregated trades",
        "BTCUSDT-aggTrades-2025-01-01.csv",
        binance_agg_trades,
        lambda data: as_trades(headed(data, "transact_time").rename(columns={"quantity": "qty"}), "is_buyer_maker"),
        TRADES,
    ),
    FileFormat(
        "Binance, funding",
        "BTCUSDT-fundingRate-2025-01.csv",
        lambda: csv(pd.DataFrame({"calc_time": funding().ts, "funding_interval_hours": 8, "last_funding_rate": funding().open})),
        lambda data: headed(data, "calc_time").rename(columns={"last_funding_rate": "funding_rate"}),
        "funding",
    ),
    FileFormat(
        "Binance, metrics (open interest)",
        "BTCUSDT-metrics-2025-01-01.csv",
        lambda: csv(
            pd.DataFrame(
                {
                    "create_time": moments(bars(), "%Y-%m-%d %H:%M:%S"),
                    "symbol": "BTCUSDT",
                    "sum_open_interest": bars().volume,
                    "sum_open_interest_value": bars().close,
                }
            )
        ),
        lambda data: from_text(pd.read_csv(io.BytesIO(data)).rename(columns={"sum_open_interest": "open_interest"}), "create_time"),
        "open_interest",
    ),
    FileFormat(
        "Bybit, public trades of perpetuals",
        "trading/BTCUSDT/BTCUSDT2025-01-01.csv.gz",
        lambda: gzip.compress(bybit_trades()),
        lambda data: as_trades(headed(gzip.decompress(data), "timestamp", 1000).rename(columns={"size": "qty"}), "side"),
        TRADES,
    ),
    FileFormat(
        "Bybit, public trades of spot",
        "spot/BTCUSDT/BTCUSDT_2025-01-01.csv.gz",
        lambda: gzip.compress(bybit_spot_trades()),
        lambda data: as_trades(headed(gzip.decompress(data), "timestamp").rename(columns={"volume": "qty"}), "side"),
        TRADES,
        category="spot",
    ),
    FileFormat(
        "Bybit, klines for MetaTrader 4",
        "BTCUSDT_60_2025-01-01_2025-01-31.csv.gz",
        lambda: gzip.compress(mt4(bars())),
        lambda data: from_text(
            pd.read_csv(io.BytesIO(gzip.decompress(data)), header=None, names=["at", *OHLCV[1:]]), "at", "%Y.%m.%d %H:%M"
        ),
    ),
    FileFormat(
        "Bybit, the answer of `/v5/market/kline`",
        "answer.json",
        bybit_answer,
        lambda data: (
            pd.DataFrame(json.loads(data)["result"]["list"], columns=[*OHLCV, "turnover"])
            .astype(dict.fromkeys(OHLCV[1:], float))
            .astype({"ts": "int64"})
        ),
    ),
    FileFormat(
        "CryptoDataDownload (a line before the names)",
        "Bitstamp_BTCUSD_1h.csv",
        cdd_new,
        lambda data: (
            pd.read_csv(io.BytesIO(data), skiprows=1).assign(ts=lambda made: made.unix * 1000).rename(columns={"Volume BTC": "volume"})
        ),
        symbol="BTCUSD",
    ),
    FileFormat(
        "CryptoDataDownload (AM, PM)",
        "Binance_BTCUSDT_1h.csv",
        cdd_old,
        lambda data: from_text(pd.read_csv(io.BytesIO(data)).rename(columns=str.lower), "date", "%Y-%m-%d %I-%p").rename(
            columns={"volume btc": "volume"}
        ),
    ),
    FileFormat(
        "CryptoDataDownload (s and ms in one column)",
        "Binance_BTCUSDT_1h_mixed.csv",
        cdd_mixed,
        lambda data: from_text(pd.read_csv(io.BytesIO(data), skiprows=1).rename(columns=str.lower), "date").rename(
            columns={"volume btc": "volume"}
        ),
    ),
    FileFormat(
        "Kraken, OHLCVT",
        "XBTUSD_60.csv",
        lambda: csv(bars().assign(ts=lambda made: made.ts // 1000, trades=9), header=False),
        lambda data: bare(data, [*OHLCV, "trades"], 1000),
        symbol="BTCUSD",
    ),
    FileFormat(
        "pandas `to_csv`, an index without a name",
        "BTCUSDT_1h.csv",
        lambda: bars().assign(ts=moments(bars(), "%Y-%m-%d %H:%M:%S")).set_index("ts").rename_axis(None).to_csv().encode(),
        lambda data: from_text(pd.read_csv(io.BytesIO(data)), "Unnamed: 0"),
    ),
    FileFormat("pandas `to_parquet`, an index without a name", "BTCUSDT_1h.parquet", pandas_parquet, read_pandas_parquet),
    FileFormat(
        "freqtrade, feather of futures",
        "user_data/data/bybit/futures/BTC_USDT_USDT-1h-futures.feather",
        lambda: feather(bars()),
        read_feather,
    ),
    FileFormat(
        "freqtrade, feather of spot", "user_data/data/bybit/BTC_USDT-1h.feather", lambda: feather(bars()), read_feather, category="spot"
    ),
    FileFormat(
        "freqtrade, feather of mark prices", "futures/BTC_USDT_USDT-1h-mark.feather", lambda: feather(mark()), read_feather, "mark 1h"
    ),
    FileFormat(
        "freqtrade, feather of funding",
        "futures/BTC_USDT_USDT-8h-funding_rate.feather",
        lambda: feather(funding()),
        lambda data: read_feather(data).rename(columns={"open": "funding_rate"}),
        "funding",
    ),
    FileFormat("freqtrade, json", "futures/BTC_USDT_USDT-1h-futures.json", lambda: rows_json(bars()), read_rows),
    FileFormat(
        "freqtrade, json of funding",
        "futures/BTC_USDT_USDT-1h-funding_rate.json",
        lambda: rows_json(funding()),
        lambda data: read_rows(data).rename(columns={"open": "funding_rate"}),
        "funding",
    ),
    FileFormat(
        "freqtrade, json.gz",
        "ETH_BTC-1h.json.gz",
        lambda: gzip.compress(rows_json(bars())),
        lambda data: read_rows(gzip.decompress(data)),
        symbol="ETHBTC",
        category="spot",
    ),
    FileFormat(
        "freqtrade, json.gz of trades",
        "BTC_USDT-trades.json.gz",
        lambda: gzip.compress(freqtrade_trades()),
        lambda data: as_trades(read_rows(gzip.decompress(data), ["ts", "id", "type", "taker", "price", "qty", "cost"]), "taker"),
        TRADES,
        category="spot",
    ),
    FileFormat("jesse, its table of candles", "candles.csv", jesse_table, lambda data: headed(data, "timestamp"), "last 1m"),
    FileFormat(
        "jesse, arrays without names (close before high)",
        "BTC-USDT-1m.csv",
        lambda: csv(bars(60_000)[JESSE], header=False),
        lambda data: bare(data, JESSE),
        "last 1m",
    ),
    FileFormat("TradingView, chart export", "BYBIT_BTCUSDT.P, 60.csv", tradingview, lambda data: headed(data, "time", 1000)),
    FileFormat("ccxt `fetch_ohlcv` as JSON", "ohlcv.json", lambda: rows_json(bars()), read_rows, needs_symbol=True),
    FileFormat(
        "ccxt `fetch_ohlcv` through pandas, without names",
        "ohlcv.csv",
        lambda: bars().set_axis(range(6), axis=1).to_csv().encode(),
        lambda data: pd.read_csv(io.BytesIO(data), index_col=0).set_axis(OHLCV, axis=1),
        needs_symbol=True,
    ),
    FileFormat("Yahoo (yfinance, three lines of names)", "yahoo.csv", yahoo, read_yahoo, "last 1d", symbol="BTCUSD"),
    FileFormat(
        "MetaTrader 5, bars",
        "BTCUSD_H1_202501010000_202501021100.csv",
        metatrader5,
        read_metatrader5,
        symbol="BTCUSD",
        options={"timezone": "Europe/Athens", "kind": "last"},
        refused=("say no zone.*--timezone Europe/Athens", "without volume.*--kind last"),
    ),
    FileFormat(
        "MetaTrader 4, history centre",
        "BTCUSD60.csv",
        metatrader4,
        read_metatrader4,
        symbol="BTCUSD",
        needs_symbol=True,
        options={"timezone": "+02:00"},
        refused=("say no zone.*--timezone .02:00",),
    ),
    FileFormat(
        "HistData, bars",
        "DAT_ASCII_EURUSD_M1_202501.csv",
        histdata,
        lambda data: from_text(
            pd.read_csv(io.BytesIO(data), sep=";", header=None, names=["at", *OHLCV[1:]]), "at", "%Y%m%d %H%M%S", "Etc/GMT+5"
        ),
        "last 1m",
        symbol="EURUSD",
        options={"timezone": "-05:00", "kind": "last"},
        refused=("HistData in Eastern Standard Time.*--timezone -05:00", "--kind last"),
    ),
    FileFormat(
        "Kaggle, minutes without a trade are NaN",
        "bitstampUSD_1-min_data_2012-01-01_to_2025-01-01.csv",
        kaggle,
        lambda data: headed(data, "timestamp", 1000).rename(columns={"volume_(btc)": "volume"}).dropna(),
        "last 1m",
        symbol="BTCUSD",
        needs_symbol=True,
        options={"drop_empty": True},
        refused=("line 5: .* is NaN, not a number; 5 rows.*--drop-empty",),
    ),
    FileFormat(
        "dates with the day or the month first",
        "BTCUSDT_1h_days.csv",
        day_first,
        lambda data: from_text(pd.read_csv(io.BytesIO(data)), "Date", "%d/%m/%Y %H:%M"),
        options={"time_format": "%d/%m/%Y %H:%M"},
        refused=("several ways.*--time-format '%d/%m/%Y %H:%M' .days first.*first lines are",),
    ),
    FileFormat(
        "decimal commas",
        "BTCUSDT_1h_commas.csv",
        decimal_comma,
        lambda data: from_text(pd.read_csv(io.BytesIO(data), sep=";", decimal=","), "ts"),
        options={"decimal": ","},
        refused=("use --decimal , .the first lines are",),
    ),
    FileFormat(
        "more than twelve lines before the names",
        "BTCUSDT_1h_words.csv",
        preamble,
        lambda data: pd.read_csv(io.BytesIO(data), comment="#"),
        options={"skip_lines": 15},
        refused=("begin in line 16: use --skip-lines 15 .the first lines are",),
    ),
    FileFormat(
        "times of a place, with its summer time",
        "BTCUSDT_1h_berlin.csv",
        local_time,
        read_local,
        options={"timezone": "Europe/Berlin"},
        refused=("have the same time",),
    ),
    FileFormat(
        "Kraken, trades",
        "XBTUSD.csv",
        lambda: csv(trades()[["ts", "price", "qty"]].assign(ts=lambda made: made.ts / 1000), header=False),
        None,
        refused=("their sides are missing",),
    ),
    FileFormat(
        "Binance, contracts settled in coins",
        "BTCUSD_PERP-1h-2025-01.csv",
        lambda: csv(binance_klines(1)),
        None,
        refused=("BTCUSD_PERP is an inverse contract",),
    ),
    FileFormat(
        "premium index",
        "premiumIndexKlines/BTCUSDT-1h-2025-01.csv",
        lambda: csv(binance_klines(1, 0.0)),
        None,
        refused=("premium index bars, which the store does not keep",),
    ),
    FileFormat(
        "order books",
        "BTCUSDT_book.csv",
        lambda: b"ts,bid,ask,bid_qty,ask_qty\n1735689600000,1,2,3,4\n",
        None,
        refused=("order book, which the store does not keep",),
    ),
    FileFormat("Excel", "BTCUSDT_1h.xlsx", excel, None, refused=("file of Excel.*save it there as CSV",)),
    FileFormat("HDF5, pickle, numpy", "BTCUSDT_1h.h5", lambda: b"\x89HDF\r\n\x1a\n", None, refused=("file of HDF5.*read_hdf",)),
    FileFormat(
        "an archive with several files",
        "history.zip",
        two_files,
        None,
        refused=("holds 2 files.*python3 -m zipfile -e .*keel data import",),
    ),
)
