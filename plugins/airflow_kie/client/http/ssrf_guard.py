"""Connections to public addresses only: a name is resolved once, every address checked, and a checked one connected to.

So a name that resolves to a public address for the check and to an internal one for the connection gets nowhere.
Python's own `is_global` is not used: it differs between versions, and lacks ranges such as 192.0.0.8 and 3fff::/20.

IANA: https://www.iana.org/assignments/iana-ipv4-special-registry and .../iana-ipv6-special-registry
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence

import httpcore

from airflow_kie.client.errors import DownloadRefused

Resolver = Callable[[str, int], Sequence[str]]

PUBLIC_IPV6 = "2000::/3"
"""Global unicast: all else is loopback, unique-local, link-local, site-local, multicast, discard-only or unassigned."""

NOT_PUBLIC = {
    "0.0.0.0/8": "this network (RFC 791)",
    "10.0.0.0/8": "private use (RFC 1918)",
    "100.64.0.0/10": "shared by a provider's customers (RFC 6598)",
    "127.0.0.0/8": "loopback (RFC 1122)",
    "169.254.0.0/16": "link-local, with the metadata services of clouds (RFC 3927)",
    "172.16.0.0/12": "private use (RFC 1918)",
    "192.0.0.0/24": "IETF protocol assignments, with DS-Lite, the dummy address and NAT64 discovery (RFC 6890)",
    "192.0.2.0/24": "documentation (RFC 5737)",
    "192.88.99.0/24": "relays of 6to4, deprecated (RFC 7526)",
    "192.168.0.0/16": "private use (RFC 1918)",
    "198.18.0.0/15": "benchmarks (RFC 2544)",
    "198.51.100.0/24": "documentation (RFC 5737)",
    "203.0.113.0/24": "documentation (RFC 5737)",
    "224.0.0.0/4": "multicast (RFC 5771)",
    "240.0.0.0/4": "reserved, with the limited broadcast (RFC 1112, RFC 8190)",
    "2001::/23": "IETF protocol assignments, with Teredo, benchmarks and ORCHID (RFC 2928, RFC 4380, RFC 5180)",
    "2001:db8::/32": "documentation (RFC 3849)",
    "2002::/16": "6to4, with an IPv4 address in it, deprecated (RFC 3056, RFC 7526)",
    "3fff::/20": "documentation (RFC 9637)",
}
"""Ranges of IPv4 and of global unicast IPv6 that IANA calls not globally reachable, that carry no single host, or that
are deprecated."""

CARRIES_IPV4 = {
    "::ffff:0:0/96": "IPv4-mapped (RFC 4291)",
    "64:ff9b::/96": "NAT64 with the well-known prefix (RFC 6052)",
}
"""Ranges whose last 32 bits are the IPv4 address that is reached: that one decides."""

_PUBLIC_IPV6 = ipaddress.IPv6Network(PUBLIC_IPV6)
_NOT_PUBLIC = [ipaddress.ip_network(row) for row in NOT_PUBLIC]
_CARRIES_IPV4 = [ipaddress.IPv6Network(row) for row in CARRIES_IPV4]


def is_public(address: str) -> bool:
    """Return whether an address is one of the public internet, embedded IPv4 addresses included.

    :param address: IPv4 or IPv6 address as text.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if any(ip in network for network in _CARRIES_IPV4):
        ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return (ip.version == 4 or ip in _PUBLIC_IPV6) and not any(ip in network for network in _NOT_PUBLIC)


def is_public_or_name(host: str) -> bool:
    """Return whether a host is a name, or an address of the public internet.

    :param host: as a URL has it.
    """
    try:
        return is_public(host)
    except ValueError:
        return True


def system_addresses(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host in the order in which the system would try them.

    :raises OSError: when the name cannot be resolved.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def checked_addresses(resolve: Resolver, host: str, port: int, *, private: bool) -> Sequence[str]:
    """Return the addresses of a host to connect to, in order.

    :param resolve: finds them; called once.
    :param private: True where a person allowed the host: its addresses need not be public.
    :raises DownloadRefused: when one of them is not public.
    :raises httpcore.ConnectError: when the name cannot be resolved.
    """
    try:
        addresses = resolve(host, port)
    except OSError as error:
        raise httpcore.ConnectError(f"the name {host} cannot be resolved") from error
    for address in () if private else addresses:
        if not is_public(address):
            raise DownloadRefused(f"{host} is at {address}, which is not a public address")
    return addresses
