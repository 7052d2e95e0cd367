"""Who owns a store in a file: whoever holds the lock beside it, which dies with its process."""

import fcntl
import os
from pathlib import Path
from time import sleep
from typing import TextIO

from .errors import StoreError, StoreOwnedError

# A look at the lock takes it for a moment, so it is tried again.
_PAUSES = (0.02, 0.05, 0.1)


def owner_of_file(path: str) -> int | None:
    """The pid of the process that owns the store in a file now, or None; blocking."""
    lock = Path(path + ".lock")
    if not lock.exists():
        return None
    with lock.open("r+") as file:
        try:
            # Shared, so that two who look do not take each other for the owner.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read() or 0)
        fcntl.flock(file, fcntl.LOCK_UN)
        return None


def own_file(path: str) -> TextIO:
    """Own the store in a file until what this returns is closed; blocking.

    Raises:
        StoreOwnedError: Another process owns it; the pid is in the sentence.
        StoreError: There can be no lock beside it.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        file = Path(path + ".lock").open("a+")  # noqa: SIM115  # held until its user closes it
    except OSError as error:
        raise StoreError(
            f"the store {path} cannot be opened ({error.strerror}): make its folder writable, or"
            " name another store",
            path=path,
        ) from error
    for pause in (*_PAUSES, None):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            # Whoever only looks (`owner_of_file`) holds it for a moment.
            if pause is not None:
                sleep(pause)
    else:
        file.seek(0)
        pid = file.read().strip()
        file.close()
        raise in_use(path, pid)
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


def in_use(store: str, pid: int | str | None) -> StoreOwnedError:
    """What is said of a store that another process owns."""
    return StoreOwnedError(
        f"the store {store} is in use by process {pid or 'unknown'}: wait for it to end, stop it,"
        " or name another store; `repertory answer`, `cancel`, `tasks`, `watch` and `trace` work"
        " beside it",
        path=store,
        pid=pid,
    )
