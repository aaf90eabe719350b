import pytest

from control_plane.repos.addresses import AddressRefused, check_url, parse_url


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x", "ssh://git@example.org/x", "git@example.org:x", "ext::sh -c id", "file:///etc", "-u./x", "--upload-pack=id",
        "https://user:secret@example.org/x", "https://user@example.org/x", "https://", "https://example.org/x?token=1", "https://a b/",
        "https://example.org\\@evil.org/", "https://example.org/x\n", "https://example.org:99999/x", "https://2130706433/x", "https://0x7f.1/x",
        "https://0177.0.0.1/x", "https://exämple.org/",
    ],
)  # fmt: skip
def test_only_plain_https_addresses_are_fetched(url):
    with pytest.raises(AddressRefused):
        parse_url(url)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.0.0.8", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",  # noqa: S104 -- one of the addresses that must be refused
 "[::1]", "[fe80::1]", "[fd00::1]",
             "[::ffff:169.254.169.254]", "224.0.0.1"],
)  # fmt: skip
async def test_addresses_of_private_networks_are_refused(host, monkeypatch):
    monkeypatch.setenv(
        "HTTPS_PROXY", "http://proxy.invalid:3128"
    )  # a proxy does not help a literal address
    with pytest.raises(AddressRefused, match="not a public address"):
        await check_url(f"https://{host}/x", allow_private=False)


async def test_a_name_that_leads_home_is_refused(monkeypatch):
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    with pytest.raises(AddressRefused, match="localhost leads to"):
        await check_url("https://localhost/x", allow_private=False)


async def test_an_operator_may_allow_private_networks():
    assert await check_url("https://localhost:8443/x", allow_private=True) == {}


def test_host_and_port_are_read():
    assert parse_url("https://example.org/a/b.git") == ("example.org", 443)
    assert parse_url("https://example.org:8443/a") == ("example.org", 8443)
