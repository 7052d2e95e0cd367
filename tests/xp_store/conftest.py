"""What the tests of packs stand on: a draft with one word changed, and a store in a folder."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from repertory.xp_store import (
    EXPERIENCE,
    CheckSpec,
    Claim,
    Cost,
    Database,
    Gates,
    HashEmbedder,
    Outcome,
    PackDraft,
    PackStore,
    StepDraft,
    Verdict,
    open_database,
    open_pack_store,
)
from repertory.xp_store.sqlite_engine import MEMORY, SqliteConnection, connect, upgrade_file
from tests.cluster import Cluster

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OpenStore = Callable[..., AbstractAsyncContextManager[PackStore]]
MakeDraft = Callable[..., PackDraft]


def draft(goal: str = "post the invoice of Acme", **changes: Any) -> PackDraft:
    """A pack's draft with two steps, one claim and one check that passed."""
    check = CheckSpec("sum", "python", "assert subject['total'] == 12")
    steps = tuple(
        StepDraft(
            action={"kind": "tool", "name": "ledger.post", "args": {"number": number}},
            observation=f"posted {number}",
            at=NOW,
            agent="bookkeeper",
        )
        for number in range(2)
    )
    fields: dict[str, Any] = {
        "tenant": "default",
        "owner": "bookkeeper",
        "goal": goal,
        "situation": "two lines, in euro",
        "family": "invoices",
        "why": (Claim("the vendor is known", (0,)),),
        "steps": steps,
        "checks": (check,),
        "verdicts": (Verdict("sum", True, "", check.digest),),
        "outcome": Outcome("pass", 1.0, Cost(100, 20, 2, 0.0, 1.5)),
        "valid_from": NOW,
    }
    return PackDraft(**{**fields, **changes})


@pytest.fixture(scope="session")
def make_draft() -> MakeDraft:
    """Make drafts that differ in what is named."""
    return draft


ADMITTED = Gates(True, True, True, 1.0, 12)


@pytest.fixture(scope="session")
def sums() -> CheckSpec:
    """The check of every draft, unless it names others."""
    return draft().checks[0]


@pytest.fixture
async def trusting(store: PackStore, sums: CheckSpec) -> PackStore:
    """A store that has admitted the drafts' check."""
    await store.admit(sums, ADMITTED)
    return store


@pytest.fixture(scope="session")
def connection() -> Iterator[SqliteConnection]:
    """The store's tables on a plain connection in memory, for units and for hypothesis."""
    opened = connect(":memory:")
    upgrade_file(opened, EXPERIENCE, MEMORY)
    yield opened
    opened.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask of both engines what a test that is marked so asks of a store."""
    marked = metafunc.definition.get_closest_marker("both_engines")
    if marked and "database" in metafunc.fixturenames:
        metafunc.parametrize("database", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
async def database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Database]:
    """A real file; a real server's database too for the tests marked `both_engines`."""
    url = f"sqlite:///{tmp_path}/store.db"
    if getattr(request, "param", "sqlite") == "postgresql":
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        cluster: Cluster = request.getfixturevalue("postgres")
        url = cluster.new_store()
    async with open_database(url) as opened:
        yield opened


@pytest.fixture
def open_store(database: Database) -> OpenStore:
    """Open the packs of the test's database; search is exact unless an index is named."""

    @asynccontextmanager
    async def opened(**options: Any) -> AsyncIterator[PackStore]:
        async with open_pack_store(
            database, **{"embedder": HashEmbedder(256), "clock": lambda: NOW, **options}
        ) as store:
            yield store

    return opened


@pytest.fixture
async def store(open_store: OpenStore) -> AsyncIterator[PackStore]:
    """An open, empty store."""
    async with open_store() as opened:
        yield opened
