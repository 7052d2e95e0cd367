import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import time
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from anyio import fail_after

from repertory.agents import (
    ManagedModel,
    ManagedServer,
    ModelContext,
    ModelUnavailableError,
    OpenAIModel,
    Retry,
    ServerCommand,
    ServerState,
    Tier,
    advice_for,
    open_managed_server,
    read_state,
)
from repertory.protocol import DeadlineExceededError
from tests.agents.model_contract import CHECKS, chat
from tests.agents.model_server import MODEL

STAND_IN = Path(__file__).parent / "servers" / "vllm_stand_in.py"
TIERS = frozenset({Tier.SCORE, Tier.EXTRACT})


def command(folder: Path, *arguments: str, **options: Any) -> ServerCommand:
    """The stand-in, started as vLLM is."""
    return ServerCommand(
        argv=(sys.executable, str(STAND_IN), "serve", MODEL, *arguments),
        cwd=folder,
        environment={"PATH": os.environ["PATH"]},
        log=folder / "large.log",
        **{"grace": 1.0, "silence": 5.0, "start_seconds": 20.0, **options},
    )


@asynccontextmanager
async def managed(
    folder: Path, *arguments: str, **options: Any
) -> AsyncIterator[tuple[ManagedServer, ManagedModel]]:
    """A model whose server is the stand-in."""
    with fail_after(30):
        async with open_managed_server(
            "large", command(folder, *arguments, **options), state_file=folder / "large.json"
        ) as server:
            model = ManagedModel(server, MODEL, TIERS, make)
            try:
                yield server, model
            finally:
                await model.aclose()


def make(url: str, read_key: Any) -> OpenAIModel:
    """A client of one life of the server."""
    return OpenAIModel(url, MODEL, tiers=TIERS, retry=Retry(attempts=1), read_key=read_key)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def until_gone(pid: int) -> None:
    """Wait until a process that is no child of ours has ended."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with fail_after(10):
            await anyio.wait_readable(process)
    finally:
        os.close(process)


async def stored_state(folder: Path) -> ServerState | None:
    """What other processes can read of the server."""
    return await anyio.to_thread.run_sync(read_state, folder / "large.json")


async def order(server: ManagedServer, **orders: Any) -> None:
    """Tell the stand-in how to misbehave."""
    async with httpx.AsyncClient() as client:
        (await client.post(f"{server.state.url}/stand-in", json=orders)).raise_for_status()


async def test_a_managed_model_keeps_the_contract_of_all_models(tmp_path: Path) -> None:
    """Ours: agents need not know that their server was started for them."""
    async with managed(tmp_path) as (_, model):
        for check in CHECKS:
            # It says that it is well once it runs, which the earlier checks waited for.
            await check(model)


async def test_its_server_is_gone_when_the_block_ends_and_its_state_says_so(tmp_path: Path) -> None:
    """Ours: nothing outlives its block, children in sessions of their own included."""
    child = tmp_path / "child"
    async with managed(tmp_path, "--stand-in-child", str(child)) as (server, model):
        await model.chat(chat())
        pid = server.state.pid
        assert pid is not None
        stored = await stored_state(tmp_path)
        assert stored is not None
        assert (stored.state, stored.pid, stored.url) == ("running", pid, server.state.url)
        assert server.key
        assert server.key not in (tmp_path / "large.json").read_text()
        assert server.key not in (tmp_path / "large.log").read_text()
    assert not is_alive(pid)
    assert not is_alive(int(child.read_text()))
    ended = await stored_state(tmp_path)
    assert ended is not None
    assert ended.state == "stopped"
    assert "loading weights" in (tmp_path / "large.log").read_text()


async def test_a_server_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    """Ours: after its grace no signal is left to ignore."""
    async with managed(tmp_path, "--stand-in-deaf", grace=0.2) as (server, model):
        await model.chat(chat())
        pid = server.state.pid
    assert pid is not None
    assert not is_alive(pid)


async def test_a_killed_server_is_started_again_and_the_question_with_it(tmp_path: Path) -> None:
    """Ours: fault F4, kill -9 in mid-question; the caller only waits longer."""
    async with managed(tmp_path) as (server, model):
        await model.chat(chat())
        first = server.state.pid
        await order(server, misbehave=["kill"])
        assert (await model.chat(chat())).text
        assert server.state.pid != first
        assert server.state.restarts == 1


async def test_a_server_that_calls_itself_ill_is_waited_for(tmp_path: Path) -> None:
    """Ours: vLLM's engine dies alone, its front answers 500 and ends later; the task loses nothing."""
    async with managed(tmp_path, silence=2.0) as (server, model):
        await model.chat(chat())
        await order(server, always="500", healthy=False)
        assert (await model.chat(chat())).text
        assert server.state.restarts == 1


async def test_a_server_that_falls_silent_is_killed_and_started_again(tmp_path: Path) -> None:
    """Ours: a process that runs and answers nothing is no server."""
    async with managed(tmp_path, silence=0.5) as (server, model):
        await model.chat(chat())
        assert server.state.pid is not None
        os.kill(server.state.pid, signal.SIGSTOP)
        era = server.era
        await server.running(after=era)
        assert (await model.chat(chat())).text


