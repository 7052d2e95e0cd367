"""A served network lets in whom its manifest says, on every face, over real sockets."""

import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import time
from typing import Any

import anyio
import httpx
import httpx2
import jwt
import orjson
import pytest
from anyio import fail_after
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from repertory.agents import Agent, Turn
from repertory.protocol import TaskNotFoundError, user_message
from repertory.runtime import Network, check_manifest, open_network
from repertory.runtime import listener as listener_module
from repertory.runtime.audit import read_audit
from repertory.runtime.cli import run_cli
from repertory.runtime.errors import InputError, UnguardedError
from repertory.runtime.exits import Exit
from repertory.runtime.keyring import Keyring
from repertory.runtime.manifest import parse_manifest
from repertory.runtime.web import serve
from repertory.xp_store import open_database
from tests.claims import claim


class Echo(Agent):
    """Says what it was told."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete(turn.message.text)


@asynccontextmanager
async def _network(
    folder: Path, serving: str, agents: str = "  echo: {}\n"
) -> AsyncIterator[Network]:
    manifest = parse_manifest(
        f"network: firm\nembedder: {{engine: hash}}\nagents:\n{agents}serve: {serving}\n",
        folder=folder,
    )
    kinds: Mapping[str, type[Agent]] = dict.fromkeys(manifest.agents, Echo)
    with fail_after(60):
        async with open_network(manifest, kinds=kinds) as network:
            yield network


def _faces(agent: str = "echo") -> dict[str, tuple[str, str, dict[str, str], Any]]:
    """A message to the agent on each face: method, path, headers and body."""
    message = user_message("hello").wire()
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {"dev.repertory/a2a": {}}},
    }
    mcp = {"method": "a2a/SendMessage", "params": {"request": {"message": message}, "_meta": meta}}
    headers = {
        "mcp-method": "a2a/SendMessage",
        "mcp-protocol-version": "2026-07-28",
        "accept": "application/json, text/event-stream",
    }
    rpc = {"method": "SendMessage", "params": {"message": message}}
    a2a = {"a2a-version": "1.0"}
    numbered = {"jsonrpc": "2.0", "id": 1}
    place = f"/agents/{agent}"
    return {
        "binding": ("POST", f"{place}/mcp", headers, {**numbered, **mcp}),
        "json-rpc": ("POST", f"{place}/jsonrpc", a2a, {**numbered, **rpc}),
        "http+json": ("POST", f"{place}/rest/message:send", a2a, {"message": message}),
    }


async def _send(
    client: httpx.AsyncClient, face: str, key: str = "", agent: str = "echo", **more: str
) -> httpx.Response:
    method, path, headers, body = _faces(agent)[face]
    if key:
        headers = {**headers, "authorization": f"Bearer {key}"}
    return await client.request(method, path, headers={**headers, **more}, json=body)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
async def test_nobody_listens_beyond_loopback_without_asking_who_calls(
    tmp_path: Path, host: str
) -> None:
    """Ours: refused before a socket is opened, with what to add."""
    async with _network(tmp_path, "{port: 0}") as network:
        with pytest.raises(UnguardedError, match="repertory keys add NAME"):
            async with serve(network, host=host):
                pass


def test_the_command_refuses_it_too_and_check_says_it_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: exit status 2, one sentence, nothing started."""
    path = tmp_path / "network.yaml"
    path.write_text("network: firm\nagents: {clerk: {}}\nserve: {host: 0.0.0.0}\n")
    assert run_cli(["serve", str(path), "--host", "192.0.2.7"]) == Exit.USAGE
    assert "192.0.2.7 is reachable by others" in capsys.readouterr().err
    assert not (tmp_path / ".repertory").exists()
    told = [finding.sentence for finding in check_manifest(path) if finding.key == "serve.host"]
    assert any("add 'auth', as 'auth: {keys: true}'" in sentence for sentence in told)


