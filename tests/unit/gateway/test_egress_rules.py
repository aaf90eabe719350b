import ipaddress

import pytest

from control_plane.gateway.egress import (
    Allowed,
    Malformed,
    Target,
    parse_connect,
    refusal,
    rule_for,
)
from control_plane.public_addresses import is_public


@pytest.mark.parametrize(
    ("authority", "host", "port"),
    [
        ("PyPI.org:443", "pypi.org", 443),
        ("xn--mnchen-3ya.de:443", "xn--mnchen-3ya.de", 443),
        ("192.0.2.1:80", "192.0.2.1", 80),
        ("[2001:DB8:0:0::1]:80", "2001:db8::1", 80),
    ],
)
def test_a_destination_has_one_canonical_form(authority, host, port):
    assert Target.parse(authority) == Target(host, port)


@pytest.mark.parametrize(
    "authority",
    [
        "pypi.org", "pypi.org:", "pypi.org:0", "pypi.org:0443", "pypi.org:65536",
        "pypi.org:443:443", "pypi.org:+443", "pypi.org.:443", ".pypi.org:443", "pypi..org:443",
        "-pypi.org:443", "pypi-.org:443", "a" * 64 + ".org:443", "user@pypi.org:443",
        "pypi.org@evil.example:443", "https://pypi.org:443", "pypi.org/x:443", "pypi.org%00:443",
        "pypi.org\x00.evil.example:443", "pypi.org\r\n:443", "münchen.de:443",
        "pypi.org:\uff14\uff14\uff13", "2130706433:80", "0x7f000001:80", "0x7f.1:80", "127.1:80",
        "0177.0.0.1:80", "127.0.0.1.:80", "1.2.3.999:80", "[::1:80", "::1:80", "[fe80::1%eth0]:80",
        "[::ffff:127.0.0.1%1]:80", "[pypi.org]:443", ":443", "*:443", "*.org:443",
    ],
)  # fmt: skip
def test_what_two_parsers_could_read_in_two_ways_is_refused(authority):
    with pytest.raises(Malformed):
        Target.parse(authority)


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT pypi.org:443 HTTP/1.1\r\nHost: pypi.org:443\r\n\r\n",
        b"CONNECT pypi.org:443 HTTP/1.1\r\nhost: PYPI.ORG\r\nUser-Agent: pip/25 {\"a\": 1}\r\n\r\n",
        b"CONNECT pypi.org:443 HTTP/1.0\r\n\r\n",
    ],
)  # fmt: skip
def test_ordinary_clients_are_understood(head):
    assert parse_connect(head) == Target("pypi.org", 443)


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT pypi.org:443 HTTP/1.1\nHost: pypi.org:443\n\r\n\r\n",
        b"CONNECT  pypi.org:443 HTTP/1.1\r\n\r\n",
        b"CONNECT\tpypi.org:443 HTTP/1.1\r\n\r\n",
        b"CONNECT pypi.org:443 HTTP/2\r\n\r\n",
        b"CONNECT pypi.org:443\r\n\r\n",
        b"CONNECT pypi.org\x00.evil.example:443 HTTP/1.1\r\n\r\n",
        b"CONNECT pypi.org:443 evil.example:443 HTTP/1.1\r\n\r\n",
        b"CONNECT pypi.org:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
        b"CONNECT pypi.org:443 HTTP/1.1\r\nHost: pypi.org:80\r\n\r\n",
        b"CONNECT pypi.org:443 HTTP/1.1\r\nHost : pypi.org\r\n\r\n",
        b"CONNECT pypi.org:443 HTTP/1.1\r\nHost: pypi.org\r\n folded: yes\r\n\r\n",
        b"CONNECT pypi.org:443 HTTP/1.1\r\nHost: pypi.org\rX: y\r\n\r\n",
        b"CONNECT pypi.org:443 HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"CONNECT pypi.org:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
        b"CONNECT pypi.org:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"connect pypi.org:443 HTTP/1.1\r\n\r\n",
    ],
)
def test_a_request_that_smuggles_anything_is_refused(head):
    with pytest.raises(Malformed):
        parse_connect(head)


@pytest.mark.parametrize(
    "entry", ["pypi.org", "pypi.org:443,PRIVATE", "pypi.org:443,", "*:443", "pypi.org:443 ", ""]
)
def test_a_bad_allowlist_entry_is_an_error_and_never_a_wider_one(entry):
    with pytest.raises(Malformed):
        Allowed.parse(entry)


def test_a_rule_is_found_by_exact_comparison_only():
    rules = [Allowed.parse("pypi.org:443")]

    assert rule_for(Target.parse("PYPI.org:443"), rules) == rules[0]
    for other in (
        "pypi.org:80",
        "evil-pypi.org:443",
        "a.pypi.org:443",
        "pypi.org.evil.example:443",
    ):
        assert rule_for(Target.parse(other), rules) is None


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.1.2.3", "224.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1", "fc00::1",
        "fec0::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "2002:7f00:1::", "2002:a9fe:a9fe::", "64:ff9b::7f00:1",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe", "::127.0.0.1", "::151.101.0.223",
        "64:ff9b:1::7f00:1", "64:ff9b:1::9765:df", "64:ff9b:1:7f00:0:100::", "64:ff9b::a9fe:a9fe",
        "fe80::1%eth0",
    ],
)  # fmt: skip
def test_special_addresses_are_not_public_however_they_are_wrapped(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["151.101.0.223", "2a04:4e42::223", "::ffff:151.101.0.223", "64:ff9b::9765:df"]
)
def test_public_addresses_are_public(address):
    assert is_public(ipaddress.ip_address(address))


def test_one_private_address_spoils_a_name_unless_the_entry_says_private():
    addresses = [ipaddress.ip_address("151.101.0.223"), ipaddress.ip_address("10.0.0.1")]

    assert "10.0.0.1" in (refusal(Allowed.parse("pypi.org:443"), addresses) or "")
    assert refusal(Allowed.parse("pypi.org:443,private"), addresses) is None
    assert refusal(Allowed.parse("pypi.org:443,private"), []) == "the name has no address"
