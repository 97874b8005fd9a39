"""Which addresses files may come from."""

from __future__ import annotations

import ipaddress

import pytest

from airflow_kie.client.http import ssrf_guard
from airflow_kie.client.http.ssrf_guard import is_public

# The registries of IANA at the time of writing: what is not globally reachable (or deprecated), and its RFC.
NOT_GLOBALLY_REACHABLE = [
    "0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.0.0/29", "192.0.0.8/32", "192.0.0.170/32", "192.0.0.171/32", "192.0.2.0/24",
    "192.88.99.0/24", "192.88.99.2/32", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
    "::1/128", "::/128", "::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23",
    "2001::/32", "2001:2::/48", "2001:10::/28", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7",
    "fe80::/10", "fec0::/10", "ff00::/8",
]  # fmt: skip


@pytest.mark.parametrize("row", NOT_GLOBALLY_REACHABLE)
def test_no_address_of_a_special_purpose_range_is_public(row: str) -> None:
    network = ipaddress.ip_network(row)
    middle = network[network.num_addresses // 2]
    for address in (network[0], middle, network[-1]):
        assert not is_public(str(address)), address


@pytest.mark.parametrize("row", [row for row in NOT_GLOBALLY_REACHABLE if ":" not in row])
@pytest.mark.parametrize("carrier", ["::ffff:0:0", "64:ff9b::"])
def test_no_address_of_a_special_purpose_range_is_public_within_an_ipv6_address(row: str, carrier: str) -> None:
    for ipv4 in (ipaddress.IPv4Network(row)[0], ipaddress.IPv4Network(row)[-1]):
        embedded = ipaddress.IPv6Address(int(ipaddress.IPv6Address(carrier)) | int(ipv4))
        assert not is_public(str(embedded)), embedded


@pytest.mark.parametrize("inner", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "8.8.8.8"])
def test_tunnels_that_carry_an_ipv4_address_are_not_public(inner: str) -> None:
    ipv4 = int(ipaddress.IPv4Address(inner))
    to_4 = ipaddress.IPv6Address(0x2002 << 112 | ipv4 << 80 | 1)
    teredo = ipaddress.IPv6Address(0x20010000 << 96 | 0x41020304 << 64 | (ipv4 ^ 0xFFFFFFFF))
    assert (is_public(str(to_4)), is_public(str(teredo))) == (False, False)


@pytest.mark.parametrize("row", ssrf_guard.NOT_PUBLIC)
def test_the_address_on_either_side_of_a_range_is_not_refused_because_of_it(row: str) -> None:
    network = ipaddress.ip_network(row)
    around = [int(network[0]) - 1, int(network[-1]) + 1]
    kind = type(network[0])
    for number in (number for number in around if 0 <= number < 2**network.max_prefixlen):
        address = kind(number)
        listed = any(address in ipaddress.ip_network(other) for other in ssrf_guard.NOT_PUBLIC)
        outside = network.version == 6 and address not in ipaddress.ip_network(ssrf_guard.PUBLIC_IPV6)
        assert is_public(str(address)) is not (listed or outside), address


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1",
        "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "203.0.113.9",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1", "fec0::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::", "2002:808:808::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)  # fmt: skip
def test_an_inner_address_is_not_public_in_any_disguise(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["104.16.1.1", "8.8.8.8", "2606:4700::6810:1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)
