"""A layered graph as inline SVG: arguments and what supports or attacks them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from .axes import SERIES, WIDTH, chart, hint, shortened

_TALL, _GAP = 30, 12


@dataclass(frozen=True, slots=True)
class Node:
    """A box in a column; `layer` counts columns from the left, `series` the colors.

    text: what it says in full when pointed at. href: where a click leads, a place on
    the page such as "#claim-3". faded: drawn weakly, as for what was defeated.
    """

    id: str
    label: str
    layer: int = 0
    series: int = 0
    text: str = ""
    href: str = ""
    faded: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """An arrow between two boxes."""

    source: str
    target: str
    kind: Literal["support", "attack"] = "support"
    text: str = ""


def graph(nodes: Sequence[Node], edges: Sequence[Edge], *, title: str) -> Markup:
    """Boxes in columns with arrows between them, ordered so that few arrows cross.

    Edges that name no node of `nodes` are left out. Within a column a node moves to
    the mean place of its neighbors (the barycenter heuristic of Sugiyama et al. 1981).
    """
    layers = _ordered(nodes, edges)
    wide = min(170.0, (WIDTH - 20 - 50 * (len(layers) - 1)) / max(len(layers), 1))
    step = (WIDTH - 20 - wide) / max(len(layers) - 1, 1)
    height = 20 + (_TALL + _GAP) * max((len(layer) for layer in layers), default=0)
    place: dict[str, tuple[float, float]] = {}
    for i, layer in enumerate(layers):
        free = (height - 20 - (_TALL + _GAP) * len(layer)) / 2
        for k, node in enumerate(layer):
            place[node.id] = (10 + step * i, 10 + free + (_TALL + _GAP) * k)
    arrows = [_arrow(e, place, wide) for e in edges if e.source in place and e.target in place]
    drawn = [_node(node, place[node.id], wide) for layer in layers for node in layer]
    return chart(height, title, *arrows, *drawn)


def _ordered(nodes: Sequence[Node], edges: Sequence[Edge]) -> list[list[Node]]:
    numbers = sorted({node.layer for node in nodes})
    layers = [[node for node in nodes if node.layer == number] for number in numbers]
    beside: dict[str, list[str]] = {node.id: [] for node in nodes}
    for edge in edges:
        if edge.source in beside and edge.target in beside:
            beside[edge.source].append(edge.target)
            beside[edge.target].append(edge.source)
    rank = {node.id: k / len(layer) for layer in layers for k, node in enumerate(layer)}
    for sweep in range(4):
        for layer in layers if sweep % 2 else reversed(layers):
            means = {
                node.id: sum(rank[o] for o in beside[node.id]) / len(beside[node.id])
                if beside[node.id]
                else rank[node.id]
                for node in layer
            }
            layer.sort(key=lambda node: means[node.id])
            rank.update({node.id: k / len(layer) for k, node in enumerate(layer)})
    return layers


def _node(node: Node, at: tuple[float, float], wide: float) -> Markup:
    x, y = at
    label = shortened(node.label, max(int(wide / 6.2) - 1, 4))
    box = Markup(
        '<g class="node"{}>{}<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}" rx="4" '
        'style="stroke:var(--c{})"/><text x="{:.1f}" y="{:.1f}">{}</text></g>'
    ).format(
        Markup(' opacity="0.45"') if node.faded else Markup(""),
        hint(node.text or node.label), x, y, wide, _TALL, node.series % SERIES,
        x + 8, y + 19, label,
    )  # fmt: skip
    return Markup('<a href="{}">{}</a>').format(node.href, box) if node.href else box


def _arrow(edge: Edge, place: dict[str, tuple[float, float]], wide: float) -> Markup:
    (x1, y1), (x2, y2) = place[edge.source], place[edge.target]
    y1, y2 = y1 + _TALL / 2, y2 + _TALL / 2
    if x1 == x2:  # Within a column the arrow leaves and arrives on the right.
        x1, x2, bend, tip = x1 + wide, x2 + wide, 28.0, -1
    elif x1 < x2:
        x1, bend, tip = x1 + wide, 0.0, 1
    else:
        x2, bend, tip = x2 + wide, 0.0, -1
    end = x2 - 7 * tip
    middle = (x1 + end) / 2
    c1, c2 = (x1 + bend, end + bend) if bend else (middle, middle)
    return Markup(
        '<g>{}<path d="M{:.1f},{:.1f}C{:.1f},{:.1f} {:.1f},{:.1f} {:.1f},{:.1f}" class="edge {}"/>'
        '<path d="M{:.1f},{:.1f}l{},-4v8Z" class="head {}"/></g>'
    ).format(
        hint(edge.text or edge.kind), x1, y1, c1, y1, c2, y2, end, y2, edge.kind,
        x2, y2, -7 * tip, edge.kind,
    )  # fmt: skip
