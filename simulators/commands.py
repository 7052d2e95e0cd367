"""What a simulator's command line is given: the ports to a runtime that this room does not know.

An entry point of the group `repertory.commands` names a function
`add(app, runner)`; it adds commands to the Typer application `app`, and what they
need of a network they ask of `runner`. A module that holds such a function loads
at every start of `repertory`, so it imports nothing heavy at its top.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from repertory.protocol import Message, Task

Options = Mapping[str, Mapping[str, Any]]


class Outcome(Protocol):
    """An input by its name, and the task it became."""

    @property
    def name(self) -> str: ...

    @property
    def task(self) -> Task: ...


class Run(Protocol):
    """What a manifest's `report` function is given when a run is over.

    seconds: of this run alone. input: the first file or folder that was given.
    """

    @property
    def outcomes(self) -> Sequence[Outcome]: ...

    @property
    def seconds(self) -> float: ...

    @property
    def input(self) -> Path | None: ...

    def options_of(self, agent: str) -> Mapping[str, Any]:
        """The options of `agent` as they were in this run; empty for an agent it has not."""
        ...


class Runner(Protocol):
    """Runs networks for commands. `manifest` is a file; `store` a URL in place of its own.

    A manifest that lies in an installed package is no place for a store: a command
    names one, as `sqlite:///FILE`. options: by agent, laid over the manifest's.
    """

    def run(
        self,
        manifest: Path,
        inputs: Sequence[Path],
        *,
        messages: Sequence[Message] = (),
        options: Options | None = None,
        store: str = "",
        again: bool = False,
        as_json: bool = False,
    ) -> int:
        """Give files and messages to the network, show progress, report; the exit status.

        The same inputs again go on where an earlier run was stopped. What the run says
        at its end is the manifest's `report` function's to decide.
        """
        ...

    def ask(
        self,
        manifest: Path,
        agent: str,
        contents: Sequence[str | Message | Mapping[str, Any]],
        *,
        options: Options | None = None,
        store: str = "",
    ) -> Sequence[Task]:
        """Ask one agent each of `contents`, in order, each in a context of its own."""
        ...

    def spans(self, manifest: Path, *, store: str = "") -> Sequence[Mapping[str, Any]]:
        """The spans a network keeps, oldest first.

        Keys: trace_id, span_id, parent_id ("" for a root), name, kind, start_ns, end_ns
        (None if it never ended), status, attributes, task_id.
        """
        ...
