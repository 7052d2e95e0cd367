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
    "in-upgrade": "the tables' next revisions are in the transaction",
}
GOVERNING_POINTS: Final[Mapping[str, str]] = {
    "in-import": "the packs of a bundle are in the transaction",
    "after-import": "they are durable, the importer does not know",
    "in-clear": "the index's new folder is there, and the old one as well",
    "after-clear": "the index is empty, the outbox does not name its packs yet",
    "in-rebuild": "the full text is made anew and the outbox filled in the transaction",
    "after-rebuild": "the outbox names every pack, the index holds none",
    "in-forget": "what is forgotten is deleted in the transaction",
    "after-forget": "it is deleted, and still in the files",
    "before-compact": "the index is made anew, the store's file is not rewritten",
    "before-certify": "every file is purged, and nothing is certified",
    "after-propose": "a change says what must be reached, nothing was replayed",
    "in-promote": "its outcome and its packs' standing are in the transaction",
    "after-promote": "they are durable, the operator does not know",
}
"""The same where packs are governed: a run comes by none of them."""

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
    known = [*CRASH_POINTS, *GOVERNING_POINTS]
    if name not in known:
        near = get_close_matches(name, known, 1)
        raise StoreError(
            f"{VARIABLE} names no crash point {name!r}; there are: {', '.join(known)}."
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
