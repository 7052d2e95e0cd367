"""A real network for the stock agents, and a model that follows a script."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import fail_after

from repertory.agents import Agent, ChatModel, ChatRequest, Tier
from repertory.agents.models import FunctionModel
from repertory.protocol import Task
from repertory.runtime import Network, open_network
from repertory.runtime.manifest import parse_manifest

Step = str | Mapping[str, Any] | Callable[[ChatRequest], Any]


class Script:
    """A model that gives its answers one after the other, and keeps what it was asked.

    A step that is callable is called with the request; the last one is repeated.
    """

    def __init__(self, *steps: Step, tiers: frozenset[Tier] = frozenset(Tier)) -> None:
        self.steps = steps
        self.asked: list[ChatRequest] = []
        self.model = FunctionModel(self._answer, tiers=tiers)

    async def _answer(self, request: Any) -> Any:
        self.asked.append(request)
        step = self.steps[min(len(self.asked), len(self.steps)) - 1]
        if not callable(step):
            return step
        answer = step(request)
        return await answer if hasattr(answer, "__await__") else answer

    def prompts(self) -> list[str]:
        """What was asked, each request as one text with its roles."""
        return [
            "".join(f"[{message.role}]\n{message.content}\n" for message in request.messages)
            for request in self.asked
        ]


@asynccontextmanager
async def stage(
    folder: Path,
    agents: str,
    *,
    model: ChatModel | None = None,
    kinds: Mapping[str, type[Agent]] | None = None,
    more: str = "",
) -> AsyncIterator[Network]:
    """Open a network of these agents; the same folder again is a restart."""
    text = f"network: test\nembedder: {{engine: hash}}\nagents:\n{agents}{more}"
    manifest = parse_manifest(text, folder=folder)
    models = {"embedded": model} if model is not None else {}
    with fail_after(20):
        async with open_network(manifest, kinds=kinds or {}, models=models) as network:
            yield network


def said(task: Task) -> str:
    """The words that a task ended with."""
    return task.status.message.text if task.status.message is not None else ""


def answered(task: Task) -> Any:
    """The text or data of a task's only artifact."""
    (artifact,) = task.artifacts
    (part,) = artifact.parts
    return part.data if part.has_data else part.text
