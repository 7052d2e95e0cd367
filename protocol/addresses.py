"""Which network addresses requests to strangers' URLs may go to; how they go is `outgoing`'s."""

from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from .errors import InvalidParamsError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC: Final = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "168.63.129.16/32",  # a cloud's own service, at an address that looks public
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
        "::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether `address` belongs to the public Internet, and nothing behind it to this network.

    Addresses that hold another one (IPv4-mapped, NAT64) are as public as that;
    tunnels (6to4, Teredo) are not, since they end at an address of the writer's choice.
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    if any(address.version == each.version and address in each for each in _NOT_PUBLIC):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


@dataclass(frozen=True)
class OutgoingRules:
    """Where requests to strangers' URLs may go: the public Internet over https, and `allow`.

    allow: networks such as "127.0.0.0/8" that may be called although they are
    not public, over plain http as well; for tests and for webhooks at home.

    Raises:
        InvalidParamsError: An entry of `allow` is no network.
    """

    allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.networks is not None

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        """`allow`, parsed."""
        try:
            return tuple(ip_network(each) for each in self.allow)
        except ValueError as error:
            raise InvalidParamsError(
                f"{error}; networks are written as '127.0.0.0/8' or 'fd00::/8'", path="allow"
            ) from None

    def admits(self, address: str, *, plain: bool = False) -> bool:
        """Whether a socket may be opened to `address`; `plain` asks for http without TLS."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address):
            if parsed.scope_id is not None:
                return False
            parsed = parsed.ipv4_mapped or parsed
        if any(parsed.version == each.version and parsed in each for each in self.networks):
            return True
        return not plain and is_public(parsed)
