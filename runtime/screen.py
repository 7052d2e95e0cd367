"""What the command line shows: results on stdout, everything about the way there on stderr.

A person at a terminal gets tables and progress; a pipe gets plain text without
progress, and with `--json` one document (or one line per event). What is shown
is decided by the commands.
"""

import dataclasses
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

import orjson
from pydantic import BaseModel
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

# A pipe has no width; Rich would fold at 80 columns what a person wants to grep.
_PIPED_WIDTH = 200


class Screen:
    """Where a command's words go.

    json: results as JSON. live: whether progress may be drawn, which needs a
    terminal on stderr.
    """

    def __init__(
        self, *, json: bool = False, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self.json = json
        self.out = _console(sys.stdout if out is None else out)
        self.err = _console(sys.stderr if err is None else err)
        self.live = self.err.is_terminal and not json

    def result(self, data: Any, drawn: RenderableType) -> None:
        """Show the command's result: `data` for programs, `drawn` for a person."""
        if self.json:
            self.document(data)
        else:
            self.out.print(drawn)

    def document(self, data: Any) -> None:
        """Print `data` as an indented JSON document."""
        options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
        self._write(orjson.dumps(plain(data), option=options).decode())

    def line(self, data: Any) -> None:
        """Print `data` as one line of JSON."""
        self._write(orjson.dumps(plain(data), option=orjson.OPT_NON_STR_KEYS).decode())

    def say(self, text: str) -> None:
        """Tell a person at a terminal how things go; a pipe hears nothing."""
        if self.live:
            self.err.print(Text(text, style="dim"))

    def warn(self, text: str) -> None:
        """Tell whoever listens, terminal or not."""
        self.err.print(Text(text))

    def _write(self, text: str) -> None:
        self.out.file.write(text + "\n")
        self.out.file.flush()


def _console(stream: TextIO) -> Console:
    return Console(file=stream, width=None if stream.isatty() else _PIPED_WIDTH, soft_wrap=True)


def plain(value: Any) -> Any:
    """`value` as JSON's types."""
    if isinstance(value, BaseModel):
        wire = getattr(value, "wire", None)
        return wire() if wire is not None else value.model_dump(mode="json")
    if isinstance(value, dict) or hasattr(value, "keys"):
        return {str(key): plain(value[key]) for key in value.keys()}  # noqa: SIM118 - rows too
    if isinstance(value, Enum):
        return plain(value.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in value]
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, (datetime, Path)):
        return str(value)
    return str(value)


def grid(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> Table:
    """A table of texts; a column name ending in '>' is set to the right."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title or None, title_justify="left")
    for column in columns:
        right = column.endswith(">")
        table.add_column(column.rstrip(">"), justify="right" if right else "left")
    for row in rows:
        cells = (cell if isinstance(cell, Text) else Text(str(cell)) for cell in row)
        table.add_row(*cells)
    return table


_STYLES = {
    "completed": "green",
    "failed": "red",
    "rejected": "red",
    "canceled": "yellow",
    "input_required": "magenta",
    "working": "cyan",
    "error": "red",
    "down": "red",
    "starting": "yellow",
    "restarting": "yellow",
    "warning": "yellow",
    "ok": "green",
}


def word(state: Any) -> str:
    """A task's state in one lower-case word: `input_required`."""
    return str(getattr(state, "value", state)).removeprefix("TASK_STATE_").lower()


def colored(state: Any) -> Text:
    """A state or a severity in its color."""
    text = word(state)
    return Text(text.replace("_", " "), style=_STYLES.get(text, ""))


def clock(at: float | None) -> str:
    """A moment as local time; only the time of day when it is today."""
    if not at:
        return ""
    moment = datetime.fromtimestamp(at, tz=UTC).astimezone()
    today = datetime.now(tz=UTC).astimezone().date()
    return f"{moment:%H:%M:%S}" if moment.date() == today else f"{moment:%Y-%m-%d %H:%M}"


def short(text: str, most: int = 70) -> str:
    """The beginning of a text, on one line."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def duration(seconds: float) -> str:
    """Seconds for a person: `840 ms`, `12.3 s`, `4 min 10 s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    if seconds < 172_800:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
    return f"{int(seconds // 86_400)} days"
