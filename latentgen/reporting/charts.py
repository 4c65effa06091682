"""Small charts as SVG text, without a library and without state.

Colours and dashes are CSS classes (`l0`, `l1`, ...) of the page's style, so that charts follow its
dark mode and its print style.
"""

import math
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 340.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 20.0, 10.0, 36.0
COLOURS = 8
"""Number of colours with dashes in the style, besides `GREY`."""
GREY = -1
SPAN = 10.0
"""A log axis is used for positive values whose ratio of largest to smallest is at least this."""
LEAST_CUT = 20  # minimum number of values for cutting an axis
OUTLIERS = 8.0
"""An axis is cut if values lie beyond the central 96 % by more than this multiple of its width."""

Point = tuple[float, float]


class Axis(NamedTuple):
    """An axis that maps low .. high to `start` .. `stop` in pixels, with ticks at round values."""

    low: float
    high: float
    start: float
    stop: float
    ticks: list[tuple[float, str]]
    log: bool = False
    cut: bool = False

    def at(self, value: float) -> float:
        """Return a value's position in pixels, clipped near the axis to keep paths finite."""
        a, b, v = self.low, self.high, value
        if self.log:
            a, b, v = math.log10(a), math.log10(b), math.log10(max(v, 1e-300))
        share = min(max((v - a) / (b - a), -2.0), 3.0)
        return self.start + share * (self.stop - self.start)


class Line(NamedTuple):
    """A curve; thin curves are members behind the mean of their setting."""

    name: str
    points: Sequence[Point]
    colour: int
    thin: bool = False


class Dot(NamedTuple):
    """A run in a scatter chart; y is None if it has no score."""

    name: str
    x: float | str
    y: float | None
    colour: int = 0


HASH = re.compile(r"-[0-9a-f]{8}$")
"""The hash at the end of a setting's name, which charts omit."""


class Row(NamedTuple):
    """A setting in a chart of intervals."""

    name: str
    mean: float
    low: float | None
    high: float | None
    values: Sequence[float]
    colour: int = 0


def round_step(low: float, high: float, count: int = 5) -> float:
    """Return 1, 2 or 5 times a power of ten, about 1 / `count` of the range."""
    rough = (high - low) / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round values from low to high, at least 3."""
    if not high > low:
        return [low]
    step = round_step(low, high, count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last - first < 2:  # a step of 5 times a power may leave one
        return ticks(low, high, 2 * count)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round(i * step, digits) + 0.0 for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return at most six powers of ten from low to high; if fewer than two, 2 and 5 times them."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    every = max(1, math.ceil((last - first + 1) / 6))
    powers = [10.0**i for i in range(first, last + 1, every)]
    if len(powers) >= 2:
        return powers
    around = range(first - 1, last + 2)
    return [
        m * 10.0**i for i in around for m in (1, 2, 5) if low <= m * 10.0**i * (1 + 1e-9) <= high
    ]


def label(value: float) -> str:
    """Format a tick in few characters: 0.25, 1,500, 20k, 3M, 1e-6."""
    size = abs(value)
    if value == 0:
        return "0"
    if size < 1e-4 or size >= 1e9:
        mantissa, _, power = f"{value:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}".replace("-", "\u2212")
    for unit, sign in ((1e6, "M"), (1e4, "k")):
        if size >= unit:
            scale = 1e6 if sign == "M" else 1e3
            return f"{value / scale:.4g}{sign}".replace("-", "\u2212")
    return f"{value:,.6g}".replace("-", "\u2212")


def spans_decades(values: Sequence[float]) -> bool:
    """Return whether a log axis suits these values: all positive, over a decade or more."""
    return bool(values) and min(values) > 0 and max(values) >= 0.999 * SPAN * min(values)


def axis(values: Sequence[float], start: float, stop: float, count: int = 5) -> Axis:
    """Make an axis with round ends for finite `values`; cut off a few outliers."""
    known = sorted(v for v in values if math.isfinite(v)) or [0.0, 1.0]
    low, high, cut = known[0], known[-1], False
    a, b = known[int(0.02 * (len(known) - 1))], known[math.ceil(0.98 * (len(known) - 1))]
    beyond = max(high - b, a - low)
    if len(known) >= LEAST_CUT and b > a and beyond > OUTLIERS * (b - a):
        low, high, cut = max(low, a - 0.1 * (b - a)), min(high, b + 0.1 * (b - a)), True
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    step = round_step(low, high, count)
    low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
    return Axis(low, high, start, stop, [(t, label(t)) for t in ticks(low, high, count)], cut=cut)


def step_axis(values: Sequence[float], start: float, stop: float) -> Axis:
    """Make an axis of steps, from 0 to the last one."""
    last = max(values, default=1.0) or 1.0
    return Axis(0.0, last, start, stop, [(t, label(t)) for t in ticks(0.0, last)])


def log_axis(values: Sequence[float], start: float, stop: float) -> Axis:
    """Make a log axis for positive `values`."""
    low, high = min(values) / 1.3, max(values) * 1.3
    return Axis(low, high, start, stop, [(t, label(t)) for t in log_ticks(low, high)], log=True)


def _name_axis(names: Sequence[str], start: float, stop: float) -> Axis:
    """Make an axis of evenly spaced names."""
    shown = [name if len(name) <= 14 else f"{name[:13]}\u2026" for name in names]
    positions = [(float(i), name) for i, name in enumerate(shown)]
    return Axis(-0.5, len(names) - 0.5, start, stop, positions)


def path(points: Sequence[Point], across: Axis, up: Axis) -> str:
    """Return the attribute `d` of a path through these points."""
    positions = [f"{across.at(x):.1f} {up.at(y):.1f}" for x, y in points]
    return "M" + "L".join(positions) if positions else ""


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most `most` evenly spaced points, including the first and the last."""
    if len(points) <= most:
        return list(points)
    last = len(points) - 1
    return [points[round(i * last / (most - 1))] for i in range(most)]


def _frame(across: Axis, up: Axis, x_name: str, height: float = HEIGHT) -> list[str]:
    """Draw grid lines, ticks and the name of the horizontal axis."""
    bottom = height - BOTTOM
    parts = []
    for value, text in up.ticks:
        y = up.at(value)
        parts.append(f'<path class="g" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" class="e">{escape(text)}</text>')
    for value, text in across.ticks:
        x = across.at(value)
        parts.append(f'<path class="a" d="M{x:.1f} {bottom}v4"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 15}" class="m">{escape(text)}</text>')
    parts.append(f'<path class="a" d="M{LEFT} {bottom}H{WIDTH - RIGHT}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{height - 4}" class="m n">{escape(x_name)}</text>')
    return parts


def _svg(
    parts: Sequence[str], description: str, height: float = HEIGHT, width: float = WIDTH
) -> str:
    inside, text = "".join(parts), escape(description)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text}">{inside}</svg>'


def _clip(identity: str, inside: Sequence[str]) -> list[str]:
    identity = re.sub(r"[^A-Za-z0-9]+", "-", identity)
    box = f'x="{LEFT - 4}" y="{TOP - 4}" width="{WIDTH - LEFT - RIGHT + 8}"'
    clip = (
        f'<clipPath id="{identity}"><rect {box} height="{HEIGHT - TOP - BOTTOM + 8}"/></clipPath>'
    )
    return [clip, f'<g clip-path="url(#{identity})">', *inside, "</g>"]


class Drawn(NamedTuple):
    """A chart, and whether its axis is cut."""

    svg: str
    cut: bool = False


def line_chart(
    description: str, lines: Sequence[Line], identity: str, x_name: str = "step"
) -> Drawn:
    """Draw curves over a common axis.

    Args:
        description: text for screen readers.
        lines: curves; thin ones are drawn first, so that means lie above them.
        identity: id that is unique in the page.
    """
    every = [point for line in lines for point in line.points]
    across = step_axis([x for x, _ in every], LEFT, WIDTH - RIGHT)
    up = axis([y for _, y in every], HEIGHT - BOTTOM, TOP)
    drawn = []
    for line in sorted(lines, key=lambda line: not line.thin):
        colour = f"l{'g' if line.colour == GREY else line.colour % COLOURS}"
        if len(line.points) == 1:
            (x, y), size = line.points[0], 2 if line.thin else 3
            dot = f'cx="{across.at(x):.1f}" cy="{up.at(y):.1f}" r="{size}"'
            drawn.append(f'<circle class="{colour} f" {dot}/>')
        elif line.points:
            kind = f"{colour} t" if line.thin else colour
            drawn.append(f'<path class="{kind}" d="{path(line.points, across, up)}"/>')
    return Drawn(_svg([*_frame(across, up, x_name), *_clip(identity, drawn)], description), up.cut)


def scatter_chart(description: str, dots: Sequence[Dot], x_name: str, identity: str) -> Drawn:
    """Draw scores against a hyperparameter; runs without a score are crosses at the lower edge.

    The axis of numbers is logarithmic if they span decades. Names are evenly spaced.
    """
    numbers = [dot.x for dot in dots if not isinstance(dot.x, str)]
    names = sorted({dot.x for dot in dots if isinstance(dot.x, str)})
    if names:
        across = _name_axis(names, LEFT, WIDTH - RIGHT)
    elif spans_decades(numbers):
        across = log_axis(numbers, LEFT + 6, WIDTH - RIGHT - 6)
    else:
        across = axis(numbers, LEFT + 10, WIDTH - RIGHT - 10)._replace(cut=False)
    x_of: Callable[[float | str], float] = lambda x: across.at(  # noqa: E731
        float(names.index(x)) if isinstance(x, str) else x
    )
    up = axis([dot.y for dot in dots if dot.y is not None], HEIGHT - BOTTOM - 14, TOP + 4)
    drawn = []
    for dot in dots:
        x, colour = x_of(dot.x), f"l{'g' if dot.colour == GREY else dot.colour % COLOURS}"
        title = f"<title>{escape(dot.name)}</title>"
        if dot.y is None:
            y = HEIGHT - BOTTOM - 5
            drawn.append(f'<path class="x" d="M{x - 3:.1f} {y - 3}l6 6m-6 0l6-6">{title}</path>')
        else:
            position = f'cx="{x:.1f}" cy="{up.at(dot.y):.1f}" r="3.5"'
            drawn.append(f'<circle class="{colour} f" {position}>{title}</circle>')
    return Drawn(_svg([*_frame(across, up, x_name), *_clip(identity, drawn)], description), up.cut)


def interval_chart(description: str, rows: Sequence[Row], x_name: str) -> Drawn:
    """Draw a row for each setting: runs as dots, the mean as a bar, the interval as a line."""
    width, left, each = 560.0, 250.0, 20.0
    height = TOP + each * len(rows) + BOTTOM
    every = [v for row in rows for v in (*row.values, row.low, row.high, row.mean) if v is not None]
    across = axis(every, left + 8, width - RIGHT - 8, 6)._replace(cut=False)
    bottom = height - BOTTOM
    parts = []
    for value, text in across.ticks:
        x = across.at(value)
        parts.append(f'<path class="g" d="M{x:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 15}" class="m">{escape(text)}</text>')
    parts.append(
        f'<text x="{(left + width) / 2}" y="{height - 4}" class="m n">{escape(x_name)}</text>'
    )
    for i, row in enumerate(rows):
        y, colour = (
            TOP + each * (i + 0.5),
            f"l{'g' if row.colour == GREY else row.colour % COLOURS}",
        )
        name = HASH.sub("", row.name)
        name = name if len(name) <= 38 else f"{name[:37]}\u2026"
        parts.append(f'<text x="{left - 6}" y="{y + 3.5}" class="e">{escape(name)}</text>')
        if row.low is not None and row.high is not None:
            a, b = across.at(row.low), across.at(row.high)
            parts.append(f'<path class="{colour} s" d="M{a:.1f} {y}H{b:.1f}"/>')
        parts += [
            f'<circle class="{colour} f" cx="{across.at(v):.1f}" cy="{y}" r="2.5"/>'
            for v in row.values
        ]
        parts.append(f'<path class="{colour} s w" d="M{across.at(row.mean):.1f} {y - 6}v12"/>')
    return Drawn(_svg(parts, description, height, width))


class Held(NamedTuple):
    """A claim and its measured values.

    values: (seed's name, value); empty for an unpaired difference
    mean, low, high: mean and interval of the values; None: no interval
    least, most: the margin; None: no bound on that side; both None: no margin
    paper: the paper's number; None if the claim is an order
    """

    values: Sequence[tuple[str, float]]
    mean: float
    low: float | None
    high: float | None
    least: float | None
    most: float | None
    paper: float | None


def _claim_axis(claim: Held, start: float, stop: float) -> Axis:
    """Make an axis for all values of a claim, with space beyond the band of an open margin."""
    some = [claim.mean, claim.low, claim.high, claim.least, claim.most, claim.paper]
    known = [v for v in (*(v for _, v in claim.values), *some) if v is not None]
    low, high = min(known), max(known)
    size = high - low if high > low else abs(high) or 1.0
    low -= size * (0.05 if claim.least is not None else 0.15)
    high += size * (0.05 if claim.most is not None else 0.15)
    return Axis(low, high, start, stop, [(t, label(t)) for t in ticks(low, high)])


def claim_chart(description: str, claim: Held, x_name: str) -> Drawn:
    """Draw the paper's number, the values of seeds, and their mean with its interval.

    The margin is a band behind them, which extends to the edge if it has no bound.
    """
    left, each = LEFT + 8, 26.0
    names = ["paper"] if claim.paper is not None else []
    names += ["seeds", "mean"] if claim.values else ["mean"]
    bottom = TOP + each * len(names)
    height = bottom + BOTTOM
    across = _claim_axis(claim, left, WIDTH - RIGHT)
    a, b = (
        edge if bound is None else across.at(bound)
        for bound, edge in ((claim.least, left), (claim.most, WIDTH - RIGHT))
    )
    parts = []
    if claim.least is not None or claim.most is not None:
        size = f'width="{b - a:.1f}" height="{bottom - TOP}"'
        parts.append(f'<rect class="band" x="{a:.1f}" y="{TOP}" {size}/>')
    for value, text in across.ticks:
        x = across.at(value)
        parts.append(f'<path class="a" d="M{x:.1f} {bottom}v4"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 15}" class="m">{escape(text)}</text>')
    parts.append(f'<path class="a" d="M{left} {bottom}H{WIDTH - RIGHT}"/>')
    for bound in (claim.least, claim.most):
        if bound is not None:
            parts.append(f'<path class="bound" d="M{across.at(bound):.1f} {TOP}V{bottom}"/>')
    middle = (left + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{height - 4}" class="m n">{escape(x_name)}</text>')
    for i, name in enumerate(names):
        y = TOP + each * (i + 0.5)
        parts.append(f'<text x="{left - 10}" y="{y + 3.5}" class="e">{name}</text>')
        parts += _claim_row(name, claim, across, y)
    return Drawn(_svg(parts, description, height))


def _claim_row(name: str, claim: Held, across: Axis, y: float) -> list[str]:
    if name == "paper" and claim.paper is not None:
        x = across.at(claim.paper)
        return [f'<path class="l1 mark" d="M{x:.1f} {y - 6}l6 6l-6 6l-6 -6z"/>']
    if name == "mean":
        parts = [f'<path class="l0 s w" d="M{across.at(claim.mean):.1f} {y - 7}v14"/>']
        if claim.low is not None and claim.high is not None:
            a, b = across.at(claim.low), across.at(claim.high)
            parts.append(f'<path class="l0 s" d="M{a:.1f} {y}H{b:.1f}M{a:.1f} {y - 4}v8"/>')
            parts.append(f'<path class="l0 s" d="M{b:.1f} {y - 4}v8"/>')
        return parts
    # Seeds are offset vertically, so that equal values do not hide each other.
    step = min(6.0, 16.0 / max(len(claim.values) - 1, 1))
    top = y - step * (len(claim.values) - 1) / 2
    return [
        f'<circle class="l0 f" cx="{across.at(value):.1f}" cy="{top + i * step:.1f}" r="3.5">'
        f"<title>{escape(seed)}: {value:.5g}</title></circle>"
        for i, (seed, value) in enumerate(claim.values)
    ]


def swatch(colour: int) -> str:
    """Draw the line of a legend."""
    name = "g" if colour == GREY else colour % COLOURS
    return (
        '<svg class="swatch" viewBox="0 0 34 8" width="34" height="8" aria-hidden="true">'
        f'<path class="l{name}" d="M0 4H34"/></svg>'
    )


def field_chart(
    description: str,
    picture: str,
    frame: tuple[float, float, float, float],
    real: Sequence[Point],
    synthetic: Sequence[Point],
    boundary: Sequence[tuple[Point, Point]],
) -> str:
    """Draw points over a picture of a function of the plane.

    Args:
        picture: data URI of the function on the square `frame`, (left, bottom, right, top).
        boundary: line segments where the function is zero.
    """
    size = 360.0
    left, bottom, right, top = frame
    x_of = lambda x: size * (x - left) / (right - left)  # noqa: E731
    y_of = lambda y: size * (top - y) / (top - bottom)  # noqa: E731

    def dots(points: Sequence[Point]) -> str:
        inside = [(x, y) for x, y in points if left <= x <= right and bottom <= y <= top]
        return "".join(f"M{x_of(x):.1f} {y_of(y):.1f}h0" for x, y in inside)

    line = "".join(
        f"M{x_of(a):.1f} {y_of(b):.1f}L{x_of(c):.1f} {y_of(d):.1f}" for (a, b), (c, d) in boundary
    )
    parts = [
        f'<image href="{picture}" width="{size}" height="{size}" preserveAspectRatio="none"/>',
        f'<path class="zero" d="{line}"/>',
        f'<path class="real" d="{dots(real)}"/>',
        f'<path class="synthetic" d="{dots(synthetic)}"/>',
    ]
    return _svg(parts, description, size, size)