@pytest.mark.parametrize(
    ("serving", "sentence"),
    [
        ("{outgoing: [localhost]}", "networks are written as"),
        (
            "{auth: {oauth: {issuer: 'https://i.example', jwks: none.json}}}",
            "no file with a key set",
        ),
        ("{auth: {certificates: {CN=bob: {name: bob}}}}", "needs 'serve.tls.client_ca'"),
        ("{tls: {certificate: a.pem, key: b.pem}}", "there is no file 'a.pem'"),
        ("{host: 0.0.0.0, auth: {keys: true}}", "travel in the clear"),
        ("{auth: {oauth: {issuer: 'https://i.example', scopes: {use: [clork]}}}}", "'clerk'?"),
        ("{auth: {oauth: {issuer: 'https://i.example', algorithms: [none]}}}", "cannot be 'none'"),
        ("{auth: {oauth: {issuer: 'javascript:x'}}}", "begins with http"),
        ("{auth: {keys: true, token: x}}", "has no key 'token'"),
        ("{limits: {body: 0}}", "serve.limits.body"),
        ("{url: 'https://a.example/'}", "serve.url"),
    ],
)
def test_each_fault_of_serving_is_told_in_a_sentence(
    tmp_path: Path, serving: str, sentence: str
) -> None:
    """Ours: `repertory check` knows the new keys."""
    path = tmp_path / "network.yaml"
    path.write_text(f"network: firm\nagents: {{clerk: {{kind: human}}}}\nserve: {serving}\n")
    assert any(sentence in str(finding) for finding in check_manifest(path))


@claim("mcp:api-keys")
async def test_a_key_opens_every_face_for_what_it_may_and_nothing_else(tmp_path: Path) -> None:
    """Ours: one guard before all faces; a key is for a tenant, for agents, and for a while."""
    agents = "  echo: {}\n  other: {}\n"
    async with _network(tmp_path, "{port: 0, auth: {keys: true}}", agents) as network:
        ring = Keyring(network.journal.database)
        ann, _ = await ring.add("ann", tenant="red", capabilities=("echo",))
        ben, _ = await ring.add("ben", tenant="blue")
        async with serve(network) as url, httpx.AsyncClient(base_url=url) as client:
            for face in _faces():
                assert (await _send(client, face)).status_code == 401
                assert (await _send(client, face, ann + "x")).status_code == 401
                assert (await _send(client, face, ann)).status_code == 200
                refused = await _send(client, face, ann, "other")
                assert refused.status_code == 403
                assert "insufficient_scope" in refused.headers["www-authenticate"]
                assert (await _send(client, face, ben, "other")).status_code == 200
            assert (await client.get("/health")).status_code == 200
            assert (await client.get("/agents/echo/.well-known/agent-card.json")).status_code == 200
        records = {row.id: await network.find(row.id) for row in await network.tasks()}
        owners = {(r.agent, r.tenant, r.principal) for r in records.values() if r is not None}
        assert owners == {("echo", "red", "key:ann"), ("other", "blue", "key:ben")}
        told = {(row.what, row.principal) for row in await read_audit(network.journal.database)}
        assert told == {("unauthenticated", ""), ("denied", "key:ann")}


