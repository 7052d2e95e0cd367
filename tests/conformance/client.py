"""The client that the official MCP referee is run against, by the scenario it names.

`MCP_CONFORMANCE_SCENARIO` says what to do, `MCP_CONFORMANCE_CONTEXT` what is given,
and the last argument is the server. The client is the MCP SDK's, as our tool
servers are met with, and our half of the tasks extension.

The referee starts a program for each scenario. `client.py --wait SOCKET` loads the
SDK once and forks for each that `knock.py SOCKET` tells it of.
"""

import json
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlparse

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from mcp.types import CreateMessageResult, ElicitResult, ListRootsResult, TextContent
from pydantic import AnyUrl

from repertory.protocol.mcp_tasks import TasksClient

REDIRECT = "http://localhost:3000/callback"
ENV = os.environ


def scenario() -> str:
    """What to do."""
    return ENV.get("MCP_CONFORMANCE_SCENARIO", "tools_call")


def given() -> Mapping[str, Any]:
    """What the scenario gives."""
    found: Mapping[str, Any] = json.loads(ENV.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    return found


def mode() -> str:
    """The revision to speak, as the SDK names it."""
    modern = ENV.get("MCP_CONFORMANCE_PROTOCOL_VERSION") == "2026-07-28"
    return "2026-07-28" if modern else "legacy"


async def main(url: str) -> None:
    """Do what the scenario asks."""
    if scenario().startswith("auth/"):
        await authorized(url)
    else:
        await plain(url)


async def plain(url: str) -> None:
    """List and call whatever the server has, and answer what it asks."""
    async with Client(
        url,
        mode="auto" if scenario() == "initialize" else mode(),
        elicitation_callback=elicited,
        sampling_callback=sampled,
        list_roots_callback=rooted,
        extensions=[TasksClient()],
    ) as client:
        await work(client)


async def work(client: Client) -> None:
    """Call the tools that the context names, or every tool with what its schema asks for."""
    tools = (await client.list_tools()).tools
    named = given().get("toolCalls")
    calls = named or [{"name": t.name, "arguments": filled(t.input_schema)} for t in tools]
    for call in calls:
        try:
            await client.call_tool(call["name"], call.get("arguments") or {})
        except MCPError as error:
            sys.stderr.write(f"{call['name']}: {error}\n")


def filled(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the types that a schema requires."""
    plain_values = {"string": "test", "number": 2, "integer": 2, "boolean": True}
    properties = schema.get("properties", {})
    return {
        name: plain_values.get(str(properties.get(name, {}).get("type")), "test")
        for name in schema.get("required", properties)
    }


async def elicited(context: Any, params: Any) -> ElicitResult:
    """Accept, with the defaults that the form has."""
    properties = (getattr(params, "requested_schema", None) or {}).get("properties", {})
    content = {name: each["default"] for name, each in properties.items() if "default" in each}
    missing = {
        n: filled({"properties": {n: e}})[n] for n, e in properties.items() if n not in content
    }
    return ElicitResult(action="accept", content={**missing, **content})


async def sampled(context: Any, params: Any) -> CreateMessageResult:
    """Answer as a model might."""
    return CreateMessageResult(
        role="assistant", content=TextContent(text="an answer"), model="none", stop_reason="endTurn"
    )


async def rooted(context: Any) -> ListRootsResult:
    """Have no roots."""
    return ListRootsResult(roots=[])


class Kept(TokenStorage):
    """Tokens and registrations of this run."""

    def __init__(self, client: OAuthClientInformationFull | None = None) -> None:
        self._client = client
        self._tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        """The tokens."""
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep tokens."""
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """The registration."""
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep a registration."""
        self._client = client_info


class Browser:
    """Follows the authorization redirect as a browser would, with somebody who agrees."""

    def __init__(self) -> None:
        self._answer: dict[str, list[str]] = {}

    async def open(self, url: str) -> None:
        """Visit the authorization endpoint, and keep where it sends us."""
        async with httpx2.AsyncClient() as http:
            answer = await http.get(url, follow_redirects=False)
        self._answer = parse_qs(urlparse(answer.headers["location"]).query)

    async def result(self) -> AuthorizationCodeResult:
        """The code, the state and the issuer that came back."""

        def one(name: str) -> str | None:
            return next(iter(self._answer.get(name, ())), None)

        return AuthorizationCodeResult(code=one("code") or "", state=one("state"), iss=one("iss"))


async def authorized(url: str) -> None:
    """Work with a server that wants a token."""
    browser = Browser()
    known = None
    if "client_id" in given():
        known = OAuthClientInformationFull.model_validate(
            {
                "redirect_uris": [REDIRECT],
                "client_id": given()["client_id"],
                "client_secret": given().get("client_secret"),
                "token_endpoint_auth_method": "client_secret_basic"
                if given().get("client_secret")
                else "none",
            }
        )
    provider = OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="repertory-referee",
            redirect_uris=[AnyUrl(REDIRECT)],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        ),
        storage=Kept(known),
        redirect_handler=browser.open,
        callback_handler=browser.result,
        client_metadata_url="https://conformance-test.local/client-metadata.json",
    )
    async with httpx2.AsyncClient(auth=provider, timeout=30.0, follow_redirects=True) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode()) as client:
            await work(client)


def once(url: str) -> int:
    """Do one scenario; the exit status."""
    try:
        anyio.run(main, url)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the referee reads a status
        sys.stderr.write(f"{scenario()}: {error!r}\n")
        return 1
    return 0


def wait(path: str) -> None:
    """Fork for each scenario that comes over the socket at `path`."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rwb") as stream:
                told = json.loads(stream.readline())
                child = os.fork()
                if child == 0:
                    os.environ.update(told["env"])
                    os._exit(once(told["url"]))
                _, status = os.waitpid(child, 0)
                stream.write(f"{os.waitstatus_to_exitcode(status)}\n".encode())
                stream.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--wait"]:
        wait(sys.argv[2])
    raise SystemExit(once(sys.argv[-1]))
