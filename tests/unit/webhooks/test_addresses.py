"""The verdict on addresses, and on the form of URLs: no form of a private address passes."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.egress.addresses import is_allowed, parse
from app.egress.rules import EgressRules, Refused, read_networks, read_ports
from app.egress.target import target_of

RULES = EgressRules()
FORBIDDEN = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.0.1",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1",
    "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255", "168.63.129.16",
]  # fmt: skip
FORBIDDEN_6 = [
    "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "3fff::1",
    "2001::1", "2001:2::1", "2001:10::1", "100::1", "4000::1", "5f00::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "223.255.255.255"]
PUBLIC_6 = ["2606:4700::1111", "2a00:1450:4001::8a", "2001:4860:4860::8888", "64:ff9b::808:808"]
V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
V6 = st.integers(0, 2**128 - 1).map(IPv6Address) | st.integers(0, 2**125 - 1).map(lambda n: IPv6Address((1 << 125) + n))


def carriers(inner: IPv4Address) -> list[IPv6Address]:
    """The IPv6 addresses that may lead to an IPv4 address."""
    number = int(inner)
    prefix = {name: int(IPv6Address(name)) for name in ("::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::", "::")}
    return [
        *(IPv6Address(one | number) for one in prefix.values()),
        IPv6Address((0x2002 << 112) | (number << 80) | 1),
        IPv6Address((0x20010000 << 96) | (number << 64) | (number ^ 0xFFFFFFFF)),
    ]


@pytest.mark.parametrize("text", [*FORBIDDEN, *FORBIDDEN_6])
def test_a_special_address_is_refused(text: str) -> None:
    assert not is_allowed(ip_address(text))


@pytest.mark.parametrize("text", FORBIDDEN)
def test_a_special_address_inside_another_one_is_refused(text: str) -> None:
    assert [one for one in carriers(IPv4Address(text)) if is_allowed(one)] == []


@pytest.mark.parametrize("text", [*PUBLIC, *PUBLIC_6])
def test_a_public_address_is_allowed(text: str) -> None:
    assert is_allowed(ip_address(text))


@given(V4 | V6)
def test_whatever_the_standard_library_calls_private_is_refused(address: IPv4Address | IPv6Address) -> None:
    if is_allowed(address):
        inner = IPv4Address(int(address) & 0xFFFFFFFF) if address in IPv6Network("64:ff9b::/96") else address
        assert inner.is_global
        assert not inner.is_multicast
        assert not inner.is_reserved


@given(V4)
@example(IPv4Address("127.0.0.1"))
def test_only_nat64_leads_to_an_address_of_ipv4(address: IPv4Address) -> None:
    leading = [one for one in carriers(address) if is_allowed(one)]
    assert leading == ([IPv6Address(int(IPv6Address("64:ff9b::")) | int(address))] if is_allowed(address) else [])


@given(st.sampled_from(["10.0.0.0/8", "127.0.0.0/8", "192.168.7.0/24"]).map(IPv4Network), V4)
def test_an_allowed_network_allows_itself_and_nothing_else(network: IPv4Network, address: IPv4Address) -> None:
    assert is_allowed(address, [network]) == (is_allowed(address) or address in network)
    inside = IPv4Address(int(network.network_address) | (int(address) & int(network.hostmask)))
    assert is_allowed(inside, [network])


@pytest.mark.parametrize(
    "text", ["169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255", "100.100.100.200", "::", "ff02::1",
             "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"],
)  # fmt: skip
def test_metadata_and_multicast_are_refused_in_an_allowed_network_too(text: str) -> None:
    assert not is_allowed(ip_address(text), read_networks(["0.0.0.0/0", "::/0"]))


# --- URLs


def refusal(url: str, rules: EgressRules = RULES) -> str:
    with pytest.raises(Refused) as refused:
        target_of(url, rules)
    return str(refused.value)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("http://example.com/", "WEBHOOK_ALLOW_HTTP"),
        ("ftp://example.com/", "https://"),
        ("example.com", "https://"),
        ("//example.com/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("https://", "not a valid name"),
        ("https:///path", "not a valid name"),
        ("https://example.com:22/", "WEBHOOK_PORTS"),
        ("https://example.com:80/", "WEBHOOK_PORTS"),
        ("https://example.com:0x1bb/", "not a URL"),
        ("https://example.com:99999/", "not a URL"),
        ("https://me:secret@example.com/", "user or a password"),
        ("https://example.com@10.0.0.1/", "user or a password"),
        ("https://example.com/#part", "fragment"),
        ("https://example.com./", "ends with a dot"),
        ("https://127.0.0.1./", "ends with a dot"),
        ("https://exa mple.com/", "space"),
        ("https://example.com\\@10.0.0.1/", "\\"),
        ("https://example.com/\r\nX-Evil: 1", "control"),
        ("https://exam\tple.com/", "control"),
        ("https://example..com/", "not a valid name"),
        ("https://-example.com/", "not a valid name"),
        ("https://[fe80::1%25eth0]/", "% sign"),
        ("https://[fe80::1%eth0]/", "% sign"),
        ("https://ex%61mple.com/", "% sign"),
        ("https://[10.0.0.1]/", ""),
        ("https://\u2488.com/", "internationalised"),
        ("https://127.0.0.1/", "WEBHOOK_ALLOWED_NETWORKS"),
        ("https://[::1]/", "WEBHOOK_ALLOWED_NETWORKS"),
        ("https://[::ffff:127.0.0.1]/", "WEBHOOK_ALLOWED_NETWORKS"),
        ("https://[::ffff:7f00:1]:8443/", "WEBHOOK_ALLOWED_NETWORKS"),
        ("https://\uff11\uff12\uff17.0.0.1/", "WEBHOOK_ALLOWED_NETWORKS"),
        ("https://127\u30020\u30020\u30021/", "WEBHOOK_ALLOWED_NETWORKS"),
        ("https://169.254.169.254/latest/meta-data/", "WEBHOOK_ALLOWED_NETWORKS"),
        ("https://" + "a" * 64 + ".com/", "not a valid name"),
        ("https://" + "a." * 130 + "com/", "not a valid name"),
        ("https://example.com/" + "a" * 2048, "2048 characters"),
    ],
)
def test_a_url_is_refused_with_a_sentence_about_its_part(url: str, part: str) -> None:
    assert part in refusal(url)


@given(st.sampled_from(FORBIDDEN + PUBLIC).map(IPv4Address), st.data())
def test_a_number_form_of_an_address_is_refused(address: IPv4Address, data: st.DataObject) -> None:
    """Every text that the C library reads as an address is either its plain form or refused."""
    number = int(address)
    kept = data.draw(st.integers(1, 4))
    octets = list(address.packed)
    tail = number & ((1 << (8 * (5 - kept))) - 1)
    parts = [*octets[: kept - 1], tail]
    form = st.sampled_from(["{}", "0{:o}", "0x{:x}", "0X{:X}", "00{:o}"])
    written = ".".join(data.draw(form).format(part) for part in parts)
    assert socket.inet_aton(written) == address.packed
    if written == str(address) and is_allowed(address):
        assert target_of(f"https://{written}/", RULES).address == address
    else:
        refusal(f"https://{written}/")


@given(st.text(alphabet="0123456789abcdefxX.:%[]@-_", min_size=1, max_size=24))
@example("0")
@example("0x")
@example("1.2.3.4.5")
def test_no_text_that_the_c_library_reads_as_a_private_address_passes(host: str) -> None:
    try:
        target = target_of(f"https://{host}/", RULES)
    except Refused:
        return
    try:
        read = IPv4Address(socket.inet_aton(target.host))
    except (OSError, ValueError):
        return
    assert target.address == read
    assert is_allowed(read)


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "authority"),
    [
        ("https://Example.COM", "example.com", 443, "/", "example.com"),
        ("HTTPS://example.com:443/a?b=c", "example.com", 443, "/a?b=c", "example.com"),
        ("https://hooks.example.com:8443/a%20b?x=%2F&y=[1]", "hooks.example.com", 8443, "/a%20b?x=%2F&y=[1]",
         "hooks.example.com:8443"),
        ("https://b\u00fccher.example/\u00fc", "xn--bcher-kva.example", 443, "/%C3%BC", "xn--bcher-kva.example"),
        ("https://fa\u00df.de/", "xn--fa-hia.de", 443, "/", "xn--fa-hia.de"),
        ("https://8.8.8.8/", "8.8.8.8", 443, "/", "8.8.8.8"),
        ("https://[2606:4700:0::1111]:8443/x", "2606:4700::1111", 8443, "/x", "[2606:4700::1111]:8443"),
        ("https://under_score.example/", "under_score.example", 443, "/", "under_score.example"),
    ],
)  # fmt: skip
def test_a_url_has_its_parts(url: str, host: str, port: int, path: str, authority: str) -> None:
    target = target_of(url, RULES)
    assert (target.host, target.port, target.path, target.authority) == (host, port, path, authority)
    assert target.is_tls


def test_plain_http_is_a_switch_and_brings_its_port() -> None:
    rules = EgressRules(http=True)
    assert target_of("http://example.com/", rules).port == 80
    assert not target_of("http://example.com/", rules).is_tls
    assert "WEBHOOK_PORTS" in refusal("https://example.com:80/", rules)


def test_a_name_in_punycode_is_a_name() -> None:
    assert target_of("https://xn--bcher-kva.example/", RULES).host == "xn--bcher-kva.example"


def test_the_path_is_in_no_printed_target() -> None:
    assert "secret" not in repr(target_of("https://example.com/secret?token=secret", RULES))


def test_networks_and_ports_of_the_settings() -> None:
    assert read_ports(["443", "8000-8999"]) == ((443, 443), (8000, 8999))
    for bad in (["0"], ["a"], ["5-4"], ["1-65536"], ["-1"], ["1-"], [], ["\u0663"]):
        with pytest.raises(ValueError):
            read_ports(bad)
    for network in ("10.0.0.1/8", "ten", "10.0.0.0/33"):
        with pytest.raises(ValueError):
            read_networks([network])


def test_a_text_with_a_scope_is_no_address() -> None:
    assert parse("fe80::1%eth0") is None
    assert parse("010.0.0.1") is None
    assert parse("10.0.0.1") == IPv4Address("10.0.0.1")
