"""The socket side of serving: a listener, TLS, and connections that do not dawdle.

What arrives on a connection is the guard's and the faces'; how the network is
put under HTTP is `web`'s.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .errors import InputError, PortInUseError
from .manifest import Manifest

# Seconds in which the head of a request must have arrived whole.
_HEAD_SECONDS: Final = 15.0


class Connection(HttpToolsProtocol):
    """A connection that is closed when a request's head does not come, and knows its client's certificate."""

    _patience: asyncio.TimerHandle | None = None
    _subject: str = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._subject = _subject_of(transport)
        self._begin_patience()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_patience()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._subject:
            scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # further keys are ASGI's to allow
            scope["extensions"] = {"tls": {"client_cert_name": self._subject}}
        self._begin_patience()

    def on_headers_complete(self) -> None:
        self._end_patience()
        super().on_headers_complete()

    def _begin_patience(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def _subject_of(transport: asyncio.Transport) -> str:
    """The subject of the client's certificate, which TLS has verified; "" for none."""
    secured = transport.get_extra_info("ssl_object")
    der = secured.getpeercert(binary_form=True) if secured is not None else None
    if not der:
        return ""
    from cryptography.x509 import load_der_x509_certificate

    return load_der_x509_certificate(der).subject.rfc4514_string()


class Server(uvicorn.Server):
    """A web server that leaves signals to whoever runs the network."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def web_server(app: Any, manifest: Manifest) -> Server:
    """A server for `app` as the manifest's `serve` says.

    Raises:
        InputError: The files of its TLS cannot be used.
    """
    serving = manifest.serve
    settings: dict[str, Any] = {}
    if serving.tls is not None:
        settings = {
            "ssl_certfile": str(manifest.resolve(serving.tls.certificate)),
            "ssl_keyfile": str(manifest.resolve(serving.tls.key)),
        }
        if serving.tls.client_ca:
            alone = not (serving.auth.keys or serving.auth.oauth)
            settings["ssl_ca_certs"] = str(manifest.resolve(serving.tls.client_ca))
            settings["ssl_cert_reqs"] = ssl.CERT_REQUIRED if alone else ssl.CERT_OPTIONAL
    config = uvicorn.Config(
        app,
        loop="none",
        http=Connection,
        lifespan="off",
        access_log=False,
        log_level="warning",
        log_config=None,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
        limit_concurrency=serving.limits.all_at_once,
        **settings,
    )
    try:
        config.load()
    except OSError as error:
        told = error.strerror or type(error).__name__
        raise InputError(
            f"serve.tls: {error.filename or 'its files'} cannot be used ({told})"
        ) from error
    return Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        PortInUseError: Something else listens there, or nobody can.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(
                f"port {port} of {host} is in use by another program: stop it, or give another"
                " with --port (0 takes a free one)",
                host=host,
                port=port,
            ) from None
        raise PortInUseError(
            f"cannot listen on {host}:{port}: {error.strerror}", host=host, port=port
        ) from None
    listener.setblocking(False)
    return listener
