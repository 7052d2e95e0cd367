"""An agent of somebody else's, met over A2A's standard bindings as an `AgentService`.

A2A numbers no events, so a log is kept here for each task that is followed: what
a stream or a look at the task told, numbered as it came. It begins when this link
first looks, and a task as it stands takes the place of what nobody saw.
"""

import ssl
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urljoin

import aiohttp
import anyio
import orjson

from .a2a_wires import A2aWire, HttpJsonWire, JsonRpcWire
from .caller import CarriedLink, patience
from .cards import AgentCard
from .credentials import TokenSource
from .envelope import A2A_VERSION, BINDING_URI, WELL_KNOWN_CARD
from .errors import (
    InvalidAgentResponseError,
    InvalidParamsError,
    LinkError,
    UnsupportedOperationError,
    VersionNotSupportedError,
)
from .lifecycle import apply_event, is_terminal
from .operations import (
    CancelTaskRequest,
    EventPage,
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    NumberedEvent,
    SendMessageRequest,
    SendMessageResponse,
)
from .service import Call
from .streamable_http import HttpCarrier, open_pool
from .tasks import StreamResponse, Task
from .wire import WireModel

_Answer = TypeVar("_Answer", bound=WireModel)

_MOST_LOGS: Final = 1024
_POLL_SECONDS: Final = 0.5
_WIRES: Final = {"JSONRPC": JsonRpcWire, "HTTP+JSON": HttpJsonWire}


class _Log:
    """What was seen of one task, numbered as it came."""

    def __init__(self) -> None:
        self.events: list[NumberedEvent] = []
        self.task: Task | None = None
        self.looking = anyio.Lock()

    @property
    def ended(self) -> bool:
        return self.task is not None and is_terminal(self.task.status.state)

    def saw(self, event: StreamResponse) -> None:
        """Add an event; the task as it stands only where it says something new."""
        if event.task is not None and event.task == self.task:
            return
        self.task = apply_event(self.task, event)
        self.events.append(NumberedEvent(sequence=len(self.events) + 1, event=event))

    def page(self, after: int, limit: int) -> EventPage:
        events = tuple(self.events[after : after + limit])
        last = len(self.events)
        whole = not events or events[-1].sequence == last
        return EventPage(events=events, last_sequence=last, ended=self.ended and whole)


class A2aLink:
    """An agent reached over JSON-RPC or HTTP+JSON.

    Deadlines are kept here; a call's budget and chain have no place in these
    bindings and stay behind, and its trace travels as headers. A message is sent
    once: whether a broken wire took it is unknown, and the caller's to find out.
    """

    def __init__(self, wire: A2aWire, card: AgentCard) -> None:
        self._wire = wire
        self._card = card
        self._logs: OrderedDict[str, _Log] = OrderedDict()

    async def get_agent_card(self, call: Call) -> AgentCard:
        """The agent's card; the extended one where the agent has one."""
        capabilities = self._card.capabilities
        if capabilities is None or not capabilities.extended_agent_card:
            return self._card
        return await self._asked(AgentCard, "GetExtendedAgentCard", {}, call)

    async def send_message(self, request: SendMessageRequest, call: Call) -> SendMessageResponse:
        """Send a message and wait until its task ends or is interrupted, as A2A does."""
        return await self._asked(SendMessageResponse, "SendMessage", request.wire(), call)

    async def get_task(self, request: GetTaskRequest, call: Call) -> Task:
        """The task as it stands."""
        return await self._asked(Task, "GetTask", request.wire(), call)

    async def list_tasks(self, request: ListTasksRequest, call: Call) -> ListTasksResponse:
        """The caller's tasks, by pages."""
        return await self._asked(ListTasksResponse, "ListTasks", request.wire(), call)

    async def cancel_task(self, request: CancelTaskRequest, call: Call) -> Task:
        """Ask a task to end."""
        return await self._asked(Task, "CancelTask", request.wire(), call)

    async def request(self, operation: str, raw: dict[str, Any], call: Call) -> dict[str, Any]:
        """The ProtoJSON that answers any of A2A's operations, push configurations among them."""
        with patience(call):
            return await self._wire.request(operation, raw, call)

    async def read_events(
        self, task_id: str, after_sequence: int, call: Call, *, wait: float = 0.0, limit: int = 256
    ) -> EventPage:
        """What this link saw of the task above `after_sequence`; waits by watching its stream."""
        log = self._log_of(task_id)
        with patience(call):
            if not log.events:
                log.saw(StreamResponse(task=await self.get_task(GetTaskRequest(id=task_id), call)))
            if len(log.events) <= after_sequence and not log.ended:
                async with log.looking:
                    if len(log.events) <= after_sequence and not log.ended:
                        await self._look(log, task_id, after_sequence, call, wait)
        return log.page(after_sequence, max(1, limit))

    async def send_streaming_message(
        self, request: SendMessageRequest, call: Call
    ) -> AsyncGenerator[StreamResponse, None]:
        """Send a message and yield what its stream says; close the generator to stop listening."""
        events = self._wire.stream("SendStreamingMessage", request.wire(), call)
        async with aclosing(events):
            while True:
                with patience(call):
                    raw = await anext(events, None)
                if raw is None:
                    return
                event = _parsed(StreamResponse, raw)
                self._note(event)
                yield event

    async def subscribe_to_task(
        self, task_id: str, call: Call
    ) -> AsyncGenerator[StreamResponse, None]:
        """Yield the task as it stands, and then its events until it has ended."""
        events = self._wire.stream("SubscribeToTask", {"id": task_id}, call)
        async with aclosing(events):
            while True:
                with patience(call):
                    raw = await anext(events, None)
                if raw is None:
                    return
                event = _parsed(StreamResponse, raw)
                self._note(event)
                yield event

    async def _look(self, log: _Log, task_id: str, after: int, call: Call, wait: float) -> None:
        """Learn of the task until something is new or `wait` seconds have passed."""
        capabilities = self._card.capabilities
        if wait > 0 and capabilities is not None and capabilities.streaming:
            with anyio.move_on_after(wait):
                try:
                    async with aclosing(self.subscribe_to_task(task_id, call)) as events:
                        async for _ in events:
                            if len(log.events) > after:
                                return
                except (UnsupportedOperationError, LinkError):
                    pass  # It ended meanwhile, or the wire did: a look says how it stands.
        until = anyio.current_time() + wait
        while True:
            log.saw(StreamResponse(task=await self.get_task(GetTaskRequest(id=task_id), call)))
            left = until - anyio.current_time()
            if len(log.events) > after or left <= 0:
                return
            await anyio.sleep(min(left, _POLL_SECONDS))

    def _note(self, event: StreamResponse) -> None:
        if event.message is not None:
            return
        payload = event.task or event.status_update or event.artifact_update
        task_id = payload.id if isinstance(payload, Task) else payload.task_id  # type: ignore[union-attr]  # a message returned above
        self._log_of(task_id).saw(event)

    def _log_of(self, task_id: str) -> _Log:
        log = self._logs.pop(task_id, None) or _Log()
        self._logs[task_id] = log
        if len(self._logs) > _MOST_LOGS:
            self._logs.popitem(last=False)
        return log

    async def _asked(
        self, model: type[_Answer], operation: str, raw: dict[str, Any], call: Call
    ) -> _Answer:
        return _parsed(model, await self.request(operation, raw, call))


