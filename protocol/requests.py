"""What the HTTP faces share: reading a request's body, answering, and who asked."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.types import Receive, Send


class Asked(NamedTuple):
    """An `Asker` over HTTP."""

    params: Mapping[str, Any]
    request: Request


class TooLargeError(Exception):
    """A request's body is above what is read."""


async def read_body(receive: Receive, largest: int) -> bytes:
    """The request's body.

    Raises:
        TooLargeError: It is above `largest` bytes.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    if len(body) <= largest and not message.get("more_body", False):
        return body
    pieces = bytearray(body)
    while message.get("more_body", False):
        message = await receive()
        pieces += message.get("body", b"")
        if len(pieces) > largest:
            raise TooLargeError(f"the request is above {largest} bytes")
    if len(pieces) > largest:
        raise TooLargeError(f"the request is above {largest} bytes")
    return bytes(pieces)


async def answer(
    send: Send,
    status: int,
    body: bytes,
    *more: tuple[bytes, bytes],
    kind: bytes = b"application/json",
    head: bool = False,
) -> None:
    """Send a whole answer; with `head` its headers only."""
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})
