"""The block of the report that says what became of signals and orders; open trades stand in the table with what they are worth."""

from __future__ import annotations

import re
from collections.abc import Callable

from keel.adapters.report.funnel import funnel_block
from keel.adapters.report.page import render
from keel.adapters.report.tables import trade_table
from keel.core.model.money import UNIT
from keel.core.model.trade import Trade
from keel.core.results.funnel import Counted, Funnel, OpenTrade
from keel.core.results.result import BacktestResult
from tests.builders import START

IGNORED = (Counted("held_already", 1_100), Counted("other_exits", 8, START, "BTCUSDT", 95.0, 90.0))
DENIED = (Counted("leverage", 30, START, "BTCUSDT", 12.0, 3.0), Counted("below_min_qty", 70, START, "ETHUSDT", 0.0, 0.01, closed=4))
REJECTED = (Counted("110007 <b>&", 5, START, "BTCUSDT"),)
FUNNEL = Funnel(
    signals=1_250, ordered=40, withdrawn=2, ignored=IGNORED, denied=DENIED, orders=100, origins={"signal": 40, "bracket": 60}, filled=60,
    rejected=REJECTED, cancelled=(Counted("CancelByTpSlTsClear", 33),), resting=2, fills=61, takeovers=1, trades=29,
)  # fmt: skip


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_four_stages_with_what_became_of_each() -> None:
    text = words(funnel_block(FUNNEL))
    for stage in (
        "Signals 1,250 40 ordered 2 withdrawn 1,108 ignored 100 denied",
        "Orders 100 60 filled 5 rejected 33 cancelled 2 still open 60 exits of the exchange among them",
        "Fills 61 60 traded 1 liquidations",
        "Round trips 29 29 closed",
    ):
        assert stage in text


def test_reasons_stand_by_weight_with_the_first_time_and_advice_and_cannot_break_the_page() -> None:
    html = funnel_block(FUNNEL)
    text = words(html)
    assert text.index("below_min_qty") < text.index("leverage") and "4 of them closed what was held" in text
    assert "held_already" not in text and "95 was asked for, 90 when the position was opened" in text
    assert "BTCUSDT 2024-01-01 00:00" in text and "12 of room at a leverage of 3" in text and "risk.margin_reserve_percent" in text
    assert "110007 &lt;b&gt;&amp;" in html and "<b>" not in html


def test_a_result_that_nobody_counted_has_no_block(small_result: Callable[..., BacktestResult]) -> None:
    assert funnel_block(Funnel()) == ""
    assert 'id="funnel"' not in render(small_result())
    page = render(small_result(funnel=FUNNEL))
    assert page.index('id="figures"') < page.index('id="funnel"') < page.index('id="equity"')


def test_an_open_trade_is_marked_with_its_unrealised_pnl() -> None:
    trade = Trade(number=3, symbol="BTCUSDT", side="LONG", entry_ts=START, entry_price=100.0, qty=2.0, entry_notional=200 * UNIT)
    held = OpenTrade(3, "BTCUSDT", "LONG", 2.0, START, 100.0, 93.5, -13 * UNIT)
    row = trade_table([], [trade], (held,)).split("<tbody>")[1]
    assert "<tr class=open>" in row and "93.5" in row and "still open: −13.00 unrealised at the mark" in words(row)
