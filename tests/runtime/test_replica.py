"""Two processes over one journal: what begins at one goes on at the other."""

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import pytest
from anyio import fail_after
from mcp import Client
from mcp.types import ElicitResult, InputRequiredResult

from repertory.agents import Agent, Question, Turn
from repertory.protocol import (
    EVERYTHING,
    BusyError,
    Call,
    CancelTaskRequest,
    GetTaskRequest,
    InvalidParamsError,
    ListTasksRequest,
    NumberedEvent,
    PermissionDeniedError,
    SendMessageConfiguration,
    SendMessageRequest,
    TaskNotCancelableError,
    TaskNotFoundError,
    TaskState,
    open_link,
    user_message,
)
from repertory.runtime import Network, open_network
from repertory.runtime.manifest import parse_manifest
from repertory.runtime.replica import open_replica
from repertory.runtime.web import serve
from tests.claims import claim

MANIFEST = "network: firm\nembedder: {engine: hash}\nagents:\n  teller: {}\n  asker: {}\n"


class Teller(Agent):
    """Reports until it is let go, and then some."""

    go_on = anyio.Event()

    async def handle(self, turn: Turn) -> None:
        for number in range(3):
            await turn.report(f"before {number}")
        await Teller.go_on.wait()
        for number in range(3):
            await turn.report(f"after {number}")
        await turn.complete("told")


class Asker(Agent):
    """Asks a person."""

    async def handle(self, turn: Turn) -> None:
        given = await turn.ask_person(Question("Go on?", options=("yes", "no")))
        await turn.complete(given.text)


KINDS: Mapping[str, type[Agent]] = {"teller": Teller, "asker": Asker}


@asynccontextmanager
async def _owner(folder: Path) -> AsyncIterator[Network]:
    Teller.go_on = anyio.Event()
    (folder / "network.yaml").write_text(MANIFEST)
    with fail_after(60):
        manifest = parse_manifest(MANIFEST, folder=folder)
        async with open_network(manifest, kinds=KINDS) as network:
            yield network


@asynccontextmanager
async def _second_process(folder: Path) -> AsyncIterator[str]:
    """A real process that serves as a replica; its URL."""
    command = [sys.executable, "-m", "repertory.runtime.launch", "serve", "network.yaml"]
    async with await anyio.open_process(
        [*command, "--replica", "--port", "0", "--json"], cwd=folder, stdout=PIPE, stderr=None
    ) as process:
        try:
            assert process.stdout is not None
            line = b""
            while b"\n" not in line:
                line += await process.stdout.receive()
            yield json.loads(line)["url"]
        finally:
            process.terminate()
            with anyio.CancelScope(shield=True):
                await process.wait()


def _request(text: str = "go", *, wait: bool = False, task_id: str = "") -> SendMessageRequest:
    return SendMessageRequest(
        message=user_message(text, task_id=task_id),
        configuration=SendMessageConfiguration(return_immediately=not wait),
    )


@pytest.mark.slow
@claim("a2a:replicas")
@claim("mcp:request-state")
async def test_what_begins_at_one_process_goes_on_at_the_other(tmp_path: Path) -> None:
    """Ours: streams, answers, cancellations and what MCP clients carry, with a real second process."""
    async with (
        _owner(tmp_path) as network,
        serve(network) as here,
        _second_process(tmp_path) as there,
    ):
        await _streams_go_on(network, here, there)
        await _orders_arrive(network, there)
        await _carried_state_opens(network, here, there)


async def _streams_go_on(network: Network, here: str, there: str) -> None:
    """By `afterSequence`, in both directions, without a gap and without a repetition."""
    for one, other in ((here, there), (there, here)):
        Teller.go_on = anyio.Event()
        seen: list[NumberedEvent] = []
        async with (
            open_link(f"{one}/agents/teller/mcp") as begun,
            open_link(f"{other}/agents/teller/mcp") as further,
        ):
            stream = begun.send_streaming_message(_request(), Call())
            async for event in stream:
                assert isinstance(event, NumberedEvent)
                seen.append(event)
                if len(seen) == 4:
                    break
            await stream.aclose()
            task = seen[0].event.task
            assert task is not None
            rest = further.subscribe_to_task(task.id, Call(), after_sequence=4)
            Teller.go_on.set()
            seen += [event async for event in rest]
        whole = await network.find(task.id)
        assert whole is not None
        assert seen == whole.events
        assert seen[-1].event.status_update is not None
        assert seen[-1].event.status_update.status.state is TaskState.COMPLETED


