"""Which IP addresses belong to the public internet.

Python's own `is_global` is not asked: it differs between versions, and lacks ranges such as 192.0.0.8 and 3fff::/20.

IANA: https://www.iana.org/assignments/iana-ipv4-special-registry and .../iana-ipv6-special-registry
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from types import MappingProxyType

NOT_PUBLIC_IPV4: Mapping[str, str] = MappingProxyType(
    {
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
    }
)
"""Ranges that IANA calls not globally reachable, that carry no single host, or that are deprecated."""

PUBLIC_IPV6 = "2000::/3"
"""Global unicast: all else is loopback, unique-local, link-local, site-local, multicast, discard-only or unassigned."""

NOT_PUBLIC_IPV6: Mapping[str, str] = MappingProxyType(
    {
        "2001::/23": "IETF protocol assignments, with Teredo, benchmarks and ORCHID (RFC 2928, RFC 4380, RFC 5180)",
        "2001:db8::/32": "documentation (RFC 3849)",
        "2002::/16": "6to4, with an IPv4 address in it, deprecated (RFC 3056, RFC 7526)",
        "3fff::/20": "documentation (RFC 9637)",
    }
)
"""Ranges within global unicast that no host of the public internet has."""

CARRIES_IPV4: Mapping[str, str] = MappingProxyType(
    {
        "::ffff:0:0/96": "IPv4-mapped (RFC 4291)",
        "64:ff9b::/96": "NAT64 with the well-known prefix (RFC 6052)",
    }
)
"""Ranges whose last 32 bits are the IPv4 address that is reached: that one decides."""

_NOT_PUBLIC_IPV4 = tuple(ipaddress.IPv4Network(row) for row in NOT_PUBLIC_IPV4)
_PUBLIC_IPV6 = ipaddress.IPv6Network(PUBLIC_IPV6)
_NOT_PUBLIC_IPV6 = tuple(ipaddress.IPv6Network(row) for row in NOT_PUBLIC_IPV6)
_CARRIES_IPV4 = tuple(ipaddress.IPv6Network(row) for row in CARRIES_IPV4)


def is_public(address: str) -> bool:
    """Say whether an address is one of the public internet, embedded IPv4 addresses included.

    :param address: IPv4 or IPv6 address as text.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if any(ip in network for network in _CARRIES_IPV4):
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        return ip in _PUBLIC_IPV6 and not any(ip in network for network in _NOT_PUBLIC_IPV6)
    return not any(ip in network for network in _NOT_PUBLIC_IPV4)
