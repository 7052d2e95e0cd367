import json
import socket
import sqlite3
from pathlib import Path

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from repertory.runtime import open_network
from repertory.runtime.audit import AuditEntry, write_audit
from repertory.runtime.budget import Usage
from repertory.runtime.cli import run_cli
from repertory.runtime.dead_letters import bury
from repertory.runtime.doctor import examine_store
from repertory.runtime.exits import Exit
from repertory.runtime.supervision import GAVE_UP
from repertory.xp_store import WEIGHTS, open_database
from tests.cluster import Cluster

MANIFEST = """\
network: trial
models:
  fake: {engine: function, function: "desk:model"}
embedder: {engine: hash}
agents:
  desk: {kind: human}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network that needs nothing, on a machine without any weights."""
    (tmp_path / "desk.py").write_text("def model(request):\n    return 'x'\n")
    (tmp_path / "network.yaml").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPERTORY_CACHE", str(tmp_path / "cache"))
    return tmp_path


def diagnoses(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    """State and advice by subject, of what the doctor printed."""
    data = json.loads(capsys.readouterr().out)
    return {each["subject"]: (each["state"], each["advice"]) for each in data["diagnoses"]}


def test_a_sound_network_gets_a_clean_bill(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: every subject is named, also the well ones."""
    assert run_cli(["doctor", "network.yaml", "--json"]) == Exit.DONE
    found = diagnoses(capsys)
    subjects = ("packages", "manifest", "model fake", "store", "disk", "port")
    assert {found[subject][0] for subject in subjects} <= {"ok", "warning"}


def test_missing_weights_matter_only_to_those_who_need_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: a network on a server needs no embedded model."""
    missing = "weights smollm2-135m-instruct"
    run_cli(["doctor", "network.yaml", "--json"])
    assert diagnoses(capsys)[missing][0] == "warning"
    (folder / "network.yaml").write_text("network: n\nagents: {a: {kind: human}}\n")
    assert run_cli(["doctor", "network.yaml", "--json"]) == Exit.ENVIRONMENT
    assert diagnoses(capsys)[missing][0] == "error"


def test_a_broken_manifest_is_diagnosed_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: its status is that of a wrong manifest, and nothing of it is asked."""
    (folder / "network.yaml").write_text(MANIFEST.replace("human", "humane"))
    assert run_cli(["doctor", "network.yaml", "--json"]) == Exit.USAGE
    found = diagnoses(capsys)
    assert found["manifest"][0] == "error"
    assert "model fake" not in found


def test_a_model_that_does_not_answer_is_told_with_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: which models answer, and what to do about those that do not."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}/v1"
        big = f"  big: {{engine: openai, url: '{url}', model: m, tiers: [judge]}}\n"
        (folder / "network.yaml").write_text(MANIFEST.replace("embedder", big + "embedder"))
        assert run_cli(["doctor", "network.yaml", "--json"]) == Exit.ENVIRONMENT
    state, advice = diagnoses(capsys)["model big"]
    assert state == "error"
    assert "start its server" in advice


def test_a_port_in_use_is_a_warning(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ours: only `serve` needs it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (folder / "network.yaml").write_text(MANIFEST + f"serve: {{port: {port}}}\n")
        run_cli(["doctor", "network.yaml", "--json"])
    assert diagnoses(capsys)["port"][0] == "warning"


async def _make(url: str) -> None:
    async with open_database(url):
        pass


def test_a_store_is_sound_damaged_or_newer(tmp_path: Path) -> None:
    """Ours: damage is told before it spreads, with what to do."""
    import sqlite3

    import anyio

    path = tmp_path / "x.db"
    url = f"sqlite:///{path}"
    anyio.run(_make, url)
    assert {each.state for each in examine_store(url)} <= {"ok", "warning"}

    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    assert any(
        each.state == "error" and "newer" in each.found.lower() for each in examine_store(url)
    )

    path.write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    (store, *_) = examine_store(url)
    assert (store.subject, store.state) == ("store", "error")
    assert "restore" in store.advice


def test_a_server_is_told_of_with_what_endangers_it(postgres: Cluster) -> None:
    """Ours: who runs a server without fsync reads it here, and not after a crash."""
    by_subject = {each.subject: each for each in examine_store(postgres.new_store())}
    assert "PostgreSQL" in by_subject["store"].found
    assert by_subject["store"].state == "ok"
    assert by_subject["store durability"].state == "error"
    assert "loses acknowledged work" in by_subject["store durability"].found
    (gone,) = examine_store("postgresql://me:secret@127.0.0.1:1/db")
    assert gone.state == "error"
    assert "secret" not in gone.found


def test_a_store_that_is_not_there_yet_is_well(tmp_path: Path) -> None:
    """Ours: looking makes nothing."""
    path = tmp_path / "deep" / "x.db"
    assert next(iter(examine_store(f"sqlite:///{path}"))).state == "ok"
    assert not path.parent.exists()


def test_models_list_names_every_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ours: what would be fetched is known before it is."""
    assert run_cli(["models", "list", "--json"]) == Exit.DONE
    data = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in data["files"]] == list(WEIGHTS)
    assert all(len(each["sha256"]) == 64 for each in data["files"])


def test_the_doctor_says_who_is_let_in_and_what_waits_for_a_person(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: callers, the cards' key, and tools that changed since they were approved."""
    run_cli(["doctor", "network.yaml", "--json"])
    assert diagnoses(capsys)["callers"] == ("ok", "")
    guarded = "serve: {auth: {keys: true}, signing: {key_env: DESK_CARD_KEY}}\n"
    (folder / "network.yaml").write_text(MANIFEST + guarded)
    monkeypatch.delenv("DESK_CARD_KEY", raising=False)
    run_cli(["doctor", "network.yaml", "--json"])
    found = diagnoses(capsys)
    assert found["callers"] == ("warning", "nobody has a key yet: repertory keys add NAME")
    assert found["card signature"][0] == "error"
    assert run_cli(["keys", "add", "ide"]) == Exit.DONE
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    monkeypatch.setenv("DESK_CARD_KEY", pem)
    with sqlite3.connect(folder / ".repertory" / "trial.db") as connection:
        row = ("books", "post", "a", "{}", "b", "{}", 0.0)
        connection.execute("INSERT INTO tool_pin VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    capsys.readouterr()
    run_cli(["doctor", "network.yaml", "--json"])
    printed = capsys.readouterr().out
    told = {each["subject"]: each["found"] for each in json.loads(printed)["diagnoses"]}
    assert told["callers"] == "1 API key"
    assert told["card signature"].startswith("ES256, thumbprint ")
    assert told["tools"] == "changed since they were approved: books.post"
    assert "PRIVATE" not in printed


def test_the_doctor_says_what_is_stopped_given_up_on_full_and_spent(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: an operator reads what is wrong without opening a log, each with the command that helps."""
    (folder / "network.yaml").write_text(
        MANIFEST.replace("desk: {kind: human}", "desk: {kind: human, mailbox: 1}")
        + "tenants: {blue: {budget: {calls: 1}}}\n"
    )

    async def spoil() -> None:
        async with open_network("network.yaml") as network:
            await network.tell("desk", "may I?")
            await network.idle()
            await network.stop(agent="desk", reason="a trial")
            record = (await network.journal.select())[0][0]
            database = network.journal.database
            await database.transact(bury(record, 3, "ZeroDivisionError: a bug"))
            bill = network.tenants.bill("blue", "desk", Usage(calls=1))
            assert bill is not None
            await database.transact(bill)

    anyio.run(spoil)
    capsys.readouterr()
    assert run_cli(["doctor", "network.yaml", "--json"]) == Exit.ENVIRONMENT
    told = diagnoses(capsys)
    assert told["stopped"] == ("error", "repertory resume --agent desk")
    assert told["dead letters"][0] == "warning"
    assert "repertory retry TASK" in told["dead letters"][1]
    assert told["waiting for a person"][0] == "warning"
    assert told["budget blue"][0] == "error"
    assert run_cli(["tasks", "--dead", "--json"]) == Exit.DONE
    (letter,) = json.loads(capsys.readouterr().out)["dead"]
    assert (letter["attempts"], letter["error"]) == (3, "ZeroDivisionError: a bug")
    assert run_cli(["resume", "--agent", "desk"]) == Exit.DONE
    assert run_cli(["resume", "--agent", "desk"]) == Exit.USAGE
    capsys.readouterr()
    run_cli(["doctor", "network.yaml", "--json"])
    assert "stopped" not in diagnoses(capsys)


def test_the_doctor_says_why_a_network_ended_and_that_a_clock_was_set_back(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: what ended a process is known without its log; nobody has to guess at a clock."""

    async def spoil() -> None:
        async with open_network("network.yaml") as network:
            await network.tell("desk", "may I?")
            await network.idle()
            database = network.journal.database
            sentence = "agent desk crashed more than 3 times in 5 s; the last time: KeyError: 1"
            entry = AuditEntry(GAVE_UP, agent="desk", target="network", reason=sentence)
            await write_audit(database, entry)
            await database.transact(
                lambda connection: connection.execute("UPDATE task SET updated_at=updated_at+7200")
            )

    anyio.run(spoil)
    capsys.readouterr()
    assert run_cli(["doctor", "network.yaml", "--json"]) == Exit.DONE
    found = {each["subject"]: each for each in json.loads(capsys.readouterr().out)["diagnoses"]}
    assert found["network"]["state"] == found["clock"]["state"] == "warning"
    assert "the last time: KeyError: 1" in found["network"]["found"]
    assert "in the future" in found["clock"]["found"]


def test_a_peer_that_does_not_answer_is_told_with_its_address(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: a network is no better than the agents that it asks."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        free_port = free.getsockname()[1]
    url = f"http://127.0.0.1:{free_port}/agents/clerk/mcp"
    more = f"  clerk: {{url: '{url}'}}\n"
    (folder / "network.yaml").write_text(MANIFEST + more)
    assert run_cli(["doctor", "network.yaml", "--json"]) == Exit.ENVIRONMENT
    found = {each["subject"]: each for each in json.loads(capsys.readouterr().out)["diagnoses"]}
    assert found["peer clerk"]["state"] == "error"
    assert str(free_port) in found["peer clerk"]["found"]
    assert "agents.clerk.url" in found["peer clerk"]["advice"]