async def _orders_arrive(network: Network, there: str) -> None:
    """An answer and a cancellation given to one reach the work in the other."""
    Teller.go_on = anyio.Event()
    async with (
        open_link(f"{there}/agents/asker/mcp") as asker,
        open_link(f"{there}/agents/teller/mcp") as teller,
    ):
        asked = await asker.send_message(_request(wait=True), Call())
        assert asked.task is not None
        assert asked.task.status.state is TaskState.INPUT_REQUIRED
        with pytest.raises(InvalidParamsError, match="asks for one of yes, no"):
            await asker.send_message(_request("maybe", task_id=asked.task.id), Call())
        done = await asker.send_message(_request("yes", wait=True, task_id=asked.task.id), Call())
        assert done.task is not None
        assert (await network.task(done.task.id)).status.state is TaskState.COMPLETED
        with pytest.raises(TaskNotCancelableError):
            await asker.cancel_task(CancelTaskRequest(id=asked.task.id), Call())
        begun = await teller.send_message(_request(), Call())
        assert begun.task is not None
        task = await teller.cancel_task(CancelTaskRequest(id=begun.task.id), Call())
        assert task.status.state is TaskState.CANCELED
        assert (await network.task(begun.task.id)).status.state is TaskState.CANCELED


async def _carried_state_opens(network: Network, here: str, there: str) -> None:
    """MCP 2026-07-28: the second round of a call goes to the other process."""
    for one, other in ((here, there), (there, here)):
        async with Client(
            f"{one}/agents/asker/mcp", mode="2026-07-28", elicitation_callback=_not_here
        ) as first:
            (tool,) = (await first.list_tools()).tools
            arguments = dict.fromkeys(tool.input_schema.get("required", []), "go")
            asked = await first.session.call_tool(tool.name, arguments, allow_input_required=True)
        assert isinstance(asked, InputRequiredResult)
        assert asked.input_requests is not None
        ((key, question),) = asked.input_requests.items()
        answer = ElicitResult(action="accept", content=_filled(question))
        async with Client(
            f"{other}/agents/asker/mcp", mode="2026-07-28", elicitation_callback=_not_here
        ) as second:
            result = await second.session.call_tool(
                tool.name,
                arguments,
                input_responses={key: answer},
                request_state=asked.request_state,
                allow_input_required=True,
            )
        assert not isinstance(result, InputRequiredResult), result
        assert not result.is_error, result
    rows = await network.tasks(agent="asker")
    assert {row.state for row in rows} == {TaskState.COMPLETED}


async def _not_here(context: Any, params: Any) -> ElicitResult:
    raise AssertionError("the test answers by itself")


def _filled(question: Any) -> dict[str, Any]:
    """An answer for each field that is asked."""
    return dict.fromkeys(question.params.requested_schema["properties"], "yes")


async def test_a_replica_answers_as_the_owner_does(tmp_path: Path) -> None:
    """Ours: one contract: once per message, scoped, permitted, listed, with the same errors."""
    async with (
        _owner(tmp_path) as network,
        open_replica(network.manifest) as replica,
    ):
        Teller.go_on.set()
        near, far = network.service("teller"), replica.service("teller")
        ann, ben = Call(principal="ann", tenant="red"), Call(principal="ben", tenant="blue")
        request = _request(wait=True)
        first = (await far.send_message(request, ann)).task
        again = (await near.send_message(request, ann)).task
        other = (await far.send_message(request, ben)).task
        assert first == again
        assert other is not None
        assert first is not None
        assert other.id != first.id
        for service in (near, far):
            assert await service.get_task(GetTaskRequest(id=first.id), ann) == first
            page = await service.list_tasks(ListTasksRequest(), ann)
            assert [task.id for task in page.tasks] == [first.id]
            events = await service.read_events(first.id, 2, ann, wait=5, limit=3)
            assert [event.sequence for event in events.events] == [3, 4, 5]
            last = await service.read_events(first.id, 5, ann, wait=5)
            assert last.ended
            for task_id in (first.id, "0198-absent"):
                for ask in (
                    service.get_task(GetTaskRequest(id=task_id), ben),
                    service.cancel_task(CancelTaskRequest(id=task_id), ben),
                    service.read_events(task_id, 0, ben, wait=1),
                ):
                    with pytest.raises(TaskNotFoundError, match=f"no task '{task_id}' at teller"):
                        await ask
            narrow = Call(capabilities=EVERYTHING.narrowed(["asker"]))
            with pytest.raises(PermissionDeniedError, match="may not use 'teller'"):
                await service.send_message(_request(), narrow)


async def test_a_replica_without_an_owner_says_so_and_still_reads(tmp_path: Path) -> None:
    """Ours: nothing new is taken up, nothing is left to be done by surprise later."""
    async with _owner(tmp_path) as network:
        Teller.go_on.set()
        task = await network.ask("teller", "go")
        manifest = network.manifest
    with fail_after(20):
        async with open_replica(manifest) as replica:
            service = replica.service("teller")
            assert await service.get_task(GetTaskRequest(id=task.id), Call()) == task
            with pytest.raises(BusyError, match="no process runs network firm now"):
                await service.send_message(_request(), Call())
            assert await replica.journal.pending_commands() == []
            assert len(replica._followed) == 0