@claim("a2a:scoping")
async def test_a_foreign_task_is_absent_on_every_face(tmp_path: Path) -> None:
    """Ours: S5 over the wire; status, code and words are those of a task that does not exist."""
    async with _network(tmp_path, "{port: 0, auth: {keys: true}}") as network:
        ring = Keyring(network.journal.database)
        ann, _ = await ring.add("ann", tenant="red")
        ben, _ = await ring.add("ben", tenant="blue")
        async with serve(network) as url, httpx.AsyncClient(base_url=url) as client:
            sent = await _send(client, "json-rpc", ann)
            task_id = sent.json()["result"]["task"]["id"]
            for operation in ("GetTask", "CancelTask", "SubscribeToTask"):
                answers = []
                for wanted in (task_id, "0198c5a0-absent"):
                    body = {
                        "jsonrpc": "2.0",
                        "id": 1,
                        "method": operation,
                        "params": {"id": wanted},
                    }
                    headers = {"authorization": f"Bearer {ben}", "a2a-version": "1.0"}
                    answer = await client.post("/agents/echo/jsonrpc", headers=headers, json=body)
                    answers.append((answer.status_code, answer.text.replace(wanted, "ID")))
                assert answers[0] == answers[1], operation
                assert "-32001" in answers[0][1]
            for path in (
                "/rest/tasks/{}",
                "/rest/tasks/{}/pushNotificationConfigs",
                "/rest/tasks/{}/pushNotificationConfigs/x",
            ):
                answers = []
                for wanted in (task_id, "0198c5a0-absent"):
                    headers = {"authorization": f"Bearer {ben}", "a2a-version": "1.0"}
                    place = "/agents/echo" + path.format(wanted)
                    answer = await client.get(place, headers=headers)
                    answers.append((answer.status_code, answer.text.replace(wanted, "ID")))
                assert answers[0] == answers[1], path
            with pytest.raises(TaskNotFoundError):
                await network.task("0198c5a0-absent")


async def test_a_key_that_was_taken_back_is_refused_within_seconds(tmp_path: Path) -> None:
    """Ours: a network that runs sees what another process did to its keys."""
    now = 100.0
    async with open_database(f"sqlite:///{tmp_path}/a.db") as database:
        from repertory.runtime.journal import open_journal

        async with open_journal(database):
            ring = Keyring(database, clock=lambda: now)
            _, record = await ring.add("ann", tenant="red", capabilities=("echo",))
            with pytest.raises(InputError, match="there is a key named 'ann'"):
                await ring.add("ann", tenant="red")
            assert await ring.find(record.id) == record
            assert await Keyring(database).revoke("ann") == 1
            now += 2.5
            found = await ring.find(record.id)
            assert found is not None
            assert found.revoked
            assert [each.revoked for each in await ring.records()] == [True]


