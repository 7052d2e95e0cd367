"""Test an agent as its users meet it: one async function, served over every face.

    from repertory.protocol.testing import Job, serve_agent

    async def shout(job: Job) -> None:
        await job.complete(job.message.text.upper())

    async with serve_agent(shout) as served:
        served.jsonrpc_url, served.http_json_url     # A2A 1.0, and 0.3 over JSON-RPC
        served.mcp_url                               # MCP, with the binding
        served.card_url                              # the agent's card

docs/testing.md shows more. `obedient` is an agent that does what its message says;
`python -m repertory.protocol.testing` serves it on this process's pipes.
"""

import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio
import orjson

from .cards import AgentCapabilities, AgentCard
from .following import HOLD
from .interfaces import agent_interfaces
from .memory_service import (
    AgentFunction,
    Content,
    Job,
    MemoryService,
    memory_card,
    open_memory_service,
    parts_of,
)

if TYPE_CHECKING:
    import uvicorn

    from .host import Host
    from .host_resources import HostPages
    from .host_tools import HostTool

__all__ = [
    "AgentFunction",
    "Content",
    "Job",
    "MemoryService",
    "ServedAgent",
    "memory_card",
    "obedient",
    "open_memory_service",
    "parts_of",
    "serve_agent",
]


@dataclass(frozen=True, slots=True)
class ServedAgent:
    """Where an agent is reached, and the service behind all of its faces."""

    base_url: str
    card_url: str
    jsonrpc_url: str
    http_json_url: str
    mcp_url: str
    card: AgentCard
    service: MemoryService
    host: "Host"


@asynccontextmanager
async def serve_agent(
    agent: AgentFunction,
    *,
    card: AgentCard | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    once: bool = False,
    hold_seconds: float = HOLD,
    tools: "Sequence[HostTool] | None" = None,
    pages: "HostPages | None" = None,
) -> AsyncIterator[ServedAgent]:
    """Serve `agent` over JSON-RPC, HTTP+JSON, MCP and the binding until the block ends.

    card: what it says of itself, made by `memory_card`; where it is reached is
    filled in. port: 0 takes a free one. once: whether a message id that comes again is
    the same task, as the runtime has it, or a new one, as A2A allows too.
    hold_seconds: how long a request of the binding waits for a task. tools, pages: what
    MCP hosts see, by default a tool for each skill of the card. Webhooks may
    point at this machine. Nothing is kept when the block ends.
    """
    import uvicorn  # a web server takes a while to load

    from .addresses import OutgoingRules
    from .binding import agent_server
    from .endpoints import agent_app
    from .webhooks import MemoryWebhookStore, Webhooks

    everything = AgentCapabilities(
        streaming=True, push_notifications=True, extended_agent_card=True
    )
    card = card or memory_card("agent", capabilities=everything)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    shown = f"[{host}]" if ":" in host else host
    base = f"http://{shown}:{listener.getsockname()[1]}"
    place = f"{base}/agents/{card.name}"
    served = card.model_copy(update={"supported_interfaces": agent_interfaces(place)})
    home = OutgoingRules(allow=("127.0.0.0/8", "::1/128"))
    async with open_memory_service(agent, card=served, once=once) as service:
        webhooks = Webhooks(card.name, service, MemoryWebhookStore(), home)
        server = agent_server(
            service,
            lambda: served,
            hold_seconds=hold_seconds,
            webhooks=webhooks,
            tools=tools,
            pages=pages,
        )
        app = agent_app({card.name: server}, {card.name: lambda: served})
        config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            lifespan="off",
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        web = _quiet(uvicorn.Server(config))
        async with app.running(), anyio.create_task_group() as group:
            group.start_soon(partial(web.serve, sockets=[listener]))
            try:
                yield ServedAgent(
                    base_url=base,
                    card_url=f"{base}/.well-known/agent-card.json",
                    jsonrpc_url=f"{place}/jsonrpc",
                    http_json_url=f"{place}/rest",
                    mcp_url=f"{place}/mcp",
                    card=served,
                    service=service,
                    host=server.host,
                )
            finally:
                web.should_exit = True


def _quiet(server: "uvicorn.Server") -> "uvicorn.Server":
    """A web server that leaves signals to whoever runs it."""

    @contextmanager
    def leave_signals() -> Iterator[None]:
        yield

    server.capture_signals = leave_signals  # type: ignore[method-assign]  # uvicorn has no option
    return server


async def obedient(job: Job) -> None:
    """Do what the message says, in a word and what follows it.

    shout TEXT: complete with TEXT in capitals. count N: complete with an
    artifact of N pieces. ask QUESTION: wait for an answer and complete with it.
    hang: work until canceled. fail WHY: fail. call: complete with what came
    along with the message, as JSON. process: complete with this process's id.
    """
    word, _, rest = job.message.text.partition(" ")
    await job.working()
    if word == "count":
        await job.artifact("0", append=False)
        for number in range(1, int(rest)):
            await job.artifact(str(number), append=True, last=number == int(rest) - 1)
        await job.complete()
    elif word == "ask":
        await job.complete((await job.ask(rest)).text)
    elif word == "hang":
        await anyio.sleep_forever()
    elif word == "fail":
        await job.fail(rest)
    elif word == "call":
        left = job.call.seconds_left()
        budget = job.call.budget
        came = {
            "principal": job.call.principal,
            "tenant": job.call.tenant,
            "seconds_left": left,
            "budget": [budget.tokens, budget.calls, budget.usd],
            "chain": list(job.call.chain),
            "traceparent": job.call.traceparent,
            "tracestate": job.call.tracestate,
        }
        await job.complete(orjson.dumps(came).decode())
    elif word == "process":
        await job.complete(str(os.getpid()))
    else:
        await job.complete(rest.upper())


async def _serve() -> None:
    from .binding import agent_server, serve_stdio  # as a program, after the room's names exist

    async with open_memory_service(obedient) as service:
        card = memory_card("obedient", "stdio:")
        await serve_stdio(agent_server(service, lambda: card))


if __name__ == "__main__":
    anyio.run(_serve)
