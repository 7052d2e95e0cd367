"""Where a model's server is, and the client that reaches it."""

import ssl
from urllib.parse import urlsplit

import anyio.to_thread
import httpx

from repertory.agents.errors import ModelRefusedError

_CONNECT_SECONDS = 5.0
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class ServerAddress:
    """A server's URL, split into what is dialed and what may be shown.

    Raises:
        ModelRefusedError: `url` is not an HTTP address.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = "" if parts.port is None else f":{parts.port}"
            host = parts.hostname or ""
        except ValueError:
            parts, port, host = urlsplit(""), "", ""
        if parts.scheme not in ("http", "https") or not host:
            # The URL is not repeated: what is malformed may hold a password.
            raise ModelRefusedError(
                "the model's url is no HTTP address; write it as http://host:port or"
                " https://host/v1"
            )
        self.host = host
        self.encrypted = parts.scheme == "https"
        self.root = url.rstrip("/").removesuffix("/v1")
        shown_host = f"[{host}]" if ":" in host else host
        path = parts.path.rstrip("/").removesuffix("/v1")
        self.shown = f"{parts.scheme}://{shown_host}{port}{path}"

    async def open_client(self) -> httpx.AsyncClient:
        """A client for the server; reading the certificates of the system takes a thread.

        It follows no redirects, since they would carry the key to another host,
        and sets no time-outs but for connecting: the deadline is its user's.
        """
        verify: ssl.SSLContext | bool = False
        if self.encrypted:
            verify = await anyio.to_thread.run_sync(httpx.create_ssl_context)
        return httpx.AsyncClient(
            base_url=self.root,
            verify=verify,
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None),
            # A proxy of the environment is for other machines.
            trust_env=self.host not in _LOOPBACK,
            follow_redirects=False,
        )
