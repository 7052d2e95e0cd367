"""A2A's operations on one of the network's agents: the near end of every link.

Any process over the journal answers them. What writes to a task is done here when the
task is this process's, and else ordered of the one that has it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio

from repertory.protocol import (
    SKILL_KEY,
    AgentCard,
    BusyError,
    Call,
    CallCycleError,
    CancelTaskRequest,
    DeadlineExceededError,
    EventPage,
    GetTaskRequest,
    InvalidParamsError,
    ListTasksRequest,
    ListTasksResponse,
    Message,
    NetworkClosedError,
    PermissionDeniedError,
    SendMessageRequest,
    SendMessageResponse,
    StreamResponse,
    Task,
    TaskNotCancelableError,
    TaskNotFoundError,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
    UnsupportedOperationError,
    is_interrupted,
    is_terminal,
    new_id,
)
from repertory.xp_store import Connection, StoreError, StoreFullError

from .audit import AuditEntry
from .dead_letters import inherit, successor_of
from .journal import StaleTaskError, question_of
from .listing import list_of, trimmed
from .orders import CANCEL, SEND
from .record import INPUT_KEY, STEP_KEY, TaskRecord
from .tenants import counts

if TYPE_CHECKING:
    from .host import AgentHost
    from .replica import Replica


class JournalService:
    """Implements `repertory.protocol.AgentService` for an agent of this network."""

    def __init__(self, network: "Replica", agent: str) -> None:
        self._network = network
        self._name = agent
        self._full_name = network.full_name(agent)
        self._entry = network.manifest.agents[agent]

    async def get_agent_card(self, call: Call) -> AgentCard:
        return self._network.card_of(self._name)

    # -- messages --------------------------------------------------------------

    async def send_message(self, request: SendMessageRequest, call: Call) -> SendMessageResponse:
        message = request.message
        if message.task_id:
            record = await self._continue(request, call)
        else:
            record = await self._accept(message, call)
        configuration = request.configuration
        if configuration is None or not configuration.return_immediately:
            await self._settled(record)
        length = configuration.history_length if configuration is not None else None
        return SendMessageResponse(task=trimmed(record.snapshot(), length))

    async def _settled(self, record: TaskRecord) -> None:
        """Wait until the task has ended or waits for someone."""
        while not record.ended and not is_interrupted(record.now):
            await record.wait_beyond(record.last_sequence)

    async def _accept(self, message: Message, call: Call) -> TaskRecord:
        network = self._network
        if self._full_name in call.chain:
            raise CallCycleError(
                f"{self._name} already waits for this call: {' asks '.join(call.chain)} asks"
                f" {self._full_name}",
                chain=call.chain,
            )
        if (left := call.seconds_left()) is not None and left <= 0:
            raise DeadlineExceededError(f"the deadline of the call to {self._name} has passed")
        if not message.message_id:
            raise InvalidParamsError("message.messageId is empty; give every message its own id")
        if not message.parts:
            raise InvalidParamsError("message.parts is empty; a message needs at least one part")
        await self._permit(message, call)
        patience = self._entry.patience
        record = TaskRecord(
            id=new_id(),
            agent=self._name,
            tenant=call.tenant,
            principal=call.principal,
            context_id=message.context_id or new_id(),
            message=message,
            parent_task=message.reference_task_ids[0] if message.reference_task_ids else "",
            seconds=patience if left is None else min(left, patience),
            budget=call.budget,
            chain=call.chain,
            traceparent=call.traceparent,
            capabilities=call.capabilities,
        )
        if not network.takes_work(call.principal):
            raise NetworkClosedError(
                f"network {network.manifest.network} is draining and takes no new work",
                network=network.manifest.network,
            )
        host = network.hosts.get(self._name)
        if host is None:
            if counts(record):
                await network.admit(call.tenant)
            return await self._leave(record)
        network.stops.require(self._name, call.tenant)
        try:
            await self._admit(host, call, record)
        except BusyError:
            # There is no room for a new message; whether this is one is another question.
            earlier = await network.journal.earlier(record)
            if earlier is None:
                raise
            return network.meet(earlier)
        return await self._take(host, record)

    async def _admit(self, host: "AgentHost", call: Call, record: TaskRecord) -> None:
        """Be promised room within the bounds of the tenant and of the agent."""
        if counts(record):
            await self._network.admit(call.tenant, host.mailbox.retry_after())
        await self._wait_for_room(host, call, record)

    async def _leave(
        self, record: TaskRecord, also: Callable[[Connection], Any] | None = None
    ) -> TaskRecord:
        """Accept a message for whichever process runs the agent."""
        network = self._network
        await network.require_runner(self._name)
        await network.stops.refresh(network.journal.database)
        network.stops.require(self._name, record.tenant)
        await network.require_room(self._name)
        earlier = await network.journal.accept(
            record,
            _submitted(record, network.now()),
            lambda earlier, *_: network.told_unclaimed() if earlier is None else None,
            claim=False,
            also=also,
        )
        return network.meet(record if earlier is None else earlier)

    async def _take(
        self,
        host: "AgentHost",
        record: TaskRecord,
        also: Callable[[Connection], Any] | None = None,
    ) -> TaskRecord:
        """Accept a message that this process works on when nothing before it is elsewhere.

        Its place in the mailbox was promised. also: gives it steps, in the same commit.
        """
        network, mailbox = self._network, host.mailbox

        def settled(earlier: TaskRecord | None, claimed: bool, before: Sequence[str]) -> None:
            if claimed and not host.network.works_behind(host.name, record.id, before):
                claimed = False
            if claimed:
                if also is not None:
                    network.resumed.add(record.id)
                host.take(network.adopt(record))
                return
            mailbox.give_back_room()
            if earlier is None:
                network.meet(record)
                network.told_unclaimed()

        try:
            earlier = await network.journal.accept(
                record, _submitted(record, network.now()), settled, also=also
            )
        except StoreError as error:
            mailbox.give_back_room()
            if not isinstance(error, StoreFullError):
                # Where the connection broke, it may have been accepted all the same.
                host.network.doubt()
            raise
        if earlier is not None:
            return network.meet(earlier)
        await host.fail_if_down(record)
        return record

    async def _wait_for_room(self, host: "AgentHost", call: Call, record: TaskRecord) -> None:
        """Be promised room, or tell a caller from outside that there is none.

        An agent of this network waits as long as its own task may: it holds a place
        of work, and those are bounded, so what waits here is bounded too.
        """
        if call.principal.startswith("agent:"):
            await host.mailbox.wait_for_room(call.tenant)
            return
        patience = min(host.entry.busy_after, record.seconds or host.entry.busy_after)
        if not host.mailbox.crowded:
            with anyio.move_on_after(patience) as scope:
                await host.mailbox.wait_for_room(call.tenant)
            if not scope.cancelled_caught:
                return
        raise BusyError(
            f"{host.name} has {host.mailbox.size} messages waiting and room for no more now; send"
            " the same message again later",
            agent=host.name,
            retry_after=host.mailbox.retry_after(),
        )

    async def retry(self, earlier: TaskRecord) -> TaskRecord:
        """Accept the message of a task that ended badly again, with what that one had done.

        Raises:
            StoppedError: The agent or the tenant was stopped.
        """
        network = self._network
        record = successor_of(earlier)
        also = inherit(earlier.id, record.id)
        host = network.hosts.get(self._name)
        if host is None:
            return await self._leave(record, also)
        network.stops.require(self._name, earlier.tenant)
        await host.mailbox.wait_for_room(earlier.tenant)
        return await self._take(host, record, also)

    async def _permit(self, message: Message, call: Call) -> None:
        """Refuse a caller that may not ask this agent, or not for the skill that it names."""
        skill = (message.metadata or {}).get(SKILL_KEY)
        wanted = f"{self._name}/{skill}" if isinstance(skill, str) else self._name
        try:
            call.capabilities.require(wanted, principal=call.principal, chain=call.chain)
        except PermissionDeniedError as error:
            await self._network.audit.note(
                AuditEntry(
                    "denied",
                    principal=call.principal,
                    tenant=call.tenant,
                    agent=self._full_name,
                    target=wanted,
                    chain=call.chain,
                    reason=error.sentence,
                )
            )
            raise

    async def _continue(self, request: SendMessageRequest, call: Call) -> TaskRecord:
        message = request.message
        record = await self._find(message.task_id, call)
        if message.context_id and message.context_id != record.context_id:
            raise InvalidParamsError(
                f"task {record.id} is in context {record.context_id!r}, not {message.context_id!r}",
                task_id=record.id,
            )
        if any(given.message_id == message.message_id for given in record.inputs().values()):
            return record
        if is_terminal(record.now):
            raise UnsupportedOperationError(
                f"task {record.id} has ended as {record.now.name}; send a new message without"
                " taskId, in the same context, to go on",
                task_id=record.id,
                state=record.now.name,
            )
        if not self._network.works_on(record):
            await self._network.order(SEND, record, request.wire(), call)
            return record
        question = question_of(record)
        options = tuple((question or {}).get("options", ()))
        if options and message.text.strip() not in options:
            raise InvalidParamsError(
                f"task {record.id} asks for one of {', '.join(options)}; given: {message.text!r}",
                task_id=record.id,
                options=options,
            )
        metadata: dict[str, Any] = {INPUT_KEY: message.wire()}
        if question is not None:
            metadata[STEP_KEY] = _open_step(record)
        try:
            await self._network.journal.append(
                record,
                StreamResponse(
                    status_update=TaskStatusUpdateEvent(
                        task_id=record.id,
                        context_id=record.context_id,
                        status=TaskStatus(state=TaskState.WORKING, timestamp=self._network.now()),
                        metadata=metadata,
                    )
                ),
            )
        except StaleTaskError:
            # Taken over while this process slept; the other has the question too.
            await self._network.lose(record)
            return await self._continue(request, call)
        self._network.moved(record)
        return record

    # -- tasks -----------------------------------------------------------------

    async def get_task(self, request: GetTaskRequest, call: Call) -> Task:
        record = await self._find(request.id, call)
        return trimmed(record.snapshot(), request.history_length)

    async def list_tasks(self, request: ListTasksRequest, call: Call) -> ListTasksResponse:
        async def load(task_id: str) -> TaskRecord:
            return await self._find(task_id, call)

        return await list_of(self._network.journal, self._name, request, call, load)

    async def cancel_task(self, request: CancelTaskRequest, call: Call) -> Task:
        record = await self._find(request.id, call)
        if is_terminal(record.now):
            raise TaskNotCancelableError(
                f"task {record.id} has already ended as {record.now.name}", task_id=record.id
            )
        host = self._network.hosts.get(self._name)
        if host is None or not self._network.works_on(record):
            return await self._network.order(CANCEL, record, request.wire(), call)
        await host.cancel(record)
        return record.snapshot()

    async def read_events(
        self, task_id: str, after_sequence: int, call: Call, *, wait: float = 0.0, limit: int = 256
    ) -> EventPage:
        record = await self._find(task_id, call)
        if wait > 0 and record.last_sequence <= after_sequence and not record.ended:
            with anyio.move_on_after(wait):
                await record.wait_beyond(after_sequence)
        return record.page(after_sequence, max(1, limit))

    async def _find(self, task_id: str, call: Call) -> TaskRecord:
        record = await self._network.find_for(task_id, self._name, call)
        if record is None:
            raise TaskNotFoundError(f"no task {task_id!r} at {self._name}", task_id=task_id)
        return record


def _submitted(record: TaskRecord, now: Any) -> StreamResponse:
    message = record.message.model_copy(
        update={"task_id": record.id, "context_id": record.context_id}
    )
    return StreamResponse(
        task=Task(
            id=record.id,
            context_id=record.context_id,
            status=TaskStatus(state=TaskState.SUBMITTED, timestamp=now),
            history=(message,),
        )
    )


def _open_step(record: TaskRecord) -> str:
    for numbered in reversed(record.events):
        update = numbered.event.status_update
        if update is not None and update.status.state is TaskState.INPUT_REQUIRED:
            metadata: Mapping[str, Any] = update.metadata or {}
            return str(metadata.get(STEP_KEY, ""))
    return ""
