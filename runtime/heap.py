"""The heap of a process: what was loaded is left out of garbage collection, or loads without it."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def settle_heap() -> None:
    """Tell the collector that what lives now lives on; for the owner of the process, once it serves.

    Libraries and a started network are some hundred thousand objects, which a full
    collection would walk again and again: a quarter of the processor time of a short task.
    """
    gc.collect()
    gc.freeze()


@contextmanager
def resting_collector() -> Iterator[None]:
    """Let much be made that lives on, without looking through it for garbage meanwhile.

    Ten thousand tasks are half a million objects; the collector would walk them again and again
    as they come, which is three quarters of the time to load them.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
