"""`repertory answer`: a person's answer, and the work that goes on after it."""

from pathlib import Path

from anyio import run

from .chosen import choose, reading
from .cli_tasks import WAITING, find_task, is_run, order
from .errors import InputError
from .journal import question_of
from .record import TaskRecord
from .screen import Screen, word


def answer_task(path: Path, task: str, text: str, later: bool, store: str, as_json: bool) -> int:
    """Give a person's answer to a task, and see the work go on."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def give() -> tuple[str, int | None]:
        async with reading(chosen) as journal:
            record = await find_task(journal, task)
            _require_question(record, text)
            if later or await is_run(journal):
                return record.id, await order(screen, chosen, journal, "answer", record.id, text)
            return record.id, None

    task_id, status = run(give)
    if status is not None:
        return status
    # Nobody runs the network: the work goes on here, which needs all of it.
    from .cli_run import answer_here

    return run(answer_here, screen, chosen, task_id, text)


def _require_question(record: TaskRecord, text: str) -> None:
    if record.now not in WAITING:
        raise InputError(
            f"task {record.id} asks nothing: it is {word(record.now).replace('_', ' ')}; "
            "repertory tasks --waiting lists those that do"
        )
    options = (question_of(record) or {}).get("options") or ()
    if options and text not in options:
        raise InputError(
            f"task {record.id} is answered by one of {', '.join(map(repr, options))}, not {text!r}",
        )
