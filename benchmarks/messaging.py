"""What one completed task costs: ours, journaled and traced, beside a2a-sdk and a bare echo.

    python benchmarks/messaging.py            three rounds, table on the screen
    python benchmarks/messaging.py --write    the same, written into benchmarks/README.md

The work is the same everywhere: a message of one text part arrives, the agent
goes to work, gives one artifact with the same text and completes; the caller has
the completed task in its hands. Each server is a process of its own. CPU is user
plus system time of client and server together, per task, which is steadier than
seconds; rounds of all arms are interleaved, so that ratios are of the same
minutes. The figures are medians over the rounds.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Run as a program, this file has only its own folder on the path.
sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.results import write

CONCURRENCY = (1, 16, 128)
SECONDS = 3.0
TEXT = "What is the status of order 4711?"
# A task that nothing happens to.
IDLE = "Wait."
Ask = Callable[[], Awaitable[None]]

MANIFEST = """
network: bench
embedder: {engine: hash}
models: {none: {engine: function, function: "none:none"}}
store: {durability: full}
agents:
  echo: {concurrency: 256, mailbox: 1024, memory: {record: %s, recall: 0, context_tokens: 0}}
"""


# -- servers -------------------------------------------------------------------


def _echo() -> Any:
    from repertory.agents import Agent, Turn
    from repertory.protocol import Artifact

    class Echo(Agent):
        async def handle(self, turn: Turn) -> None:
            if turn.message.text == IDLE:
                await asyncio.Event().wait()
            await turn.add_artifact(Artifact(artifact_id="echo", parts=turn.message.parts))
            await turn.complete()

    return Echo


@asynccontextmanager
async def our_network(record: bool, more: str = "") -> AsyncIterator[Any]:
    """A network of one agent that gives back what it is told; `more` of its manifest."""
    from repertory.agents.models import FunctionModel
    from repertory.runtime import open_network
    from repertory.runtime.manifest import parse_manifest

    with tempfile.TemporaryDirectory() as folder:
        text = MANIFEST % str(record).lower() + more
        manifest = parse_manifest(text, folder=folder)
        models = {"none": FunctionModel(lambda request: "")}
        async with open_network(manifest, kinds={"echo": _echo()}, models=models) as network:
            yield network


async def serve_ours(record: bool = False) -> None:
    """Our network: SQLite with fsync on every group commit, spans kept in the store."""
    from repertory.runtime.heap import settle_heap
    from repertory.runtime.web import serve

    async with our_network(record) as network, serve(network) as url:
        settle_heap()
        print(f"{url}/agents/echo/mcp", flush=True)
        await asyncio.Event().wait()


async def serve_ours_recording() -> None:
    """As `serve_ours`, with an experience pack for every task."""
    await serve_ours(record=True)


def sdk_handler(url: str, binding: str) -> tuple[Any, Any]:
    """a2a-sdk's handler for the same work, and its card."""
    from a2a.server.agent_execution import AgentExecutor, RequestContext
    from a2a.server.events import EventQueue
    from a2a.server.request_handlers import DefaultRequestHandler
    from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
    from a2a.types import (
        AgentCapabilities,
        AgentCard,
        AgentInterface,
        AgentSkill,
        Part,
        Task,
        TaskState,
        TaskStatus,
    )

    class Echo(AgentExecutor):
        async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
            assert context.task_id and context.context_id
            await event_queue.enqueue_event(
                Task(
                    id=context.task_id,
                    context_id=context.context_id,
                    status=TaskStatus(state=TaskState.TASK_STATE_SUBMITTED),
                )
            )
            updater = TaskUpdater(event_queue, context.task_id, context.context_id)
            await updater.start_work()
            await updater.add_artifact([Part(text=context.get_user_input())])
            await updater.complete()

        async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
            raise RuntimeError("not measured")

    card = AgentCard(
        name="echo",
        description="echo",
        version="1",
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding=binding, protocol_version="1.0")
        ],
        capabilities=AgentCapabilities(streaming=False),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="echo", name="echo", description="echo", tags=["echo"])],
    )
    handler = DefaultRequestHandler(
        agent_executor=Echo(), task_store=InMemoryTaskStore(), agent_card=card
    )
    return handler, card


async def run_uvicorn(app: Any, path: str = "") -> None:
    """Serve `app` on a free port, and say where."""
    import socket

    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    config = uvicorn.Config(
        app, loop="none", http="httptools", lifespan="off", access_log=False, log_level="error"
    )
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/{path}", flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


