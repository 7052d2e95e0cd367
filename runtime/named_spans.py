"""The spans that a network makes, by the names of the semantic conventions.

GenAI's conventions for workflows, agents, plans, models, tools and memory, and the
A2A proposal; `openinference.span.kind` beside them, for viewers that know only that.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from opentelemetry.trace import SpanKind

from .live_span import Span, Value
from .meters import AGENT_SECONDS, MODEL_SECONDS, TOOL_SECONDS, WORKFLOW_SECONDS

SCOPE = "repertory"
Address = tuple[str, int]
ModelOperation = Literal["chat", "text_completion", "generate_content", "embeddings"]
MemoryOperation = Literal[
    "create_memory_store",
    "search_memory",
    "create_memory",
    "update_memory",
    "upsert_memory",
    "delete_memory",
    "delete_memory_store",
]


class NamedSpans(ABC):
    """One method for each kind of span; `start` makes them."""

    network: str

    @abstractmethod
    def start(
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        parent: str | None = None,
        tracestate: str = "",
        attributes: dict[str, Value] | None = None,
        links: Iterable[str] = (),
        instrument: str = "",
        running: bool = False,
    ) -> Span:
        """Start a span of any name; see `Telemetry.start`."""

    def workflow(
        self,
        name: str,
        *,
        parent: str | None = None,
        conversation_id: str = "",
        task_id: str = "",
    ) -> Span:
        """`invoke_workflow {name}`: a piece of work of the whole network."""
        return self.start(
            f"invoke_workflow {name}",
            parent=parent,
            attributes=_present(
                {
                    "gen_ai.operation.name": "invoke_workflow",
                    "gen_ai.workflow.name": name,
                    "gen_ai.conversation.id": conversation_id,
                    "a2a.task.id": task_id,
                    "openinference.span.kind": "CHAIN",
                }
            ),
            instrument=WORKFLOW_SECONDS,
            running=True,
        )

    def agent(
        self,
        name: str,
        *,
        parent: str | None = None,
        tracestate: str = "",
        agent_id: str = "",
        version: str = "",
        description: str = "",
        conversation_id: str = "",
        task_id: str = "",
        model: str = "",
        provider: str = SCOPE,
        remote: Address | None = None,
        resumes: str = "",
    ) -> Span:
        """`invoke_agent {name}`: INTERNAL for an agent here, CLIENT with `remote` for one elsewhere.

        parent: for a turn, the traceparent journaled with its task, so that a
        resumed turn goes on in the same trace. resumes: the traceparent of the
        earlier invoke_agent span that a restart broke off, kept as a link.
        """
        return self.start(
            f"invoke_agent {name}",
            kind=SpanKind.CLIENT if remote else SpanKind.INTERNAL,
            parent=parent,
            tracestate=tracestate,
            attributes=_present(
                {
                    "gen_ai.operation.name": "invoke_agent",
                    "gen_ai.provider.name": provider,
                    "gen_ai.agent.name": name,
                    "gen_ai.agent.id": agent_id,
                    "gen_ai.agent.version": version,
                    "gen_ai.agent.description": description,
                    "gen_ai.conversation.id": conversation_id,
                    "gen_ai.request.model": model,
                    "a2a.task.id": task_id,
                    **_server(remote),
                    "openinference.span.kind": "AGENT",
                }
            ),
            links=(resumes,) if resumes else (),
            instrument=AGENT_SECONDS,
            running=True,
        )

    def plan(
        self, agent: str, *, parent: str | None = None, conversation_id: str = "", task_id: str = ""
    ) -> Span:
        """`plan {agent}`: an agent splits its goal."""
        return self.start(
            f"plan {agent}",
            parent=parent,
            attributes=_present(
                {
                    "gen_ai.operation.name": "plan",
                    "gen_ai.agent.name": agent,
                    "gen_ai.conversation.id": conversation_id,
                    "a2a.task.id": task_id,
                    "openinference.span.kind": "CHAIN",
                }
            ),
        )

    def chat(
        self,
        model: str,
        *,
        operation: ModelOperation = "chat",
        provider: str = "",
        parent: str | None = None,
        conversation_id: str = "",
        task_id: str = "",
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        stop: Sequence[str] | None = None,
        stream: bool | None = None,
        choices: int | None = None,
        server: Address | None = None,
    ) -> Span:
        """`{operation} {model}`: one request to a model's server."""
        return self.start(
            f"{operation} {model}",
            kind=SpanKind.CLIENT,
            parent=parent,
            attributes=_present(
                {
                    "gen_ai.operation.name": operation,
                    "gen_ai.provider.name": provider or "openai_compatible",
                    "gen_ai.request.model": model,
                    "gen_ai.request.max_tokens": max_tokens,
                    "gen_ai.request.temperature": temperature,
                    "gen_ai.request.top_p": top_p,
                    "gen_ai.request.top_k": top_k,
                    "gen_ai.request.seed": seed,
                    "gen_ai.request.stop_sequences": list(stop) if stop else None,
                    "gen_ai.request.stream": stream,
                    "gen_ai.request.choice.count": choices,
                    "gen_ai.conversation.id": conversation_id,
                    "a2a.task.id": task_id,
                    **_server(server),
                    "openinference.span.kind": "EMBEDDING" if operation == "embeddings" else "LLM",
                }
            ),
            instrument=MODEL_SECONDS,
        )

    def tool(
        self,
        name: str,
        *,
        parent: str | None = None,
        call_id: str = "",
        description: str = "",
        tool_type: str = "function",
        task_id: str = "",
        conversation_id: str = "",
        arguments: Any = None,
    ) -> Span:
        """`execute_tool {name}`; covers the MCP call, which gets no span of its own."""
        span = self.start(
            f"execute_tool {name}",
            parent=parent,
            attributes=_present(
                {
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": name,
                    "gen_ai.tool.type": tool_type,
                    "gen_ai.tool.description": description,
                    "gen_ai.tool.call.id": call_id,
                    "gen_ai.conversation.id": conversation_id,
                    "mcp.method.name": "tools/call",
                    "a2a.task.id": task_id,
                    "openinference.span.kind": "TOOL",
                }
            ),
            instrument=TOOL_SECONDS,
        )
        span.content("gen_ai.tool.call.arguments", arguments)
        return span

    def memory(
        self,
        operation: MemoryOperation,
        *,
        parent: str | None = None,
        store_id: str = "",
        record_id: str = "",
        record_count: int | None = None,
        query: str | None = None,
        task_id: str = "",
        conversation_id: str = "",
    ) -> Span:
        """`search_memory`, `create_memory` and their like, on the experience store."""
        span = self.start(
            operation,
            parent=parent,
            attributes=_present(
                {
                    "gen_ai.operation.name": operation,
                    "gen_ai.provider.name": SCOPE,
                    "gen_ai.memory.store.id": store_id or self.network,
                    "gen_ai.memory.record.id": record_id,
                    "gen_ai.memory.record.count": record_count,
                    "gen_ai.conversation.id": conversation_id,
                    "a2a.task.id": task_id,
                    "openinference.span.kind": (
                        "RETRIEVER" if operation == "search_memory" else "CHAIN"
                    ),
                }
            ),
        )
        span.content("gen_ai.memory.query.text", query)
        return span

    def a2a(
        self,
        method: str,
        *,
        server: bool,
        parent: str | None = None,
        tracestate: str = "",
        message_id: str = "",
        task_id: str = "",
        task_state: str = "",
        conversation_id: str = "",
        tenant: str = "",
        version: str = "1.0",
        agent: str = "",
        reference_task_ids: Sequence[str] = (),
        address: Address | None = None,
    ) -> Span:
        """`SendMessage` and its like: SERVER where the call arrives, CLIENT where it leaves."""
        return self.start(
            method,
            kind=SpanKind.SERVER if server else SpanKind.CLIENT,
            parent=parent,
            tracestate=tracestate,
            attributes=_present(
                {
                    "a2a.method.name": method,
                    "a2a.protocol.version": version,
                    "a2a.message.id": message_id,
                    "a2a.message.reference_task_ids": list(reference_task_ids) or None,
                    "a2a.task.id": task_id,
                    "a2a.task.state": task_state,
                    "a2a.tenant": tenant,
                    "gen_ai.conversation.id": conversation_id,
                    "gen_ai.agent.name": agent,
                    **_server(address),
                    "openinference.span.kind": "AGENT",
                }
            ),
        )


def _present(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None and value != ""}


def _server(address: Address | None) -> dict[str, Value]:
    return {} if address is None else {"server.address": address[0], "server.port": address[1]}
