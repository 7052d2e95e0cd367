"""Erasure: what a network's journal and spans hold of packs that are forgotten.

A task's events and steps hold what its pack holds, and so do the tasks that called it
and those that it called, and the later ones of its context, which were shown its
dialogue. All of them go in the transaction that deletes the packs.
"""

from collections.abc import Sequence
from pathlib import Path

import orjson

from repertory.xp_store import Connection, Purge, texts_in

from .errors import InputError

_CHUNK = 500
# The text columns of a task's rows, and those that hold JSON.
_TEXTS = {
    "task": (("text",), ("message",)),
    "event": ((), ("body",)),
    "step": ((), ("request", "result")),
}


def journal_purge() -> Purge:
    """What `forget` needs to take a journal's tasks and spans along."""
    return Purge(widen=_widened, delete=_delete)


def tasks_that_say(connection: Connection, texts: Sequence[str]) -> frozenset[str]:
    """The tasks in whose rows one of these texts stands."""
    found: set[str] = set()
    for text in texts:
        quoted = orjson.dumps(text).decode()[1:-1]
        for table, (plain, held) in _TEXTS.items():
            key = "id" if table == "task" else "task_id"
            told = " OR ".join(connection.dialect.holds(column) for column in (*plain, *held))
            values = [*(text for _ in plain), *(quoted for _ in held)]
            found |= {
                row[0]
                for row in connection.execute(f"SELECT {key} FROM {table} WHERE {told}", values)
            }
    return frozenset(found)


def _widened(connection: Connection, tasks: frozenset[str], packs: Sequence[str]) -> frozenset[str]:
    """These tasks and those that were shown one of `packs`, with callers, callees and contexts."""
    found: set[str] = set()
    waiting = set(tasks | tasks_that_say(connection, packs))
    while waiting:
        found |= waiting
        fresh: set[str] = set()
        for some in _chunks(sorted(waiting)):
            marks = ", ".join("?" * len(some))
            fresh |= {
                str(row[0])
                for row in connection.execute(
                    f"SELECT o.id FROM task t JOIN task o ON o.id = t.parent_task"
                    f" OR o.parent_task = t.id"
                    " OR (o.context_id = t.context_id AND o.tenant = t.tenant)"
                    f" WHERE t.id IN ({marks})",
                    some,
                )
            }
        waiting = fresh - found
    return frozenset(found)


def _delete(connection: Connection, tasks: frozenset[str]) -> list[str]:
    texts: list[str] = []
    for some in _chunks(sorted(tasks)):
        marks = ", ".join("?" * len(some))
        open_task = connection.execute(
            f"SELECT id FROM task WHERE ended = 0 AND id IN ({marks}) LIMIT 1", some
        ).fetchone()
        if open_task is not None:
            raise InputError(
                f"task {open_task[0]} holds what is to be forgotten and has not ended:"
                f" cancel it first (repertory cancel {open_task[0]})"
            )
        for table, (plain, held) in _TEXTS.items():
            key = "id" if table == "task" else "task_id"
            columns = ", ".join((*plain, *held))
            for row in connection.execute(
                f"SELECT {columns} FROM {table} WHERE {key} IN ({marks})", some
            ):
                texts += [text for text in row[: len(plain)] if text]
                for text in row[len(plain) :]:
                    texts += texts_in(orjson.loads(text)) if text else ()
        for table in ("event", "step", "command", "webhook"):
            connection.execute(f"DELETE FROM {table} WHERE task_id IN ({marks})", some)
        _delete_spans(connection, some)
        connection.execute(f"DELETE FROM task WHERE id IN ({marks})", some)
    return _telling(texts)


def _delete_spans(connection: Connection, tasks: Sequence[str]) -> None:
    marks = ", ".join("?" * len(tasks))
    # A trace is one message given to the network, with all that it caused.
    connection.execute(
        "DELETE FROM span WHERE trace_id IN"
        f" (SELECT trace_id FROM span WHERE task_id IN ({marks}))",
        tasks,
    )


def _telling(texts: Sequence[str]) -> list[str]:
    """Those texts that a person could have written: ids and the protocol's words are none."""
    return [text for text in dict.fromkeys(texts) if " " in text or "@" in text]


def log_files(folder: Path) -> list[Path]:
    """The logs beside a store."""
    return sorted(folder.glob("*.log*")) if folder.is_dir() else []


def _chunks(values: Sequence[str]) -> list[Sequence[str]]:
    return [values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK)]
