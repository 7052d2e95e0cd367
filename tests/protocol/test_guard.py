"""What stands before a listener: S1, S3, S13 and S16 of the threat model, over plain ASGI."""

import json
from collections.abc import Mapping
from time import time
from typing import Any

import anyio
import jwt
import orjson
import pytest
from anyio import fail_after
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from repertory.protocol import (
    IDENTITY_KEY,
    LOCAL,
    NOBODY,
    Authentication,
    Guard,
    Identity,
    InvalidParamsError,
    KeyRecord,
    KeySet,
    Limits,
    OutgoingRules,
    Refusal,
    TokenRules,
    TokenVerifier,
    UnauthenticatedError,
    metadata_urls,
    new_key,
)
from repertory.protocol.keys import key_identity
from repertory.protocol.limits import Rates, require_shallow
from tests.claims import claim

BASE = "https://agents.example"
ISSUER = "https://issuer.example/realm"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _jwk(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    kind: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**json.loads(kind.to_jwk(key.public_key())), "kid": kid, "use": "sig", **more}


JWKS: dict[str, Any] = {
    "keys": [
        _jwk(RSA_KEY, "r1"),
        _jwk(EC_KEY, "e1"),
        _jwk(STRANGER, "enc", use="enc"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "h1"},
        {"kty": "RSA", "kid": "broken"},
        "nonsense",
    ]
}


def token(
    key: Any = RSA_KEY,
    algorithm: str = "RS256",
    header: Mapping[str, Any] | None = None,
    **claims: Any,
) -> str:
    """A token of the issuer for all of the agents, except for what a test changes."""
    said = {
        "iss": ISSUER,
        "aud": BASE,
        "sub": "alice",
        "exp": time() + 60,
        "scope": "use clerk",
        "tenant": "acme",
        **claims,
    }
    said = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(said, key, algorithm=algorithm, headers={"kid": "r1", **(header or {})})


def verifier(**rules: Any) -> TokenVerifier:
    """Believes the issuer's tokens, by its keys given."""
    return TokenVerifier(
        TokenRules(issuer=ISSUER, **{"required": ("use",), "tenant_claim": "tenant", **rules}),
        KeySet(ISSUER, given=JWKS),
    )


class Behind:
    """The app behind a guard: keeps the identity and the body of what came through."""

    def __init__(self) -> None:
        self.seen: list[tuple[Identity, bytes]] = []
        self.hold: anyio.Event | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"] if scope["method"] == "POST" else b""
        self.seen.append((scope[IDENTITY_KEY], body))
        if self.hold is not None:
            await self.hold.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"in"})


class Asked:
    """One request through a guard, as a web server would bring it."""

    def __init__(
        self,
        path: str = "/agents/clerk/mcp",
        *,
        method: str = "POST",
        host: str = "agents.example",
        chunks: tuple[bytes, ...] = (b"{}",),
        headers: Mapping[str, str] | None = None,
        credential: str = "",
    ) -> None:
        named = {"host": host, **(headers or {})}
        if credential:
            named["authorization"] = f"Bearer {credential}"
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(n.encode(), v.encode("latin-1")) for n, v in named.items() if v],
            "client": ("192.0.2.1", 4711),
            "query_string": b"",
        }
        self.chunks = list(chunks)
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def receive(self) -> Any:
        """The next piece of the body; a slow sender never sends its last."""
        if not self.chunks:
            await anyio.sleep_forever()
        chunk = self.chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(self.chunks)}

    async def send(self, message: Any) -> None:
        """Keep what is answered."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {n.decode(): v.decode() for n, v in message["headers"]}
        else:
            self.body += message["body"]

    async def through(self, guard: Guard) -> "Asked":
        """Send it."""
        with fail_after(10):
            await guard(self.scope, self.receive, self.send)
        return self


def guarded(behind: Behind, **more: Any) -> Guard:
    """A guard as an installation at agents.example has it."""
    settings: dict[str, Any] = {
        "hosts": ["agents.example", "127.0.0.1:*"],
        "origins": ["https://ide.example"],
        "authentication": Authentication(tokens=verifier(), base_url=BASE),
        **more,
    }
    return Guard(behind, **settings)


# -- where it comes from ---------------------------------------------------------


@claim("mcp:rebinding")
@pytest.mark.parametrize(
    "path", ["/agents/clerk/mcp", "/agents/x/rest/v1", "/health", "/none", "/"]
)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "evil.example:8420"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": "agents.example.evil"}, 421),
        ({"host": "agents.example@evil.example"}, 421),
        ({"host": "127.0.0.1:8420:9"}, 421),
        ({"host": ""}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://ide.example.evil"}, 403),
        ({"origin": "http://ide.example"}, 403),
    ],
)
async def test_a_foreign_host_or_origin_is_refused_on_every_path(
    path: str, headers: dict[str, str], status: int
) -> None:
    """Spec: MCP, DNS rebinding (S1): refused on 100% of paths, also without an Origin."""
    behind = Behind()
    for method in ("POST", "GET"):
        asked = Asked(path, method=method, headers=headers, credential=token())
        assert (await asked.through(guarded(behind))).status == status
    assert behind.seen == []


async def test_an_allowed_host_and_origin_come_through_with_any_port_where_that_is_said() -> None:
    """Ours: the control of the refusals."""
    behind = Behind()
    guard = guarded(behind, authentication=None)
    for host, origin in (
        ("agents.example", ""),
        ("agents.example", "https://ide.example"),
        ("127.0.0.1:8420", ""),
    ):
        assert (await Asked(host=host, headers={"origin": origin}).through(guard)).status == 200
    assert [identity for identity, _ in behind.seen] == [LOCAL] * 3


# -- who it is -------------------------------------------------------------------


@claim("mcp:resource-server")
@pytest.mark.parametrize(
    "forged",
    [
        token(aud="https://other.example"),
        token(aud=f"{BASE}/agents/critic/mcp"),
        token(aud=f"{BASE}/agents/cler"),
        token(aud=["https://other.example"]),
        token(aud=None),
        token(aud=7),
        token(iss="https://issuer.example"),
        token(iss=f"{ISSUER}/"),
        token(iss=None),
        token(exp=time() - 3600),
        token(exp=None),
        token(sub=None),
        token(sub=""),
        token(nbf=time() + 3600),
        token(tenant=None),
        token(tenant=["acme", "beta"]),
        token(STRANGER),
        token(STRANGER, header={"kid": "enc"}),
        token(STRANGER, header={"kid": "r2"}),
        token(EC_KEY, "ES256"),
        token(header={"kid": "e1"}),
        token(header={"crit": ["exp"]}),
        token(header={"typ": "logout+jwt"}),
        jwt.encode({"iss": ISSUER, "aud": BASE, "sub": "a", "exp": time() + 60}, "", "none"),
        jwt.encode({"iss": ISSUER, "aud": BASE, "sub": "a", "exp": time() + 60}, "s" * 32, "HS256"),
        token("s" * 32, "HS256", {"kid": "h1"}),
        token()[:-3],
        token() + "x",
        token().replace(".", ".e30", 1),
        "not-a-token",
        "a.b.c",
        "rpt_0123456789ab_" + "x" * 43,
        "x" * 100_000,
    ],
)
async def test_a_token_that_proves_nothing_is_refused(forged: str) -> None:
    """Spec: MCP authorization, RFC 9068, RFC 8725 (S3): 401 with a challenge, and the audit told."""
    behind, told = Behind(), list[Refusal]()

    async def tell(refusal: Refusal) -> None:
        told.append(refusal)

    asked = await Asked(credential=forged).through(guarded(behind, tell=tell))
    assert asked.status == 401
    assert 'error="invalid_token"' in asked.headers["www-authenticate"]
    assert (behind.seen, [each.what for each in told]) == ([], ["unauthenticated"])
    assert forged not in asked.body.decode() + told[0].reason


async def test_the_public_key_is_no_secret_to_sign_with() -> None:
    """Spec: RFC 8725, 2.1: an RSA key never checks an HMAC."""
    import base64
    import hashlib
    import hmac

    def part(value: Any) -> bytes:
        return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=")

    claims = {"iss": ISSUER, "aud": BASE, "sub": "alice", "exp": int(time()) + 60, "tenant": "acme"}
    head = (
        part({"alg": "HS256", "kid": "r1", "typ": "JWT"}) + b"." + part({**claims, "scope": "use"})
    )
    signature = base64.urlsafe_b64encode(hmac.new(RSA_PEM, head, hashlib.sha256).digest())
    with pytest.raises(UnauthenticatedError):
        await verifier().verify((head + b"." + signature.rstrip(b"=")).decode(), [BASE])


@pytest.mark.parametrize("audience", [BASE, f"{BASE}/agents/clerk", f"{BASE}/agents/clerk/mcp"])
async def test_a_good_token_is_its_subject_at_its_issuer(audience: str) -> None:
    """Spec: RFC 8707: a token for the installation, the agent, or its endpoint."""
    behind = Behind()
    for good in (token(aud=audience), token(EC_KEY, "ES256", {"kid": "e1"}, aud=[audience, "x"])):
        assert (await Asked(credential=good).through(guarded(behind))).status == 200
    (first, _), (second, _) = behind.seen
    assert first == second
    assert (first.principal, first.tenant) == (f"oauth:{ISSUER}#alice", "acme")
    assert first.capabilities.permits("clerk/reading")
    assert not first.capabilities.permits("critic")


async def test_a_token_without_the_scope_is_told_which_one_it_needs() -> None:
    """Spec: MCP authorization: 403 insufficient_scope with the scopes in the challenge."""
    behind = Behind()
    rules = {"scopes": {"clerk.use": ("clerk", "books.*"), "critic.use": ("critic",)}}
    signed = Authentication(tokens=verifier(**rules), base_url=BASE)
    guard = guarded(behind, authentication=signed)
    for scope in ("clerk.use", "use", "use critic.use", "use *", "use clerk"):
        asked = await Asked(credential=token(scope=scope)).through(guard)
        assert asked.status == 403
        challenge = asked.headers["www-authenticate"]
        assert 'error="insufficient_scope"' in challenge
        assert 'scope="use clerk.use"' in challenge
    assert (await Asked(credential=token(scope="use clerk.use")).through(guard)).status == 200
    (identity, _) = behind.seen[0]
    assert identity.capabilities.permits("books.post")


@pytest.mark.parametrize("scope", ["use *", "use c*", "use ?lerk", "use clerk/../x", "use a;b"])
async def test_a_scope_with_a_wildcard_grants_nothing(scope: str) -> None:
    """Spec: MCP, scope minimization (S16): nobody gets what nobody listed."""
    asked = await Asked(credential=token(scope=scope)).through(guarded(Behind()))
    assert asked.status == 403


async def test_without_a_credential_the_challenge_leads_to_the_metadata() -> None:
    """Spec: RFC 9728 and MCP authorization: 401, then the document, then the issuer."""
    behind = Behind()
    guard = guarded(behind)
    asked = await Asked().through(guard)
    assert asked.status == 401
    place = f"{BASE}/.well-known/oauth-protected-resource/agents/clerk/mcp"
    assert f'resource_metadata="{place}"' in asked.headers["www-authenticate"]
    assert "error=" not in asked.headers["www-authenticate"]
    found = await Asked(place.removeprefix(BASE), method="GET").through(guard)
    assert orjson.loads(found.body) == {
        "resource": f"{BASE}/agents/clerk/mcp",
        "authorization_servers": [ISSUER],
        "scopes_supported": ["use", "clerk"],
        "bearer_methods_supported": ["header"],
    }
    assert behind.seen == []


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Basic YTpi"},
        {"authorization": f"Bearer {token()}", "x-api-key": "rpt_x"},
        {"authorization": ""},
        {"authorization": "Bearer "},
        {"x-api-key": "\x00\xff"},
    ],
)
async def test_another_scheme_or_two_credentials_are_none(headers: dict[str, str]) -> None:
    """Spec: RFC 6750: one credential, one way."""
    assert (await Asked(headers=headers).through(guarded(Behind()))).status == 401


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health", 200),
        ("/.well-known/agent-card.json", 200),
        ("/agents/clerk/.well-known/agent-card.json", 200),
        ("/agents/clerk/rest/tasks/.well-known/agent-card.json", 401),
        ("/agents/clerk/mcp", 401),
        ("/health/x", 401),
        ("/", 401),
    ],
)
async def test_only_what_is_told_to_everybody_needs_no_credential(path: str, status: int) -> None:
    """Spec: A2A 1.0, 13.1; whoever reads a card may do nothing else."""
    behind = Behind()
    assert (await Asked(path, method="GET").through(guarded(behind))).status == status
    assert all(identity is NOBODY for identity, _ in behind.seen)


class Keys:
    """Records of keys in memory."""

    def __init__(self, *records: KeyRecord) -> None:
        self.records = {record.id: record for record in records}

    async def find(self, key_id: str) -> KeyRecord | None:
        """The record of that id."""
        return self.records.get(key_id)


async def test_an_api_key_is_its_name_until_it_ends_and_is_kept_as_a_hash() -> None:
    """Ours: small installations need no authorization server."""
    text, record = new_key("bob", tenant="acme", capabilities=("clerk",))
    ended, old = new_key("old", tenant="acme", expires_at=time() - 1)
    assert text not in repr(record)
    assert text.split("_", 2)[2] not in repr(record)
    behind = Behind()
    guard = guarded(behind, authentication=Authentication(keys=Keys(record, old)))
    assert (await Asked(credential=text).through(guard)).status == 200
    assert (await Asked(headers={"x-api-key": text}).through(guard)).status == 200
    assert behind.seen[0][0] == behind.seen[1][0]
    assert (behind.seen[0][0].principal, behind.seen[0][0].tenant) == ("key:bob", "acme")
    assert not behind.seen[0][0].capabilities.permits("critic")
    changed = text[:-1] + ("A" if text[-1] != "A" else "B")
    for wrong in (ended, changed, text.replace("rpt_", "rpt_0"), text[:-2], token()):
        asked = await Asked(credential=wrong).through(guard)
        assert asked.status == 401, wrong
        assert orjson.loads(asked.body) == {"error": "the API key is not valid here"}
    revoked = Keys(KeyRecord(record.id, "bob", "acme", record.digest, revoked=True))
    with pytest.raises(UnauthenticatedError):
        await key_identity(text, revoked)


async def test_a_certificate_is_who_the_manifest_says() -> None:
    """Ours: mTLS proves a subject; what it may do is the installation's to say."""
    known = Identity("certificate:CN=bob", "acme")
    guard = guarded(
        behind := Behind(), authentication=Authentication(certificates={"CN=bob": known})
    )
    for subject, status in (("CN=bob", 200), ("CN=eve", 401), ("", 401)):
        asked = Asked()
        asked.scope["extensions"] = {"tls": {"client_cert_name": subject}}
        assert (await asked.through(guard)).status == status
    assert [identity for identity, _ in behind.seen] == [known]