async def test_a_server_that_dies_too_often_stays_down_and_says_why(tmp_path: Path) -> None:
    """Ours: restarts have an intensity, and the last words say what an operator must know."""
    words = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    async with managed(tmp_path, "--stand-in-dies", words, intensity=1) as (server, model):
        with pytest.raises(ModelUnavailableError, match="CUDA out of memory") as caught:
            await model.chat(chat())
        assert server.state.restarts == 1
        assert not (await model.probe()).answers
    assert str(tmp_path / "large.log") in caught.value.sentence
    stored = await stored_state(tmp_path)
    assert stored is not None
    assert stored.state == "down"


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Ours: what is missing is said, and not that a pipe broke."""
    wrong = ServerCommand(
        argv=("no-such-vllm", "serve", MODEL),
        cwd=tmp_path,
        environment={},
        log=tmp_path / "x.log",
        intensity=0,
    )
    with fail_after(10):
        async with open_managed_server("large", wrong) as server:
            with pytest.raises(ModelUnavailableError, match="no-such-vllm: No such file"):
                await server.running()


async def test_a_port_that_is_taken_is_told_at_once(tmp_path: Path) -> None:
    """Ours: before anything loads; the next start takes the port when it is free again."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        async with managed(tmp_path, port=port, intensity=0) as (server, model):
            with pytest.raises(ModelUnavailableError, match=f"127.0.0.1:{port} is in use"):
                await model.chat(chat())
            assert "take 'port' out" in advice_for(server.state.said)
    async with managed(tmp_path, port=port) as (server, model):
        await model.chat(chat())
        assert server.state.url == f"http://127.0.0.1:{port}"


async def test_a_start_that_takes_too_long_costs_the_callers_deadline_and_no_more(
    tmp_path: Path,
) -> None:
    """Ours: the deadline holds while a server loads its weights."""
    async with managed(tmp_path, "--stand-in-seconds", "60") as (_, model):
        assert (await model.probe()).detail.startswith("its server is starting")
        with pytest.raises(DeadlineExceededError, match="while its server was starting"):
            await model.chat(chat(), ModelContext(deadline=time() + 0.2))


async def test_a_start_has_a_bound(tmp_path: Path) -> None:
    """Ours: a server that never gets ready is down, and does not load for ever."""
    hangs = ("--stand-in-seconds", "60")
    async with managed(tmp_path, *hangs, start_seconds=0.5, intensity=0) as (_, model):
        with pytest.raises(ModelUnavailableError, match=r"not ready after 0\.5 s"):
            await model.chat(chat())


async def test_the_server_sees_the_environment_it_was_given_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: no secret of this process reaches it."""
    monkeypatch.setenv("SOME_SECRET", "s3cret")
    seen = tmp_path / "environment"
    async with managed(tmp_path, "--stand-in-environment", str(seen)) as (_, model):
        await model.chat(chat())
    assert set(seen.read_text().split()) <= {"PATH", "VLLM_API_KEY", "LC_CTYPE"}


HOLDER = """
import anyio, sys
from pathlib import Path
from tests.agents.test_models_managed import chat, managed

async def main() -> None:
    folder = Path(sys.argv[1])
    async with managed(folder, "--stand-in-child", str(folder / "child")) as (server, model):
        await model.chat(chat())
        print(server.state.pid, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


async def test_kill_9_of_the_runtime_leaves_no_orphan(tmp_path: Path) -> None:
    """Ours: the guard hears of every death, and takes server and children with it."""
    holder = await anyio.to_thread.run_sync(
        partial(
            subprocess.Popen,
            [sys.executable, "-c", HOLDER, str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
    )
    assert holder.stdout is not None
    with holder, fail_after(30):
        server = int(await anyio.to_thread.run_sync(holder.stdout.readline))
        child = int((tmp_path / "child").read_text())
        assert is_alive(server)
        holder.kill()
        await until_gone(server)
        await until_gone(child)
    stored = await stored_state(tmp_path)
    assert stored is not None
    assert (stored.state, stored.said) == ("stopped", "its network was killed")


async def test_kill_9_of_the_guard_leaves_no_orphan_either(tmp_path: Path) -> None:
    """Ours: the kernel tells the server that its guard died, and it is started again."""
    async with managed(tmp_path) as (server, model):
        await model.chat(chat())
        first = server.state.pid
        assert first is not None
        guard = int(Path(f"/proc/{first}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(guard, signal.SIGKILL)
        await until_gone(first)
        assert (await model.chat(chat())).text
        assert server.state.pid != first


async def test_every_way_to_break_ends_by_the_deadline(
    tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """Ours: fault F4; a typed error by the deadline, and nothing hangs behind it."""
    async with managed(tmp_path) as (server, well):
        await well.chat(chat())
        for how in ("hang", "drip", "500", "torn", "sse", "odd"):
            with subtests.test(how):
                await order(server, always=how)
                # A client of its own, whose breaker has seen no other way.
                model = ManagedModel(server, MODEL, TIERS, make)
                await model.probe()
                deadline = time() + 0.5
                with (
                    fail_after(5),
                    pytest.raises((DeadlineExceededError, ModelUnavailableError)),
                ):
                    await model.chat(chat(), ModelContext(deadline=deadline))
                await model.aclose()
        await order(server, always=None)
        assert (await well.chat(chat())).text
        assert server.state.restarts == 0
