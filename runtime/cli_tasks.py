"""`repertory tasks`, `watch`, `trace`, `cancel` and `retry`: a network seen through its journal.

They only read the store, or leave an order in it, so they work beside the
process that runs the network.
"""

from collections.abc import Sequence
from pathlib import Path
from time import time
from typing import Any

from anyio import fail_after, run, sleep
from rich.text import Text

from repertory.protocol import NumberedEvent, TaskNotFoundError, TaskState, is_terminal

from .chosen import Chosen, choose, reading
from .dead_letters import DeadLetter, dead_letters, require_retryable, successor_of
from .errors import InputError, did_you_mean
from .exits import Exit
from .journal import Journal, command_outcome, post_command, question_of
from .lease import runners
from .manifest import Manifest
from .record import TaskRecord, state_of
from .screen import Screen, clock, colored, duration, grid, short, word
from .spans import load_trace
from .trace_view import render_tree, trace_tree, tree_json

# How often another process's journal is looked at, and how long an order waits to be taken up.
_LOOK_SECONDS = 0.2
_ORDER_SECONDS = 20.0
WAITING = (TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED)


async def is_run(journal: Journal) -> bool:
    """Whether a process runs the network now."""
    return bool(await runners(journal.database))


async def find_task(journal: Journal, given: str) -> TaskRecord:
    """The one task whose id begins or ends with `given`.

    Raises:
        TaskNotFoundError: None does.
        InputError: Several do.
    """
    if not given or not given.replace("-", "").isalnum():
        raise TaskNotFoundError(f"{given!r} is no task's id; repertory tasks lists them")
    found, total = await journal.select(
        "id LIKE ? OR id LIKE ?", (f"{given}%", f"%{given}"), limit=5
    )
    exact = [record for record in found if record.id == given]
    if total > 1 and not exact:
        several = ", ".join(record.id for record in found)
        raise InputError(f"{given!r} is the id of {total} tasks; say more of it: {several}")
    if not found:
        raise TaskNotFoundError(f"no task has the id {given!r}; repertory tasks lists them")
    record = await journal.load((exact or found)[0].id)
    assert record is not None, "it was there in the transaction before"
    return record


def list_tasks(
    path: Path, state: str, agent: str, waiting: bool, limit: int, store: str, as_json: bool
) -> int:
    """Print the tasks of a network."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    where, values = _filter(chosen.manifest, state, agent, waiting)

    async def read() -> tuple[list[TaskRecord], int]:
        async with reading(chosen) as journal:
            found, total = await journal.select(where, values, limit=limit)
            loaded = [
                (await journal.load(record.id)) or record if record.now in WAITING else record
                for record in found
            ]
            return loaded, total

    records, total = run(read)
    if screen.json:
        screen.document({"tasks": [task_data(record) for record in records], "total": total})
        return Exit.DONE
    rows = [
        (
            record.id if not screen.out.is_terminal else record.id[-12:],
            record.agent,
            colored(record.now),
            clock(record.updated_at),
            duration(max(0.0, time() - record.created_at)),
            record.attempts or "",
            _waits_for(record),
            short(_asked(record) or record.text),
        )
        for record in records
    ]
    columns = ("task", "agent", "state", "changed", "age>", "crashes>", "waits for")
    screen.out.print(grid((*columns, "asked, or last words"), rows))
    if total > len(records):
        screen.out.print(Text(f"{len(records)} of {total}; --limit shows more"))
    if any(record.now in WAITING for record in records):
        screen.say("answer with: repertory answer TASK 'your answer'")
    return Exit.DONE


def task_data(record: TaskRecord) -> dict[str, Any]:
    """A task as `--json` shows it."""
    return {
        "id": record.id,
        "agent": record.agent,
        "contextId": record.context_id,
        "state": word(record.now),
        "created": record.created_at,
        "updated": record.updated_at,
        "parent": record.parent_task or None,
        "attempts": record.attempts,
        "waitsFor": record.park or None,
        "question": question_of(record) if record.events else None,
        "text": record.text,
    }


def _waits_for(record: TaskRecord) -> str:
    """Whom or what a task waits for, as a list shows it."""
    if is_terminal(record.now) or not record.park:
        return "its turn" if record.now is TaskState.SUBMITTED else ""
    if record.park == "person":
        return "a person"
    return " ".join(f"task {task_id[-12:]}" for task_id in record.park.split(","))


def list_dead(path: Path, agent: str, limit: int, store: str, as_json: bool) -> int:
    """Print the messages that were given up on and not tried again."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    _filter(chosen.manifest, "", agent, False)

    async def read() -> tuple[list[DeadLetter], int]:
        async with reading(chosen) as journal:
            return await dead_letters(journal.database, agent=agent, limit=limit)

    letters, total = run(read)
    if screen.json:
        screen.document({"dead": letters, "total": total})
        return Exit.DONE
    whole = not screen.out.is_terminal
    rows = [
        (
            each.task if whole else each.task[-12:],
            each.agent,
            each.attempts,
            clock(each.at),
            each.trace if whole else each.trace[:12],
            short(each.error, 100),
        )
        for each in letters
    ]
    screen.out.print(grid(("task", "agent", "attempts>", "since", "trace", "last error"), rows))
    if total > len(letters):
        screen.out.print(Text(f"{len(letters)} of {total}; --limit shows more"))
    if letters:
        screen.say("see what happened: repertory trace TASK; try again: repertory retry TASK")
    return Exit.DONE


