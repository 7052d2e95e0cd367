"""A web service of the user's own with a network inside: examples/embed, run as its README says."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from anyio import fail_after
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

FOLDER = Path(__file__).parents[2] / "examples" / "embed"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The example's module, on a database of this test."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("SERVICE_DATABASE", f"sqlite:///{tmp_path}/service.db")
    yield import_module("service")
    sys.modules.pop("service", None)


async def test_a_service_answers_a_request_by_asking_an_agent(service: ModuleType) -> None:
    """Ours: the service keeps its framework, database and tracing; one trace, nothing global."""
    spans = InMemorySpanExporter()
    service.tracer_provider.add_span_processor(SimpleSpanProcessor(spans))
    before = trace.get_tracer_provider()
    transport = httpx.ASGITransport(app=service.app)
    with fail_after(20):
        async with (
            service.lifespan(service.app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http,
        ):
            answer = await http.post("/questions", json={"question": "When are you open?"})
            card = await http.get("/agents-of-ours/.well-known/agent-card.json")
    assert answer.json()["answer"] == "We are open from 9 to 17, Monday to Friday."
    assert card.json()["name"] == "desk"
    finished = spans.get_finished_spans()
    names = {span.name for span in finished}
    assert {"POST /questions", "invoke_agent desk", "invoke_agent expert"} <= names
    assert len({span.context.trace_id for span in finished if span.context is not None}) == 1
    assert trace.get_tracer_provider() is before
