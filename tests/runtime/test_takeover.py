"""What dead, silent and leaving processes leave to others, with real processes on both stores."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import httpx
import pytest
from anyio import fail_after

from repertory.protocol import (
    Call,
    SendMessageConfiguration,
    SendMessageRequest,
    Task,
    TaskState,
    is_terminal,
    user_message,
    wait_for_end,
)
from repertory.runtime import load_manifest
from repertory.runtime.dead_letters import dead_letters
from repertory.runtime.journal import open_journal
from repertory.runtime.lease import processes_of
from repertory.runtime.replica import Replica, open_replica
from repertory.xp_store import Connection, is_postgres, open_database
from tests.cluster import Cluster

_MANIFEST = """network: test
embedder: {engine: hash}
telemetry: {spans: false}
supervision: {deaths: 3}
store: {url: 'URL', lease: 1}
serve: {outgoing: [127.0.0.0/8]}
agents:
  worker: {memory: {record: false}, patience: 600}
"""
_ROOT = Path(__file__).parents[2]


class Herd:
    """Processes over one network; the tests' own is a replica that runs no agent."""

    def __init__(self, folder: Path, nursery: anyio.abc.Process) -> None:
        self.folder = folder
        self._nursery = nursery
        self._lines = b""
        self.alive: list[int] = []

    async def begin(self, *, ready: bool = True) -> int:
        """Start a process, and return its pid when it is there, or at once."""
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        await self._nursery.stdin.send(b"begin\n")
        while b"\n" not in self._lines:
            self._lines += await self._nursery.stdout.receive()
        line, _, self._lines = self._lines.partition(b"\n")
        pid = int(line)
        self.alive.append(pid)
        while ready and not await anyio.Path(self.folder / f"{pid}.ready").exists():
            assert _lives(pid), await anyio.Path(self.folder / "run.log").read_text()
            await anyio.sleep(0.02)
        return pid

    async def url_of(self, pid: int) -> str:
        """Where a process serves."""
        return await anyio.Path(self.folder / f"{pid}.ready").read_text()

    async def end(self, pid: int, kind: signal.Signals = signal.SIGKILL) -> None:
        """End a process, and return when it is gone."""
        os.kill(pid, kind)
        while _lives(pid):
            await anyio.sleep(0.02)
        self.alive.remove(pid)

    async def begun(self, text: str) -> list[int]:
        """The processes that began a turn over a message, in order."""
        file = anyio.Path(self.folder / "begun")
        lines = (await file.read_text()).splitlines() if await file.exists() else []
        return [
            int(pid) for said, _, pid in (line.rpartition(" ") for line in lines) if said == text
        ]

    async def wait_begun(self, text: str, number: int) -> int:
        """Wait until so many turns over a message have begun; the process of the last."""
        while len(pids := await self.begun(text)) < number:
            await anyio.sleep(0.02)
        return pids[-1]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _is_gone(pid: int) -> bool:
    return not _lives(pid)


@asynccontextmanager
async def _herd(folder: Path, store_url: str) -> AsyncIterator[Herd]:
    (folder / "network.yaml").write_text(_MANIFEST.replace("URL", store_url))
    command = [sys.executable, "-m", "tests.runtime.killing.herd", str(folder)]
    async with await anyio.open_process(command, cwd=_ROOT, stderr=subprocess.STDOUT) as nursery:
        herd = Herd(folder, nursery)
        try:
            with fail_after(120):
                yield herd
        finally:
            for pid in herd.alive:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            nursery.terminate()


@asynccontextmanager
async def _beside(herd: Herd) -> AsyncIterator[Replica]:
    manifest = await anyio.to_thread.run_sync(load_manifest, herd.folder / "network.yaml")
    async with open_replica(manifest) as replica:
        yield replica


async def _tell(replica: Replica, text: str) -> Task:
    request = SendMessageRequest(
        message=user_message(text), configuration=SendMessageConfiguration(return_immediately=True)
    )
    task = (await replica.service("worker").send_message(request, Call())).task
    assert task is not None
    return task


async def _state(replica: Replica, task: Task) -> TaskState:
    record = await replica.journal.load(task.id)
    assert record is not None
    return record.now


