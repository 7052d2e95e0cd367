"""Networks run for commands that others add to the command line.

`repertory.simulators.commands.Runner` is the port; this room implements it without
knowing that room.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio import create_task_group

from repertory.protocol import Message, Task, new_id

from .chosen import Chosen, choose, reading
from .cli_run import Interrupts, give_input, has_uvloop, running
from .screen import Screen
from .spans import load_spans

Options = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class NetworkRunner:
    """Runs networks of manifests in this process, as `repertory run` and `ask` do."""

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
        """Give files and messages to the network, show progress, report; the exit status."""
        chosen = _chosen(manifest, store, options)
        return give_input(Screen(json=as_json), chosen, inputs, messages, again=again)

    def ask(
        self,
        manifest: Path,
        agent: str,
        contents: Sequence[str | Message | Mapping[str, Any]],
        *,
        options: Options | None = None,
        store: str = "",
    ) -> Sequence[Task]:
        """Ask one agent each of `contents`, in order, each in a context of its own.

        Raises:
            AgentNotFoundError: The network has no such agent.
        """
        screen, chosen = Screen(), _chosen(manifest, store, options)
        interrupts, answers = Interrupts(screen), list[Task]()

        async def work() -> None:
            async with running(screen, chosen) as network, create_task_group() as tasks:
                await tasks.start(interrupts.listen, network, tasks.cancel_scope)
                for number, content in enumerate(contents, 1):
                    screen.say(f"asking {agent}: {number} of {len(contents)}")
                    answers.append(await network.ask(agent, content, context_id=new_id()))
                tasks.cancel_scope.cancel()
            if interrupts.came:
                raise KeyboardInterrupt

        anyio.run(work, backend_options={"use_uvloop": has_uvloop()})
        return answers

    def spans(self, manifest: Path, *, store: str = "") -> Sequence[Mapping[str, Any]]:
        """The spans a network keeps, oldest first.

        Raises:
            StoreError: There is no store yet.
        """
        chosen = choose(manifest, store)

        async def read() -> list[Mapping[str, Any]]:
            async with reading(chosen) as journal:
                return [asdict(row) for row in await load_spans(journal.database)]

        return anyio.run(read)


def _chosen(path: Path, store: str, options: Options | None) -> Chosen:
    chosen = choose(path, store)
    return Chosen(chosen.manifest.with_options(options or {}), chosen.path, store)
