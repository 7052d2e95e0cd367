"""The processes that a server began, and the wait for their end."""

import os
from collections.abc import Iterable
from pathlib import Path

import anyio


def descendants(pid: int) -> list[int]:
    """A process and all that it began, as they are now."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                # It ended between the two.
                continue
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def until_gone(pids: Iterable[int]) -> None:
    """Wait until these processes, which need not be children of ours, have ended."""
    for pid in pids:
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            await anyio.wait_readable(process)
        finally:
            os.close(process)
