"""Who an HTTP request comes from: a token, an API key or a certificate, and how to ask for one.

`Authentication` joins what an installation accepts. What it answers to those who
proved nothing is MCP's and RFC 9728's: a challenge that names the metadata of the
resource, and in it the authorization servers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from .errors import PermissionDeniedError, RepertoryError, UnauthenticatedError
from .identity import Identity
from .keys import KEY_PREFIX, KeyRecords, key_identity
from .tokens import TokenVerifier

RESOURCE_METADATA: Final = "/.well-known/oauth-protected-resource"


@dataclass(frozen=True)
class Authentication:
    """What an installation accepts: `keys`, `tokens`, `certificates` by subject; any one will do.

    base_url: where the installation is reached, which resources are named by.
    """

    keys: KeyRecords | None = None
    tokens: TokenVerifier | None = None
    certificates: Mapping[str, Identity] = field(default_factory=lambda: MappingProxyType({}))
    base_url: str = ""

    async def identify(self, scope: Mapping[str, Any], path: str) -> Identity:
        """Who sent the request of this ASGI scope, whose path in this installation is `path`.

        Raises:
            UnauthenticatedError: Nobody that is known here.
            PermissionDeniedError: The token lacks a scope that every token needs.
            LinkError: The issuer cannot be asked for its keys now.
        """
        credential = _credential(scope["headers"])
        if credential is None:
            return self._by_certificate(scope)
        if credential.startswith(KEY_PREFIX):
            if self.keys is None:
                raise UnauthenticatedError("API keys are not accepted here")
            return await key_identity(credential, self.keys)
        if self.tokens is None:
            raise UnauthenticatedError("the API key is not valid here")
        return await self.tokens.verify(credential, self.resources(path))

    def resources(self, path: str) -> tuple[str, ...]:
        """The resources that `path` is part of: the installation, the agent, and what is asked."""
        parts = path.strip("/").split("/")
        return tuple("/".join((self.base_url, *parts[:count])) for count in range(len(parts) + 1))

    def challenge(self, path: str, error: RepertoryError | None = None) -> str:
        """The WWW-Authenticate header for a request to `path` (RFC 6750, RFC 9728, MCP)."""
        said: list[tuple[str, str]] = []
        if error is None:
            pass
        elif isinstance(error, PermissionDeniedError):
            said.append(("error", "insufficient_scope"))
        else:
            said.append(("error", "invalid_token"))
        if error is not None:
            said.append(("error_description", error.sentence.replace('"', "'")))
        if self.tokens is not None:
            said.append(("resource_metadata", f"{self.base_url}{RESOURCE_METADATA}{path}"))
            if scopes := self._scopes(path):
                said.append(("scope", " ".join(scopes)))
        else:
            said.insert(0, ("realm", "repertory"))
        return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in said)

    def metadata(self, path: str) -> dict[str, Any] | None:
        """The protected resource's metadata (RFC 9728) for `path`; None without OAuth."""
        if self.tokens is None:
            return None
        return {
            "resource": f"{self.base_url}{path}",
            "authorization_servers": [self.tokens.rules.issuer],
            "scopes_supported": list(self._scopes(path)),
            "bearer_methods_supported": ["header"],
        }

    def _scopes(self, path: str) -> tuple[str, ...]:
        if self.tokens is None:
            return ()
        agent = agent_of(path)
        wanted = self.tokens.scopes_for(agent) if agent else ()
        return tuple(dict.fromkeys((*self.tokens.rules.required, *wanted)))

    def _by_certificate(self, scope: Mapping[str, Any]) -> Identity:
        tls = (scope.get("extensions") or {}).get("tls") or {}
        subject = tls.get("client_cert_name")
        identity = self.certificates.get(subject) if isinstance(subject, str) else None
        if identity is None:
            raise UnauthenticatedError("a credential is needed here")
        return identity


def agent_of(path: str) -> str:
    """The agent that a path belongs to, "" for none."""
    parts = path.split("/")
    return parts[2] if len(parts) > 2 and parts[1] == "agents" else ""


def _credential(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """The one credential in the headers; None for none.

    Raises:
        UnauthenticatedError: There are several, or another scheme than Bearer.
    """
    found: list[str] = []
    for name, value in headers:
        if name == b"authorization":
            scheme, _, text = value.decode("latin-1").partition(" ")
            if scheme.lower() != "bearer":
                raise UnauthenticatedError("Authorization is expected as 'Bearer CREDENTIAL'")
            found.append(text.strip())
        elif name == b"x-api-key":
            found.append(value.decode("latin-1").strip())
    if len(found) > 1:
        raise UnauthenticatedError("more than one credential was sent")
    return found[0] if found else None