async def test_wrong_credentials_are_slowed_down_by_their_address() -> None:
    """Ours: guesses end in 429 and fill no audit; who is right is let in from the same address."""
    guard = guarded(Behind(), limits=Limits(failures=5))
    statuses = [(await Asked(credential="x.y.z").through(guard)).status for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    assert (await Asked(credential=token()).through(guard)).status == 200


# -- the issuer ------------------------------------------------------------------


async def test_keys_are_found_by_discovery_and_only_at_the_issuer_that_names_itself() -> None:
    """Spec: RFC 8414, 3.3; mix-up (S16): metadata of another issuer is refused."""
    for name, status in ((None, 200), ("https://evil.example", 0)):
        async with anyio.create_task_group() as tasks:
            asked: list[str] = []
            port = await tasks.start(_issuer, asked, name)
            issuer = f"http://127.0.0.1:{port}/realm"
            keys = KeySet(issuer, outgoing=OutgoingRules(allow=("127.0.0.1/32",)))
            tokens = TokenVerifier(TokenRules(issuer=issuer), keys)
            guard = guarded(Behind(), authentication=Authentication(tokens=tokens, base_url=BASE))
            for _ in range(3):
                good = await Asked(credential=token(iss=issuer)).through(guard)
                unknown = token(iss=issuer, header={"kid": "r9"})
                lost = await Asked(credential=unknown).through(guard)
                assert (good.status or 0) == (status or 503)
                assert lost.status == (401 if status else 503)
            # Unknown keys are asked for once in a while, whoever sends what.
            assert asked.count("/jwks") <= 1
            tasks.cancel_scope.cancel()


async def _issuer(asked: list[str], name: str | None, *, task_status: Any) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        here = f"http://127.0.0.1:{port}"

        async def handle(stream: Any) -> None:
            async with stream:
                path = (await stream.receive()).split(b" ")[1].decode()
                asked.append(path)
                documents: dict[str, Any] = {
                    "/.well-known/oauth-authorization-server/realm": {
                        "issuer": name or f"{here}/realm",
                        "jwks_uri": f"{here}/jwks",
                    },
                    "/jwks": JWKS,
                }
                body = orjson.dumps(documents.get(path, {}))
                head = (
                    f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
                )
                await stream.send(head.encode() + body)

        task_status.started(port)
        await listener.serve(handle)


def test_metadata_is_looked_for_where_the_specifications_put_it() -> None:
    """Spec: MCP authorization, discovery: the path is inserted for OAuth, appended for OpenID."""
    assert metadata_urls("https://a.example/t1") == (
        "https://a.example/.well-known/oauth-authorization-server/t1",
        "https://a.example/.well-known/openid-configuration/t1",
        "https://a.example/t1/.well-known/openid-configuration",
    )


@pytest.mark.parametrize(
    "rules",
    [
        {"issuer": "javascript:alert(1)"},
        {"issuer": "data:text/html,x"},
        {"issuer": ISSUER, "algorithms": ("none",)},
        {"issuer": ISSUER, "algorithms": ("HS256",)},
    ],
)
def test_rules_that_would_believe_anybody_are_refused(rules: dict[str, Any]) -> None:
    """Spec: RFC 8725, MCP OAuth URL validation (S16)."""
    with pytest.raises(InvalidParamsError):
        TokenRules(**rules)


# -- how much it is --------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "headers", "status"),
    [
        ((b"x" * 1001,), {"content-length": "1001"}, 413),
        ((b"x" * 600, b"x" * 600), {}, 413),
        ((b"[" * 65 + b"]" * 65,), {}, 400),
        ((b'{"a":' * 70 + b"1" + b"}" * 70,), {}, 400),
        ((orjson.dumps([{}] * 17),), {}, 400),
        ((orjson.dumps([{}] * 16),), {}, 200),
        ((orjson.dumps({"a": "[" * 300}),), {}, 200),
        ((orjson.dumps({"a": '\\"[{' * 100}),), {}, 200),
        ((orjson.dumps({"a": [[]] * 100}),), {}, 200),
    ],
)
async def test_a_body_is_bounded_in_bytes_depth_and_batch(
    chunks: tuple[bytes, ...], headers: dict[str, str], status: int
) -> None:
    """Ours: S13; what is within the bounds arrives unchanged."""
    behind = Behind()
    guard = guarded(behind, authentication=None, limits=Limits(body=1000))
    asked = await Asked(chunks=chunks, headers=headers).through(guard)
    assert asked.status == status, asked.body
    assert [body for _, body in behind.seen] == ([b"".join(chunks)] if status == 200 else [])


