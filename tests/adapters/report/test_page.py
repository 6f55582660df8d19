"""The report as a file: alone, whole, safe, and saying what the result says."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from keel.adapters.report import write_report
from keel.adapters.report.page import POLICY, render
from keel.adapters.report.text import money, number, percent
from keel.core.errors import DataError
from keel.core.metrics.curve import read_curve
from keel.core.metrics.drawdown import find_drawdowns
from keel.core.model.money import to_float
from keel.core.results.result import BacktestResult, Reconciliation, StopReason
from keel.core.system.config import SystemConfig

LOADING = {"src", "srcset", "href", "data", "poster", "action", "background", "formaction", "xlink:href"}
Build = Callable[..., BacktestResult]


class Page(HTMLParser):
    """Every tag with its attributes, and the texts of scripts, styles, metrics and table cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.metrics: dict[str, str] = {}
        self.units: list[tuple[int, str]] = []
        self.signs: list[int] = []
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self._open.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag, f"</{tag}> closes something else"

    def handle_data(self, text: str) -> None:
        if not self._open:
            return
        tag, attributes = self._open[-1]
        if tag in ("script", "style"):
            (self.scripts if tag == "script" else self.styles).append(text)
        for _, outer in self._open[-2:]:
            if name := outer.get("data-metric"):
                self.metrics[name] = self.metrics.get(name, "") + text
        if units := attributes.get("data-units"):
            self.units.append((int(units), text))
            self.signs.append(int(attributes["data-sign"] or 0))

    def close(self) -> None:
        super().close()
        assert not self._open


