"""Requests to URLs that somebody else named: webhooks, cards, OAuth documents.

Such a URL may point at what only this machine can reach. It is checked when it
is registered (`Outgoing.check`) and once more where it is used: names are
resolved by a resolver that refuses, redirects are followed one by one, and every
socket is opened here, to an address that passed `OutgoingRules`. So what DNS
says between check and use changes nothing. URLs of the manifest are the
operator's own and do not come this way.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from .addresses import OutgoingRules
from .errors import InvalidAgentResponseError, LinkError, UrlRefusedError

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

LARGEST_ANSWER: Final = 1024 * 1024
_CONNECT_SECONDS: Final = 5.0
_TOTAL_SECONDS: Final = 30.0
_LONGEST_URL: Final = 2048
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# What `inet_aton` reads as an address: decimal, octal and hexadecimal, one to four parts.
_NUMERIC: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}\.?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class OutgoingAnswer:
    """What a URL answered: its status, its headers in small letters, its body, where it came from."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Outgoing:
    """A client for URLs that somebody else named. Open it with `open_outgoing`."""

    def __init__(
        self,
        rules: OutgoingRules,
        resolve: Resolve,
        secure: aiohttp.ClientSession,
        plain: aiohttp.ClientSession,
    ) -> None:
        self._rules = rules
        self._resolve = resolve
        self._secure = secure
        self._plain = plain

    async def check(self, url: str) -> None:
        """Return when `url` may be called as things are now.

        Raises:
            UrlRefusedError: It may not; the sentence does not say where it leads.
            LinkError: Its name cannot be resolved.
        """
        target = parse_target(url, self._rules)
        if _literal(target) is None:
            assert target.host is not None
            await _admitted(
                self._rules, self._resolve, target.host, target.port or 443, target.scheme == "http"
            )

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        redirects: int = 0,
        largest_answer: int = LARGEST_ANSWER,
    ) -> OutgoingAnswer:
        """Send one request; the URL, and each of at most `redirects` redirects, is checked.

        A redirect is followed by GET only, and carries `headers` no further than
        to the origin that they were meant for. Statuses are the caller's to judge.

        Raises:
            UrlRefusedError: The URL, or one that it led to, may not be called.
            LinkError: The wire failed.
            InvalidAgentResponseError: The answer is above `largest_answer` bytes.
        """
        target = parse_target(url, self._rules)
        sent = dict(headers or {})
        for left in range(redirects, -1, -1):
            answer = await self._once(method, target, body, sent, largest_answer)
            where = answer.headers.get("location", "")
            if answer.status not in _REDIRECTS or not where or method != "GET":
                return answer
            if not left:
                raise UrlRefusedError(f"{_shown(target)} redirects further than is followed")
            further = parse_target(str(target.join(_parsed(where))), self._rules)
            if further.scheme == "http" and target.scheme == "https":
                raise UrlRefusedError(f"{_shown(target)} redirects from https to http")
            if further.origin() != target.origin():
                sent = {name: value for name, value in sent.items() if name.lower() == "accept"}
            target = further
        raise AssertionError("the last round returns or raises")

    async def _once(
        self, method: str, target: URL, body: bytes | None, headers: Mapping[str, str], most: int
    ) -> OutgoingAnswer:
        session = self._plain if target.scheme == "http" else self._secure
        try:
            async with session.request(
                method, target, data=body, headers=headers, allow_redirects=False
            ) as answer:
                read = bytearray()
                async for chunk in answer.content.iter_any():
                    read += chunk
                    if len(read) > most:
                        raise InvalidAgentResponseError(
                            f"the answer of {_shown(target)} is above {most} bytes"
                        )
                found = {name.lower(): value for name, value in answer.headers.items()}
                return OutgoingAnswer(answer.status, found, bytes(read), str(target))
        except (InvalidAgentResponseError, UrlRefusedError):
            raise
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(getattr(error, "os_error", error), _SocketRefusedError):
                raise _refused(target) from None
            raise LinkError(
                f"{_shown(target)} cannot be reached ({type(error).__name__})", url=_shown(target)
            ) from error