def retry_task(path: Path, task: str, store: str, as_json: bool) -> int:
    """Try the message of a task that ended badly again, as a new task."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def retry() -> int:
        async with reading(chosen) as journal:
            record = await find_task(journal, task)
            require_retryable(record)
            outcome = await carried_out(screen, chosen, journal, "retry", record.id, "")
            again = await find_successor(journal, record)
            if outcome == "done" and again is not None:
                sentence = f"task {record.id} is tried again as task {again}"
            else:
                noted = f"noted; taken up when the network runs next: repertory run {chosen.path}"
                sentence = f"task {record.id}: {outcome or noted}"
            data = {"task": record.id, "order": "retry", "outcome": outcome or "noted"}
            screen.result({**data, "retried": again}, Text(sentence))
            return Exit.DONE if outcome in ("", "done") else Exit.FAILED

    return run(retry)


async def find_successor(journal: Journal, record: TaskRecord) -> str | None:
    """The task that tries `record` again, if there is one yet."""
    message_id = successor_of(record).message.message_id
    where = "agent=? AND tenant=? AND principal=? AND message_id=?"
    values = (record.agent, record.tenant, record.principal, message_id)
    found, _ = await journal.select(where, values, limit=1)
    return found[0].id if found else None


def _asked(record: TaskRecord) -> str:
    question = question_of(record) if record.events else None
    if question is None:
        return ""
    options = " / ".join(question.get("options") or ())
    return f"{question.get('text', '')}{f' [{options}]' if options else ''}"


def _filter(
    manifest: Manifest, state: str, agent: str, waiting: bool
) -> tuple[str, tuple[str, ...]]:
    where, values = ["1=1"], list[str]()
    if waiting:
        where.append("state IN (?, ?)")
        values.extend(each.value for each in WAITING)
    if state:
        wanted = state.lower().replace("-", "_").replace(" ", "_")
        states = {word(each): each for each in TaskState}
        if wanted not in states:
            raise InputError(f"no state {state!r}; {did_you_mean(wanted, states)}")
        where.append("state=?")
        values.append(states[wanted].value)
    if agent:
        if agent not in manifest.agents:
            raise InputError(f"no agent {agent!r}; {did_you_mean(agent, manifest.agents)}")
        where.append("agent=?")
        values.append(agent)
    return " AND ".join(where), tuple(values)


def watch_tasks(path: Path, task: str, store: str, as_json: bool) -> int:
    """Print events as they are journaled; of one task until it ends, of all until interrupted."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def watch() -> int:
        async with reading(chosen) as journal:
            if task:
                record = await find_task(journal, task)
                return await _watch_one(screen, journal, record)
            return await _watch_all(screen, chosen, journal)

    return run(watch)


async def _watch_one(screen: Screen, journal: Journal, record: TaskRecord) -> int:
    seen = 0
    while True:
        for numbered in record.events[seen:]:
            _show_event(screen, record, numbered)
        seen = len(record.events)
        if is_terminal(record.now):
            return Exit.DONE if record.now is TaskState.COMPLETED else Exit.FAILED
        if record.now in WAITING:
            screen.warn(f"it waits for a person: repertory answer {record.id} ...")
            return Exit.WAITING
        await sleep(_LOOK_SECONDS)
        record = await journal.load(record.id) or record


