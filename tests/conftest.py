"""What every test stands on: the event loop it runs on, and no blocking of it."""

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio, the loop that production uses."""
    return "asyncio"


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Fail a test in which code of a room blocks the event loop.

    Only stacks with a frame of ours count: a test may read a file beside the
    code it tests, and what the loop's own libraries do is not ours to judge.
    """
    with blockbuster_ctx("repertory") as detector:
        for function in detector.functions.values():
            # The doors load a room's libraries when a name is first used, once in a process.
            function.can_block_in("<frozen importlib._bootstrap>", {"_find_and_load"})
        yield detector
