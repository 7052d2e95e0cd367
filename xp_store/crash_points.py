"""Named places at the commits, where a test makes the process die as by `kill -9`.

They are for tests only. Armed is at most one, by the environment variable
`REPERTORY_CRASH_AT=NAME` or `NAME:COUNT`, for the COUNT-th time that the process
comes by. Armed by nobody, a place costs one look at a set that is empty.

"in" is inside the transaction, before its commit; "after" is durable, and nobody
has been told yet. DBOS tests its recovery by triggers like these.
"""

import os
import signal
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from .errors import StoreError

VARIABLE: Final = "REPERTORY_CRASH_AT"
CRASH_POINTS: Final[Mapping[str, str]] = {
    "before-accept": "a message has come, nothing of it is written",
    "in-accept": "the task and its first event are in the transaction",
    "after-accept": "the task is durable, its sender does not know",
    "before-claim": "the sender may know, the task waits in its mailbox",
    "after-claim": "the task has a place of work, its turn has not begun",
    "before-begin": "an effect is about to be announced",
    "in-begin": "its announcement is in the transaction",
    "after-begin": "it is announced, and has not happened",
    "after-effect": "an effect has happened, its result is known in memory only",
    "in-result": "its result is in the transaction",
    "after-result": "its result is durable, the turn does not know",
    "before-append": "an event of a task is about to be written",
    "in-append": "an event and where its task stands are in the transaction",
    "after-append": "an event is durable and not published",
    "before-end": "a task is about to end",
    "in-end": "its last event is in the transaction, its pack is not",
    "in-pack": "its last event and its pack are in the transaction",
    "after-end": "its end and its pack are durable, nobody has been told",
    "before-attempt": "an agent has crashed over a task, which is not counted",
    "after-attempt": "its crash is counted, its supervisor does not know",
    "before-command": "a command of another process was read and not carried out",
    "after-command": "a command was carried out, its outcome is not written",
    "in-command": "the outcome of a command is in the transaction",
    "before-vectors": "packs wait in the outbox without vectors",
    "after-vectors": "their vectors are durable, the outbox still names them",
    "in-outbox": "striking them from the outbox is in the transaction",
    "after-outbox": "the outbox is empty",
}

_armed: dict[str, int] = {}


def arm_crash_points() -> None:
    """Arm the place that the environment names, if it names one.

    Raises:
        StoreError: It names none that there is, or no count.
    """
    _armed.clear()
    value = os.environ.get(VARIABLE, "")
    if not value:
        return
    name, _, count = value.partition(":")
    if name not in CRASH_POINTS:
        near = get_close_matches(name, CRASH_POINTS, 1)
        raise StoreError(
            f"{VARIABLE} names no crash point {name!r}; there are: {', '.join(CRASH_POINTS)}."
            + (f" Did you mean {near[0]!r}?" if near else ""),
            name=name,
        )
    if not (count or "1").isdecimal() or int(count or 1) < 1:
        raise StoreError(
            f"{VARIABLE} counts {count!r} at {name!r}; write {name}:1 for the first time, or a"
            " larger number",
            name=name,
            count=count,
        )
    _armed[name] = int(count or 1)


def crash_point(name: str) -> None:
    """Die here, if this place is armed and this is the time."""
    if not _armed or name not in _armed:
        return
    _armed[name] -= 1
    if not _armed[name]:
        os.kill(os.getpid(), signal.SIGKILL)