async def test_a_body_that_does_not_arrive_is_given_up() -> None:
    """Ours: S13; a slow sender holds a place for a while and not for ever."""
    guard = guarded(Behind(), authentication=None, limits=Limits(body_seconds=0.05))
    asked = Asked(chunks=(b"{",))

    async def stalls() -> Any:
        if not asked.chunks:
            await anyio.sleep_forever()
        return {"type": "http.request", "body": asked.chunks.pop(), "more_body": True}

    await guard(asked.scope, stalls, asked.send)
    assert asked.status == 408


async def test_one_caller_cannot_take_all_the_places() -> None:
    """Ours: S13; 10,000 subscriptions are refused above the bound, the rest goes on."""
    behind = Behind()
    behind.hold = anyio.Event()
    guard = guarded(behind, authentication=None, limits=Limits(at_once=50, all_at_once=60))
    statuses: list[int] = []

    async def one(client: str) -> None:
        asked = Asked()
        asked.scope["client"] = (client, 1)
        await asked.through(guard)
        statuses.append(asked.status)

    with fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(10_000):
                tasks.start_soon(one, "192.0.2.1")
            for _ in range(20):
                tasks.start_soon(one, "192.0.2.2")
            await anyio.wait_all_tasks_blocked()
            assert (statuses.count(429), statuses.count(503)) == (9_950, 10)
            behind.hold.set()
    assert statuses.count(200) == 60