async def _deaths(replica: Replica, task: Task) -> tuple[int, int]:
    """Deaths counted over a task, and the process that has noted that it works on it."""

    def unit(connection: Connection) -> Any:
        query = "SELECT deaths, at_work FROM suspect WHERE task_id=?"
        return connection.execute(query, (task.id,)).fetchone()

    return await replica.journal.database.read(unit) or (0, 0)


@pytest.mark.slow
async def test_a_message_that_kills_whoever_takes_it_is_given_up_after_its_deaths(
    tmp_path: Path, store_url: str
) -> None:
    """Ours: fault F13 over processes: each death counts once, at whichever process it was."""
    together = 3 if is_postgres(store_url) else 1
    async with _herd(tmp_path, store_url) as herd:
        for _ in range(together):
            await herd.begin()
        async with _beside(herd) as replica:
            bomb = await _tell(replica, "bomb")
            others = [await _tell(replica, f"hello {number}") for number in range(5)]
            while not is_terminal(await _state(replica, bomb)):
                for pid in list(filter(_is_gone, herd.alive)):
                    herd.alive.remove(pid)
                    await herd.begin(ready=False)
                await anyio.sleep(0.05)
            service = replica.service("worker")
            ended = await wait_for_end(service, bomb, Call())
            assert ended.status.message is not None
            assert "the process ended 3 times while worker worked on this" in (
                ended.status.message.text
            )
            # A death over a task that is new is not counted: it noted nothing.
            assert len(set(await herd.begun("bomb"))) in (3, 4)
            letters, _ = await dead_letters(replica.journal.database)
            given_up = {each.task: each.attempts for each in letters}
            assert given_up == {bomb.id: 3}
            for other in others:
                done = await wait_for_end(service, other, Call())
                assert done.status.state is TaskState.COMPLETED, (done.status, given_up)


@pytest.mark.slow
async def test_a_silent_process_and_one_that_leaves_are_not_counted_as_dead(
    tmp_path: Path, postgres: Cluster
) -> None:
    """Ours: a process that slept beyond its lease takes the death back when it wakes."""
    async with _herd(tmp_path, postgres.new_store()) as herd:
        first = await herd.begin()
        async with _beside(herd) as replica:
            task = await _tell(replica, "hold it")
            assert await herd.wait_begun("hold it", 1) == first
            sleeper = await herd.begin()
            await herd.end(first)
            # Taken up again, so it is noted that it works.
            assert await herd.wait_begun("hold it", 2) == sleeper
            # The first one died at work.
            before, _ = await _deaths(replica, task)
            heir = await herd.begin()
            os.kill(sleeper, signal.SIGSTOP)
            assert await herd.wait_begun("hold it", 3) == heir
            counted, by_heir = await _deaths(replica, task)
            assert counted == before + 1
            os.kill(sleeper, signal.SIGCONT)
            while (await _deaths(replica, task))[0] != before:
                await anyio.sleep(0.02)
            # The note of the heir stands: were it killed now, that would count.
            assert (await _deaths(replica, task)) == (before, by_heir)
            await herd.end(heir, signal.SIGTERM)
            assert await herd.wait_begun("hold it", 4) == sleeper
            assert (await _deaths(replica, task))[0] == before
            (tmp_path / "go").touch()
            done = await wait_for_end(replica.service("worker"), task, Call())
            assert done.status.state is TaskState.COMPLETED


@pytest.mark.slow
async def test_who_waits_for_a_person_is_no_suspect_however_often_its_process_is_killed(
    tmp_path: Path, store_url: str
) -> None:
    """Ours: a task that only waits has killed nobody."""
    async with _herd(tmp_path, store_url) as herd:
        pid = await herd.begin()
        async with _beside(herd) as replica:
            task = await _tell(replica, "ask")
            for number in range(1, 6):
                assert await herd.wait_begun("ask", number) == pid
                while (
                    await _state(replica, task) is not TaskState.INPUT_REQUIRED
                    or (await _deaths(replica, task))[1]
                ):
                    await anyio.sleep(0.02)
                await herd.end(pid)
                pid = await herd.begin()
            assert (await _deaths(replica, task))[0] == 0
            assert await _state(replica, task) is TaskState.INPUT_REQUIRED


