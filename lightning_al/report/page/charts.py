"""Charts as SVG: drawn in numbers that CSS colours, each with what a mouse reads on it as ``<title>``."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from lightning_al.drawing.markup import Html, joined, tag
from lightning_al.drawing.numbers import alike, number
from lightning_al.report.tables import thinned

STYLES = 8
"""Colours and marks; more curves have them again with another dash."""

_WIDTH, _LEFT, _RIGHT, _TOP = 640, 70, 14, 12
_DASHES = (None, "7 4", "2 4", "10 4 2 4")
_MARKS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-4-4h8v8h-8z",
    "M0-5L5 4H-5z",
    "M0-5.5L5.5 0L0 5.5L-5.5 0z",
    "M0 5L5-4H-5z",
    "M-5-2h3v-3h4v3h3v4h-3v3h-4v-3h-3z",
    "M-5 0L-2.5-5H2.5L5 0L2.5 5H-2.5z",
    "M-5-5L0-2L5-5L2 0L5 5L0 2L-5 5L-2 0z",
)
_BAND_ROOM = 0.5  # of what the curves span, for bands above and below them
_MOST_MARKED = 40  # points of a curve; more have no marks
_MOST_READ = 160  # places at which a mouse reads values


@dataclass(frozen=True)
class Line:
    """A curve.

    Args:
        name: In the legend.
        style: Which colour and mark.
        x: Where it is measured, ascending.
        y: Its values; those that are not finite leave a gap.
        low: The lower end of the interval around it, if any.
        high: The upper end.
        has_band: Whether the interval is drawn, as a band.
    """

    name: str
    style: int
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    has_band: bool = True

    def value(self, place: int, text: Callable[[float], str]) -> str:
        """Return the value at a place, with the ends of its interval."""
        ends = f" ({text(self.low[place])} to {text(self.high[place])})" if self.low else ""
        return f"{text(self.y[place])}{ends}"


def said_alike(lines: Iterable[Line]) -> Callable[[float], str]:
    """Return what writes the values of lines beside each other."""
    return alike(value for line in lines for value in (*line.y, *line.low, *line.high))


@dataclass(frozen=True)
class Bars:
    """Parts of one bar after another.

    Args:
        name: Of the bar.
        parts: The length of each part, by its name.
        say: Says a length in words.
    """

    name: str
    parts: dict[str, float] = field(default_factory=dict)
    say: Callable[[float], str] = number


class _Scale:
    """Numbers on a straight axis."""

    def __init__(self, values: Sequence[float], start: float, end: float, *, from_zero: bool = False) -> None:
        known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(known), max(known)
        low = min(low, 0.0) if from_zero else low
        if high <= low:
            low, high = low - (abs(low) * 0.05 or 1.0) * (not from_zero), high + (abs(high) * 0.05 or 1.0)
        self.low, self.high, self.start, self.end = low, high, start, end
        self._are_counts = all(value == int(value) for value in known)

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round numbers along it."""
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * by for by in (1, 2, 2.5, 5, 10) if power * by >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        ticks = [round((first + i) * step, 12) for i in range(count)]
        whole = [tick for tick in ticks if tick == int(tick)]
        return whole if self._are_counts and whole else ticks


def line_chart(lines: Sequence[Line], *, x: str, y: str, about: str, levels: Sequence[tuple[str, float]] = ()) -> Html:
    """Return curves in one chart, with their legend.

    Args:
        lines: The curves.
        x: Name of the horizontal axis.
        y: Name of the vertical axis.
        about: What it shows, for those who do not see it.
        levels: Horizontal lines, each a name that says its value, and that.
    """
    height, bottom = 340, 46
    banded = [line for line in lines if line.low and line.has_band] if len(lines) <= STYLES else []
    ends = [end for line in banded for end in (*line.low, *line.high)]
    down = _Scale(
        _with_bands([*(v for line in lines for v in line.y), *(v for _, v in levels)], ends), height - bottom, _TOP + 6
    )
    is_cut = any(end < down.low or end > down.high for end in ends)
    along = _Scale([place for line in lines for place in line.x], _LEFT + 8, _WIDTH - _RIGHT - 8)
    parts = [_grid(down, height - bottom), _axis_below(along, x, height, bottom), _title_aside(y, height - bottom)]
    for name, value in levels:
        place = down(value)
        text = tag("title", name)
        parts.append(tag("line", text, x1=_LEFT, x2=_WIDTH - _RIGHT, y1=place, y2=place, class_="level"))
    if banded:
        parts.append(_inside([_band(line, along, down) for line in banded], height - bottom))
    parts += [_curve(line, along, down) for line in lines]
    parts += _readings(lines, along, x, height - bottom)
    keys = [(line.name, line.style, "line") for line in lines]
    beyond = tag("span", "bands go on beyond the chart; their ends are in the table") if is_cut else None
    return _chart(parts, height, about, joined([_legend(keys, [name for name, _ in levels]), beyond]))


