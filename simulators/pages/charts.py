"""Charts as inline SVG, drawn in the page's own colors.

Each takes plain numbers and returns markup for a template. A value that is not a
number is left out, never drawn as zero. `title` is read aloud in place of the picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, isfinite, log10, pi, sin

import numpy as np
from markupsafe import Markup

from .axes import (
    CHARACTER,
    SERIES,
    WIDTH,
    Scale,
    bottom_axis,
    chart,
    hint,
    left_axis,
    legend,
    line,
    path,
    scale,
    shortened,
    told,
    words,
)

_ROW = 26


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with its interval; low and high may be NaN. mark: drawn in the second color."""

    label: str
    value: float
    low: float = float("nan")
    high: float = float("nan")
    note: str = ""
    mark: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """A dot of a scatter; `series` counts from 0."""

    x: float
    y: float
    label: str = ""
    series: int = 0


def interval_bars(
    bars: Sequence[Bar],
    *,
    title: str,
    unit: str = "",
    domain: tuple[float, float] | None = None,
    reference: float | None = None,
    log: bool = False,
) -> Markup:
    """A bar a row from zero (from the left end on a log axis), with its interval as a whisker.

    reference: a dashed line, such as chance or "no effect".
    """
    left, right = _margins([b.label for b in bars], [b.note for b in bars])
    seen = [v for b in bars for v in (b.value, b.low, b.high)]
    seen += [] if reference is None else [reference]
    x = scale(seen, left, WIDTH - right, domain=domain, log=log, zero=domain is None)
    bottom = 8 + _ROW * len(bars)
    parts = [bottom_axis(x, 8, bottom, unit)]
    base = x(x.low if log else min(max(0.0, x.low), x.high))
    for i, bar in enumerate(bars):
        y = 8 + _ROW * i + _ROW / 2
        parts.append(words(left - 8, y + 4, shortened(bar.label, 34), anchor="end"))
        parts.append(_bar(bar, x, base, y))
        if bar.note:
            parts.append(words(WIDTH - right + 8, y + 4, bar.note, soft=True))
    if reference is not None:
        parts.append(line(x(reference), 4, x(reference), bottom, "reference"))
    return chart(bottom + (38 if unit else 22), title, *parts)


def _bar(bar: Bar, x: Scale, base: float, y: float) -> Markup:
    if not isfinite(bar.value):
        return words(base + 4, y + 4, "cannot tell", soft=True)
    start, end = sorted((base, x(bar.value)))
    kind = "bar marked" if bar.mark else "bar"
    says = f"{bar.label}: {told(bar.value)}"
    parts = [
        Markup(
            '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="14" rx="2" class="{}">{}</rect>'
        ).format(start, y - 7, max(end - start, 1.0), kind, hint(_within(says, bar)))
    ]
    if isfinite(bar.low) and isfinite(bar.high):
        low, high = x(bar.low), x(bar.high)
        parts.append(line(low, y, high, y, "whisker"))
        parts += [line(at, y - 4, at, y + 4, "whisker") for at in (low, high)]
    return Markup("").join(parts)


def _within(says: str, bar: Bar) -> str:
    if isfinite(bar.low) and isfinite(bar.high):
        return f"{says} [{told(bar.low)}, {told(bar.high)}]"
    return says


def _margins(labels: Sequence[str], notes: Sequence[str]) -> tuple[float, float]:
    left = 16 + CHARACTER * min(max((len(x) for x in labels), default=0), 34)
    right = 16 + CHARACTER * min(max((len(x) for x in notes), default=0), 24)
    return left, right


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    *,
    title: str,
    domain: tuple[float, float] | None = None,
    middle: float | None = None,
    digits: int = 2,
) -> Markup:
    """A cell for each value of shape (rows, columns), its number in it.

    middle: where the color changes sides, as 0 for differences. domain: what the
    palest and the strongest color stand for; by default the values' own range.
    """
    left, _ = _margins(rows, [])
    wide = min((WIDTH - left - 8) / max(len(columns), 1), 110.0)
    top = 8 + (60 if any(CHARACTER * len(c) > wide - 4 for c in columns) else 18)
    known = [v for r in values for v in r if v is not None and isfinite(v)]
    low, high = domain or (min(known, default=0.0), max(known, default=1.0))
    parts = []
    for j, column in enumerate(columns):
        x, text = left + wide * (j + 0.5), shortened(column, 18)
        if top > 30:
            parts.append(
                Markup(
                    '<text x="{0:.1f}" y="{1:.1f}" class="soft" transform="rotate(-32 {0:.1f} {1:.1f})">{2}</text>'
                ).format(x - 6, top - 6, text)
            )
        else:
            parts.append(words(x, top - 6, text, anchor="middle", soft=True))
    for i, row in enumerate(rows):
        y = top + _ROW * i
        parts.append(words(left - 8, y + 17, shortened(row, 34), anchor="end"))
        for j, column in enumerate(columns):
            value = values[i][j]
            at = (left + wide * j, y, wide)
            parts.append(_cell(at, value, (low, high), middle, f"{row}, {column}", digits))
    return chart(top + _ROW * len(rows) + 8, title, *parts)


