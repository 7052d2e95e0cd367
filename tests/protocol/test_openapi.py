"""The HTTP+JSON face against its own OpenAPI document, by requests that nobody thought of."""

from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import anyio
import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from repertory.protocol import AgentCapabilities, memory_card
from repertory.protocol.openapi import openapi_document
from repertory.protocol.testing import Job, serve_agent

EVERYTHING = AgentCapabilities(streaming=True, push_notifications=True, extended_agent_card=True)
FEW = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


async def brief(job: Job) -> None:
    """Answer whatever was said."""
    await job.complete("yes")


@pytest.fixture(scope="session")
def served_url() -> Iterator[str]:
    """The agent's HTTP+JSON face, in a loop and a thread of its own."""
    found: list[str] = []
    started, done = Event(), Event()

    async def serve() -> None:
        async with serve_agent(brief) as served:
            found.append(served.http_json_url)
            started.set()
            while not done.is_set():
                await anyio.sleep(0.05)

    thread = Thread(target=lambda: anyio.run(serve), daemon=True)
    thread.start()
    assert started.wait(20)
    yield found[0]
    done.set()
    thread.join(20)


def operations() -> dict[str, Any]:
    """The document's operations, by name."""
    document = openapi_document(memory_card(capabilities=EVERYTHING))
    found: dict[str, Any] = {}
    for each in schemathesis.openapi.from_dict(document).get_all_operations():
        operation: Any = each
        found[operation.ok().definition.raw["operationId"]] = operation.ok()
    return found


OPERATIONS = operations()


@pytest.mark.parametrize("kind", ["fitting", "unfitting"])
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_answers_are_as_the_document_says(name: str, kind: str, served_url: str) -> None:
    """Spec: A2A 11; ours: no request, fitting or not, gets an answer that the document lacks."""
    mode = GenerationMode.POSITIVE if kind == "fitting" else GenerationMode.NEGATIVE

    @FEW
    @given(case=OPERATIONS[name].as_strategy(generation_mode=mode))
    def answered(case: Any) -> None:
        # A2A refuses more than a schema can say: page tokens of others, media types, webhooks.
        case.call_and_validate(base_url=served_url, excluded_checks=[positive_data_acceptance])

    answered()


def test_the_document_has_every_resource_of_the_binding(served_url: str) -> None:
    """Spec: A2A 11.3, the paths and methods of each operation."""
    document = httpx.get(served_url + "/openapi.json").json()
    named = {each["operationId"] for path in document["paths"].values() for each in path.values()}
    assert named == {
        "SendMessage",
        "SendStreamingMessage",
        "ListTasks",
        "GetTask",
        "CancelTask",
        "SubscribeToTask",
        "CreateTaskPushNotificationConfig",
        "ListTaskPushNotificationConfigs",
        "GetTaskPushNotificationConfig",
        "DeleteTaskPushNotificationConfig",
        "GetExtendedAgentCard",
    }
    assert document["servers"] == [{"url": served_url}]
