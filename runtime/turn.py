"""The runtime's `Turn`: an agent's effects, journaled, traced, budgeted and put to the policy."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from time import time
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import anyio

from repertory.agents import (
    ChatRequest,
    ChatResult,
    LabelScores,
    ModelContext,
    OutcomeUnknownError,
    PolicyDeniedError,
    Question,
    ScoreRequest,
    ToolResult,
    ToolServerError,
    ToolSpec,
    require_tier,
)
from repertory.protocol import (
    CALLER_KEY,
    AgentCard,
    Artifact,
    Call,
    CallCycleError,
    Message,
    SendMessageConfiguration,
    SendMessageRequest,
    StreamResponse,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
    agent_message,
    apply_event,
    follow,
    is_interrupted,
    user_message,
)
from repertory.xp_store import CheckSpec, Hit, Request, Verdict, run_check

from .audit import AuditEntry
from .budget import Purse, Usage
from .effects import Effects
from .errors import NetworkError
from .journal import StepRecord
from .patience import Patience, send_patiently
from .policy import Action
from .record import PLAN_KEY, QUESTION_KEY, STEP_KEY, USAGE_KEY, WAITING_KEY, TaskRecord

if TYPE_CHECKING:
    from .host import AgentHost
    from .live_span import Span

MODEL_KEY = "dev.repertory/model"
Content = str | Message | Mapping[str, Any]
# How often a call to a tool server that died is made again, when that is safe.
_TOOL_TRIES = 3
_APPROVE, _REFUSE = "approve", "refuse"


class RunningTurn:
    """One agent's work on one task; implements `repertory.agents.Turn`."""

    def __init__(
        self,
        host: "AgentHost",
        record: TaskRecord,
        known: dict[str, StepRecord],
        span: "Span",
    ) -> None:
        self._host = host
        self._record = record
        # What an earlier life could not write, this one says again.
        record.refused = None
        self._span = span
        self._parent = span.traceparent
        self._effects = Effects(host.network.journal, record.id, known)
        self._purse = Purse(record.budget, record.agent)
        self._emitted = record.emitted() if known or record.last_sequence > 1 else set()
        self._asking = anyio.Lock()
        self._models: dict[str, Any] = {}
        self._history: Sequence[Message] = ()
        self.patience = Patience(record.seconds, self._on_park, self._on_go_on)
        self._capabilities = record.capabilities.narrowed(host.entry.capabilities)
        self.ended = False
        self.halted = False

    # -- what the turn is about ------------------------------------------------

    @property
    def agent(self) -> str:
        return self._record.agent

    @property
    def task_id(self) -> str:
        return self._record.id

    @property
    def context_id(self) -> str:
        return self._record.context_id

    @property
    def message(self) -> Message:
        return self._record.message

    @property
    def history(self) -> Sequence[Message]:
        return self._history

    @property
    def peers(self) -> Mapping[str, AgentCard]:
        return self._host.peer_cards

    @property
    def tools(self) -> Mapping[str, ToolSpec]:
        return self._host.tool_specs

    @property
    def effects(self) -> Effects:
        """What this turn has done so far, for the recorder."""
        return self._effects

    @property
    def spent(self) -> Usage:
        """What the task and its callees have cost so far."""
        return self._purse.spent

    @property
    def span_id(self) -> str:
        """The id of the turn's span."""
        return f"{self._span.span_id:016x}"

    @property
    def trace_id(self) -> str:
        """The id of the trace that the turn is part of."""
        return f"{self._span.trace_id:032x}"

    @property
    def models(self) -> Mapping[str, Any]:
        """The models that answered in this turn, each with its tiers."""
        return self._models

    async def open(self) -> None:
        """Load the context's earlier messages; the same ones again after a restart."""
        bound = self._host.entry.memory.context_tokens
        if bound and self._record.context_id:
            step = await self._once("history", self.agent, {}, self._read_history)
            self._history = tuple(Message.parse(each) for each in step.result)

    async def _read_history(self, _: StepRecord) -> list[dict[str, Any]]:
        return await self._host.history_of(self._record)

    # -- models ----------------------------------------------------------------

    async def chat(self, request: ChatRequest) -> ChatResult:
        model = self._host.require_model()
        require_tier(model.info, request.duty)
        return ChatResult.from_json(await self._ask_model("chat", request, model.chat))

    async def score(self, request: ScoreRequest) -> LabelScores:
        model = self._host.require_model()
        require_tier(model.info, request.duty)
        return LabelScores.from_json(await self._ask_model("text_completion", request, model.score))

    async def _ask_model(
        self,
        operation: Any,
        request: Any,
        ask: Callable[[Any, ModelContext], Awaitable[Any]],
    ) -> Any:
        """The answer as the journal keeps it, asked for only if it is not there yet."""
        asked = request.to_json()
        info = self._host.require_model().info
        key = self._effects.key(operation, asked)
        step = self._effects.known(key)
        if step is None or not step.finished:
            self._require_budget(f"ask {info.name}")
            await self._begin_work()
            step = self._effects.new(key, operation, info.name, asked)
            async with self.patience.effect():
                with self._host.telemetry.chat(
                    info.name,
                    operation=operation,
                    provider=info.engine,
                    parent=self._parent,
                    conversation_id=self.context_id,
                    task_id=self.task_id,
                    max_tokens=getattr(request, "max_tokens", None),
                    temperature=getattr(request, "temperature", None),
                    seed=getattr(request, "seed", None),
                ) as span:
                    step.span_id = f"{span.span_id:016x}"
                    span.content("gen_ai.input.messages", asked)
                    result = await ask(
                        request,
                        ModelContext(
                            traceparent=span.traceparent,
                            session_id=self.context_id,
                            tenant=self._record.tenant,
                            priority=self._host.entry.priority,
                            deadline=self.patience.deadline(),
                        ),
                    )
                    span.usage(
                        input_tokens=result.tokens_in,
                        output_tokens=result.tokens_out,
                        cached_tokens=result.cached_tokens,
                    )
                    span.answered(model=result.model)
                    span.content("gen_ai.output.messages", result.to_json())
                answer = result.to_json()
                spent = _usage_of(answer, step.started_at, time())
                await self._effects.finish(step, answer, also=self._bill(spent))
        kept = step.result
        self._purse.charge(_usage_of(kept, step.started_at, step.ended_at))
        self._models[kept["model"]] = kept["tiers"]
        return kept

    # -- tools -----------------------------------------------------------------

    async def call_tool(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        tool = self._host.require_tool(name)
        asked = {"tool": name, "arguments": dict(arguments)}
        key = self._effects.key("tool", asked)
        step = self._effects.known(key)
        if step is None or not step.finished:
            step = await self._call_tool_once(tool, step, key, asked)
        self._purse.charge(Usage(calls=1, seconds=_seconds(step.started_at, step.ended_at)))
        return ToolResult(**step.result)

    async def _call_tool_once(
        self, tool: ToolSpec, step: StepRecord | None, key: str, asked: dict[str, Any]
    ) -> StepRecord:
        name, arguments = tool.name, asked["arguments"]
        await self._permit(Action("tool", self.agent, name, arguments, **self._circumstances()))
        self._require_budget(f"call {name}")
        await self._begin_work()
        why = ""
        if step is None:
            step = self._effects.new(key, "tool", name, {**asked, "tries": 0})
        else:
            why = "this process ended while the call was under way"
        left = _TOOL_TRIES
        while True:
            if why:
                await self._decide_unknown(name, why, step.request["tries"])
            step.request["tries"] += 1
            await self._effects.begin(step)
            try:
                async with self.patience.effect():
                    result = await self._reach_tool(step, name, arguments)
                break
            except ToolServerError as error:
                left -= 1
                if not left:
                    raise
                why = str(error) if error.facts.get("sent", True) else ""
        await self._effects.finish(
            step,
            {
                "content": result.content,
                "structured": result.structured,
                "is_error": result.is_error,
            },
            is_error=result.is_error,
            also=self._bill(Usage(calls=1, seconds=_seconds(step.started_at, time()))),
        )
        return step

    async def _reach_tool(
        self, step: StepRecord, name: str, arguments: Mapping[str, Any]
    ) -> ToolResult:
        key = self._effects.idempotency_key(step)
        with self._host.telemetry.tool(
            name,
            parent=self._parent,
            call_id=key,
            task_id=self.task_id,
            conversation_id=self.context_id,
            arguments=dict(arguments),
        ) as span:
            step.span_id = f"{span.span_id:016x}"
            result = await self._host.toolbox.call(
                name,
                arguments,
                idempotency_key=key,
                traceparent=span.traceparent,
                call_meta={CALLER_KEY: self._caller()},
            )
            if result.is_error:
                span.set("error.type", "tool_error")
            span.content("gen_ai.tool.call.result", result.content)
            return result

    async def _decide_unknown(self, name: str, why: str, tries: int) -> None:
        """Decide about a call whose outcome is unknown; return when it may be made again.

        tries: how often it was made, so that every repetition is a question of its own.
        """
        verdict = self._host.on_unknown(name)
        if verdict == "repeat":
            return
        if verdict == "fail":
            raise OutcomeUnknownError(
                f"it is unknown whether {name} took effect ({why}); the manifest says to fail then:"
                " look there, and start the task anew if it did not",
                tool=name,
            )
        answer = await self.ask_person(
            Question(
                f"It is unknown whether {name} took effect ({why}). Call it again?",
                options=("repeat", "fail"),
                context={"tool": name, "tries": tries},
            )
        )
        if answer.text.strip() != "repeat":
            raise OutcomeUnknownError(
                f"it is unknown whether {name} took effect, and a person said not to repeat it",
                tool=name,
            )

    # -- peers -----------------------------------------------------------------

    async def ask(self, peer: str, content: Content, *, dialogue: str = "") -> Task:
        """As `Turn.ask`; `dialogue` names a context that several asks of this context share."""
        step = await self._send(peer, content, dialogue=dialogue, wait=True)
        task = Task.parse(step.result)
        self._purse.charge_reported((task.metadata or {}).get(USAGE_KEY), peer)
        return task

    async def tell(self, peer: str, content: Content) -> str:
        step = await self._send(peer, content, dialogue="", wait=False)
        return str(step.result["id"])

    async def _send(self, peer: str, content: Content, *, dialogue: str, wait: bool) -> StepRecord:
        service = self._host.require_peer(peer)
        full = self._host.network.full_name(peer)
        chain = (*self._record.chain, self._host.full_name)
        if wait and full in chain:
            raise CallCycleError(
                f"{self.agent} cannot ask {peer}: {' asks '.join((*chain, full))} would wait for"
                " itself for ever; use tell, or let another agent answer",
                chain=chain,
                peer=peer,
            )
        body = _message_of(content)
        asked = {
            "peer": peer,
            "parts": [part.wire() for part in body.parts],
            "dialogue": dialogue,
        }
        key = self._effects.key("ask" if wait else "tell", asked)
        step = self._effects.known(key)
        if step is not None and step.finished:
            return step
        facts = body.data if isinstance(body.data, Mapping) else {"text": body.text}
        await self._permit(Action("message", self.agent, peer, facts, **self._circumstances()))
        self._require_budget(f"ask {peer}")
        await self._begin_work()
        step = self._effects.new(key, "ask" if wait else "tell", peer, asked)
        identity = sha256(f"{self.task_id}/{key}".encode()).hexdigest()
        thread = f"{self.context_id}/{peer}/{dialogue}" if dialogue else f"{self.task_id}/{key}"
        message = body.model_copy(
            update={
                "message_id": identity[:32],
                "context_id": sha256(thread.encode()).hexdigest()[:32],
                "task_id": "",
                "reference_task_ids": (self.task_id,),
            }
        )
        async with self.patience.effect():
            with self._host.telemetry.a2a(
                "SendMessage",
                server=False,
                parent=self._parent,
                message_id=message.message_id,
                conversation_id=message.context_id,
                task_id=self.task_id,
                agent=peer,
            ) as span:
                step.span_id = f"{span.span_id:016x}"
                call = Call(
                    principal=f"agent:{self._host.full_name}",
                    tenant=self._record.tenant,
                    deadline=self.patience.deadline(),
                    budget=self._purse.left(),
                    chain=chain if wait else (),
                    traceparent=span.traceparent,
                    capabilities=self._capabilities,
                )
                request = SendMessageRequest(
                    message=message,
                    configuration=SendMessageConfiguration(return_immediately=True),
                )
                response = await send_patiently(service, request, call)
                task = response.task or _task_of(response.message, message)
                if wait:
                    task = await self._watch(service, peer, task, call)
                span.set("a2a.task.state", task.status.state.value)
        await self._effects.finish(step, task.wire())
        return step

    async def _watch(self, service: Any, peer: str, task: Task, call: Call) -> Task:
        """Follow a peer's task to its end; stand still while it waits for a person."""
        # The turn's own clock decides, since it stands still when the peer's does.
        reading = Call(principal=call.principal, tenant=call.tenant, traceparent=call.traceparent)
        folded: Task | None = None
        ticket: int | None = None
        try:
            async for numbered in follow(service, task.id, reading):
                folded = apply_event(folded, numbered.event)
                waits = _waits_for_person(numbered.event)
                if waits and ticket is None:
                    ticket = await self.patience.begin_waiting(task.id)
                elif waits is False and ticket is not None:
                    await self.patience.end_waiting(ticket)
                    ticket = None
        except anyio.get_cancelled_exc_class():
            if self._record.cancel_requested:
                await self._host.network.cancel_quietly(service, task.id, reading)
            raise
        assert folded is not None, "a log begins with its task"
        return folded

    # -- persons ---------------------------------------------------------------

    async def ask_person(self, question: Question) -> Message:
        asked = {
            "text": question.text,
            "options": list(question.options),
            "context": dict(question.context),
        }
        key = self._effects.key("person", asked)
        async with self.patience.effect(), self._asking:
            given = self._record.inputs().get(key)
            if given is None:
                given = await self._wait_for_input(key, asked)
        step = self._effects.known(key)
        if step is None or not step.finished:
            step = self._effects.new(key, "person", "person", asked)
            await self._effects.finish(step, {"text": given.text, "data": given.data})
        return given

    async def _wait_for_input(self, key: str, asked: dict[str, Any]) -> Message:
        if key not in self._emitted:
            self._emitted.add(key)
            await self._status(
                TaskState.INPUT_REQUIRED,
                agent_message(asked["text"], task_id=self.task_id, context_id=self.context_id),
                {STEP_KEY: key, QUESTION_KEY: asked},
            )
        ticket = await self.patience.begin_waiting("person")
        while (given := self._record.inputs().get(key)) is None:
            await self._record.wait_beyond(self._record.last_sequence)
        await self.patience.end_waiting(ticket)
        return given

    # -- memory and checks -----------------------------------------------------

    async def recall(
        self, query: str, *, family: str | None = None, limit: int = 4
    ) -> Sequence[Hit]:
        step = await self._once(
            "recall",
            family or self._host.family,
            {"query": query, "family": family, "limit": limit},
            partial(self._search, query, family, limit),
        )
        return () if self.withholds else tuple(Hit.parse(each) for each in step.result)

    async def use(self, *hits: Hit) -> None:
        async def nothing(_: StepRecord) -> None:
            return None

        packs = [hit.pack.id for hit in hits]
        await self._once("use", self._host.family, {"packs": packs}, nothing)

    @property
    def withholds(self) -> bool:
        """Whether this task is one of those held out: drawn by its id, so a replay agrees."""
        share = self._host.entry.memory.holdout
        drawn = int.from_bytes(sha256(self.task_id.encode()).digest()[:8], "big") / 2**64
        return drawn < share

    async def _search(
        self, query: str, family: str | None, limit: int, step: StepRecord
    ) -> list[dict[str, Any]]:
        with self._host.telemetry.memory(
            "search_memory",
            parent=self._parent,
            query=query,
            task_id=self.task_id,
            conversation_id=self.context_id,
        ) as span:
            step.span_id = f"{span.span_id:016x}"
            memory = self._host.entry.memory
            hits = await self._host.network.packs.recall(
                query,
                tenant=self._record.tenant,
                family=family,
                request=Request("recall", self._record.principal, memory.purpose),
                limit=limit,
            )
            span.set("gen_ai.memory.record.count", len(hits))
            return [hit.wire() for hit in hits]

    async def check(
        self, spec: CheckSpec, subject: Any, *, judges: Literal["result", "input"] = "result"
    ) -> Verdict:
        step = await self._once(
            "check",
            spec.name,
            {
                "name": spec.name,
                "lang": spec.lang,
                "code": spec.code,
                "subject": subject,
                "judges": judges,
            },
            partial(self._run_check, spec, subject),
        )
        return Verdict.parse(step.result)

    async def _run_check(self, spec: CheckSpec, subject: Any, _: StepRecord) -> dict[str, Any]:
        return (await run_check(spec, subject, checker=self._host.network.checker)).wire()

    @asynccontextmanager
    async def phase(self, name: Literal["plan"]) -> AsyncIterator[None]:
        with self._host.telemetry.plan(
            self.agent,
            parent=self._parent,
            conversation_id=self.context_id,
            task_id=self.task_id,
        ) as span:
            outer, self._parent = self._parent, span.traceparent
            try:
                yield
            finally:
                self._parent = outer

    async def declare(self, steps: Sequence[str]) -> None:
        actions = [
            f"execute_tool {name}" if name in self.tools else f"SendMessage {name}"
            for name in steps
        ]
        key = self._effects.key("declare", actions)
        self._span.set("plan.steps", actions)
        if key not in self._emitted:
            self._emitted.add(key)
            told = self._say(f"plans {', '.join(steps)}")
            await self._status(TaskState.WORKING, told, {STEP_KEY: key, PLAN_KEY: actions})

    async def note(self, why: str, *, about: str = "") -> None:
        async def nothing(_: StepRecord) -> None:
            return None

        await self._once("note", "why", {"why": why, "about": about}, nothing)

    async def _once(
        self,
        kind: str,
        name: str,
        asked: dict[str, Any],
        perform: Callable[[StepRecord], Awaitable[Any]],
    ) -> StepRecord:
        key = self._effects.key(kind, asked)
        step = self._effects.known(key)
        if step is None or not step.finished:
            step = self._effects.new(key, kind, name, asked)
            async with self.patience.effect():
                result = await perform(step)
            await self._effects.finish(step, result)
        return step

    # -- outputs and ends ------------------------------------------------------

    async def report(self, text: str) -> None:
        key = self._effects.key("report", text)
        if key not in self._emitted:
            self._emitted.add(key)
            await self._emit(self._update(TaskState.WORKING, self._say(text), {STEP_KEY: key}))

    async def add_artifact(self, artifact: Artifact) -> None:
        key = self._effects.key("artifact", artifact.wire())
        if key in self._emitted:
            return
        self._emitted.add(key)
        marks = {**(artifact.metadata or {}), **self._marks()}
        await self._emit(
            *self._first_words(),
            StreamResponse(
                artifact_update=TaskArtifactUpdateEvent(
                    task_id=self.task_id,
                    context_id=self.context_id,
                    artifact=artifact.model_copy(update={"metadata": marks or None}),
                    last_chunk=True,
                    metadata={STEP_KEY: key},
                )
            ),
        )

    async def complete(self, message: Message | str | None = None) -> None:
        if isinstance(message, str):
            message = self._say(message)
        await self._end(TaskState.COMPLETED, message)

    async def fail(self, reason: str) -> None:
        await self._end(TaskState.FAILED, self._say(reason))

    async def reject(self, reason: str) -> None:
        await self._end(TaskState.REJECTED, self._say(reason))

    async def _end(
        self,
        state: TaskState,
        message: Message | None,
        facts: Mapping[str, Any] | None = None,
        also: Callable[[Any], Any] | None = None,
    ) -> None:
        if self.ended:
            raise NetworkError(
                f"task {self.task_id} of {self.agent} has already ended as {self._record.now.name};"
                " a turn ends once",
                task_id=self.task_id,
            )
        self.ended = True
        metadata = {**(facts or {}), **self._marks()}
        if self._purse.spent != Usage():
            metadata[USAGE_KEY] = self._purse.report()
        pack = await self._host.pack_of(self, self._record, state, message)
        await self._status(state, message, metadata, also=_both(pack, also))
        if pack is not None:
            self._host.network.packs.wake()

    async def end_with(
        self,
        state: TaskState,
        reason: str,
        facts: Mapping[str, Any],
        *,
        also: Callable[[Any], Any] | None = None,
    ) -> None:
        """End the task for the host: a crash, a deadline, an error of the agent."""
        if not self.ended:
            await self._end(state, self._say(reason), facts, also)

    def halt(self) -> None:
        """End the turn where it stands; its task stays in the journal."""
        self.halted = True
        self.patience.scope.cancel()

    # -- how it is done --------------------------------------------------------

    async def _permit(self, action: Action) -> None:
        if not self._capabilities.permits(action.target):
            await self._deny(
                action, f"those it works for may not: {' asks '.join(self._way())}", "capabilities"
            )
        decision = await self._host.policy.decide(action)
        if decision.verb == "ask":
            answer = await self.ask_person(
                Question(
                    f"{self.agent} wants to use {action.target}: {decision.reason}",
                    options=(_APPROVE, _REFUSE),
                    context=dict(action.arguments),
                )
            )
            if answer.text.strip() == _APPROVE:
                return
            reason = "a person refused it"
        elif decision.allowed:
            return
        else:
            reason = decision.reason
        await self._deny(action, reason, decision.rule)

    def _require_budget(self, what: str) -> None:
        """Refuse another effect when the task's budget is spent, or its tenant's."""
        self._purse.require(what)
        self._host.network.tenants.require(self._record.tenant, what)

    def _bill(self, usage: Usage) -> Callable[[Any], Any] | None:
        """What counts a usage against the tenant's window, with the step that it is of."""
        return self._host.network.tenants.bill(self._record.tenant, self.agent, usage)

    def _caller(self) -> dict[str, Any]:
        """For whom this turn works, as a tool server is told that is to know it."""
        return {
            "principal": self._record.principal,
            "tenant": self._record.tenant,
            "agent": self._host.full_name,
            "task": self.task_id,
            "chain": list(self._record.chain),
        }

    def _way(self) -> tuple[str, ...]:
        """Who called whom until this agent was asked."""
        return (self._record.principal, *self._record.chain, self._host.full_name)

    async def _deny(self, action: Action, reason: str, rule: str) -> NoReturn:
        await self._host.network.audit.note(
            AuditEntry(
                "denied",
                principal=self._record.principal,
                tenant=self._record.tenant,
                agent=self._host.full_name,
                target=action.target,
                chain=self._record.chain,
                reason=f"{rule}: {reason}",
            )
        )
        raise PolicyDeniedError(
            f"{self.agent} may not use {action.target}: {reason}",
            rule=rule,
            target=action.target,
            agent=self.agent,
        )

    def _circumstances(self) -> dict[str, Any]:
        # Every message, tool result and pack comes from outside the agent, and an
        # agent acts on nothing else: so all its actions count as tainted.
        return {"tainted": True, "chain": self._record.chain, "task_id": self.task_id}

    def _marks(self) -> dict[str, Any]:
        return {MODEL_KEY: dict(self._models)} if self._models else {}

    def _say(self, text: str) -> Message:
        return agent_message(text, task_id=self.task_id, context_id=self.context_id)

    async def _begin_work(self) -> None:
        """Say WORKING before the first slow effect; a quick task says it with its first words."""
        if first := self._first_words():
            await self._append(*first)

    def _first_words(self) -> tuple[StreamResponse, ...]:
        """WORKING, when the task has not said it yet."""
        if self._record.now is not TaskState.SUBMITTED:
            return ()
        return (self._update(TaskState.WORKING, None, None),)

    async def _status(
        self,
        state: TaskState,
        message: Message | None,
        metadata: Mapping[str, Any] | None,
        *,
        also: Callable[[Any], Any] | None = None,
    ) -> None:
        first = () if state is TaskState.WORKING else self._first_words()
        await self._append(*first, self._update(state, message, metadata), also=also)

    def _update(
        self, state: TaskState, message: Message | None, metadata: Mapping[str, Any] | None
    ) -> StreamResponse:
        return StreamResponse(
            status_update=TaskStatusUpdateEvent(
                task_id=self.task_id,
                context_id=self.context_id,
                status=TaskStatus(state=state, message=message, timestamp=datetime.now(UTC)),
                metadata=dict(metadata) if metadata else None,
            )
        )

    async def _append(
        self, *events: StreamResponse, also: Callable[[Any], Any] | None = None
    ) -> None:
        await self._host.network.journal.append(self._record, *events, also=also)

    async def _emit(self, *events: StreamResponse) -> None:
        await self._host.network.journal.emit(self._record, *events)

    async def _on_park(self, what: str) -> None:
        if self._record.park != what and what != "person":
            await self._status(TaskState.WORKING, None, {WAITING_KEY: what})
        await self._host.park(self._record)

    async def _on_go_on(self) -> None:
        await self._host.go_on(self._record)
        if self._record.park:
            await self._status(TaskState.WORKING, None, {WAITING_KEY: ""})


def _seconds(began: float, ended: float | None) -> float:
    return max(0.0, (ended or began) - began)


def _usage_of(answer: Mapping[str, Any], began: float, ended: float | None) -> Usage:
    """What one answer of a model cost."""
    return Usage(
        answer["tokens_in"], answer["tokens_out"], 1, answer["usd"], _seconds(began, ended)
    )


def _both(
    one: Callable[[Any], Any] | None, other: Callable[[Any], Any] | None
) -> Callable[[Any], Any] | None:
    """Both, in one transaction; None where there is neither."""
    if one is None or other is None:
        return one or other

    def unit(connection: Any) -> None:
        one(connection)
        other(connection)

    return unit


def _message_of(content: Content) -> Message:
    return content if isinstance(content, Message) else user_message(content)


def _task_of(answer: Message | None, sent: Message) -> Task:
    """A peer that answers with a message alone has done its task at once."""
    return Task(
        id=sent.message_id,
        context_id=sent.context_id,
        status=TaskStatus(state=TaskState.COMPLETED, message=answer),
    )


def _waits_for_person(event: StreamResponse) -> bool | None:
    """Whether a task waits for a person after the event; None when the event does not say."""
    update = event.status_update
    if update is None:
        return None
    if is_interrupted(update.status.state):
        return True
    return bool((update.metadata or {}).get(WAITING_KEY))
