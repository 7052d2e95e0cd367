"""A2A's operations on one hosted agent: the near end of every link."""

from collections.abc import Mapping
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
from repertory.xp_store import StoreError

from .audit import AuditEntry
from .dead_letters import inherit, successor_of
from .errors import NetworkClosedError
from .journal import question_of
from .listing import list_of, trimmed
from .record import INPUT_KEY, STEP_KEY, TaskRecord
from .tenants import counts

if TYPE_CHECKING:
    from .host import AgentHost


class LocalService:
    """Implements `repertory.protocol.AgentService` for an agent of this process."""

    def __init__(self, host: "AgentHost") -> None:
        self._host = host

    async def get_agent_card(self, call: Call) -> AgentCard:
        return self._host.network.card_of(self._host.name)

    # -- messages --------------------------------------------------------------

    async def send_message(self, request: SendMessageRequest, call: Call) -> SendMessageResponse:
        message = request.message
        if message.task_id:
            record = await self._continue(message, call)
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
        host, network = self._host, self._host.network
        if host.full_name in call.chain:
            raise CallCycleError(
                f"{host.name} already waits for this call: {' asks '.join(call.chain)} asks"
                f" {host.full_name}",
                chain=call.chain,
            )
        if (left := call.seconds_left()) is not None and left <= 0:
            raise DeadlineExceededError(f"the deadline of the call to {host.name} has passed")
        if not message.message_id:
            raise InvalidParamsError("message.messageId is empty; give every message its own id")
        if not message.parts:
            raise InvalidParamsError("message.parts is empty; a message needs at least one part")
        await self._permit(message, call)
        patience = host.entry.patience
        record = TaskRecord(
            id=new_id(),
            agent=host.name,
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
        network.stops.require(host.name, call.tenant)
        if counts(record):
            network.tenants.admit(
                call.tenant,
                lambda: network.waiting_of(call.tenant),
                host.mailbox.retry_after(),
            )
        mailbox = host.mailbox
        await self._wait_for_room(call, record)

        def settled(earlier: TaskRecord | None) -> None:
            if earlier is None:
                host.take(network.adopt(record))
            else:
                mailbox.give_back_room()

        try:
            earlier = await network.journal.accept(
                record, _submitted(record, network.now()), settled
            )
        except StoreError:
            mailbox.give_back_room()
            raise
        if earlier is not None:
            return network.adopt(earlier)
        await host.fail_if_down(record)
        return record

    async def _wait_for_room(self, call: Call, record: TaskRecord) -> None:
        """Be promised room, or tell a caller from outside that there is none.

        An agent of this network waits as long as its own task may: it holds a place
        of work, and those are bounded, so what waits here is bounded too.
        """
        host = self._host
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
        host, network = self._host, self._host.network
        network.stops.require(host.name, earlier.tenant)
        record = successor_of(earlier)
        await host.mailbox.wait_for_room(earlier.tenant)

        def settled(known: TaskRecord | None) -> None:
            if known is None:
                network.resumed.add(record.id)
                host.take(network.adopt(record))
            else:
                host.mailbox.give_back_room()

        try:
            known = await network.journal.accept(
                record,
                _submitted(record, network.now()),
                settled,
                also=inherit(earlier.id, record.id),
            )
        except StoreError:
            host.mailbox.give_back_room()
            raise
        if known is not None:
            return network.adopt(known)
        await host.fail_if_down(record)
        return record

    async def _permit(self, message: Message, call: Call) -> None:
        """Refuse a caller that may not ask this agent, or not for the skill that it names."""
        skill = (message.metadata or {}).get(SKILL_KEY)
        wanted = f"{self._host.name}/{skill}" if isinstance(skill, str) else self._host.name
        try:
            call.capabilities.require(wanted, principal=call.principal, chain=call.chain)
        except PermissionDeniedError as error:
            await self._host.network.audit.note(
                AuditEntry(
                    "denied",
                    principal=call.principal,
                    tenant=call.tenant,
                    agent=self._host.full_name,
                    target=wanted,
                    chain=call.chain,
                    reason=error.sentence,
                )
            )
            raise

    async def _continue(self, message: Message, call: Call) -> TaskRecord:
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
        await self._host.network.journal.append(
            record,
            StreamResponse(
                status_update=TaskStatusUpdateEvent(
                    task_id=record.id,
                    context_id=record.context_id,
                    status=TaskStatus(state=TaskState.WORKING, timestamp=self._host.network.now()),
                    metadata=metadata,
                )
            ),
        )
        self._host.network.moved(record)
        return record

    # -- tasks -----------------------------------------------------------------

    async def get_task(self, request: GetTaskRequest, call: Call) -> Task:
        record = await self._find(request.id, call)
        return trimmed(record.snapshot(), request.history_length)

    async def list_tasks(self, request: ListTasksRequest, call: Call) -> ListTasksResponse:
        async def load(task_id: str) -> TaskRecord:
            return await self._find(task_id, call)

        return await list_of(self._host.network.journal, self._host.name, request, call, load)

    async def cancel_task(self, request: CancelTaskRequest, call: Call) -> Task:
        record = await self._find(request.id, call)
        if is_terminal(record.now):
            raise TaskNotCancelableError(
                f"task {record.id} has already ended as {record.now.name}", task_id=record.id
            )
        await self._host.cancel(record)
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
        record = await self._host.network.find_for(task_id, self._host.name, call)
        if record is None:
            raise TaskNotFoundError(f"no task {task_id!r} at {self._host.name}", task_id=task_id)
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