async def serve_sdk_jsonrpc() -> None:
    """a2a-sdk's server over JSON-RPC, its in-memory store, nothing traced."""
    from a2a.server.routes import create_jsonrpc_routes
    from starlette.applications import Starlette

    handler, _ = sdk_handler("http://127.0.0.1/", "JSONRPC")
    await run_uvicorn(Starlette(routes=create_jsonrpc_routes(handler, "/")))


async def serve_sdk_grpc() -> None:
    """a2a-sdk's server over gRPC, its in-memory store, nothing traced."""
    import grpc
    from a2a.server.request_handlers import GrpcHandler
    from a2a.types import a2a_pb2_grpc

    handler, _ = sdk_handler("127.0.0.1", "GRPC")
    server = grpc.aio.server()
    a2a_pb2_grpc.add_A2AServiceServicer_to_server(GrpcHandler(handler), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


async def serve_asgi() -> None:
    """A bare ASGI application that sends the body back: the floor of HTTP itself."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    await run_uvicorn(app)


# -- clients -------------------------------------------------------------------


@asynccontextmanager
async def call_ours(url: str, headers: dict[str, str] | None = None) -> AsyncIterator[Ask]:
    """Our link over HTTP."""
    from repertory.protocol import Call, SendMessageRequest, TaskState, open_link, user_message

    async with open_link(url, headers=headers) as link:

        async def ask() -> None:
            response = await link.send_message(
                SendMessageRequest(message=user_message(TEXT)), Call()
            )
            task = response.task
            assert task is not None
            assert task.status.state is TaskState.COMPLETED
            assert task.artifacts[0].parts[0].text == TEXT

        yield ask


@asynccontextmanager
async def call_sdk(url: str, binding: str = "") -> AsyncIterator[Ask]:
    """a2a-sdk's client, over JSON-RPC for a URL unless told, over gRPC for an address."""
    import uuid

    import grpc
    import httpx
    from a2a.client import ClientConfig, ClientFactory
    from a2a.types import Message, Part, Role, SendMessageRequest, TaskState

    binding = binding or ("JSONRPC" if url.startswith("http") else "GRPC")
    _, card = sdk_handler(url, binding)
    # Its pool as it comes: a larger one makes httpx slower still at 128.
    async with httpx.AsyncClient(timeout=60) as http:
        config = ClientConfig(
            streaming=False,
            httpx_client=http,
            grpc_channel_factory=grpc.aio.insecure_channel,
            supported_protocol_bindings=[binding],
        )
        client = ClientFactory(config).create(card)

        async def ask() -> None:
            message = Message(
                message_id=uuid.uuid4().hex, role=Role.ROLE_USER, parts=[Part(text=TEXT)]
            )
            async for response in client.send_message(SendMessageRequest(message=message)):
                task = response.task
                assert task.status.state == TaskState.TASK_STATE_COMPLETED
                assert task.artifacts[0].parts[0].text == TEXT

        yield ask
        await client.close()


@asynccontextmanager
async def call_asgi(url: str) -> AsyncIterator[Ask]:
    """aiohttp posting the same text."""
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as session:

        async def ask() -> None:
            async with session.post(url, data=TEXT.encode()) as answer:
                assert await answer.read() == TEXT.encode()

        yield ask


@asynccontextmanager
async def call_in_process(_: str) -> AsyncIterator[Ask]:
    """`network.ask` within one process: no wire, the same journal and spans."""
    from repertory.protocol import TaskState

    async with our_network(record=False) as network:

        async def ask() -> None:
            task = await network.ask("echo", TEXT)
            assert task.status.state is TaskState.COMPLETED

        yield ask


@dataclass(frozen=True)
class Arm:
    """One thing to measure: its name, its server (None: none) and its client."""

    name: str
    server: Callable[[], Awaitable[None]] | None
    client: Callable[[str], Any]


ARMS = {
    "in-process": Arm("repertory, in process (fsync, traced)", None, call_in_process),
    "ours": Arm("repertory, A2A over MCP (fsync, traced)", serve_ours, call_ours),
    "ours-packs": Arm("the same, a pack recorded per task", serve_ours_recording, call_ours),
    "sdk-jsonrpc": Arm("a2a-sdk 1.3.0, JSON-RPC (memory)", serve_sdk_jsonrpc, call_sdk),
    "sdk-grpc": Arm("a2a-sdk 1.3.0, gRPC (memory)", serve_sdk_grpc, call_sdk),
    "asgi": Arm("bare ASGI echo (no task)", serve_asgi, call_asgi),
}


# -- measuring -----------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One round of one arm: CPU microseconds and tasks per second, milliseconds at the median."""

    cpu: float
    rate: float
    median: float


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has spent."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(arm: Arm, url: str, server: int | None, concurrency: int) -> Figure:
    """Ask for some seconds, and count."""
    async with arm.client(url) as ask:
        for _ in range(max(20, concurrency)):
            await ask()
        await asyncio.gather(*(ask() for _ in range(concurrency)))
        times: list[float] = []
        stop = time.perf_counter() + SECONDS

        async def worker() -> None:
            while (began := time.perf_counter()) < stop:
                await ask()
                times.append(time.perf_counter() - began)

        server_before = cpu_of(server) if server else 0.0
        own_before, clock = time.process_time(), time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        spent = time.process_time() - own_before
        seconds = time.perf_counter() - clock
        spent += (cpu_of(server) - server_before) if server else 0.0
    return Figure(1e6 * spent / len(times), len(times) / seconds, 1e3 * statistics.median(times))


def _measure(name: str, concurrency: int) -> Figure:
    """One round, with a fresh server and a fresh client process."""
    arm = ARMS[name]
    # A server is killed, so its folder is made, and removed, by whoever kills it.
    with tempfile.TemporaryDirectory() as folder:
        return _round(arm, name, concurrency, {**os.environ, "TMPDIR": folder})


def _round(arm: Arm, name: str, concurrency: int, environment: dict[str, str]) -> Figure:
    environment["PYTHONWARNINGS"] = "ignore"
    server = None
    url = ""
    if arm.server is not None:
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve", name],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        if not url:
            raise SystemExit(f"the server of {name} did not start")
    try:
        command = [sys.executable, __file__, "--load", name, "--url", url]
        command += ["--concurrency", str(concurrency)]
        command += ["--server-pid", str(server.pid if server else 0)]
        output = subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment
        ).stdout
        return Figure(**json.loads(output))
    finally:
        if server is not None:
            server.kill()
            server.wait()


