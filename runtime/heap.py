"""The heap of a process that serves: what was loaded is left out of garbage collection."""

import gc


def settle_heap() -> None:
    """Tell the collector that what lives now lives on; for the owner of the process, once it serves.

    Libraries and a started network are some hundred thousand objects, which a full
    collection would walk again and again: a quarter of the processor time of a short task.
    """
    gc.collect()
    gc.freeze()
