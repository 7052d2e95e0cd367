"""The store as an MCP server, asked by the SDK's own client."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from anyio import fail_after
from mcp import Client, MCPError
from mcp.types import CallToolResult, TextContent, TextResourceContents

from repertory.xp_store import (
    HashEmbedder,
    Offices,
    PackDraft,
    PackStore,
    Rights,
    experience_server,
    open_store,
)

MakeDraft = Callable[..., PackDraft]
OpenStore = Callable[..., AbstractAsyncContextManager[PackStore]]


def told(result: CallToolResult) -> Any:
    """What a tool answered, which its text must say as well."""
    assert not result.is_error, result.content
    (text,) = result.content
    assert isinstance(text, TextContent)
    assert json.loads(text.text) == result.structured_content
    return result.structured_content


def refusal(result: CallToolResult) -> str:
    """The sentence of a refusal."""
    assert result.is_error
    (text,) = result.content
    assert isinstance(text, TextContent)
    return text.text


async def test_a_host_finds_shows_and_uses_packs(store: PackStore, make_draft: MakeDraft) -> None:
    """Spec: MCP's tools, called by the SDK's client; the names are the commands'."""
    ref = await store.record(make_draft("post the invoice of Acme"))
    await store.wait_indexed()
    with fail_after(20):
        async with Client(experience_server(store)) as client:
            listed = await client.list_tools()
            reading = {"find", "show", "use", "stats", "verify", "card", "diff", "export"}
            assert {tool.name for tool in listed.tools} == reading
            assert all(tool.input_schema["additionalProperties"] is False for tool in listed.tools)
            found = told(await client.call_tool("find", {"query": "the invoice of Acme"}))
            (hit,) = found["hits"]
            assert (hit["id"], found["silence"]) == (ref.id, "")
            assert "words invoice, acme" in hit["reasons"]["said"]
            shown = told(await client.call_tool("show", {"id": ref.id, "parts": ["why", "how"]}))
            assert shown["why"][0]["text"] == "the vendor is known"
            assert [step["observation"] for step in shown["steps"]] == ["posted 0", "posted 1"]
            assert "lineage" not in shown
            used = told(await client.call_tool("use", {"ids": [ref.id]}))
            assert (used["counted"], len(used["packs"][0]["steps"])) == (1, 2)
            won = told(await client.call_tool("use", {"ids": [ref.id], "outcome": "won"}))
            assert won == {"counted": 1, "outcome": "won"}
            (family,) = told(await client.call_tool("stats", {}))["families"]
            assert (family["packs"], family["used"], family["difference"]) == (1, 1, None)
            verified = told(await client.call_tool("verify", {}))
            assert (verified["intact"], verified["unfinished"]) == (True, 0)
    pack = await store.get(ref.id)
    assert (pack.uses, pack.wins) == (1, 1)


async def test_a_host_is_told_why_nothing_was_found(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Paper: DMM's inhibition; silence has a reason, and the reasons can be looked at."""
    await store.record(make_draft())
    await store.wait_indexed()
    async with Client(experience_server(store)) as client:
        asked = {"query": "an invoice for zebra, quantum and origami", "explain": True}
        found = told(await client.call_tool("find", asked))
    assert found["hits"] == []
    assert found["silence"].startswith("nothing here supports this")
    assert [each["fate"] for each in found["considered"]] == ["no evidence"]


async def test_packs_are_resources_with_a_card_for_people(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Spec: MCP's resources and their templates."""
    ref = await store.record(make_draft("post the invoice of Acme"))
    async with Client(experience_server(store)) as client:
        (resource,) = (await client.list_resources()).resources
        assert str(resource.uri) == f"experience://packs/{ref.id}"
        assert resource.title == "post the invoice of Acme"
        (content,) = (await client.read_resource(resource.uri)).contents
        assert isinstance(content, TextResourceContents)
        assert json.loads(content.text)["digest"] == ref.digest
        (card,) = (await client.read_resource(f"{resource.uri}/card")).contents
        assert isinstance(card, TextResourceContents)
        assert card.text.startswith("# post the invoice of Acme\n")
        templates = (await client.list_resource_templates()).resource_templates
        assert [each.name for each in templates] == ["pack", "card"]
        for odd in ("experience://packs/", "experience://packs/none", "file:///etc/passwd"):
            with pytest.raises(MCPError):
                await client.read_resource(odd)


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        ("find", {}, "find: the arguments: 'query' is a required property"),
        ("find", {"query": 7}, "find: query: 7 is not of type 'string'"),
        ("find", {"query": "x", "limit": 0}, "find: limit: 0 is less than the minimum of 1"),
        ("find", {"query": "x", "tenant": "theirs"}, "'tenant' was unexpected"),
        ("show", {"id": "absent"}, "no pack 'absent'"),
        ("show", {"id": "x", "parts": ["all"]}, "show: parts.0: 'all' is not one of"),
        ("use", {"ids": []}, "use: ids: [] should be non-empty"),
        ("use", {"ids": ["absent"]}, "no pack 'absent'"),
    ],
)
async def test_bad_arguments_are_answered_with_a_sentence(
    store: PackStore, tool: str, arguments: dict[str, Any], sentence: str
) -> None:
    """Ours: which tool, which argument, what it was; and a tenant is proven, never named."""
    async with Client(experience_server(store)) as client:
        assert sentence in refusal(await client.call_tool(tool, arguments))
        with pytest.raises(MCPError, match="no tool 'forget_all' here"):
            await client.call_tool("forget_all", {})


