"""What every test stands on: its event loop, no blocking of it, the models' files, a browser."""

import os
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from playwright.sync_api import Browser, sync_playwright

from repertory.xp_store.weights import missing_weights
from tests.cluster import Cluster, binaries

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# A browser of a test speaks to nobody: no updates, no look-ups, no sandbox that root lacks.
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


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


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The published data that simulators are held against; `REPERTORY_DATA` names another place."""
    beside = Path(__file__).parent.parent.parent / "shared" / "data"
    folder = Path(os.environ.get("REPERTORY_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no data in {folder}; name its folder in REPERTORY_DATA")
    return folder


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real PostgreSQL server, one for each process of the tests."""
    found = binaries()
    if found is None:
        pytest.skip("no PostgreSQL on this machine; install the package postgresql")
    # A socket's path may have 107 bytes, and another user must reach its folder.
    with TemporaryDirectory(prefix="repertory-pg-", dir="/tmp") as folder:
        cluster = Cluster(Path(folder), found)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh store of either engine: what is asked of one is asked of both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    cluster: Cluster = request.getfixturevalue("postgres")
    return cluster.new_store()


@pytest.fixture
def chromium(blockbuster: BlockBuster) -> Iterator[Browser]:
    """A real headless browser, for the plain (not async) tests that are about pages.

    Its driver keeps a loop running in the test's thread, in which everything plain
    code does would count as blocking; so it lives for one test, without the detector.
    """
    found = next(filter(None, map(which, _BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium on this machine; install the package chromium")
    blockbuster.deactivate()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(_QUIET))
        yield browser
        browser.close()
