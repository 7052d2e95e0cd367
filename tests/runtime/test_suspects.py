"""Messages that may kill the process, told from their neighbors."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import fail_after

from repertory.protocol import user_message
from repertory.runtime.journal import open_journal
from repertory.runtime.mailbox import Mailbox
from repertory.runtime.record import TaskRecord
from repertory.runtime.suspects import Suspects
from repertory.runtime.tables import TaskRow
from repertory.xp_store import open_database, prepared_insert

_PROGRAM = """
import os, sys
import anyio
from repertory.agents import Agent
from repertory.runtime import open_network

class Deadly(Agent):
    async def handle(self, turn):
        if turn.message.text == "bomb":
            os.kill(os.getpid(), 9)
        await turn.complete("alive")

async def life(texts):
    async with open_network("network.yaml", kinds={"deadly": Deadly}) as network:
        for text in texts:
            await network.tell("deadly", text, message_id=text)
        await network.idle()
        for task in await network.tasks():
            print(task.state.name, task.attempts, task.text)
        for letter in await network.dead_letters():
            print("dead", letter.attempts, len(letter.trace))

# Each life is a process of its own; the imports are paid for once.
for number in range(6):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        anyio.run(life, ["bomb", "hello"] if number == 0 else [])
        sys.stdout.flush()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print("end", status)
    if status == 0:
        break
"""


def test_a_message_that_kills_the_process_is_given_up_and_its_neighbors_are_not(
    tmp_path: Path,
) -> None:
    """Ours: fault F13 for what no supervisor inside the process can see."""
    (tmp_path / "network.yaml").write_text(
        "network: test\nembedder: {engine: hash}\nsupervision: {deaths: 3}\nagents: {deadly: {}}\n"
    )
    (tmp_path / "program.py").write_text(_PROGRAM)
    ran = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    told = ran.stdout.splitlines()
    assert [line for line in told if line.startswith("end")] == ["end -9"] * 4 + ["end 0"]
    assert "FAILED 0 the process ended 3 times while deadly worked on this message" in told
    assert "COMPLETED 0 alive" in told
    assert [line for line in told if line.startswith("dead")] == ["dead 3 32"]


async def test_suspects_work_one_tree_of_calls_at_a_time(store_url: str) -> None:
    """Ours: a death counts against its cause, so two suspects are never at work together."""

    def record(name: str) -> TaskRecord:
        return TaskRecord(
            id=name,
            agent="a",
            tenant="t",
            principal="p",
            context_id=name,
            message=user_message(name),
        )

    inside: list[str] = []
    async with (
        open_database(store_url) as database,
        open_journal(database),
    ):
        await database.transact(partial(_put_tasks, "one", "two", "three"))
        await database.transact(
            lambda connection: connection.executemany(
                "INSERT INTO suspect (task_id, deaths, progress, at_work) VALUES (?, 2, 0, 0)",
                [("one",), ("two",)],
            )
        )
        suspects = Suspects(database, 7, lambda each: each.parent_task or each.id)
        assert await suspects.count(["one", "two", "three"]) == {"one": 2, "two": 2, "three": 0}
        leave = anyio.Event()
        # Two places of work: whoever waits to be alone does not keep one.
        mailbox = Mailbox(8, 2)

        async def work(each: TaskRecord) -> None:
            async with suspects.at_work(each, mailbox):
                inside.append(each.id)
                await leave.wait()
            mailbox.done(each)

        async def begin(name: str) -> None:
            await mailbox.wait_for_room()
            mailbox.put(record(name))
            group.start_soon(work, await mailbox.get())

        with fail_after(5):
            async with anyio.create_task_group() as group:
                await begin("one")
                while not inside:
                    await anyio.sleep(0.001)
                await begin("two")
                await begin("three")
                while len(inside) < 2:
                    await anyio.sleep(0.001)
                assert inside == ["one", "three"]
                leave.set()
        assert inside == ["one", "three", "two"]


@pytest.mark.parametrize("progressed", [True, False])
async def test_a_task_that_got_further_meanwhile_is_no_suspect(
    store_url: str, progressed: bool
) -> None:
    """Ours: whoever is killed from outside again and again, and gets on, is left alone."""
    async with open_database(store_url) as database, open_journal(database):
        await database.transact(partial(_put_tasks, "one", sequence=3 if progressed else 2))
        await database.transact(
            lambda connection: connection.execute("INSERT INTO suspect VALUES ('one', 1, 2, 1)")
        )
        suspects = Suspects(database, 7, lambda each: each.id)
        assert await suspects.count(["one"]) == {"one": 0 if progressed else 2}


async def test_a_neighbor_is_not_given_up_on_for_who_is_not_suspected_yet(store_url: str) -> None:
    """Ours: a death counts for all that its process worked on at once, and spares who was suspected."""
    async with open_database(store_url) as database, open_journal(database):
        await database.transact(partial(_put_tasks, "neighbor", "bomb", "fresh", sequence=1))
        await database.transact(
            lambda connection: connection.executemany(
                "INSERT INTO suspect (task_id, deaths, progress, at_work) VALUES (?, ?, 1, 3)",
                [("neighbor", 2), ("bomb", 1), ("fresh", 0)],
            )
        )
        one, other = (Suspects(database, number, lambda each: each.id) for number in (7, 8))
        assert await one.count(["bomb"]) == {"bomb": 2}
        # Another process takes its neighbors, and counts nothing twice.
        assert await other.count(["neighbor", "fresh"]) == {"neighbor": 2, "fresh": 1}
        # Nobody is left to excuse it.
        await database.transact(
            lambda connection: connection.execute(
                "UPDATE suspect SET at_work=7 WHERE task_id='bomb'"
            )
        )
        assert await other.count(["bomb"]) == {"bomb": 3}


def _put_tasks(*names_and_connection: Any, sequence: int = 1) -> None:
    """Tasks of which only the id and the last event's number matter; the connection comes last."""
    *names, connection = names_and_connection
    statement, columns = prepared_insert(TaskRow)
    numbers = {"sequence": sequence, "ended": 0, "attempts": 0, "created_at": 0.0, "owner": 0}
    for name in names:
        values = {"id": name, "message_id": name, "seconds": None, "updated_at": 0.0, **numbers}
        connection.execute(statement, tuple(values.get(column, "") for column in columns))
