"""One agent of the network: its mailbox, its turns, and what the manifest gives it.

A host keeps what was accepted and has not ended, so that a restart of its agent,
or of the process, takes it up again. Who is restarted is `supervisor`'s to
decide and `network`'s to do. An agent that has had no work for a while sleeps: it
has no task and no mailbox then, and is woken by what arrives for it.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import anyio
from anyio.abc import TaskGroup
from anyio.abc import TaskStatus as Started
from anyio.lowlevel import checkpoint_if_cancelled

from repertory.agents import (
    Agent,
    AgentNotFoundError,
    ChatModel,
    ModelUnavailableError,
    ToolNotFoundError,
    ToolSpec,
    words_of,
)
from repertory.protocol import (
    AgentCard,
    AgentService,
    Message,
    RepertoryError,
    StreamResponse,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
    agent_message,
)
from repertory.xp_store import (
    DraftInvalidError,
    PackForgottenError,
    StoreAwayError,
    StoreError,
    StoreFullError,
    crash_point,
)

from .dead_letters import bury
from .errors import did_you_mean, listed
from .journal import NotKeptError, StepRecord
from .mailbox import Mailbox, context_of
from .manifest import AgentEntry
from .policy import Action, Policy
from .record import REASON_KEY, TaskRecord
from .recorder import pack_draft
from .stops import Stop
from .turn import RunningTurn

if TYPE_CHECKING:
    from .live_span import Span
    from .network import Network
    from .telemetry import Telemetry
    from .tools import ToolBox

_log = logging.getLogger(__name__)
_NO_TOOLS: Mapping[str, ToolSpec] = {}
# How long an agent without work stays awake.
_AWAKE_SECONDS = 10.0
# How long a turn waits that a full disk has stopped, before it is begun again.
_FULL_SECONDS = 0.5
# How often a store that is away is asked again before an agent starts.
_STORE_SECONDS = 0.5
# Earlier tasks of a context that are looked at for its history.
_HISTORY_TASKS = 50
# Characters per token, near enough to bound a memory by.
_CHARACTERS_PER_TOKEN = 4


class AgentHost:
    """Hosts one agent; `network` begins, stops and restarts it."""

    # There may be a hundred thousand that have nothing to do.
    __slots__ = (
        "_agent",
        "_mailbox",
        "_make",
        "_scope",
        "_state",
        "_stopped",
        "_tools_known",
        "entry",
        "held",
        "life",
        "model",
        "name",
        "network",
        "pending",
        "policy",
        "running",
        "telemetry",
        "tool_specs",
        "toolbox",
    )

    def __init__(
        self,
        network: "Network",
        name: str,
        entry: AgentEntry,
        make: Callable[[], Agent],
        *,
        model: ChatModel | None,
        toolbox: "ToolBox",
        policy: Policy,
        telemetry: "Telemetry",
    ) -> None:
        self.network = network
        self.name = name
        self.entry = entry
        self.model = model
        self.toolbox = toolbox
        self.policy = policy
        self.telemetry = telemetry
        self.pending: dict[str, TaskRecord] = {}
        self.running: dict[str, RunningTurn] = {}
        self.held: dict[str, TaskRecord] = {}
        self.tool_specs: Mapping[str, ToolSpec] = _NO_TOOLS
        # Which of its lives it is in, from 1 on; sleep ends none.
        self.life = 0
        self._make = make
        self._agent = make()
        self._mailbox: Mailbox | None = None
        self._state: Literal["away", "asleep", "called", "awake"] = "away"
        # Of the present life; none while the agent sleeps or is down.
        self._scope: anyio.CancelScope | None = None
        self._stopped: anyio.Event | None = None
        self._tools_known = not entry.tools

    @property
    def mailbox(self) -> Mailbox:
        """Where its tasks wait."""
        if self._mailbox is None:
            self._mailbox = Mailbox(
                self.entry.mailbox,
                self.entry.concurrency,
                may_begin=self.network.tenants.may_begin,
            )
        return self._mailbox

    @property
    def waiting(self) -> int:
        """How many tasks wait for their turn."""
        return 0 if self._mailbox is None else self._mailbox.depth

    @property
    def free_places(self) -> int:
        """How many more tasks could be at work at once than work or wait now."""
        return self.entry.concurrency if self._mailbox is None else self._mailbox.free_places

    @property
    def asleep(self) -> bool:
        """Whether it has no work, and so no task of the event loop."""
        return self._state == "asleep"

    @property
    def down(self) -> str:
        """Why it takes no more work, "" while it does."""
        return self.network.down.get(self.name, "")

    @property
    def full_name(self) -> str:
        """`network/agent`, as it stands in a call's chain."""
        return self.network.full_name(self.name)

    @property
    def family(self) -> str:
        """The family that its packs belong to."""
        return self.entry.memory.family or self.name

    @property
    def peer_cards(self) -> Mapping[str, AgentCard]:
        return {name: self.network.card_of(name) for name in self.entry.peers}

    def require_model(self) -> ChatModel:
        """The agent's model.

        Raises:
            ModelUnavailableError: The manifest gives it none.
        """
        if self.model is None:
            raise ModelUnavailableError(f"agent {self.name} has no model; name one in the manifest")
        return self.model

    def require_peer(self, peer: str) -> AgentService:
        """The agent that `peer` names, if the manifest lets this one ask it.

        Raises:
            AgentNotFoundError: It names none.
        """
        if peer not in self.entry.peers:
            known = self.entry.peers
            raise AgentNotFoundError(
                f"{self.name} has no peer named {peer!r}; its peers: {listed(known)};"
                f" {did_you_mean(peer, known)}",
                name=peer,
            )
        return self.network.service(peer)

    def require_tool(self, name: str) -> ToolSpec:
        """The tool `server.tool`, if the manifest gives it to this agent.

        Raises:
            ToolNotFoundError: It does not.
        """
        spec = self.tool_specs.get(name)
        if spec is None:
            raise ToolNotFoundError(
                f"{self.name} has no tool {name!r}; {did_you_mean(name, self.tool_specs)}",
                name=name,
            )
        return spec

    def on_unknown(self, tool: str) -> str:
        """What to do with a call of `server.tool` whose outcome is unknown."""
        server, _, name = tool.partition(".")
        config = self.network.manifest.tools[server]
        return "repeat" if config.honors_key(name) else config.on_unknown

    # -- life --------------------------------------------------------------------

    async def begin(self, group: TaskGroup) -> None:
        """Begin the first life; one of a kind that opens nothing sleeps until it has work."""
        self.life = 1
        await self._begin_life(group)

    async def restart(self, group: TaskGroup) -> None:
        """Begin another life with a fresh agent and everything that has not ended."""
        self.life += 1
        await self._settle_pending()
        self.mailbox.begin_anew(self.pending.values())
        try:
            self._agent = self._make()
        except Exception as error:  # noqa: BLE001 - its supervisor decides
            self.network.supervision.crashed(self.name, self.life, error)
            return
        await self._begin_life(group)

    async def _begin_life(self, group: TaskGroup) -> None:
        if type(self._agent).open is not Agent.open:
            self._live()
            await group.start(self._run)
            return
        self._state = "asleep"
        if self.waiting:
            self._wake()

    def _wake(self) -> None:
        """Let the network rouse the agent, if it sleeps; also outside of any task."""
        if self._state == "asleep":
            self._state = "called"
            self.network.call(self)

    def rise(self, group: TaskGroup) -> None:
        """Begin to work again on what has arrived, if nothing ended that meanwhile."""
        if self._state == "called":
            self._live()
            group.start_soon(self._run)

    def _live(self) -> None:
        self._state = "awake"
        self._scope = anyio.CancelScope()
        self._stopped = anyio.Event()

    async def _run(self, *, task_status: Started[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Open the agent and give it its turns, until `stop` or sleep; a crash is told to its supervisor."""
        life, supervision = self.life, self.network.supervision
        agent, scope, stopped = self._agent, self._scope, self._stopped
        assert scope is not None, "`_live` came before"
        assert stopped is not None, "`_live` came before"
        with scope:
            try:
                async with agent.open(), anyio.create_task_group() as turns:
                    task_status.started()
                    while (record := await self._next()) is not None:
                        crash_point("after-claim")
                        if record.ended or record.id not in self.pending:
                            # It was ended without a turn, while it waited.
                            self.mailbox.done(record)
                            continue
                        if self.network.stops.of(self.name, record.tenant) is not None:
                            self._hold(record)
                            continue
                        if not self.network.takes_work(record.principal):
                            # The network drains: it begins at the next start instead.
                            self.mailbox.done(record)
                            continue
                        turns.start_soon(self._turn, agent, record)
                self._state = "asleep"
            except anyio.get_cancelled_exc_class():
                raise
            except ExceptionGroup as group:
                task_status_started(task_status)
                supervision.crashed(self.name, life, _first(group))
            except Exception as error:  # noqa: BLE001 - its supervisor decides
                task_status_started(task_status)
                supervision.crashed(self.name, life, error)
            finally:
                self.running.clear()
                self.held.clear()
                self._scope = None
                if self._state == "awake":
                    self._state = "away"
                stopped.set()
        if self._state == "asleep":
            self._fall_asleep()

    async def _next(self) -> TaskRecord | None:
        """The next task to begin, None when there has been nothing to do for a while."""
        # Nothing begins in a life that is over.
        await checkpoint_if_cancelled()
        if type(self._agent).open is not Agent.open:
            # It holds something while it runs, so it runs.
            return await self.mailbox.get()
        while True:
            with anyio.move_on_after(_AWAKE_SECONDS):
                return await self.mailbox.get()
            if not self.pending and self.mailbox.unused:
                return None

    def _fall_asleep(self) -> None:
        if self.waiting:
            # It arrived while the last turn was on its way out.
            self._wake()
        elif self._mailbox is not None and self._mailbox.unused:
            self._mailbox = None

    async def _settle_pending(self) -> None:
        """Wait for what the turns of an earlier life still had on its way to the journal."""
        while True:
            try:
                await self.network.journal.settle()
                break
            except StoreError as error:
                _log.warning("agent %s starts when the store is back: %s", self.name, error)
                await anyio.sleep(_STORE_SECONDS)
        for record in [each for each in self.pending.values() if each.ended]:
            del self.pending[record.id]
            self.network.ended(record)
        # Whatever is left may have done something, so its steps are looked up.
        self.network.resumed.update(self.pending)

    async def stop(self) -> None:
        """End the agent's turns where they stand; their tasks stay in the journal."""
        while self._scope is not None and self._stopped is not None:
            self._scope.cancel()
            await self._stopped.wait()
        self._state = "away"

    def halt(self) -> None:
        """End the turns that a stop holds back; their tasks wait until it is lifted."""
        for record_id, turn in self.running.items():
            record = self.pending.get(record_id)
            if record is not None and self.network.stops.of(self.name, record.tenant) is not None:
                turn.halt()

    def still_halting(self) -> bool:
        """Whether a turn that was halted has not ended yet."""
        return any(turn.halted for turn in self.running.values())

    def going_on(self, stop: Stop) -> int:
        """How many halted turns of a stop have not ended."""
        return sum(
            turn.halted
            and (record := self.pending.get(task_id)) is not None
            and stop.holds(self.name, record.tenant)
            for task_id, turn in self.running.items()
        )

    def release(self) -> None:
        """Let those work again whom no stop holds back any more, in the order of their acceptance."""
        for record in sorted(self.held.values(), key=lambda each: (each.created_at, each.id)):
            if self.network.stops.of(self.name, record.tenant) is None:
                del self.held[record.id]
                if not record.ended:
                    self.mailbox.put_back(record)
                    self._wake()

    def _hold(self, record: TaskRecord) -> None:
        """Keep a task from its turn until the stop that it met is lifted."""
        self.mailbox.done(record)
        self.held[record.id] = record
        # What it had done by now is looked up when it goes on.
        self.network.resumed.add(record.id)
        self.network.moved()

    async def give_up(self, why: str) -> None:
        """Take no more work, and fail what is left, so that nobody waits for it."""
        self.network.down[self.name] = why
        self.mailbox.begin_anew()
        for record in list(self.pending.values()):
            try:
                await self.finish(record, TaskState.FAILED, why, "AGENT_DOWN")
            except StoreError as error:
                # It is another process's now, or is failed when the store is back.
                self.network.lost(record, error)

    async def give_up_on(self, record: TaskRecord, deaths: int) -> None:
        """Fail a task over which the process itself died too often."""
        why = f"the process ended {deaths} times while {self.name} worked on this message"
        await self.finish(
            record, TaskState.FAILED, why, "PROCESS_DIED", also=bury(record, deaths, why)
        )

    def take(self, record: TaskRecord) -> None:
        """Let an accepted task wait for its turn."""
        self.pending[record.id] = record
        self.mailbox.put(record)
        self._wake()
        crash_point("before-claim")
        self.network.moved()

    def receive(self, record: TaskRecord) -> None:
        """Let a claimed task wait for its turn; what it has done already is looked up."""
        self.pending[record.id] = record
        self.network.resumed.add(record.id)
        self.mailbox.put_back(record)
        self._wake()
        self.network.moved()

    def let_go(self, record: TaskRecord) -> None:
        """Stop work on a task here, wherever it stands; its journal is left as it is."""
        self.pending.pop(record.id, None)
        self.held.pop(record.id, None)
        self.mailbox.take_out(record)
        turn = self.running.get(record.id)
        if turn is not None:
            turn.patience.scope.cancel()

    def is_at_work(self, task_id: str) -> bool:
        """Whether a turn of a task is under way here, also one that is on its way out."""
        return task_id in self.running or self.mailbox.has_placed(task_id)

    def behind(self, record: TaskRecord) -> list[TaskRecord]:
        """What waits here for a task of the same dialogue to be over."""
        context = context_of(record)
        return [
            each
            for each in self.pending.values()
            if each is not record and context_of(each) == context and not self.is_at_work(each.id)
        ]

    async def fail_if_down(self, record: TaskRecord) -> None:
        """End a task that the agent accepted and will not live to work on."""
        if self.down and not record.ended:
            await self.finish(record, TaskState.FAILED, self.down, "AGENT_DOWN")

    def look_again(self) -> None:
        """Ask anew which tenant may begin."""
        if self._mailbox is not None:
            self._mailbox.look_again()

    # -- turns -------------------------------------------------------------------

    async def _turn(self, agent: Agent, record: TaskRecord) -> None:
        while not self._rests(record):
            try:
                await self._begin(agent, record)
                return
            except StoreFullError as error:
                # No fault of the task or the agent. It keeps its place, so nobody passes it.
                _log.warning("task %s waits: %s", record.id, error.sentence)
                await self._wait_for_disk(record)
        # It was taken or ended while it waited.
        self.mailbox.done(record)

    def _rests(self, record: TaskRecord) -> bool:
        """Whether a task has ended, or a stop holds it back."""
        return record.id not in self.pending or record.id in self.held

    async def _wait_for_disk(self, record: TaskRecord) -> None:
        """Take back what was refused, and wait a little."""
        with suppress(StoreError):
            await self.network.journal.settle()
        record.refused = None
        if not record.ended:
            record.unstage()
        self.network.resumed.add(record.id)
        await anyio.sleep(_FULL_SECONDS)

    async def _begin(self, agent: Agent, record: TaskRecord) -> None:
        if record.id not in self.network.resumed:
            await self._first_or_next(agent, record, {})
            return
        try:
            async with self.network.suspects.at_work(record, self.mailbox):
                known = await self.network.journal.steps(record.id)
                await self._first_or_next(agent, record, known)
        except StoreFullError:
            raise
        except StoreError as error:
            self.network.lost(record, error)
            self.mailbox.done(record)

    async def _first_or_next(
        self, agent: Agent, record: TaskRecord, known: dict[str, StepRecord]
    ) -> None:
        if _is_over(record) or record.id not in self.pending:
            # Canceled while its steps were read, whoever canceled it ends it; or taken over.
            self.mailbox.done(record)
            return
        span = self.telemetry.agent(
            self.name,
            parent=record.traceparent or "",
            conversation_id=record.context_id,
            task_id=record.id,
            model=self.model.info.name if self.model is not None else "",
            description=self.entry.description,
        )
        turn = RunningTurn(self, record, known, span)
        self.running[record.id] = turn
        self.network.tenants.begun(record)
        try:
            with span:
                await self._work(agent, turn, record, span)
        except StoreFullError:
            # It keeps its place, and is begun again there.
            raise
        except (NotKeptError, StoreAwayError) as error:
            # The word that was to end it was not kept.
            self.network.lost(record, error)
            self._leave(record)
        except BaseException:
            # It keeps its place until the agent begins anew, so that nobody passes it now.
            self.network.tenants.over(record)
            self.network.tenant_moved()
            raise
        else:
            self._leave(record)
        finally:
            self.running.pop(record.id, None)
        if record.id not in self.pending:
            return
        if turn.halted and not record.ended:
            # What it had said is in the journal before it begins again.
            await self.network.journal.settle()
            self._hold(record)
        if record.ended:
            self.pending.pop(record.id, None)
            self.network.ended(record)

    def _leave(self, record: TaskRecord) -> None:
        """Give the place of work back, to the tenant's others and to everybody's."""
        self.network.tenants.over(record)
        self.mailbox.done(record)
        self.network.tenant_moved()

    async def _work(
        self, agent: Agent, turn: RunningTurn, record: TaskRecord, span: "Span"
    ) -> None:
        try:
            with turn.patience.scope:
                turn.patience.start()
                await self._know_tools()
                await turn.open()
                await agent.handle(turn)
                if not turn.ended:
                    await turn.complete()
        except Exception as raised:  # noqa: BLE001 - ends its task, or goes on to its supervisor
            error = _only(raised)
            span.fail(error)
            if isinstance(error, StoreFullError):
                raise error from None
            if isinstance(error, NotKeptError | StoreAwayError):
                # Nothing of the task: it goes on from its journal when that can be read again.
                self.network.lost(record, error)
            elif isinstance(error, RepertoryError):
                await turn.end_with(TaskState.FAILED, error.sentence, {REASON_KEY: error.reason})
            else:
                await self._crashed(turn, record, error)
        if record.id not in self.pending:
            # It goes on at another process, or is begun anew here.
            return
        if turn.halted and not record.cancel_requested:
            span.end("STOPPED")
        elif record.cancel_requested and not turn.ended:
            await turn.end_with(TaskState.CANCELED, "canceled on request", {REASON_KEY: "CANCELED"})
        elif turn.patience.expired and not turn.ended:
            span.end("DEADLINE_EXCEEDED")
            seconds = record.seconds or 0.0
            await turn.end_with(
                TaskState.FAILED,
                f"{self.name} was given {seconds:g} s and did not finish in time",
                {REASON_KEY: "DEADLINE_EXCEEDED"},
            )
        span.set("a2a.task.state", record.now.value)

    async def _crashed(self, turn: RunningTurn, record: TaskRecord, error: Exception) -> None:
        """Count a crash against the task; fail the task at its last attempt, then crash on."""
        await self.network.journal.note_attempt(record)
        if record.attempts >= self.network.manifest.supervision.attempts:
            await turn.end_with(
                TaskState.FAILED,
                f"{self.name} crashed {record.attempts} times over this message; the last time:"
                f" {type(error).__name__}: {error}",
                {REASON_KEY: "AGENT_CRASHED"},
                also=bury(record, record.attempts, f"{type(error).__name__}: {error}"),
            )
            self.pending.pop(record.id, None)
            self.network.ended(record)
        raise error

    async def _know_tools(self) -> None:
        if not self._tools_known:
            self.tool_specs = await self.toolbox.load()
            self._tools_known = True

    async def park(self, record: TaskRecord) -> None:
        """Let others have the place of work of a turn that waits for a person."""
        self.mailbox.done(record)
        self.network.tenants.over(record)
        self.network.tenant_moved()
        self.network.moved()
        await self.network.suspects.step_aside(record.id)

    async def go_on(self, record: TaskRecord) -> None:
        """Take a place of work again for a turn that was parked."""
        await self.mailbox.take_place(record)
        await self.network.suspects.go_on(record.id)
        self.network.tenants.begun(record)
        self.network.moved()

    async def cancel(self, record: TaskRecord) -> None:
        """Cancel a task wherever it is; returns when that is journaled."""
        record.cancel_requested = True
        turn = self.running.get(record.id)
        if turn is None:
            await self.finish(record, TaskState.CANCELED, "canceled on request", "CANCELED")
            return
        turn.patience.scope.cancel()
        while not record.ended:
            await record.wait_beyond(record.last_sequence)

    async def finish(
        self,
        record: TaskRecord,
        state: TaskState,
        why: str,
        reason: str,
        *,
        also: Callable[[Any], Any] | None = None,
    ) -> None:
        """End a task that no turn is at work on."""
        message = agent_message(why, task_id=record.id, context_id=record.context_id)
        await self.network.journal.append(
            record,
            StreamResponse(
                status_update=TaskStatusUpdateEvent(
                    task_id=record.id,
                    context_id=record.context_id,
                    status=TaskStatus(state=state, message=message, timestamp=self.network.now()),
                    metadata={REASON_KEY: reason},
                )
            ),
            also=also,
        )
        self.pending.pop(record.id, None)
        self.held.pop(record.id, None)
        self.network.ended(record)

    # -- memory ------------------------------------------------------------------

    async def history_of(self, record: TaskRecord) -> list[dict[str, Any]]:
        """Messages of the context's earlier tasks, the newest that fit the token bound."""
        earlier = await self.network.journal.earlier_in_context(record, _HISTORY_TASKS)
        messages = [message for each in earlier for message in each.dialogue()]
        room = self.entry.memory.context_tokens * _CHARACTERS_PER_TOKEN
        kept: list[dict[str, Any]] = []
        for message in reversed(messages):
            room -= len(words_of(message))
            if room < 0:
                break
            kept.append(message.wire())
        return kept[::-1]

    async def pack_of(
        self, turn: RunningTurn, record: TaskRecord, state: TaskState, message: Message | None
    ) -> Callable[[Any], Any] | None:
        """What writes the task's pack in the transaction of its end; None where none is kept."""
        if not self.entry.memory.record:
            return None
        # A pack keeps what was said and made, so that must be in the log before it.
        await self.network.journal.append(record)
        decision = await self.policy.decide(
            Action("pack", self.name, self.family, {"state": state.value}, tainted=True)
        )
        if decision.verb == "deny":
            return None
        status: Literal["candidate", "quarantined"] = (
            "quarantined" if decision.verb == "ask" else "candidate"
        )
        draft = pack_draft(self, turn, record, state, message, status=status)
        try:
            unit = self.network.packs.unit(draft)
        except DraftInvalidError as error:
            # The task must end all the same; what it did is in the journal.
            _log.warning("task %s leaves no pack: %s", record.id, error)
            return None

        def write(connection: Any) -> None:
            try:
                unit(connection)
            except PackForgottenError:
                # What it used was forgotten while it worked, and its steps hold it still.
                _log.warning("task %s leaves no pack: it used one that was forgotten", record.id)

        return write


def _only(error: Exception) -> Exception:
    """The one error that task groups of the agent's wrapped, or the error itself."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """The first error of a group, at whatever depth."""
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _is_over(record: TaskRecord) -> bool:
    """Whether a task has ended or is being canceled, so that no turn may begin."""
    return record.ended or record.cancel_requested


def task_status_started(task_status: Started[None]) -> None:
    """Tell the starter that the agent began, also when it crashed while it opened."""
    try:
        task_status.started()
    except RuntimeError:
        # It had begun before it crashed.
        return