@pytest.fixture(scope="module")
def year_page(year: BacktestResult, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = write_report(year, tmp_path_factory.mktemp("report") / "deep" / "report.html", source_label="store")
    return path.read_text("utf-8")


def figures_of(page: str) -> dict[str, list[dict[str, Any]]]:
    found = re.search(r'<script type="application/json" id="figures-data">(.*?)</script>', page, re.DOTALL)
    assert found
    figures: dict[str, list[dict[str, Any]]] = json.loads(found[1])
    return figures


def values(packed: dict[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed.get("bdata") or packed["ms"]), dtype="<f8")


def trace(page: str, figure: str, name: str) -> dict[str, Any]:
    return next(part for part in figures_of(page)[figure][0]["data"] if part.get("name") == name)


def test_nothing_is_loaded_from_anywhere(year_page: str) -> None:
    page = Page(year_page)
    assert not [(tag, name, value) for tag, attributes in page.tags for name, value in attributes.items() if name in LOADING]
    assert not {"link", "img", "iframe", "object", "embed", "base", "audio", "video"} & {tag for tag, _ in page.tags}
    assert not any("@import" in style or "url(" in style for style in page.styles)
    own = [script for script in page.scripts if "plotly.js v" not in script[:200]]
    assert len(own) == len(page.scripts) - 1, "plotly's own script is in the page once"
    assert not any(re.search(r"https?:|fetch\(|XMLHttpRequest|import\(|WebSocket|sendBeacon", script) for script in own)


def test_the_page_forbids_itself_the_network(year_page: str) -> None:
    policies = [a["content"] for tag, a in Page(year_page).tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [POLICY]
    assert "default-src 'none'" in POLICY and "http" not in POLICY and "*" not in POLICY and "connect-src" not in POLICY


def test_a_year_of_minutes_stays_small(year_page: str) -> None:
    assert len(year_page.encode("utf-8")) < 7_000_000


def test_key_figures_are_those_of_the_result(year: BacktestResult, year_page: str) -> None:
    shown = Page(year_page).metrics
    metrics = year.metrics
    assert shown == {
        "net_profit": number(metrics["net_profit"], signed=True),
        "total_return": percent(100 * metrics["total_return"], signed=True),
        "max_drawdown_pct": percent(metrics["max_drawdown_pct"]),
        "sharpe": number(metrics["sharpe"]),
        "sortino": number(metrics["sortino"]),
        "calmar": number(metrics["calmar"]),
        "total_trades": "800",
        "win_rate": percent(metrics["win_rate"], 1),
        "profit_factor": number(metrics["profit_factor"]),
        "fees": money(year.reconciliation.fees),
        "funding": money(year.reconciliation.funding),
    }


def test_charts_keep_the_extremes_of_the_series(year: BacktestResult, year_page: str) -> None:
    equity = year.equity_curve["equity"]
    shown = values(trace(year_page, "equity", "Equity")["y"])
    assert (shown[0], shown[-1], shown.min(), shown.max()) == (equity[0], equity[-1], equity.min(), equity.max())
    falls = find_drawdowns(read_curve(year.equity_curve, to_float(year.reconciliation.initial_equity)))
    assert values(trace(year_page, "equity", "Drawdown")["y"]).min() == falls.max_pct
    assert values(trace(year_page, "equity", "Worst within the bar")["y"]).min() == pytest.approx(falls.max_intrabar_pct, abs=1e-12)
    bars = year.bars["BTCUSDT"]
    assert values(trace(year_page, "price", "Low")["y"]).min() == bars["low"].min()
    assert values(trace(year_page, "price", "High")["y"]).max() == bars["high"].max()
    assert values(trace(year_page, "price", "Close")["y"])[-1] == bars["close"][-1]


def test_every_trade_is_marked_and_listed(year: BacktestResult, year_page: str) -> None:
    entries = [trace(year_page, "price", name) for name in ("Long entry", "Short entry")]
    assert sum(len(values(entry["x"])) for entry in entries) == len(year.trades)
    longs = [trade for trade in year.trades if trade.side == "LONG"]
    assert values(entries[0]["x"]).tolist() == [trade.entry_ts for trade in longs]
    assert values(entries[0]["y"]).tolist() == [trade.entry_price for trade in longs]
    gains = sorted(to_float(trade.net_pnl) for trade in year.trades if trade.net_pnl > 0)
    assert sorted(values(trace(year_page, "pnl", "Gain")["y"]).tolist()) == gains
    listed = year_page[year_page.index('<section id="trades"') :]
    assert all(f'data-v="{trade.number}">{trade.number}</td>' in listed for trade in year.trades)


def test_histograms_count_everything_once(year: BacktestResult, year_page: str) -> None:
    assert sum(trace(year_page, "returns", "Days")["y"]) == 525_600 // 1440
    assert sum(trace(year_page, "holding", "Gains")["y"]) + sum(trace(year_page, "holding", "Losses")["y"]) == len(year.trades)


@pytest.mark.parametrize(
    "sums",
    [
        Reconciliation(
            10**12, 7 * 10**9 + 3, 12_345_678, 987_654_321, -55, 0, 0, 0, 10**12 + 7 * 10**9 + 3 - 12_345_678 - 987_654_321 + 55
        ),
        Reconciliation(10**12, -(10**10), 10**8, 10**8, 5, 40, 250_000_000, 0, 10**12 - 10**10 - 2 * 10**8 - 45 + 250_000_000),
    ],
)
def test_the_cost_table_adds_up_as_it_is_printed(build: Build, sums: Reconciliation) -> None:
    assert sums.difference == 0
    page = Page(render(build(days=3, reconciliation=sums)))
    cells = page.units
    printed = [Decimal(text.replace(",", "").replace("\u2212", "-")) for _, text in cells]
    assert [amount * 10**8 for amount in printed] == [units for units, _ in cells]
    *steps, net, initial, final = (sign * amount for sign, amount in zip(page.signs, printed, strict=True))
    assert sum(steps) == net and initial + net == final


def test_a_sum_that_does_not_add_up_is_said_first(build: Build) -> None:
    page = render(build(days=3, trade_count=0, reconciliation=Reconciliation(10**12, 5, 0, 0, 0, 0, 0, 10**12, 10**12)))
    assert "DOES NOT ADD UP" in page and "do NOT add up" in page


@pytest.mark.parametrize("name", ["no_trades", "stopped", "liquidated", "two_symbols", "nothing_known"])
def test_every_kind_of_run_renders(variants: dict[str, BacktestResult], name: str) -> None:
    page = render(variants[name])
    Page(page).close()
    words = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    assert not re.search(r"\b(nan|inf)\b", words, re.IGNORECASE)
    for figure in figures_of(page).values():
        assert figure[0]["data"], "a figure has something to draw"


def test_what_went_wrong_stands_at_the_top(variants: dict[str, BacktestResult]) -> None:
    header = {name: render(result).split("</header>")[0] for name, result in variants.items()}
    assert "STOPPED EARLY" in header["stopped"] and "Account blown at" in header["stopped"] and "equity 1.20 USDT is" in header["stopped"]
    assert "LIQUIDATED" in header["liquidated"] and "840.00 USDT of margin was lost." in header["liquidated"]
    assert "SYNTHETIC DATA" in header["liquidated"]
    for name in ("no_trades", "two_symbols"):
        assert 'class="banner' not in header[name]


@pytest.mark.parametrize(("label", "banner"), [("synthetic sample, seed 7", True), ("bybit linear", False), (None, False)])
def test_the_source_label_raises_the_banner(build: Build, label: str | None, banner: bool) -> None:
    assert ("SYNTHETIC DATA" in render(build(days=2, trade_count=0), source_label=label)) is banner


def test_null_metrics_say_why(variants: dict[str, BacktestResult]) -> None:
    page = render(variants["nothing_known"])
    assert Page(page).metrics == dict.fromkeys(Page(page).metrics, "n/a")
    assert page.count('title="no bar was processed">n/a</span>') >= 11


def test_two_symbols_have_a_price_chart_each(variants: dict[str, BacktestResult]) -> None:
    page = render(variants["two_symbols"])
    assert [figure["name"] for figure in figures_of(page)["price"]] == ["BTCUSDT", "ETHUSDT"]
    assert page.count('role="tab"') == 2


def test_text_from_outside_is_never_markup(build: Build) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
    base = build(days=3, trade_count=4)
    system = SystemConfig(system=evil, strategy=evil, symbols=["BTCUSDT"], timeframe="1h", description=evil, params={evil: evil})
    result = build(
        days=3,
        system=system,
        trades=[msgspec.structs.replace(trade, exit_reason=evil, symbol="BTCUSDT") for trade in base.trades],
        trust={evil: {evil: [evil]}},
        order_log=[{"ts": 0, "reason": evil, "kind": evil}],
        stop_reason=StopReason(evil, base.window.end_ms, evil),
        run_id=evil,
        system_uid=evil,
        message_hash=evil,
        metric_notes={"sharpe": evil},
    )
    page = Page(render(result, kind=evil, source_label=evil))
    page.close()
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 3
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    hover = [words for part in figures_of(render(result))["price"][0]["data"] for words in part.get("text", [])]
    assert hover and not any("<img" in words or "<script" in words for words in hover)


def test_very_many_trades_are_cut_in_the_middle(build: Build) -> None:
    base = build(days=3, trade_count=1)
    many = [msgspec.structs.replace(base.trades[0], number=number) for number in range(1, 3001)]
    page = render(build(days=3, trades=many))
    rows = re.findall(r'<tr><td class=num data-v="(\d+)">', page)
    assert [int(row) for row in rows] == [*range(1, 1001), *range(2001, 3001)]
    assert "first and the last 1,000 of 3,000 trades" in page


def test_the_same_result_gives_the_same_bytes(build: Build) -> None:
    assert render(build(days=3)) == render(build(days=3))


def test_a_report_that_cannot_be_written_leaves_nothing(build: Build, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match="could not be written"):
        write_report(build(days=2, trade_count=0), tmp_path / "file" / "report.html")
    (tmp_path / "taken").mkdir()
    with pytest.raises(DataError, match="could not be written"):
        write_report(build(days=2, trade_count=0), tmp_path / "taken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]
