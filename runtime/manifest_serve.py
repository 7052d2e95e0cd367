"""The manifest's `serve`: where the network listens, whom it lets in, and what they may ask.

Secrets are not here: API keys are in the store as hashes, private keys in files or
in environment variables that are named here.
"""

from typing import Annotated, Literal

from pydantic import Field

from repertory.protocol import DEFAULT_TENANT

from .manifest_entry import CapabilityName, Count, Entry, Name, Seconds

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Tls(Entry):
    """TLS of the listener itself, as uvicorn has it; files relative to the manifest."""

    certificate: str = Field(description="The chain, as PEM.")
    key: str = Field(description="Its private key, as PEM.")
    client_ca: str = Field(
        default="", description="Who signs clients' certificates; with it they may have one."
    )


class OAuth(Entry):
    """The authorization server whose access tokens (JWTs) are believed."""

    issuer: str = Field(pattern=r"^https?://", description="To the letter, as its tokens say it.")
    audience: tuple[str, ...] = Field(
        default=(),
        description="Further audiences; by default tokens are for 'serve.url', or an agent below.",
    )
    jwks: str = Field(
        default="", description="Its keys: a file or a URL; default: what its metadata names."
    )
    algorithms: tuple[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"],
        ...,
    ] = Field(default=("RS256", "PS256", "ES256", "EdDSA"), min_length=1)
    required: tuple[str, ...] = Field(default=(), description="Scopes that every token needs.")
    scopes: dict[str, tuple[CapabilityName, ...]] | None = Field(
        default=None,
        description="What each scope lets its holder ask and use; default: scopes are capabilities.",
    )
    tenant_claim: str = Field(default="", description="The claim that names the tenant.")


class Client(Entry):
    """Whom a client certificate stands for."""

    name: Name
    tenant: str = Field(default=DEFAULT_TENANT, min_length=1)
    capabilities: tuple[CapabilityName, ...] | None = Field(
        default=None, description="What it may ask and use; default: everything."
    )


class Auth(Entry):
    """Whom the network lets in; any one of these will do."""

    keys: bool = Field(
        default=False, description="API keys, made by 'repertory keys add' and kept as hashes."
    )
    oauth: OAuth | None = None
    certificates: dict[str, Client] = Field(
        default={}, description="By subject, as RFC 4514 writes it: 'CN=bob,O=Acme'."
    )

    @property
    def asks(self) -> bool:
        """Whether anybody is asked who he is."""
        return self.keys or self.oauth is not None or bool(self.certificates)


class ServeLimits(Entry):
    """How much one listener takes from those who call it."""

    body: Count = Field(default=4 * 1024 * 1024, description="Bytes of a request.")
    body_seconds: Seconds = Field(default=30.0, description="How long it may take to arrive.")
    depth: Count = Field(default=64, description="Brackets within brackets.")
    batch: Count = Field(default=16, description="Requests in one body.")
    rate: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Requests a second of one caller; default: no bound."
    )
    burst: Count = Field(default=200, description="How many may come together.")
    at_once: Count = Field(default=1024, description="In flight at once, streams too, of one.")
    all_at_once: Count = Field(default=8192, description="The same, of all.")
    failures: Count = Field(default=30, description="Wrong credentials of one address a minute.")


class Signing(Entry):
    """The key that signs the agents' cards."""

    key_env: str = Field(
        description="The environment variable that holds the private key (EC P-256 or Ed25519, PEM)."
    )
    kid: str = Field(default="", description="Its id; default: its thumbprint (RFC 7638).")


class Serve(Entry):
    """Where `repertory serve` listens, and for whom."""

    host: str = Field(
        default="127.0.0.1",
        description="Anything but loopback is reachable by others, and then needs 'auth'.",
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8420, description="0 takes a free one."
    )
    url: str = Field(
        default="",
        pattern=r"^(https?://[^/\s]+(/[^\s]*[^/\s])?)?$",
        description="Where others reach it, without a slash at its end; it is in cards and tokens.",
    )
    hosts: tuple[str, ...] = Field(
        default=(), description="Further Host headers to answer; 'name:*' for any port."
    )
    origins: tuple[str, ...] = Field(
        default=(), description="Web pages that may call, as 'https://ide.example'."
    )
    tls: Tls | None = None
    auth: Auth = Auth()
    limits: ServeLimits = ServeLimits()
    outgoing: tuple[str, ...] = Field(
        default=(),
        description="Networks that webhooks and OAuth documents may be at although they are"
        " private, as '10.0.0.0/8'; public addresses over https always may.",
    )
    signing: Signing | None = None

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK
