"""What charts are drawn on: scales, ticks, and the few marks of SVG that they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from markupsafe import Markup, escape

WIDTH = 640
CHARACTER = 6.7
SERIES = 8


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high` on pixels from `start` to `end`, straight or by powers of ten."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of `value`, held within the scale."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = log10(low), log10(high), log10(at)
        return self.start + (self.end - self.start) * (at - low) / (high - low)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values within the scale, at most about `most` of them."""
        if self.log:
            lowest, highest = ceil(log10(self.low) - 1e-9), floor(log10(self.high) + 1e-9)
            every = max(1, ceil((highest - lowest + 1) / most))
            return [10.0**k for k in range(lowest, highest + 1, every)]
        rough = (self.high - self.low) / max(most - 1, 1)
        power = 10.0 ** floor(log10(rough))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
        first = ceil(self.low / step - 1e-9)
        last = floor(self.high / step + 1e-9)
        return [k * step for k in range(first, last + 1)]


def scale(
    values: Sequence[float],
    start: float,
    end: float,
    *,
    domain: tuple[float, float] | None = None,
    log: bool = False,
    zero: bool = False,
) -> Scale:
    """A scale that holds `values`, or `domain` where it is given.

    zero: 0 belongs to it as well. log: values of 0 and below are not shown on it.
    """
    known = [v for v in values if isfinite(v) and (v > 0 or not log)]
    low, high = domain or (min(known, default=0.0), max(known, default=1.0))
    if log:
        low, high = max(low, 1e-12), max(high, 1e-12)
        low, high = 10.0 ** floor(log10(low) + 1e-9), 10.0 ** ceil(log10(high) - 1e-9)
        return Scale(low, high if high > low else low * 10, start, end, log=True)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    if domain is None:
        margin = 0.04 * (high - low)
        low = low if zero and low == 0 else low - margin
        high = high if zero and high == 0 else high + margin
    return Scale(low, high, start, end)


def told(value: float) -> str:
    """A value for an axis or a tooltip: short, without needless zeros."""
    if not isfinite(value):
        return "–"
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def shortened(text: str, most: int) -> str:
    """`text` in at most `most` characters."""
    return text if len(text) <= most else text[: max(most - 1, 1)].rstrip() + "…"


def words(x: float, y: float, text: str, *, anchor: str = "start", soft: bool = False) -> Markup:
    """A line of text at a point; its y is the baseline."""
    kind = Markup(' class="soft"') if soft else Markup("")
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>{}</text>').format(
        x, y, anchor, kind, text
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line of a class."""
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(
        x1, y1, x2, y2, kind
    )


def path(points: Sequence[tuple[float, float]], kind: str, *, closed: bool = False) -> Markup:
    """A line through points, or the area within them."""
    if not points:
        return Markup("")
    d = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points) + ("Z" if closed else "")
    return Markup('<path d="{}" class="{}"/>').format(d, kind)


def bottom_axis(of: Scale, top: float, bottom: float, label: str = "") -> Markup:
    """A horizontal axis with its grid between `top` and `bottom`; needs 34 pixels below."""
    parts = []
    for tick in of.ticks():
        parts.append(line(of(tick), top, of(tick), bottom, "grid"))
        parts.append(words(of(tick), bottom + 15, told(tick), anchor="middle", soft=True))
    parts.append(line(of.start, bottom, of.end, bottom, "axis"))
    if label:
        middle = (of.start + of.end) / 2
        parts.append(words(middle, bottom + 31, label, anchor="middle", soft=True))
    return Markup("").join(parts)


def left_axis(of: Scale, left: float, right: float, label: str = "") -> Markup:
    """A vertical axis with its grid between `left` and `right`; its label stands above it."""
    parts = []
    for tick in of.ticks(5):
        parts.append(line(left, of(tick), right, of(tick), "grid"))
        parts.append(words(left - 6, of(tick) + 4, told(tick), anchor="end", soft=True))
    if label:
        parts.append(words(4, min(of.start, of.end) - 10, label, soft=True))
    return Markup("").join(parts)


def legend(names: Sequence[str], x: float, y: float) -> Markup:
    """The names of series beside their colors, in one line."""
    parts = []
    for i, name in enumerate(names):
        text = shortened(name, 28)
        parts.append(
            Markup(
                '<rect x="{:.1f}" y="{:.1f}" width="10" height="10" rx="2" class="s{}"/>'
            ).format(x, y - 9, i % SERIES)
        )
        parts.append(words(x + 15, y, text, soft=True))
        x += 15 + CHARACTER * len(text) + 20
    return Markup("").join(parts)


def chart(height: float, title: str, *parts: Markup) -> Markup:
    """A picture of the house's width; `title` is what somebody hears who does not see it."""
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, height, title, Markup("").join(parts))


def hint(text: str) -> Markup:
    """What a mark says when it is pointed at."""
    return Markup("<title>{}</title>").format(escape(text))
