"""Charts as small SVG drawings, written by hand.

Positions are percentages, so a chart fills its place while its letters keep their size on a phone; colours come from
the stylesheet through classes, so it follows the theme; there is no inline style or script, which the content security
policy would block. (A pygal chart carries both, and scales its letters.) The same figures always give the same bytes.
Each chart comes with a sentence that replaces it for those who do not see it, and with its figures as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from markupsafe import Markup

from awssome.web.formats import number

Figure = int | Decimal
Format = Callable[[Figure], str]

_COLUMN_SHARE = 0.62
_TOP, _BASE, _HEIGHT = 12, 164, 188
_MOST_LABELS = 12
_MOST_LABELS_ON_A_PHONE = 6


@dataclass(frozen=True)
class Chart:
    """A drawing with what stands for it: `alternative` (a sentence) and `rows` (the figures, already formatted).

    `in_words` says that the drawing itself reads as text, so that it needs neither.
    """

    drawing: Markup
    alternative: str
    columns: tuple[str, str]
    rows: Sequence[tuple[str, str]]
    in_words: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.rows


def bars(
    figures: Sequence[tuple[str, Figure]],
    *,
    columns: tuple[str, str],
    shown: Format = number,
    links: Sequence[str] | None = None,
) -> Chart:
    """Horizontal bars, one a line, in the order given: deals by stage.

    :param columns: headings of label and figure, for the alternatives.
    :param links: an address for each bar's label.
    """
    largest = max((figure for _, figure in figures), default=0)
    lines = []
    for position, (label, figure) in enumerate(figures):
        name = Markup('<a href="{}">{}</a>').format(links[position], label) if links else Markup.escape(label)
        lines.append(
            Markup(
                '<li><span>{}</span><svg aria-hidden="true"><rect width="{}%" height="100%" rx="3"/></svg>'
                "<b>{}</b></li>"
            ).format(name, _share(figure, largest), shown(figure))
        )
    drawing = Markup('<ul class="bars">{}</ul>').format(Markup("").join(lines))
    return _chart(drawing, figures, columns, shown, in_words=True)


def months(
    figures: Sequence[tuple[str, Figure]],
    *,
    columns: tuple[str, str],
    shown: Format = number,
    scale: Format | None = None,
    room: int = 1,
) -> Chart:
    """Upright columns over time, oldest first: value by month.

    :param shown: format of a figure where it stands alone.
    :param scale: format of the figures on the scale; the same by default.
    :param room: there is space for so many columns at least, so that the first ones are no walls.
    """
    ceiling = _round_ceiling(max((figure for _, figure in figures), default=0))
    parts = [_grid_line(ceiling * share / 2, ceiling, scale or shown) for share in range(3)]
    step = Decimal(100) / max(len(figures), room)
    every = -(-len(figures) // _MOST_LABELS)
    crowded = len(figures) > _MOST_LABELS_ON_A_PHONE
    for position, (label, figure) in enumerate(figures):
        left = step * position + step * Decimal(1 - _COLUMN_SHARE) / 2
        height = (_BASE - _TOP) * Decimal(figure) / ceiling
        parts.append(
            Markup(
                '<g><title>{}: {}</title><rect class="hit" x="{}%" y="0" width="{}%" height="{}"/>'
                '<rect class="mark" x="{}%" y="{}" width="{}%" height="{}" rx="3"/></g>'
            ).format(
                label, shown(figure), _short(step * position), _short(step), _BASE,
                _short(left), _short(_BASE - height), _short(step * Decimal(_COLUMN_SHARE)), _short(height),
            )
        )  # fmt: skip
        behind_last = len(figures) - 1 - position
        if behind_last % every == 0:
            parts.append(
                Markup('<text x="{}%" y="{}" text-anchor="middle"{}>{}</text>').format(
                    _short(step * position + step / 2),
                    _HEIGHT - 6,
                    Markup(' class="more"') if crowded and behind_last // every % 2 else "",
                    label,
                )
            )
    drawing = Markup('<svg class="columns" height="{}" aria-hidden="true">{}</svg>').format(
        _HEIGHT, Markup("").join(parts)
    )
    return _chart(drawing, figures, columns, shown)


def spark_line(figures: Sequence[Figure]) -> Markup:
    """A line without scale or letters beside a figure that says the same in words; empty for fewer than two figures."""
    if len(figures) < 2:
        return Markup("")
    low, high = min(figures), max(figures)
    spread = (high - low) or 1
    step = Decimal(100) / (len(figures) - 1)
    points = [
        (_short(step * position), _short(Decimal(22) - Decimal(20) * (figure - low) / spread))
        for position, figure in enumerate(figures)
    ]
    line = " ".join(f"{x},{y}" for x, y in points)
    return Markup(
        '<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">'
        '<polygon points="0,24 {} 100,24"/><polyline points="{}"/></svg>'
    ).format(line, line)


def _chart(
    drawing: Markup,
    figures: Sequence[tuple[str, Figure]],
    columns: tuple[str, str],
    shown: Format,
    in_words: bool = False,
) -> Chart:
    rows = [(label, shown(figure)) for label, figure in figures]
    alternative = (
        f"{columns[1]} by {columns[0].lower()}: " + ", ".join(f"{label} {value}" for label, value in rows) + "."
    )
    return Chart(drawing, alternative, columns, rows, in_words)


def _grid_line(value: Decimal, ceiling: Decimal, shown: Format) -> Markup:
    y = _short(_BASE - (_BASE - _TOP) * value / ceiling)
    line = Markup('<line x1="0" x2="100%" y1="{}" y2="{}"/>').format(y, y)
    if not value:
        return line
    shown_value = int(value) if value == int(value) else value
    return line + Markup('<text x="-8" y="{}" text-anchor="end">{}</text>').format(
        _short(Decimal(y) + 4), shown(shown_value)
    )


def _round_ceiling(largest: Figure) -> Decimal:
    """The smallest of 2, 4, 6, 8, 10 times a power of ten that holds the largest figure: its half is round as well."""
    if largest <= 0:
        return Decimal(2)
    power = Decimal(10) ** (Decimal(largest).adjusted())
    return next(ceiling for step in (2, 4, 6, 8, 10) if (ceiling := step * power) >= largest)


def _share(figure: Figure, largest: Figure) -> str:
    """Percent of the largest; a figure that is not zero is always seen."""
    if figure <= 0 or largest <= 0:
        return "0"
    return _short(max(Decimal(1), Decimal(100) * figure / largest))


def _short(value: Decimal | int) -> str:
    """At most two decimals, none that say nothing."""
    return f"{Decimal(value):.2f}".rstrip("0").rstrip(".")