def test_keys_are_made_listed_and_taken_back_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: a key is shown once; the store and the list hold no secret."""
    path = tmp_path / "network.yaml"
    path.write_text("network: firm\nagents: {clerk: {}}\nserve: {auth: {keys: true}}\n")
    at = ["-m", str(path)]
    assert run_cli(["keys", "add", "ide", "--can", "clerk", "--days", "90", *at]) == Exit.DONE
    text = capsys.readouterr().out.strip()
    assert text.startswith("rpt_")
    assert run_cli(["keys", "list", "--json", *at]) == Exit.DONE
    listed = capsys.readouterr().out
    assert '"clerk"' in listed
    _, _, secret = text.split("_", 2)
    assert secret not in listed
    for file in (tmp_path / ".repertory").iterdir():
        assert secret.encode() not in file.read_bytes()
    assert run_cli(["keys", "add", "ide", *at]) == Exit.USAGE
    assert run_cli(["keys", "add", "x", "--can", "a b", *at]) == Exit.USAGE
    assert run_cli(["keys", "revoke", "ide", *at]) == Exit.DONE
    assert run_cli(["keys", "revoke", "ide", *at]) == Exit.USAGE
    assert "no key in use is named 'ide'" in capsys.readouterr().err
    assert run_cli(["audit", "--json", *at]) == Exit.DONE
    told = capsys.readouterr().out
    assert told.index("key revoked") < told.index("key added")


async def test_every_path_of_a_served_network_refuses_a_foreign_host_and_origin(
    tmp_path: Path,
) -> None:
    """Spec: MCP, DNS rebinding (S1), over a real socket; also on health, cards and what is not there."""
    async with _network(tmp_path, "{port: 0}") as network:
        async with serve(network) as url, httpx.AsyncClient(base_url=url) as client:
            paths = [path for _, path, _, _ in _faces().values()]
            paths += ["/health", "/.well-known/agent-card.json", "/nothing", "/"]
            for path in paths:
                for method in ("GET", "POST"):
                    for headers, status in (
                        ({"host": "evil.example"}, 421),
                        ({"origin": "http://evil.example"}, 403),
                        ({"host": "evil.example", "origin": "http://evil.example"}, 421),
                    ):
                        answer = await client.request(method, path, headers=headers)
                        assert answer.status_code == status, (method, path, headers)
            assert (await _send(client, "binding")).status_code == 200


async def test_a_large_body_is_refused_without_being_kept(tmp_path: Path) -> None:
    """Ours: S13; 20 MB, told and untold, deep JSON, and the memory that they cost."""
    async with _network(tmp_path, "{port: 0}") as network:
        async with serve(network) as url, httpx.AsyncClient(base_url=url) as client:

            async def untold() -> AsyncIterator[bytes]:
                for _ in range(320):
                    yield b"x" * 65_536

            before = getrusage(RUSAGE_SELF).ru_maxrss
            for face in _faces():
                _, path, headers, _ = _faces()[face]
                kind = {**headers, "content-type": "application/json"}
                for body in (b"x" * 20_000_000, untold(), b"[" * 100_000):
                    try:
                        answer = await client.post(path, headers=kind, content=body)
                    except httpx.TransportError:
                        continue  # It was told no and hung up on while it still sent.
                    assert answer.status_code in (400, 413)
            assert getrusage(RUSAGE_SELF).ru_maxrss - before < 100_000
            assert (await _send(client, "binding")).status_code == 200


async def test_a_head_that_does_not_come_costs_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: S13; slow-loris: connections that begin a request and do not go on are closed."""
    monkeypatch.setattr(listener_module, "_HEAD_SECONDS", 0.2)
    async with _network(tmp_path, "{port: 0}") as network:
        async with serve(network) as url:
            port = int(url.rsplit(":", 1)[1])
            closed = 0
            for begun in (b"", b"POST /agents/echo/mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nx: "):
                stream = await anyio.connect_tcp("127.0.0.1", port)
                async with stream:
                    if begun:
                        await stream.send(begun)
                    with fail_after(10), pytest.raises(anyio.EndOfStream):
                        await stream.receive()
                    closed += 1
            assert closed == 2


