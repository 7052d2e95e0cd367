"""A web service of your own with a network inside: its framework, database and tracing stay yours.

Run it with `uvicorn service:app` from this folder, then
`curl -d '{"question": "When are you open?"}' -H 'content-type: application/json'
http://127.0.0.1:8000/questions`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel

from repertory import TaskState, open_network
from repertory.runtime import network_app

HERE = Path(__file__).parent
# The service's own tracer provider: spans of web requests and of agents end up together.
tracer_provider = TracerProvider()


class Question(BaseModel):
    """What a customer asks."""

    question: str


class Mounted:
    """The network's endpoints, once the network is open."""

    app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


agents = Mounted()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the network with the service, on the service's own database and tracer."""
    async with open_network(
        HERE / "network.yaml",
        store_url=os.environ.get("SERVICE_DATABASE", f"sqlite:///{HERE}/service.db"),
        tracer_provider=tracer_provider,
    ) as network:
        app.state.network = network
        agents.app = network_app(network, os.environ.get("SERVICE_URL", "") + "/agents-of-ours")
        async with agents.app.running():
            yield


app = FastAPI(lifespan=lifespan)
app.mount("/agents-of-ours", agents)


@app.post("/questions")
async def ask(question: Question) -> dict[str, str]:
    """Answer a customer by asking an agent."""
    with tracer_provider.get_tracer("service").start_as_current_span("POST /questions"):
        task = await app.state.network.ask("desk", question.question, within=30)
    if task.status.state is not TaskState.COMPLETED or task.status.message is None:
        raise HTTPException(503, "the desk could not answer; try again")
    return {"answer": task.status.message.text, "task": task.id}