def _cell(
    at: tuple[float, float, float],
    value: float | None,
    domain: tuple[float, float],
    middle: float | None,
    label: str,
    digits: int,
) -> Markup:
    x, y, wide = at
    if value is None or not isfinite(value):
        return words(x + wide / 2, y + 17, "–", anchor="middle", soft=True)
    low, high = domain
    if middle is None:
        share, color = (value - low) / (high - low) if high > low else 0.5, "--heat-high"
    else:
        reach = max(high - middle, middle - low) or 1.0
        share = abs(value - middle) / reach
        color = "--heat-high" if value >= middle else "--heat-against"
    percent = round(100 * min(max(share, 0.0), 1.0))
    # Numbers stand on the paper's own color where the cell is strong, so they stay readable.
    ink = "--paper" if percent > 55 else "--ink"
    return Markup(
        '<g class="cell"><rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}" rx="2" '
        'style="fill:color-mix(in srgb, var({}) {}%, var(--heat-low))">{}</rect>'
        '<text x="{:.1f}" y="{:.1f}" text-anchor="middle" style="fill:var({})">{}</text></g>'
    ).format(
        x + 1, y + 1, wide - 2, _ROW - 2, color, percent, hint(f"{label}: {told(value)}"),
        x + wide / 2, y + 17, ink, f"{value:.{digits}f}",
    )  # fmt: skip


def scatter(
    points: Sequence[Point],
    *,
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[str] = (),
    log_x: bool = False,
    x_domain: tuple[float, float] | None = None,
    y_domain: tuple[float, float] | None = None,
) -> Markup:
    """A dot for each point; `series` names the colors in the order of their numbers."""
    kept = [p for p in points if isfinite(p.x) and isfinite(p.y) and (p.x > 0 or not log_x)]
    x = scale([p.x for p in kept], 56, WIDTH - 24, domain=x_domain, log=log_x)
    y = scale([p.y for p in kept], 260, 34, domain=y_domain)
    parts = [bottom_axis(x, 34, 260, x_label), left_axis(y, 56, WIDTH - 24, y_label)]
    for p in kept:
        says = f"{p.label}: {told(p.x)}, {told(p.y)}" if p.label else f"{told(p.x)}, {told(p.y)}"
        parts.append(
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="4" class="dot s{}">{}</circle>').format(
                x(p.x), y(p.y), p.series % SERIES, hint(says)
            )
        )
    if series:
        parts.append(legend(series, 200, 16))
    return chart(298, title, *parts)


def distributions(
    samples: Mapping[str, Sequence[float]],
    *,
    title: str,
    x_label: str,
    log: bool = False,
    bins: int = 30,
) -> Markup:
    """Histograms over each other, each as shares of its own sample; up to eight."""
    kept = {
        name: [v for v in values if isfinite(v) and (v > 0 or not log)]
        for name, values in samples.items()
    }
    x = scale([v for values in kept.values() for v in values], 56, WIDTH - 24, log=log)
    ends = (log10(x.low), log10(x.high)) if log else (x.low, x.high)
    edges = np.linspace(*ends, bins + 1)
    shares = {}
    for name, values in kept.items():
        at = np.log10(values) if log else np.asarray(values, dtype=float)
        shares[name] = np.histogram(at, edges)[0] / max(len(values), 1)
    top = max((float(s.max()) for s in shares.values()), default=1.0) or 1.0
    y = scale([top], 250, 34, domain=(0.0, top))
    places = [x(10.0**e) if log else x(float(e)) for e in edges]
    parts = [bottom_axis(x, 34, 250, x_label), left_axis(y, 56, WIDTH - 24, "share")]
    for i, (name, heights) in enumerate(shares.items()):
        outline = [(places[0], y(0.0))]
        for j, height in enumerate(heights):
            outline += [(places[j], y(float(height))), (places[j + 1], y(float(height)))]
        outline.append((places[-1], y(0.0)))
        label = f"{name} (n = {len(kept[name]):,})"
        parts.append(
            Markup("<g>{}{}</g>").format(hint(label), path(outline, f"area s{i % SERIES}"))
        )
    parts.append(legend(list(samples), 100, 16))
    return chart(288, title, *parts)


def stacked_bars(
    rows: Mapping[str, Mapping[str, float]], order: Sequence[str], *, title: str
) -> Markup:
    """A full bar a row, parted by the shares of `order`; each row's numbers are its counts."""
    left, right = _margins(list(rows), ["n = 00000"])
    x = Scale(0.0, 1.0, left, WIDTH - right)
    bottom = 34 + _ROW * len(rows)
    parts = [bottom_axis(x, 34, bottom, "share"), legend(order, left, 16)]
    for i, (label, counts) in enumerate(rows.items()):
        y, total, before = 34 + _ROW * i, sum(counts.values()), 0.0
        parts.append(words(left - 8, y + 17, shortened(label, 34), anchor="end"))
        parts.append(words(WIDTH - right + 8, y + 17, f"n = {told(total)}", soft=True))
        for k, name in enumerate(order):
            share = counts.get(name, 0.0) / total if total else 0.0
            if share > 0:
                says = f"{label}, {name}: {told(counts[name])} ({100 * share:.0f}%)"
                parts.append(
                    Markup(
                        '<rect x="{:.1f}" y="{}" width="{:.1f}" height="18" class="s{}" stroke="none">{}</rect>'
                    ).format(
                        x(before),
                        y + 4,
                        max(x(before + share) - x(before) - 1, 0.5),
                        k % SERIES,
                        hint(says),
                    )
                )
            before += share
    return chart(bottom + 38, title, *parts)