async def _watch_all(screen: Screen, chosen: Chosen, journal: Journal) -> int:
    since = 0.0
    seen: dict[str, int] = {}
    first = True
    while True:
        gone = not await is_run(journal)
        changed, _ = await journal.select("updated_at>=?", (since,))
        for listed in reversed(changed):
            since = max(since, listed.updated_at)
            if listed.staged == seen.get(listed.id) and not first:
                continue
            record = await journal.load(listed.id)
            if record is None:
                continue
            # What happened before the watch began is told by each task's last event.
            begin = max(0, len(record.events) - 1) if first else seen.get(record.id, 0)
            for numbered in record.events[begin:]:
                _show_event(screen, record, numbered)
            seen[record.id] = len(record.events)
        if gone:
            screen.say("no process runs this network now")
            return Exit.DONE
        first = False
        await sleep(_LOOK_SECONDS)


def _show_event(screen: Screen, record: TaskRecord, numbered: NumberedEvent) -> None:
    if screen.json:
        screen.line(
            {
                "taskId": record.id,
                "agent": record.agent,
                "sequence": numbered.sequence,
                "event": numbered.event,
            }
        )
        return
    event, state = numbered.event, state_of(numbered.event)
    said = ""
    if event.status_update is not None and event.status_update.status.message is not None:
        said = event.status_update.status.message.text
    elif event.artifact_update is not None:
        said = f"artifact {event.artifact_update.artifact.name}"
    elif event.task is not None:
        said = record.message.text
    line = Text.assemble(
        (record.id[-12:], "dim"), "  ", record.agent, "  ", colored(state) if state else "artifact"
    )
    screen.out.print(Text.assemble(line, "  ", short(said)))


def trace_task(path: Path, task: str, store: str, as_json: bool) -> int:
    """Print a task's spans as a tree."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def read() -> tuple[TaskRecord, Sequence[Any]]:
        async with reading(chosen) as journal:
            record = await find_task(journal, task)
            return record, await load_trace(journal.database, task_id=record.id)

    record, spans = run(read)
    if not spans:
        screen.warn(
            f"no spans of task {record.id} are kept; 'telemetry: {{spans: true}}' in the manifest "
            "keeps them, up to a bound"
        )
        return Exit.FAILED
    tree = trace_tree(spans)
    screen.result({"task": record.id, **tree_json(tree)}, render_tree(tree))
    return Exit.DONE


def cancel_task(path: Path, task: str, store: str, as_json: bool) -> int:
    """End a task, by the process that runs the network or at its next start."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def cancel() -> int:
        async with reading(chosen) as journal:
            record = await find_task(journal, task)
            if is_terminal(record.now):
                raise InputError(f"task {record.id} has ended already: {word(record.now)}")
            return await order(screen, chosen, journal, "cancel", record.id, "")

    return run(cancel)


async def order(
    screen: Screen, chosen: Chosen, journal: Journal, kind: str, task_id: str, body: str
) -> int:
    """Leave an order in the journal and wait for its owner, if any, to carry it out."""
    outcome = await carried_out(screen, chosen, journal, kind, task_id, body)
    done = outcome in ("", "done")
    told = {"answer": "answered", "cancel": "canceled"}[kind]
    noted = f"noted; taken up when the network runs next: repertory run {chosen.path}"
    sentence = f"task {task_id}: {told if outcome == 'done' else outcome or noted}"
    screen.result({"task": task_id, "order": kind, "outcome": outcome or "noted"}, Text(sentence))
    return Exit.DONE if done else Exit.FAILED


async def carried_out(
    screen: Screen, chosen: Chosen, journal: Journal, kind: str, task_id: str, body: str
) -> str:
    """Leave an order in the journal; what came of it, "" where nobody runs the network."""
    number = await post_command(chosen.url, kind, task_id, body)
    outcome = ""
    if await is_run(journal):
        try:
            with fail_after(_ORDER_SECONDS):
                while True:
                    outcome = await command_outcome(journal.database, number)
                    if outcome:
                        break
                    await sleep(_LOOK_SECONDS)
        except TimeoutError:
            screen.warn("the process that runs the network has not taken it up yet; it will")
    return outcome
