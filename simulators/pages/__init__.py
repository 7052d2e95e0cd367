"""Reports as pages: a folder that opens in any browser, without a server or a network.

A page carries its style and its pictures in itself, reads in light and dark, and
prints. Texts of others (manuscripts, messages, logs) pass through the template
engine's escaping and through nothing else, so no page runs what it shows.
"""

from .charts import (
    Bar,
    Point,
    boxes,
    clock,
    curves,
    distributions,
    heat_map,
    interval_bars,
    scatter,
    stacked_bars,
)
from .graph import Edge, Node, graph
from .site import Site, environment

__all__ = [
    "Bar",
    "Edge",
    "Node",
    "Point",
    "Site",
    "boxes",
    "clock",
    "curves",
    "distributions",
    "environment",
    "graph",
    "heat_map",
    "interval_bars",
    "scatter",
    "stacked_bars",
]