@asynccontextmanager
async def open_a2a_link(
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    bindings: Sequence[str] = (BINDING_URI, "JSONRPC", "HTTP+JSON"),
    credentials: TokenSource | None = None,
    tls: ssl.SSLContext | None = None,
    extensions: Sequence[str] = (),
    session: aiohttp.ClientSession | None = None,
) -> AsyncIterator[CarriedLink | A2aLink]:
    """Link to the agent whose card is at `url`, in the first of its interfaces that is known here.

    url: of the card, or of the place below which it lies at the well-known path.
    bindings: those to use, whichever the card prefers among them. credentials: the
    caller's own access tokens. tls: whom to believe, and by which certificate to be known.

    Raises:
        VersionNotSupportedError: The card offers no such interface of A2A 1.0.
        InvalidAgentResponseError: There is no card at `url`.
    """
    known: dict[str, Any] = {"headers": headers, "credentials": credentials, "tls": tls}
    if session is None:
        async with open_pool() as pool:
            yield await _linked(url, pool, bindings, extensions, known)
        return
    yield await _linked(url, session, bindings, extensions, known)


async def _linked(
    url: str,
    pool: aiohttp.ClientSession,
    bindings: Sequence[str],
    extensions: Sequence[str],
    known: dict[str, Any],
) -> CarriedLink | A2aLink:
    card_url = url if url.endswith(".json") else url.rstrip("/") + WELL_KNOWN_CARD
    card = await _card_at(card_url, pool, known)
    for interface in card.supported_interfaces:
        version = ".".join(interface.protocol_version.split(".")[:2])
        if interface.protocol_binding not in bindings or version != A2A_VERSION:
            continue
        at = urljoin(card_url, interface.url)
        if interface.protocol_binding == BINDING_URI:
            return CarriedLink(HttpCarrier(at, pool, **known), extensions=extensions)
        wire = _WIRES[interface.protocol_binding](at, pool, extensions=extensions, **known)
        return A2aLink(wire, card)
    offered = ", ".join(
        f"{each.protocol_binding} {each.protocol_version}" for each in card.supported_interfaces
    )
    raise VersionNotSupportedError(
        f"the agent at {card_url} offers {offered or 'no interface'}; spoken here, in A2A 1.0:"
        f" {', '.join(bindings)}",
        url=card_url,
    )


async def _card_at(url: str, pool: aiohttp.ClientSession, known: Mapping[str, Any]) -> AgentCard:
    headers, tls = dict(known["headers"] or {}), known["tls"]
    try:
        async with pool.get(url, headers=headers, ssl=True if tls is None else tls) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise InvalidAgentResponseError(f"{url} has no agent card: HTTP {answer.status}")
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        raise LinkError(f"{url} cannot be reached ({type(error).__name__})", url=url) from error
    try:
        return _parsed(AgentCard, orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise InvalidAgentResponseError(f"what is at {url} is no JSON") from error


def _parsed(model: type[_Answer], data: Any) -> _Answer:
    try:
        return model.parse(data)
    except (InvalidParamsError, TypeError, ValueError) as error:
        raise InvalidAgentResponseError(
            f"the peer's answer is no {model.__name__}: {error}"
        ) from error
