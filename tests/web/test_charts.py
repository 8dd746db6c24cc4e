"""Charts: right proportions, the same bytes each time, nothing that the content security policy blocks."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from awssome.web.charts import Chart, bars, months, spark_line
from awssome.web.formats import money

STAGES = [("Prospect", 12), ("Qualified", 24), ("<b>Lost</b>", 0)]
amounts = st.lists(st.decimals(min_value=0, max_value=10**15, places=2), min_size=1, max_size=40)


def marks(chart: Chart) -> list[ET.Element]:
    return [mark for mark in ET.fromstring(chart.drawing).iter("rect") if mark.get("class") == "mark"]  # noqa: S314


def test_bars_are_shares_of_the_largest() -> None:
    drawing = ET.fromstring(bars(STAGES, columns=("Stage", "Deals")).drawing)  # noqa: S314
    assert [bar.get("width") for bar in drawing.iter("rect")] == ["50%", "100%", "0%"]


def test_labels_are_escaped_and_links_kept() -> None:
    chart = bars(STAGES, columns=("Stage", "Deals"), links=["/a?b=1&c=2", "/b", "/c"])
    assert "&lt;b&gt;Lost" in chart.drawing
    assert 'href="/a?b=1&amp;c=2"' in chart.drawing


def test_a_chart_says_its_figures_in_words() -> None:
    chart = months([("Jan", Decimal("10.50")), ("Feb", Decimal(0))], columns=("Month", "Value"), shown=_dollars)
    assert chart.alternative == "Value by month: Jan $10.50, Feb $0."
    assert list(chart.rows) == [("Jan", "$10.50"), ("Feb", "$0")]


def test_nothing_to_draw_is_said() -> None:
    assert bars([], columns=("Stage", "Deals")).empty
    assert months([], columns=("Month", "Value")).empty
    assert spark_line([3]) == ""


@given(amounts)
def test_columns_stand_in_proportion_and_inside_the_drawing(figures: list[Decimal]) -> None:
    chart = months([(str(place), figure) for place, figure in enumerate(figures)], columns=("Month", "Value"))
    drawn = marks(chart)
    heights = [float(mark.get("height", "")) for mark in drawn]
    assert len(drawn) == len(figures)
    assert all(
        0 <= height <= 152 and float(mark.get("y", "")) >= 12 for mark, height in zip(drawn, heights, strict=True)
    )
    largest = max(figures)
    if largest:
        assert max(heights) >= 152 / 2.5
        assert all(
            abs(height - max(heights) * float(figure / largest)) < 0.02
            for figure, height in zip(figures, heights, strict=True)
        )


def test_the_first_column_of_many_to_come_is_no_wall() -> None:
    wide, slim = (months([("1 Nov", 5)], columns=("Day", "Data"), room=room).drawing for room in (1, 10))
    assert 'x="19%" y="37.33" width="62%"' in wide
    assert 'x="1.9%" y="37.33" width="6.2%"' in slim


def test_a_phone_shows_every_second_of_twelve_months() -> None:
    chart = months([(str(place), place) for place in range(12)], columns=("Month", "Value"))
    labels = [text for text in ET.fromstring(chart.drawing).iter("text") if text.get("text-anchor") == "middle"]  # noqa: S314
    assert len(labels) == 12
    assert len([label for label in labels if label.get("class") == "more"]) == 6
    assert labels[-1].get("class") is None


def test_charts_carry_no_style_and_no_script_and_never_differ() -> None:
    def draw() -> list[str]:
        return [
            bars(STAGES, columns=("S", "D")).drawing,
            months(STAGES, columns=("S", "D")).drawing,
            spark_line([1, 5, 2]),
        ]

    assert draw() == draw()
    assert not any(word in drawing for drawing in draw() for word in ("style", "<script", " on"))


def _dollars(value: int | Decimal) -> str:
    return money(value, "USD")