def parse_target(url: str, rules: OutgoingRules) -> URL:
    """`url` as it will be called, when its words alone do not forbid it.

    Raises:
        UrlRefusedError: It is no absolute https URL (http only to what `rules`
            allow), carries a user or a fragment, or names an address that is refused.
    """
    if len(url) > _LONGEST_URL or any(ord(c) <= 32 or c in "\\\x7f" for c in url):
        raise UrlRefusedError("a URL has at most 2,048 characters, no blanks and no backslashes")
    target = _parsed(url)
    if target.scheme not in ("http", "https") or not target.host:
        raise UrlRefusedError(
            f"{_shown(target)} is no URL to call; expected https://host/path", path="url"
        )
    if target.user is not None or target.password is not None or target.fragment:
        raise UrlRefusedError(
            f"{_shown(target)} carries a user or a fragment; give it without", path="url"
        )
    if (address := _literal(target)) is not None:
        if not rules.admits(address, plain=target.scheme == "http"):
            raise _refused(target)
    elif target.scheme == "http" and not rules.networks:
        raise UrlRefusedError(f"{_shown(target)} is not https", path="url")
    return target


def _parsed(url: str) -> URL:
    try:
        parsed = URL(url)
        # A port that is none is told only when it is asked for.
        assert parsed.port is None or 0 < parsed.port < 65536
    except (ValueError, TypeError, AssertionError):
        raise UrlRefusedError("that is no URL; expected https://host/path", path="url") from None
    return parsed


def _literal(target: URL) -> str | None:
    """The address that the URL names itself, in whatever notation; None for a name."""
    host = target.host or ""
    if ":" in host:
        return host
    if _NUMERIC.fullmatch(host) is None:
        return None
    try:
        return str(IPv4Address(host.rstrip(".")))
    except ValueError:
        # Octal, hexadecimal and short forms mean different hosts to different programs.
        raise UrlRefusedError(
            f"{host} is an address in an uncommon notation; write four decimal numbers", path="url"
        ) from None


def _shown(target: URL) -> str:
    """The URL without what may be secret in it: user, path and query."""
    return f"{target.scheme}://{target.host or ''}" if target.host else "the URL"


def _refused(target: URL) -> UrlRefusedError:
    return UrlRefusedError(
        f"{_shown(target)} leads to an address that is not public, or needs https; the"
        " operator may allow its network in 'serve.outgoing'",
        path="url",
    )


async def resolve_name(host: str, port: int) -> Sequence[str]:
    """The addresses of `host`, as the system's resolver gives them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def _admitted(
    rules: OutgoingRules, resolve: Resolve, host: str, port: int, plain: bool
) -> Sequence[str]:
    """The addresses of `host`, all of which may be called."""
    try:
        addresses = await resolve(host, port)
    except OSError:
        addresses = ()
    if not addresses:
        raise LinkError(f"the name {host!r} cannot be resolved", host=host)
    if not all(rules.admits(address, plain=plain) for address in addresses):
        raise _refused(URL.build(scheme="http" if plain else "https", host=host))
    return addresses


class _SocketRefusedError(OSError):
    """The last check: an address that got this far is refused all the same."""


class _Resolver(AbstractResolver):
    def __init__(self, rules: OutgoingRules, resolve: Resolve, plain: bool) -> None:
        self._rules = rules
        self._resolve = resolve
        self._plain = plain

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await _admitted(self._rules, self._resolve, host, port, self._plain)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is kept."""


def _session(rules: OutgoingRules, resolve: Resolve, *, plain: bool) -> aiohttp.ClientSession:
    def open_socket(where: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = where
        if not rules.admits(str(address[0]), plain=plain):
            raise _SocketRefusedError("refused")
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        resolver=_Resolver(rules, resolve, plain), use_dns_cache=False, socket_factory=open_socket
    )
    patient = aiohttp.ClientTimeout(total=_TOTAL_SECONDS, sock_connect=_CONNECT_SECONDS)
    return aiohttp.ClientSession(
        connector=connector, timeout=patient, cookie_jar=aiohttp.DummyCookieJar()
    )


@asynccontextmanager
async def open_outgoing(
    rules: OutgoingRules = OutgoingRules(), *, resolve: Resolve = resolve_name
) -> AsyncIterator[Outgoing]:
    """A client for strangers' URLs, for as long as the block runs."""
    async with AsyncExitStack() as stack:
        secure = await stack.enter_async_context(_session(rules, resolve, plain=False))
        plain = await stack.enter_async_context(_session(rules, resolve, plain=True))
        yield Outgoing(rules, resolve, secure, plain)