async def test_rights_hold_for_hosts_too(store: PackStore, make_draft: MakeDraft) -> None:
    """Ours: what may not be recalled for a purpose may not be used for it either."""
    rights = Rights(purposes=frozenset({"support"}))
    ref = await store.record(make_draft("post the invoice of Acme", rights=rights))
    hers = await store.record(make_draft("post hers", rights=Rights(audience=("ann",))))
    await store.wait_indexed()
    async with Client(experience_server(store)) as client:
        query = {"query": "post the invoice of Acme"}
        assert told(await client.call_tool("find", query))["hits"] == []
        allowed = told(await client.call_tool("find", {**query, "purpose": "support"}))
        assert [hit["id"] for hit in allowed["hits"]] == [ref.id]
        assert "it is for support" in refusal(await client.call_tool("use", {"ids": [ref.id]}))
        assert "not in its audience" in refusal(await client.call_tool("show", {"id": hers.id}))
    assert (await store.get(ref.id)).uses == 0


async def test_a_host_moves_packs_to_another_store_where_they_are_quarantined(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: export and import are tools too; only what its rights let go leaves."""
    free = await store.record(make_draft("post the invoice", rights=Rights("CC-BY-4.0")))
    kept = await store.record(make_draft("post hers"))
    async with Client(experience_server(store)) as client:
        done = told(await client.call_tool("export", {}))
        card = told(await client.call_tool("card", {"id": free.id}))["card"]
        diff = told(await client.call_tool("diff", {"before": "2026-01-01"}))
        fault = refusal(await client.call_tool("diff", {"before": "yesterday"}))
    assert (done["packs"], [each["id"] for each in done["left_out"]]) == (1, [kept.id])
    assert card.startswith("# post the invoice")
    assert diff == {"became_stable": {}, "no_longer": {}}
    assert "'yesterday' is no moment" in fault
    async with (
        open_store("sqlite:///:memory:", embedder=HashEmbedder(64)) as other,
        Client(experience_server(other, Offices(local=True))) as client,
    ):
        given = {"bundle": done["bundle"], "source": "globex"}
        (arrived,) = told(await client.call_tool("import", given))["imported"]
        pack = await other.get(arrived)
        assert (pack.status, pack.owner) == ("quarantined", "import:globex/bookkeeper")
        again = told(await client.call_tool("import", given))
        assert (again["imported"], again["known"]) == ([], 1)
        for bad, sentence in (("%%%%", "no base64"), ("aGVsbG8=", "the bundle")):
            answer = await client.call_tool("import", {"bundle": bad, "source": "globex"})
            assert sentence in refusal(answer)


async def test_a_host_rolls_back_a_source_and_checks_a_pack(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: one call retires all that a source gave, if the server was told to let it."""
    ref = await store.record(make_draft(owner="mallory"))
    async with Client(experience_server(store, Offices(local=True))) as client:
        assert told(await client.call_tool("check", {"id": ref.id}))["checks"] == []
        gone = told(await client.call_tool("rollback", {"source": "mallory"}))
        assert gone["retired"] == [ref.digest]
        assert "no pack is meant" in refusal(await client.call_tool("rollback", {"source": "eve"}))
        both = {"source": "mallory", "id": ref.id}
        assert "rollback: the arguments" in refusal(await client.call_tool("rollback", both))
        names = {tool.name: tool for tool in (await client.list_tools()).tools}
        hints = names["rollback"].annotations
        assert hints is not None
        assert hints.destructive_hint
        # Nobody gave this server what these two need.
        assert not names.keys() & {"promote", "forget"}
    assert (await store.get(ref.id)).status == "retired"


async def test_changing_what_others_find_is_nobodys_by_default(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: a server that was not told so offers no tool that judges, retires or takes in."""
    ref = await store.record(make_draft())
    for offices in (None, Offices()):
        async with Client(experience_server(store, offices)) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert not names & {"check", "promote", "rollback", "forget", "import"}
    async with Client(experience_server(store, Offices())) as client:
        answer = refusal(await client.call_tool("rollback", {"id": ref.id}))
    assert "it needs a key that names it" in answer
    assert (await store.get(ref.id)).status == "candidate"