def _with_bands(values: Sequence[float], ends: Sequence[float]) -> list[float]:
    """Return the values of an axis: those of curves, and the ends of bands as far as curves stay to be read.

    An interval over two repeats may be a hundred times as wide as what the curves do.
    """
    known = [value for value in values if math.isfinite(value)]
    spread = max(known, default=0.0) - min(known, default=0.0)
    if spread <= 0:
        return [*known, *ends]
    low, high = min(known) - _BAND_ROOM * spread, max(known) + _BAND_ROOM * spread
    return [*known, *(min(max(end, low), high) for end in ends if math.isfinite(end))]


def _inside(drawn: Sequence[Html], bottom: float) -> Html:
    """Return what is drawn, cut off at the edges of the axes."""
    place = {"x": _LEFT, "y": _TOP, "width": _WIDTH - _RIGHT - _LEFT, "height": bottom - _TOP}
    view = f"{_LEFT} {_TOP} {_WIDTH - _RIGHT - _LEFT} {bottom - _TOP}"
    return tag("svg", *drawn, viewBox=view, overflow="hidden", **place)


def _grid(down: _Scale, bottom: float) -> Html:
    marks = []
    ticks = down.ticks()
    text = alike(ticks)
    for value in ticks:
        place = down(value)
        marks.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=place, y2=place, class_="grid"))
        marks.append(tag("text", text(value), x=_LEFT - 8, y=place + 4, text_anchor="end"))
    return tag("g", *marks, tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=bottom, y2=bottom, class_="axis"))


def _axis_below(along: _Scale, name: str, height: float, bottom: float, most: int = 6) -> Html:
    base = height - bottom
    ticks = along.ticks(most)
    text = alike(ticks)
    marks = [tag("text", text(value), x=along(value), y=base + 20, text_anchor="middle") for value in ticks]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return tag("g", *marks, tag("text", name, x=middle, y=height - 4, text_anchor="middle", class_="name"))


def _title_aside(name: str, bottom: float) -> Html:
    middle = (_TOP + bottom) / 2
    place = f"translate(15 {middle:g}) rotate(-90)"
    return tag("text", name, transform=place, text_anchor="middle", class_="name aside")


def _band(line: Line, along: _Scale, down: _Scale) -> Html:
    there = [i for i in range(len(line.x)) if math.isfinite(line.low[i]) and math.isfinite(line.high[i])]
    upper = [f"{along(line.x[i])},{down(line.high[i])}" for i in there]
    lower = [f"{along(line.x[i])},{down(line.low[i])}" for i in reversed(there)]
    return tag("polygon", points=" ".join(upper + lower), class_=f"band s{line.style % STYLES}")


