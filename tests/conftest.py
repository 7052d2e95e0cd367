"""What every test stands on: its event loop, no blocking of it, and the models' files."""

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from repertory.xp_store.weights import missing_weights


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs the embedded models where their files were not fetched."""
    if item.get_closest_marker("model"):
        missing = missing_weights()
        if missing:
            pytest.skip(f"not in the cache: {', '.join(missing)}; run `repertory models install`")


@pytest.fixture(scope="session")
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
            # Coverage takes a lock of its own at a line that it meets for the first time.
            function.can_block_in("coverage/collector.py", {"lock_data"})
        yield detector
