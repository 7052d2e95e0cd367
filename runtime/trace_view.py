"""A task's spans as a tree, for a person: names, times, tokens, errors.

The tree is built from what the store holds, so it also shows what a kill cut off:
a span that never ended is `unfinished`, and spans whose parent was never written
(it ran when the process died, or lives in another process's store) stand at the
top of the tree.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .spans import SpanRow

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_BAR_CELLS = 24
_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")


@dataclass(slots=True)
class TraceNode:
    """A span and what it began, oldest first; the root has no span and holds the trees.

    start_ns, end_ns: of all below it too. tokens: in and out, its own if it has
    said any, else the sum of what is below it.
    """

    span: SpanRow | None
    children: list["TraceNode"] = field(default_factory=list)
    start_ns: int = 0
    end_ns: int = 0
    tokens: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        return self.span.name if self.span is not None else ""

    @property
    def finished(self) -> bool:
        """Whether the span ended; the root always has."""
        return self.span is None or self.span.end_ns is not None

    @property
    def milliseconds(self) -> float:
        """From the span's start to its end, or to the last sign of what it began."""
        if self.span is None:
            return (self.end_ns - self.start_ns) / 1e6
        return ((self.span.end_ns or self.end_ns) - self.span.start_ns) / 1e6

    @property
    def error(self) -> str:
        """What went wrong here, in a few words; "" if nothing did."""
        if self.span is None:
            return ""
        kind = str(self.span.attributes.get("error.type", ""))
        if not kind and self.span.status != "ERROR":
            return ""
        words = str(self.span.attributes.get("error.message", ""))
        return f"{kind or 'ERROR'}: {words}" if words else kind or "ERROR"


def trace_tree(rows: Sequence[SpanRow]) -> TraceNode:
    """Put spans under their parents; those whose parent is not among them stand at the top."""
    ordered = sorted(rows, key=lambda row: (row.start_ns, row.end_ns is None, row.span_id))
    nodes = {(row.trace_id, row.span_id): TraceNode(row) for row in ordered}
    root = TraceNode(None)
    for row in ordered:
        node = nodes[row.trace_id, row.span_id]
        above = nodes.get((row.trace_id, row.parent_id), root)
        (root if above is node else above).children.append(node)
    # Leaves first, without recursion: chains of calls can be deep.
    for node in reversed(list(_down(root))):
        _sum_up(node)
    return root


def _sum_up(node: TraceNode) -> None:
    span = node.span
    starts = [child.start_ns for child in node.children]
    ends = [child.end_ns for child in node.children]
    if span is not None:
        starts.append(span.start_ns)
        ends.append(span.end_ns or span.start_ns)
    node.start_ns, node.end_ns = min(starts, default=0), max(ends, default=0)
    own = tuple(_count(span, name) for name in _TOKENS) if span is not None else (None, None)
    below = tuple(sum(child.tokens[side] for child in node.children) for side in (0, 1))
    if own == (None, None):
        node.tokens = (below[0], below[1])
    else:
        node.tokens = (own[0] or 0, own[1] or 0)


def _count(span: SpanRow, name: str) -> int | None:
    value = span.attributes.get(name)
    return value if isinstance(value, int) else None


def _down(root: TraceNode) -> Iterator[TraceNode]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.children))


def tree_json(node: TraceNode) -> dict[str, Any]:
    """The tree as JSON: the root's `spans`, each with its own `spans`, times in milliseconds."""
    if node.span is None:
        return {
            "milliseconds": round(node.milliseconds, 3),
            "tokens": {"input": node.tokens[0], "output": node.tokens[1]},
            "spans": [tree_json(child) for child in node.children],
        }
    span = node.span
    return {
        "name": span.name,
        "kind": span.kind,
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentId": span.parent_id or None,
        "taskId": span.task_id or None,
        "startNs": span.start_ns,
        "milliseconds": round(node.milliseconds, 3),
        "finished": node.finished,
        "error": node.error or None,
        "tokens": {"input": node.tokens[0], "output": node.tokens[1]},
        "attributes": dict(span.attributes),
        "spans": [tree_json(child) for child in node.children],
    }


def render_tree(root: TraceNode) -> "RenderableType":
    """The tree as a table for Rich's console: span, when, milliseconds, tokens, what went wrong."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), expand=False)
    table.add_column("span", overflow="fold", ratio=None)
    table.add_column("when", width=_BAR_CELLS, no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    if not root.children:
        return Text("no spans were kept for this task", style="dim")
    for guide, node in _lines(root):
        _add_row(table, root, guide, node)
    total = Text(f"{root.milliseconds:,.1f}", style="bold")
    table.add_row(Text("total", style="bold"), "", total, _tokens(root), "")
    return table


def _lines(root: TraceNode) -> Iterator[tuple[str, TraceNode]]:
    """Every node below the root with the guides that stand before its name."""
    waiting = [("", "", child) for child in reversed(root.children)]
    while waiting:
        guide, below, node = waiting.pop()
        yield guide, node
        last = len(node.children) - 1
        for number, child in reversed(list(enumerate(node.children))):
            branch, trunk = ("└ ", "  ") if number == last else ("├ ", "│ ")
            waiting.append((below + branch, below + trunk, child))


def _add_row(table: "Table", root: TraceNode, guide: str, node: TraceNode) -> None:
    from rich.text import Text

    style = "red" if node.error else "" if node.finished else "yellow"
    label = Text.assemble((guide, "dim"), (node.name, style))
    note = Text(node.error, style="red")
    if not node.finished:
        note = Text("unfinished", style="yellow") if not node.error else note
    elif node.span is not None and "repertory.links" in node.span.attributes:
        note = note or Text("resumed", style="cyan")
    table.add_row(label, _bar(root, node), f"{node.milliseconds:,.1f}", _tokens(node), note)


def _bar(root: TraceNode, node: TraceNode) -> "Text":
    from rich.text import Text

    whole = max(1, root.end_ns - root.start_ns)
    start = node.span.start_ns if node.span is not None else node.start_ns
    first = min(_BAR_CELLS - 1, int((start - root.start_ns) / whole * _BAR_CELLS))
    length = max(1, round(node.milliseconds * 1e6 / whole * _BAR_CELLS))
    length = min(length, _BAR_CELLS - first)
    style = "red" if node.error else "cyan" if node.finished else "yellow"
    return Text.assemble(" " * first, ("━" * length, style))


def _tokens(node: TraceNode) -> str:
    return f"{node.tokens[0]:,}→{node.tokens[1]:,}" if any(node.tokens) else ""
