"""What a manifest's `report` function is given when a run is over, and the report without one.

A report function is `render(run: RunReport)`, plain or async, named in the
manifest as `module:render`. It need not print: it returns text, a mapping, a Rich
renderable, or a dataclass with `__rich__`. A person sees it drawn; `--json` gives
its data, which a bare renderable does not have.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from repertory.agents import result_of
from repertory.protocol import Task, TaskState, is_terminal

from .errors import KindError
from .kinds import load_reference
from .manifest import Manifest
from .screen import colored, duration, grid, short, word

if TYPE_CHECKING:
    from .network import Network


@dataclass(frozen=True, slots=True)
class Outcome:
    """An input and the task it became; `name` is the file's name, or "" for a message."""

    name: str
    task: Task

    @property
    def state(self) -> TaskState:
        return self.task.status.state

    @property
    def text(self) -> str:
        """The last words of the task, or what it gave where it ended without any."""
        message = self.task.status.message
        if message is not None and message.text:
            return message.text
        result = result_of(self.task)
        if result is None:
            return ""
        return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run that is over, for the manifest's report function; the network is still open.

    outcomes: one per input, in its order. seconds: of this run alone, so that
    a resumed run counts only its own part.
    """

    manifest: Manifest
    network: "Network"
    outcomes: Sequence[Outcome]
    seconds: float
    input: Path | None = None

    def options_of(self, agent: str) -> Mapping[str, Any]:
        """The options of `agent` as they were in this run; empty for an agent it has not."""
        entry = self.manifest.agents.get(agent)
        return entry.options if entry is not None else {}

    @property
    def failed(self) -> bool:
        """Whether any input ended otherwise than completed."""
        return any(
            is_terminal(o.state) and o.state is not TaskState.COMPLETED for o in self.outcomes
        )


async def render(run: RunReport) -> Any:
    """What the manifest's report function says of the run; None when it names none.

    Raises:
        KindError: The function does not load, or failed.
    """
    reference = run.manifest.report
    if reference is None:
        return None
    function = load_reference(run.manifest, reference)
    try:
        told = function(run)
        return await told if isawaitable(told) else told
    except Exception as error:
        sentence = f"the report {reference!r} failed: {type(error).__name__}: {error}"
        raise KindError(sentence, reference=reference) from error


def _cut_off(outcomes: Sequence[Outcome]) -> list[str]:
    """The distinct last words of work that failed, where the table shows only their beginning."""
    wrong = (
        o.text for o in outcomes if is_terminal(o.state) and o.state is not TaskState.COMPLETED
    )
    return [text for text in dict.fromkeys(wrong) if short(text) != " ".join(text.split())]


def standard_report(run: RunReport, waiting: int) -> RenderableType:
    """Every input with its state and last words, and what to do next."""
    rows = [
        (outcome.name or outcome.task.id, colored(outcome.state), short(outcome.text))
        for outcome in run.outcomes
    ]
    counts = Counter(word(outcome.state).replace("_", " ") for outcome in run.outcomes)
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    parts: list[RenderableType] = [grid(("input", "state", "last words"), rows)]
    parts.append(Text(f"{told} in {duration(run.seconds)}"))
    # What went wrong says what to do about it, which a line of a table cuts off.
    parts.extend(Text(f"said in full: {text}") for text in _cut_off(run.outcomes))
    if waiting:
        parts.append(Text(f"{waiting} wait for a person: repertory tasks --waiting"))
    return Group(*parts)