def curves(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    diagonal: bool = False,
    x_domain: tuple[float, float] | None = None,
    y_domain: tuple[float, float] | None = None,
) -> Markup:
    """A line through the points of each series: ROC, calibration, a measure over time.

    diagonal: the dashed line on which both axes are equal.
    """
    seen = [p for points in lines.values() for p in points]
    x = scale([p[0] for p in seen], 56, WIDTH - 24, domain=x_domain)
    y = scale([p[1] for p in seen], 300, 34, domain=y_domain)
    parts = [bottom_axis(x, 34, 300, x_label), left_axis(y, 56, WIDTH - 24, y_label)]
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(line(x(low), y(low), x(high), y(high), "reference"))
    for i, (name, points) in enumerate(lines.items()):
        at = [(x(a), y(b)) for a, b in points if isfinite(a) and isfinite(b)]
        parts.append(Markup("<g>{}{}</g>").format(hint(name), path(at, f"line s{i % SERIES}")))
    parts.append(legend(list(lines), 200, 16))
    return chart(338, title, *parts)


def boxes(
    samples: Mapping[str, Sequence[float]],
    *,
    title: str,
    unit: str = "",
    domain: tuple[float, float] | None = None,
    log: bool = False,
) -> Markup:
    """Every value as a dot, with the median and the middle half of each sample in a box."""
    left, right = _margins(list(samples), ["n = 0000"])
    x = scale([v for s in samples.values() for v in s], left, WIDTH - right, domain=domain, log=log)
    bottom = 8 + 34 * len(samples)
    parts = [bottom_axis(x, 8, bottom, unit)]
    for i, (label, values) in enumerate(samples.items()):
        y, kept = 8 + 34 * i + 17, [v for v in values if isfinite(v) and (v > 0 or not log)]
        parts.append(words(left - 8, y + 4, shortened(label, 34), anchor="end"))
        parts.append(words(WIDTH - right + 8, y + 4, f"n = {len(kept)}", soft=True))
        if kept:
            parts.append(_box(kept, x, y, i))
    return chart(bottom + (38 if unit else 22), title, *parts)


def _box(values: Sequence[float], x: Scale, y: float, series: int) -> Markup:
    # Dots are spread by a fixed pattern, so that the same values give the same page.
    dots = [
        Markup('<circle cx="{:.1f}" cy="{:.1f}" r="2.2" class="dot s{}"/>').format(
            x(v), y - 9 + (7 * k) % 19, series % SERIES
        )
        for k, v in enumerate(values)
    ]
    low, middle, high = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    box = Markup(
        '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="18" rx="2" class="area s{}">{}</rect>'
    ).format(
        x(low), y - 9, max(x(high) - x(low), 1.0), series % SERIES,
        hint(f"median {told(middle)}, half within {told(low)} to {told(high)}"),
    )  # fmt: skip
    return Markup("").join([*dots, box, line(x(middle), y - 9, x(middle), y + 9, "whisker")])


def clock(hours: Mapping[str, Sequence[float]], *, title: str) -> Markup:
    """Around a 24-hour clock, midnight on top: the share of each series' events by hour.

    hours: 24 counts a series, from 0 to 23 o'clock.
    """
    middle, inner, outer = (WIDTH / 2, 178.0), 38.0, 140.0
    shares = {n: np.asarray(c, dtype=float) / (sum(c) or 1.0) for n, c in hours.items()}
    top = max((float(s.max()) for s in shares.values()), default=1.0) or 1.0

    def at(hour: float, radius: float) -> tuple[float, float]:
        angle = 2 * pi * hour / 24
        return middle[0] + radius * sin(angle), middle[1] - radius * cos(angle)

    parts = [
        Markup('<circle cx="{}" cy="{}" r="{:.1f}" class="grid"/>').format(*middle, radius)
        for radius in (inner, (inner + outer) / 2, outer)
    ]
    for hour in range(0, 24, 3):
        x, y = at(hour, outer + 14)
        parts.append(words(x, y + 4, f"{hour:02d}", anchor="middle", soft=True))
    for i, (name, share) in enumerate(shares.items()):
        points = [at(h + 0.5, inner + (outer - inner) * float(share[h]) / top) for h in range(24)]
        parts.append(
            Markup("<g>{}{}</g>").format(
                hint(name), path(points, f"area s{i % SERIES}", closed=True)
            )
        )
    parts.append(legend(list(hours), 12, 14))
    parts.append(
        words(WIDTH - 8, 346, f"outer ring: {100 * top:.0f}% of a series", anchor="end", soft=True)
    )
    return chart(354, title, *parts)
