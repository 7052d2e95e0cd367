"""What operators see of a store's revisions, and who may change its tables."""

import json
from pathlib import Path

import psycopg
import pytest

from repertory.agents import Agent, Turn
from repertory.protocol import TaskState, user_message
from repertory.runtime import open_network, parse_manifest
from repertory.runtime.cli import run_cli
from repertory.runtime.exits import Exit
from repertory.runtime.tables import JOURNAL
from repertory.xp_store import EXPERIENCE, StoreError, open_database
from repertory.xp_store.urls import conninfo_of
from tests.cluster import Cluster
from tests.runtime.killing.resuming import restore


def _told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    capsys.readouterr()
    run_cli([*arguments, "--json"])
    out, err = capsys.readouterr()
    assert out, err
    told: dict[str, object] = json.loads(out)
    return told


def _tables(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    found = _told(capsys, "doctor", "network.yaml")["diagnoses"]
    assert isinstance(found, list)
    ((state, told),) = [
        (each["state"], each["found"]) for each in found if each["subject"] == "tables"
    ]
    return state, told


@pytest.mark.parametrize("name", ["sqlite-2026-11-22", "postgresql-2026-11-25"])
def test_a_store_is_upgraded_when_its_operator_says_so(
    name: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ours: the doctor and a dry run change nothing, and say what an upgrade would run."""
    url = ""
    if name.startswith("postgresql"):
        url = request.getfixturevalue("postgres").new_database()
    monkeypatch.chdir(restore(name, tmp_path / "desk", url).folder)
    for _ in range(2):
        state, told = _tables(capsys)
        assert state == "warning"
        assert "to be run: journal 0002 shared, experience 0002 governed" in told
        dry = _told(capsys, "store", "upgrade", "--dry-run")
        assert dry["changed"] is False
        assert "0002 shared" in str(dry["tables"])
    assert _told(capsys, "store", "upgrade")["changed"] is True
    assert _tables(capsys) == ("ok", f"journal {JOURNAL.head}, experience {EXPERIENCE.head}")
    assert _told(capsys, "store", "upgrade")["changed"] is False


def test_a_dry_run_over_a_store_that_is_not_there_makes_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: looking makes nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "network.yaml").write_text("network: none\nagents:\n  desk: {kind: human}\n")
    assert _told(capsys, "store", "upgrade", "--dry-run")["changed"] is False
    assert not (tmp_path / ".repertory").exists()
    assert run_cli(["store", "upgrade"]) == Exit.DONE
    assert _tables(capsys)[0] == "ok"


class Desk(Agent):
    """Says that it is done."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete("done")


async def test_who_may_make_no_tables_may_work_on_those_that_there_are(
    postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: the rights of docs/postgresql.md are enough, and the lack of others is told in words."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    owner = postgres.new_database()
    worker = owner.replace("repertory@", "worker@")
    async with await psycopg.AsyncConnection.connect(conninfo_of(owner), autocommit=True) as sql:
        await sql.execute("CREATE ROLE worker LOGIN")
        try:
            await sql.execute("GRANT USAGE ON SCHEMA public TO worker")
            await sql.execute(
                "ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO worker"
            )
            async with open_database(owner):
                pass
            with pytest.raises(StoreError, match="repertory store upgrade as the role that owns"):
                async with open_database(worker) as database:
                    await database.upgrade(JOURNAL)
            async with open_database(owner) as database:
                await database.upgrade(JOURNAL)
                await database.upgrade(EXPERIENCE)
            manifest = parse_manifest(
                "network: firm\nembedder: {engine: hash}\nagents:\n  desk: {}\n",
                folder=tmp_path,
            )
            async with open_network(manifest, store_url=worker, kinds={"desk": Desk}) as network:
                task = await network.ask("desk", user_message("begin"))
                assert task.status.state is TaskState.COMPLETED
                assert [pack.owner for pack in await network.packs.find(limit=2)] == ["desk"]
        finally:
            await sql.execute("DROP OWNED BY worker")
            await sql.execute("DROP ROLE worker")