async def test_the_rate_of_a_caller_is_bounded_and_comes_back_with_time() -> None:
    """Ours: S13; 429 with Retry-After, told by principal and not by address."""
    now = 0.0
    rates = Rates(2.0, 3, clock=lambda: now)
    for caller in ("a", "b"):
        for _ in range(3):
            rates.take(caller)
        assert rates.exhausted(caller)
    now += 0.5
    rates.take("a")
    assert rates.exhausted("a")
    guard = guarded(Behind(), limits=Limits(rate=0.001, burst=2))
    good = token()
    answers = [await Asked(credential=good).through(guard) for _ in range(3)]
    assert [asked.status for asked in answers] == [200, 200, 429]
    assert int(answers[2].headers["retry-after"]) >= 1


NESTED = st.recursive(
    st.none() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


@given(value=NESTED, bound=st.integers(1, 4))
@settings(max_examples=60)
def test_depth_is_counted_as_a_parser_would(value: Any, bound: int) -> None:
    """Ours: brackets in strings and escaped quotes count for nothing."""
    body = orjson.dumps({"value": value})
    limits = Limits(depth=bound)
    if _depth({"value": value}) > bound:
        with pytest.raises(InvalidParamsError):
            require_shallow(body, limits)
    else:
        require_shallow(body, limits)