def _certificate(
    folder: Path, name: str, signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer[0].subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    made = builder.sign(signer[1] if signer else key, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(made.public_bytes(Encoding.PEM))
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{name}.key").write_bytes(plain)
    return made, key


async def test_a_client_certificate_is_an_identity_over_tls(tmp_path: Path) -> None:
    """Ours: mTLS by uvicorn's settings; a stranger's certificate ends in the handshake."""
    ca = _certificate(tmp_path, "ca", None)
    for name in ("localhost", "bob", "eve"):
        _certificate(tmp_path, name, ca)
    _certificate(tmp_path, "mallory", _certificate(tmp_path, "other-ca", None))
    serving = (
        "{port: 0, host: localhost,"
        " tls: {certificate: localhost.pem, key: localhost.key, client_ca: ca.pem},"
        " auth: {certificates: {CN=bob: {name: bob, tenant: red}}}}"
    )
    async with _network(tmp_path, serving) as network:
        async with serve(network, host="localhost") as url:
            assert url.startswith("https://localhost:")
            statuses: dict[str, int] = {}
            for name in ("bob", "eve", "mallory", ""):
                context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
                if name:
                    context.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
                async with httpx.AsyncClient(base_url=url, verify=context) as client:
                    try:
                        statuses[name] = (await _send(client, "binding")).status_code
                    except httpx.TransportError:
                        statuses[name] = 0
            assert statuses == {"bob": 200, "eve": 401, "mallory": 0, "": 0}
        (row,) = await network.tasks()
        record = await network.find(row.id)
        assert record is not None
        assert (record.principal, record.tenant) == ("certificate:bob", "red")


async def test_tls_files_that_are_none_are_told_before_anything_listens(tmp_path: Path) -> None:
    """Ours: a sentence, and the port is free again."""
    (tmp_path / "a.pem").write_text("nothing")
    port = 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serving = f"{{port: {port}, tls: {{certificate: a.pem, key: b.pem}}}}"
    async with _network(tmp_path, serving) as network:
        with pytest.raises(InputError, match=r"serve\.tls"):
            async with serve(network, port=port):
                pass
        with socket.socket() as again:
            again.bind(("127.0.0.1", port))


async def test_a_token_by_the_keys_of_a_file_opens_the_agents_of_its_scopes(tmp_path: Path) -> None:
    """Ours: OAuth from the manifest to the task: issuer, audience by URL, scopes, tenant."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    (tmp_path / "keys.json").write_bytes(orjson.dumps({"keys": [{**public, "kid": "k"}]}))
    serving = (
        "{port: 0, auth: {oauth: {issuer: 'https://issuer.example', jwks: keys.json,"
        " scopes: {talk: [echo]}, tenant_claim: org}}}"
    )
    async with _network(tmp_path, serving, "  echo: {}\n  other: {}\n") as network:
        async with serve(network) as url, httpx.AsyncClient(base_url=url) as client:
            claims = {"iss": "https://issuer.example", "sub": "ann", "org": "red", "scope": "talk"}
            statuses = []
            for audience, agent in (
                (url, "echo"),
                (f"{url}/agents/echo", "echo"),
                (f"{url}/agents/echo/mcp", "echo"),
                (url, "other"),
                (f"{url}/agents/other/mcp", "echo"),
                ("https://other.example", "echo"),
            ):
                token = jwt.encode(
                    {**claims, "aud": audience, "exp": time() + 60}, key, "ES256", {"kid": "k"}
                )
                statuses.append((await _send(client, "binding", token, agent)).status_code)
            assert statuses == [200, 200, 200, 403, 401, 401]
            card = (await client.get("/agents/echo/.well-known/agent-card.json")).json()
            assert list(card["securitySchemes"]) == ["oauth"]
            assert card["securityRequirements"] == [{"schemes": {"oauth": {}}}]
            path = "/.well-known/oauth-protected-resource/agents/echo/mcp"
            found = (await client.get(path)).json()
            assert found["resource"] == f"{url}/agents/echo/mcp"
            assert found["scopes_supported"] == ["talk"]
        owners = {row.agent: await network.find(row.id) for row in await network.tasks()}
        record = owners["echo"]
        assert record is not None
        assert (record.principal, record.tenant) == ("oauth:https://issuer.example#ann", "red")


async def test_a_key_for_one_skill_opens_that_skill_alone_on_every_face(tmp_path: Path) -> None:
    """Ours: capabilities are named per skill; MCP hosts ask for one by its tool's name."""
    agents = "  echo: {skills: [reading, posting]}\n"
    async with _network(tmp_path, "{port: 0, auth: {keys: true}}", agents) as network:
        key, _ = await Keyring(network.journal.database).add(
            "ann", tenant="red", capabilities=("echo/reading",)
        )
        async with serve(network) as url, httpx.AsyncClient(base_url=url) as client:
            for face, status in (("binding", 200), ("json-rpc", 200), ("http+json", 403)):
                answer = await _send(client, face, key)
                assert answer.status_code == status
                assert "PERMISSION_DENIED" in answer.text
            token = {"authorization": f"Bearer {key}"}
            async with httpx2.AsyncClient(headers=token) as known:
                target = streamable_http_client(f"{url}/agents/echo/mcp", http_client=known)
                async with Client(target, mode="2026-07-28") as host:
                    tools = {tool.name: tool for tool in (await host.list_tools()).tools}
                    assert set(tools) == {"reading", "posting"}
                    results = {}
                    for name, tool in tools.items():
                        needed = tool.input_schema.get("required", [])
                        results[name] = await host.call_tool(name, dict.fromkeys(needed, "go"))
            assert not results["reading"].is_error
            assert results["posting"].is_error
            assert "may not use 'echo/posting'" in str(results["posting"].content)
        (row,) = await network.tasks()
        assert row.agent == "echo"