@pytest.mark.slow
async def test_what_a_killed_owner_of_a_file_had_goes_on_at_the_next_and_is_followed_meanwhile(
    tmp_path: Path,
) -> None:
    """Ours: over SQLite one process runs the agents; whoever follows by another waits on."""
    async with _herd(tmp_path, f"sqlite:///{tmp_path}/x.db") as herd:
        owner = await herd.begin()
        async with _beside(herd) as replica:
            tasks = [await _tell(replica, f"hold {number}") for number in range(3)]
            ended: list[Task] = []

            async def follow(task: Task) -> None:
                ended.append(await wait_for_end(replica.service("worker"), task, Call()))

            async with anyio.create_task_group() as group:
                for number, task in enumerate(tasks):
                    await herd.wait_begun(f"hold {number}", 1)
                    group.start_soon(follow, task)
                await herd.end(owner)
                heir = await herd.begin()
                for number in range(3):
                    assert await herd.wait_begun(f"hold {number}", 2) == heir
                (known,) = [
                    each for each in await processes_of(replica.journal.database) if each.pools
                ]
                assert (known.pid, known.tasks) == (heir, 3)
                assert not ended
                (tmp_path / "go").touch()
            assert {task.status.state for task in ended} == {TaskState.COMPLETED}
            for task in tasks:
                record = await replica.journal.load(task.id)
                assert record is not None
                sequences = [each.sequence for each in record.events]
                assert sequences == list(range(1, len(sequences) + 1))


class Hook:
    """A webhook's receiver that refuses until it is told to take."""

    def __init__(self) -> None:
        self.takes = False
        self.refused = anyio.Event()
        self.taken: list[str] = []

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        """Answer one request."""
        async with stream:
            raw = await stream.receive()
            while b"\r\n\r\n" not in raw or not raw.rstrip().endswith(b"}"):
                raw += await stream.receive()
            head, _, body = raw.partition(b"\r\n\r\n")
            if self.takes:
                states = re.findall(rb"TASK_STATE_[A-Z_]+", body)
                named = re.search(rb"(?im)^webhook-id: (\S+)", head)
                self.taken.append(f"{named[1].decode() if named else ''} {states[-1].decode()}")
            status = b"200 OK" if self.takes else b"503 Service Unavailable"
            end = b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            await stream.send(b"HTTP/1.1 " + status + end)
            if not self.takes:
                self.refused.set()


@pytest.mark.slow
async def test_a_webhook_that_a_dead_process_left_is_delivered_once_by_another(
    tmp_path: Path, store_url: str
) -> None:
    """Ours: an undelivered event is taken over with its webhook."""
    hook = Hook()
    async with (
        _herd(tmp_path, store_url) as herd,
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
        httpx.AsyncClient(timeout=20) as http,
    ):
        group.start_soon(listener.serve, hook.serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        first = await herd.begin()
        if is_postgres(store_url):
            await herd.begin()
        config = {"id": "mine", "url": f"http://127.0.0.1:{port}/hook", "token": "t"}
        message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hello"}]}
        answer = await http.post(
            f"{await herd.url_of(first)}/agents/worker/rest/message:send",
            json={"message": message, "configuration": {"taskPushNotificationConfig": config}},
            headers={"A2A-Version": "1.0"},
        )
        assert answer.json()["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
        await hook.refused.wait()
        await herd.end(first)
        hook.takes = True
        if not is_postgres(store_url):
            await herd.begin()
        while not any("COMPLETED" in each for each in hook.taken):
            await anyio.sleep(0.02)
        assert len(hook.taken) == len(set(hook.taken))
        async with open_database(store_url) as database, open_journal(database):
            query = "SELECT count(*) FROM webhook WHERE done=0"
            while await database.read(lambda some: some.execute(query).fetchone()[0]):
                await anyio.sleep(0.02)
        assert sum("COMPLETED" in each for each in hook.taken) == 1
        group.cancel_scope.cancel()