def _run(coroutine: Any) -> Any:
    import uvloop

    return uvloop.run(coroutine)


def _table(results: dict[tuple[str, int], list[Figure]], rounds: int) -> str:
    lines = [
        "| | " + " | ".join(f"{n} at a time" for n in CONCURRENCY) + " |",
        "|---|" + "---|" * len(CONCURRENCY),
    ]
    median = {
        key: Figure(
            *(
                statistics.median(getattr(f, part) for f in figures)
                for part in ("cpu", "rate", "median")
            )
        )
        for key, figures in results.items()
    }
    for name, arm in ARMS.items():
        cells = []
        for n in CONCURRENCY:
            figure = median[name, n]
            cells.append(f"{figure.cpu:,.0f} µs; {figure.rate:,.0f}/s; {figure.median:.1f} ms")
        lines.append(f"| {arm.name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Each cell: CPU of client and server per task; tasks per second; median wait. "
        f"Medians of {rounds} rounds of {SECONDS:g} s.",
        "",
    ]
    lines += [
        "| tasks per second, ours over theirs | "
        + " | ".join(f"{n} at a time" for n in CONCURRENCY)
        + " |",
        "|---|" + "---|" * len(CONCURRENCY),
    ]
    for peer in ("sdk-jsonrpc", "sdk-grpc"):
        cells = [f"{median['ours', n].rate / median[peer, n].rate:.1f}" for n in CONCURRENCY]
        lines.append(f"| {ARMS[peer].name} | " + " | ".join(cells) + " |")
    keep = median["ours-packs", 16].rate / median["ours", 16].rate
    wide = median["ours", 128].rate / median["ours", 16].rate
    lines += [
        "",
        f"With a pack per task, {keep:.2f} of the throughput at 16. "
        f"Throughput at 128 over that at 16: {wide:.2f}.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, or play one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write into benchmarks/README.md")
    parser.add_argument("--only", help="one arm, by name: " + ", ".join(ARMS))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    parser.add_argument("--concurrency", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--server-pid", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        server = ARMS[options.serve].server
        assert server is not None
        _run(server())
        return
    if options.load:
        arm = ARMS[options.load]
        figure = _run(load(arm, options.url, options.server_pid or None, options.concurrency))
        print(json.dumps(figure.__dict__))
        return
    arms = [options.only] if options.only else list(ARMS)
    results: dict[tuple[str, int], list[Figure]] = {}
    for number in range(options.rounds):
        for concurrency in CONCURRENCY:
            for name in arms:
                figure = _measure(name, concurrency)
                results.setdefault((name, concurrency), []).append(figure)
                print(
                    f"round {number + 1}, {concurrency:3} at a time, {name:12}"
                    f" {figure.cpu:8,.0f} µs {figure.rate:8,.0f}/s {figure.median:8.2f} ms",
                    file=sys.stderr,
                )
    if options.only:
        return
    table = _table(results, options.rounds)
    print(table)
    if options.write:
        write("messaging", table)


if __name__ == "__main__":
    main()
