"""What a network's agents show MCP hosts: skills as tools, instructions as prompts, packs as resources."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from mcp.types import GetPromptResult, PromptArgument, PromptMessage, TextContent

from repertory.protocol import AgentCard, Call, HostPages, HostPrompt, HostTemplate, HostTool
from repertory.protocol import skill_tools as plain_tools
from repertory.xp_store import PackNotFoundError, PackStore

from .manifest import AgentEntry

PACK: Final = "xp://packs/{id}"
_COMPLETED: Final = 1000


def tools_of(card: AgentCard, entry: AgentEntry) -> tuple[HostTool, ...]:
    """A tool for each skill; an agent with neither tools nor peers changes nothing outside."""
    alone = not entry.tools and not entry.peers
    shape = entry.output if isinstance(entry.output, dict) else None
    return tuple(
        HostTool(
            name=tool.name,
            title=tool.title,
            description=tool.description,
            output_schema=shape,
            read_only=True if alone else None,
            destructive=False if alone else None,
            open_world=not alone,
        )
        for tool in plain_tools(card)
    )


def pages_of(agent: str, entry: AgentEntry, packs: PackStore | None) -> HostPages:
    """The agent's instructions as a prompt, and the tenant's packs as resources."""

    async def instructions(given: Mapping[str, str], _: Mapping[str, Any]) -> GetPromptResult:
        texts = [entry.instructions, *([given["message"]] if given.get("message") else [])]
        messages = [PromptMessage(role="user", content=TextContent(text=each)) for each in texts]
        return GetPromptResult(description=entry.description or None, messages=messages)

    async def read(variables: Mapping[str, str], call: Call) -> str | None:
        assert packs is not None
        try:
            pack = await packs.get(variables["id"], tenant=call.tenant)
        except PackNotFoundError:
            return None
        steps = [step.model_dump(mode="json") for step in await packs.steps(pack)]
        shown = {**pack.model_dump(mode="json"), "trust": pack.trust, "steps": steps}
        return orjson.dumps(shown).decode()

    async def complete(_: str, begun: str, call: Call) -> Sequence[str]:
        assert packs is not None
        found = await packs.find(tenant=call.tenant, limit=_COMPLETED)
        return [pack.id for pack in found if pack.id.startswith(begun)]

    prompts = (
        HostPrompt(
            name=agent,
            get=instructions,
            description=f"What {agent} is told first: {entry.description or agent}",
            arguments=(
                PromptArgument(name="message", description="What it is asked.", required=False),
            ),
        ),
    )
    pack = HostTemplate(
        uri_template=PACK,
        name="pack",
        description="An Experience Pack: what a task was, why and how it was done, what checked it.",
        read=read,
        complete=complete,
    )
    return HostPages(
        templates=() if packs is None else (pack,),
        prompts=prompts if entry.instructions else (),
    )
