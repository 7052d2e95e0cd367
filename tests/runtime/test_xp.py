"""`repertory xp`: packs found, used, moved and served, as a person and a host do it."""

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio import fail_after
from mcp import Client, StdioServerParameters

from repertory import open_network
from repertory.runtime.cli import run_cli
from repertory.runtime.exits import Exit
from repertory.runtime.manifest import parse_manifest
from repertory.runtime.web import serve
from repertory.xp_store import Rights

DESK = """\
from repertory.agents import Agent
from repertory.xp_store import CheckSpec

SHORT = CheckSpec("short", "python", "assert len(subject['text']) < 60")


class Desk(Agent):
    async def handle(self, turn):
        hits = await turn.recall(turn.message.text)
        if hits:
            await turn.use(hits[0])
        await turn.note("short letters are read at once")
        await turn.check(SHORT, {"text": turn.message.text})
        await turn.complete(f"read with {len(hits)} packs")


def model(request):
    return "x"
"""

MANIFEST = """\
network: trial
models:
  fake: {engine: function, function: "desk:model"}
embedder: {engine: hash}
agents:
  desk: {kind: "desk:Desk"}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network that has read two letters."""
    (tmp_path / "desk.py").write_text(DESK)
    (tmp_path / "network.yaml").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    for text in ("the invoice of Helios is late", "the invoice of Helios is late again"):
        assert run_cli(["ask", "desk", text]) == Exit.DONE
    return tmp_path