def _curve(line: Line, along: _Scale, down: _Scale) -> Html:
    runs: list[list[str]] = [[]]
    for place, value in zip(line.x, line.y, strict=True):
        if math.isfinite(value):
            runs[-1].append(f"{along(place)},{down(value)}")
        else:
            runs.append([])
    dash = _DASHES[line.style // STYLES % len(_DASHES)]
    drawn = [tag("polyline", points=" ".join(run), stroke_dasharray=dash) for run in runs if len(run) > 1]
    known = [each for run in runs for each in run]
    if len(known) <= _MOST_MARKED:
        mark = _MARKS[line.style % STYLES]
        drawn += [tag("path", d=mark, transform=f"translate({each})") for each in known]
    return tag("g", *drawn, class_=f"line s{line.style % STYLES}")


def _readings(lines: Sequence[Line], along: _Scale, name: str, bottom: float) -> list[Html]:
    """Return a strip for each place along the axis, on which a mouse reads the values of all curves."""
    values: dict[float, list[str]] = {}
    text = said_alike(lines)
    for line in lines:
        for i, place in enumerate(line.x):
            values.setdefault(place, []).append(f"{line.name}: {line.value(i, text)}")
    shown = [float(place) for place in thinned(sorted(values), _MOST_READ)]  # type: ignore[arg-type]
    ends = [
        along.start - 8,
        *((along(a) + along(b)) / 2 for a, b in pairwise(shown)),
        along.end + 8,
    ]
    strips = []
    for number_, place in enumerate(shown):
        left, right = ends[number_], ends[number_ + 1]
        tip = "\n".join([f"{number(place)} {name}", *values[place]])
        where = along(place)
        strips.append(
            tag(
                "g",
                tag(
                    "rect",
                    tag("title", tip),
                    x=round(left, 1),
                    y=_TOP,
                    width=round(right - left, 1),
                    height=bottom - _TOP,
                ),
                tag("line", x1=where, x2=where, y1=_TOP, y2=bottom),
                class_="read",
            )
        )
    return strips


def dot_chart(
    rows: Sequence[str], lines: Sequence[Line], *, x: str, about: str, expected: Sequence[float] = (), note: str = ""
) -> Html:
    """Return one row for each name with a mark for each curve's value.

    Args:
        rows: Names.
        lines: Whose ``y`` have a value for each row.
        x: Name of the axis.
        about: What it shows, for those who do not see it.
        expected: A tick in each row to compare with, if any.
        note: What the tick is.
    """
    step, bottom, left = 34, 46, 14
    height = _TOP + step * len(rows) + bottom
    values = [value for line in lines for value in line.y]
    along = _Scale([*values, *expected], left + 8, _WIDTH - _RIGHT - 8, from_zero=True)
    text, text_expected = said_alike(lines), alike(expected)
    parts: list[Html] = []
    for place, row in enumerate(rows):
        middle = _TOP + step * place + step - 9
        said = [f"{line.name}: {line.value(place, text)}" for line in lines]
        said += [f"{note}: {text_expected(expected[place])}"] if expected else []
        parts.append(tag("line", x1=left, x2=_WIDTH - _RIGHT, y1=middle, y2=middle, class_="grid"))
        parts.append(tag("text", row, x=left, y=middle - 9, class_="row"))
        if expected:
            where = along(expected[place])
            parts.append(tag("line", x1=where, x2=where, y1=middle - 8, y2=middle + 8, class_="expected"))
        for line in lines:
            if math.isfinite(line.y[place]):
                move = f"translate({along(line.y[place])} {middle})"
                mark = tag("path", d=_MARKS[line.style % STYLES], transform=move)
                parts.append(tag("g", mark, class_=f"line s{line.style % STYLES}"))
        strip = tag("rect", tag("title", "\n".join([row, *said])), x=0, y=middle - step + 9, width=_WIDTH, height=step)
        parts.append(tag("g", strip, class_="read"))
    parts.append(_axis_below(along, x, height, bottom))
    return _chart(
        parts,
        height,
        about,
        joined([_legend([(e.name, e.style, "mark") for e in lines], []), _tick_key(note) if expected else None]),
    )


def bar_chart(bars: Sequence[Bars], *, x: str, about: str) -> Html:
    """Return horizontal bars, each of parts one after another."""
    step, bottom, left = 42, 46, 14
    height = _TOP + step * len(bars) + bottom
    along = _Scale([sum(bar.parts.values()) for bar in bars], left, _WIDTH - _RIGHT - 8, from_zero=True)
    names = list(dict.fromkeys(name for bar in bars for name in bar.parts))
    parts: list[Html] = []
    for place, bar in enumerate(bars):
        top, done = _TOP + step * place + 20, 0.0
        whole = sum(bar.parts.values())
        parts.append(tag("text", f"{bar.name}: {bar.say(whole)}", x=left, y=top - 5, class_="row"))
        for name, value in bar.parts.items():
            start, end = along(done), along(done + value)
            done += value
            text = tag("title", f"{bar.name}\n{name}: {bar.say(value)} ({value / (whole or 1.0):.0%})")
            style = names.index(name) % STYLES
            wide = round(max(end - start, 0.0), 1)
            parts.append(tag("rect", text, x=start, y=top, width=wide, height=15, class_=f"bar s{style}"))
    parts.append(_axis_below(along, x, height, bottom))
    return _chart(parts, height, about, _legend([(name, place, "bar") for place, name in enumerate(names)], []))


@dataclass(frozen=True)
class Ranges:
    """What was picked in a round beside all that could be.

    Args:
        name: Of the round.
        every: The 5, 25, 50, 75 and 95 % quantiles of all; empty where they are not known.
        picked: Values of what was picked.
    """

    name: str
    every: Sequence[float]
    picked: Sequence[float]


def range_chart(ranges: Sequence[Ranges], *, x: str, about: str) -> Html:
    """Return a row for each round: bars where the values of all are, and a mark for each that was picked."""
    step, bottom, left = 48, 46, 14
    height = _TOP + step * len(ranges) + bottom
    values = [value for each in ranges for value in (*each.every, *each.picked)]
    text = alike(values)
    along = _Scale(values, left + 8, _WIDTH - _RIGHT - 8)
    parts: list[Html] = []
    for place, each in enumerate(ranges):
        middle = _TOP + step * place + step - 13
        parts.append(tag("line", x1=left, x2=_WIDTH - _RIGHT, y1=middle, y2=middle, class_="grid"))
        parts.append(tag("text", each.name, x=left, y=middle - 14, class_="row"))
        said = [each.name]
        if each.every:
            for first, last, half in ((0, 4, 3), (1, 3, 7)):
                start, end = along(each.every[first]), along(each.every[last])
                wide = max(round(end - start, 1), 1)
                parts.append(tag("rect", x=start, y=middle - half, width=wide, height=2 * half, class_="all"))
            where = along(each.every[2])
            parts.append(tag("line", x1=where, x2=where, y1=middle - 9, y2=middle + 9, class_="expected"))
            low, high = text(each.every[0]), text(each.every[4])
            said.append(f"all: median {text(each.every[2])}, 90 % from {low} to {high}")
        known = sorted(value for value in each.picked if math.isfinite(value))
        for value in thinned(known, 60) if known else ():  # type: ignore[arg-type]
            mark = tag("path", d=_MARKS[3], transform=f"translate({along(value)} {middle})")
            parts.append(tag("g", mark, class_="line s1 thin"))
        if known:
            said.append(f"picked: {text(known[0])} to {text(known[-1])}, median {text(known[len(known) // 2])}")
        strip = tag("rect", tag("title", "\n".join(said)), x=0, y=middle - step + 13, width=_WIDTH, height=step)
        parts.append(tag("g", strip, class_="read"))
    parts.append(_axis_below(along, x, height, bottom))
    keys = None
    if any(each.every for each in ranges):
        keys = tag("span", tag("span", class_="key all"), "all candidates: 5 to 95 % and 25 to 75 %, median")
    return _chart(parts, height, about, joined([_legend([("picked", 1 + 2 * STYLES, "pick")], []), keys]))


def _tick_key(name: str) -> Html:
    mark = tag("line", x1=14, x2=14, y1=0, y2=16, class_="expected")
    return tag("span", tag("svg", mark, viewBox="0 0 28 16"), name)


def _legend(keys: Sequence[tuple[str, int, str]], levels: Sequence[str]) -> Html:
    """Return names beside their colours and marks, as HTML that wraps."""
    spans = []
    for name, style, kind in keys:
        mark = _MARKS[3 if kind == "pick" else style % STYLES]
        dash = _DASHES[style // STYLES % len(_DASHES)]
        drawn = {
            "line": (
                tag("polyline", points="1,8 27,8", stroke_dasharray=dash),
                tag("path", d=mark, transform="translate(14 8)"),
            ),
            "bar": (tag("rect", x=6, y=1, width=16, height=14, class_=f"bar s{style % STYLES}"),),
        }.get(kind, (tag("path", d=mark, transform="translate(14 8)"),))
        picture = tag(
            "svg", tag("g", *drawn, class_=f"line s{style % STYLES}"), viewBox="0 0 28 16", aria_hidden="true"
        )
        spans.append(tag("span", picture, tag("bdi", name)))
    spans += [
        tag("span", tag("svg", tag("line", x1=1, x2=27, y1=8, y2=8, class_="level"), viewBox="0 0 28 16"), name)
        for name in levels
    ]
    return joined(spans)


def _chart(parts: Sequence[Html], height: float, about: str, legend: Html) -> Html:
    svg = tag("svg", *parts, viewBox=f"0 0 {_WIDTH} {height:g}", role="img", aria_label=about, class_="chart")
    return tag("figure", tag("div", legend, class_="legend", aria_hidden="true"), svg, class_="plot")