@pytest.fixture
def said(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command and give its document."""
    capsys.readouterr()

    def run(*arguments: str, status: int = Exit.DONE) -> Any:
        assert run_cli([*arguments, "--json"]) == status
        return json.loads(capsys.readouterr().out)

    return run


def test_a_pack_is_found_with_reasons_shown_in_parts_and_used(
    said: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: what a person does with a pack, by its id or the end of it."""
    answer = said("xp", "find", "invoice of Helios", "--explain")
    assert len(answer["hits"]) == 2
    assert {each["fate"] for each in answer["considered"]} == {"chosen"}
    pack = answer["hits"][0]["id"]
    shown = said("xp", "show", pack[-12:], "--why")
    assert shown["why"][0]["text"] == "short letters are read at once"
    assert "steps" not in shown
    assert said("xp", "show", pack)["verdicts"][0]["passed"] is True
    assert said("xp", "use", pack[-12:])["counted"] == 1
    assert said("xp", "use", pack, "--won")["as"] == "won"
    assert run_cli(["xp", "use", pack, "--won", "--lost"]) == Exit.USAGE
    assert "exclude each other" in capsys.readouterr().err
    assert run_cli(["xp", "show", pack]) == Exit.DONE
    assert "helped 0, harmed 0" in capsys.readouterr().out
    assert run_cli(["xp", "find", "zebra quantum", "--explain"]) == Exit.DONE
    assert "nothing here supports this" in capsys.readouterr().out


def test_the_manifest_says_when_recall_is_silent(folder: Path, said: Any) -> None:
    """Ours: no floor is right for everybody, so it is a key; the default is the embedder's."""
    asked = ("xp", "find", "invoice of Nobody in particular", "--explain")
    told = said(*asked)
    assert told["floor"] == {"cosine": pytest.approx(0.62), "overlap": 0.72}
    found = {}
    for floor in ("{cosine: 1.01, words: 1.01}", "{cosine: 1.01, words: 0.01}"):
        (folder / "network.yaml").write_text(MANIFEST + f"experience: {{floor: {floor}}}\n")
        found[floor] = len(said(*asked)["hits"])
    assert list(found.values()) == [0, 2]


def test_reuse_is_counted_by_what_the_handler_said(
    said: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: recalled is not used, and without a held-out arm nothing is said of what packs do."""
    (family,) = said("xp", "stats")
    assert (family["packs"], family["recalled"], family["used"]) == (2, 1, 1)
    assert (family["with_packs"]["tasks"], family["difference"]) == (1, None)
    assert run_cli(["xp", "stats"]) == Exit.DONE
    assert "unknown: no task was held out" in capsys.readouterr().out


def test_a_task_that_is_held_out_gets_no_packs_and_is_counted(folder: Path, said: Any) -> None:
    """Ours: the two arms differ in nothing but the packs, and the difference has an interval."""
    held = MANIFEST.replace('"desk:Desk"}', '"desk:Desk", memory: {holdout: 1.0}}')
    (folder / "network.yaml").write_text(held)
    done = said("ask", "desk", "the invoice of Helios is late")
    assert done["status"]["message"]["parts"][0]["text"] == "read with 0 packs"
    (family,) = said("xp", "stats")
    assert (family["recalled"], family["withheld"]) == (1, 2)
    assert (family["without"]["tasks"], family["without"]["passed"]) == (1, 1)
    gap = family["difference"]
    assert gap["value"] == 0.0
    assert gap["low"] < -0.5 < 0.5 < gap["high"]


def test_packs_go_out_by_their_rights_and_come_in_quarantined(
    folder: Path, said: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: internal packs stay; a bundle is written whole or not at all; nothing is overwritten."""
    kept = said("xp", "export", "out.zip", status=Exit.FAILED)
    assert (kept["packs"], len(kept["left_out"])) == (0, 2)
    assert not (folder / "out.zip").exists()
    (folder / "out.zip").write_bytes(b"mine")
    assert run_cli(["xp", "export", "out.zip"]) == Exit.USAGE
    assert "out.zip is there already" in capsys.readouterr().err
    assert run_cli(["xp", "import", "out.zip"]) == Exit.USAGE
    assert "out.zip is not a sound zip file" in capsys.readouterr().err
    assert run_cli(["xp", "import", "absent.zip"]) == Exit.USAGE
    assert "absent.zip cannot be read" in capsys.readouterr().err


def test_a_bundle_is_made_and_taken_in_by_commands(folder: Path, said: Any) -> None:
    """Ours: two networks, one bundle; what arrives is not recalled before it is checked here."""

    async def record() -> None:
        async with open_network(parse_manifest(MANIFEST, folder=folder)) as network:
            await network.packs.record(_open_pack())

    anyio.run(record)
    done = said("xp", "export", "out.zip", "--status", "candidate")
    assert (done["packs"], len(done["left_out"])) == (1, 2)
    with zipfile.ZipFile(folder / "out.zip") as archive:
        assert "packs.jsonl" in archive.namelist()
    other = ("--store", "sqlite:///other.db")
    said("ask", "desk", "hello", *other)
    taken = said("xp", "import", "out.zip", "--source", "globex", *other)
    assert (len(taken["imported"]), taken["known"]) == (1, 0)
    assert said("xp", "find", "an open pack", *other)["hits"] == []
    shown = said("xp", "show", taken["imported"][0], *other)
    assert (shown["status"], shown["owner"]) == ("quarantined", "import:globex/me")


def _open_pack() -> Any:
    from repertory.xp_store import PackDraft

    return PackDraft("default", "me", "an open pack", rights=Rights(licence="CC-BY-4.0"))


@pytest.mark.slow
async def test_a_host_starts_the_store_on_its_pipes(folder: Path) -> None:
    """Spec: MCP's stdio transport, by the SDK's client, as a host's configuration starts it."""
    program = StdioServerParameters(
        command=sys.executable,
        args=["-m", "repertory.runtime.cli", "xp", "serve", "-m", str(folder / "network.yaml")],
    )
    with fail_after(60):
        async with Client(program) as client:
            found = await client.call_tool("find", {"query": "invoice of Helios"})
            assert found.structured_content is not None
            assert len(found.structured_content["hits"]) == 2
            resources = (await client.list_resources()).resources
            assert len(resources) == 2


async def test_a_host_that_may_govern_forgets_over_its_pipes(folder: Path) -> None:
    """Ours: what would go is told first; then it goes, with a certificate, and the host is told so."""
    command = ["-m", "repertory.runtime.cli", "xp", "serve", "--govern"]
    program = StdioServerParameters(
        command=sys.executable, args=[*command, "-m", str(folder / "network.yaml")]
    )
    with fail_after(120):
        async with Client(program) as client:

            async def call(tool: str, **given: Any) -> Any:
                answer = await client.call_tool(tool, given)
                assert not answer.is_error, answer.content
                return answer.structured_content

            (first, *_) = (await call("find", query="invoice of Helios"))["hits"]
            dry = await call("forget", ids=[first["id"]])
            assert (len(dry["meant"]), dry["certificate"]) == (1, None)
            assert (await call("show", id=first["id"]))["id"] == first["id"]
            refused = await client.call_tool("promote", {"ids": [first["id"]]})
            assert "0 verdicts of admitted checks passed" in str(refused.content)
            done = await call("forget", ids=[first["id"]], reason="she asked", dry_run=False)
            assert done["certificate"]["rebuild_digest_equal"] is True
            assert sum(done["certificate"]["residue_scan"].values()) == 0
            gone = await client.call_tool("show", {"id": first["id"]})
            assert gone.is_error
            assert (await call("verify"))["intact"] is True


async def test_a_served_network_offers_its_store_over_http(folder: Path) -> None:
    """Spec: MCP's streamable HTTP; the Host header is checked as for the agents."""
    with fail_after(30):
        manifest = parse_manifest(MANIFEST, folder=folder)
        async with open_network(manifest) as network, serve(network) as url:
            async with Client(f"{url}/experience/mcp") as client:
                found = await client.call_tool("find", {"query": "invoice of Helios"})
                assert found.structured_content is not None
                assert len(found.structured_content["hits"]) == 2
                refused = await client.call_tool("rollback", {"source": "desk"})
                assert refused.is_error
                assert "experience.rollback" in str(refused.content)
            async with httpx.AsyncClient() as http:
                odd = await http.post(f"{url}/experience/mcp", headers={"Host": "evil.example"})
            assert odd.status_code in (403, 421)
