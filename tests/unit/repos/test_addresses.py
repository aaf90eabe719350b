import pytest

from control_plane.repos.addresses import AddressRefused, check_url, parse_url, proxy_for
from control_plane.repos.git import git_environ


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x", "ssh://git@example.org/x", "git@example.org:x", "ext::sh -c id",
        "file:///etc", "-u./x", "--upload-pack=id", "https://user:secret@example.org/x",
        "https://user@example.org/x", "https://", "https://example.org/x?token=1", "https://a b/",
        "https://example.org\\@evil.org/", "https://example.org/x\n", "https://example.org:99999/x",
        "https://2130706433/x", "https://0x7f.1/x", "https://0177.0.0.1/x", "https://exämple.org/",
    ],
)  # fmt: skip
def test_only_plain_https_addresses_are_fetched(url):
    with pytest.raises(AddressRefused):
        parse_url(url)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.0.0.8", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1",
             "0.0.0.0", "[::1]",  # noqa: S104 -- one of the addresses that must be refused
             "[fe80::1]", "[fd00::1]",
             "[::ffff:169.254.169.254]", "224.0.0.1", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
             "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:4136:e378:8000:63bf:f5ff:fffe]"],
)  # fmt: skip
async def test_addresses_of_private_networks_are_refused(host, monkeypatch):
    monkeypatch.setenv(
        "HTTPS_PROXY", "http://proxy.invalid:3128"
    )  # a proxy does not help a literal address
    with pytest.raises(AddressRefused, match="not a public address"):
        await check_url(f"https://{host}/x", allow_private=False)


async def test_a_name_that_leads_home_is_refused():
    with pytest.raises(AddressRefused, match="localhost leads to"):
        await check_url("https://localhost/x", allow_private=False)


async def test_an_operator_may_allow_private_networks():
    assert await check_url("https://localhost:8443/x", allow_private=True) == {"http.proxy": ""}


def test_host_and_port_are_read():
    assert parse_url("https://example.org/a/b.git") == ("example.org", 443)
    assert parse_url("https://example.org:8443/a") == ("example.org", 8443)


@pytest.mark.parametrize(
    "bypass", ["localhost", ".localhost", "a.example, LOCALHOST", "a.example localhost", "*"]
)
async def test_a_name_that_goes_past_the_proxy_is_checked(bypass, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", bypass)
    with pytest.raises(AddressRefused, match="leads to"):
        await check_url("https://localhost/x", allow_private=False)


@pytest.mark.parametrize(
    ("host", "bypass", "past"),
    [
        ("git.corp.example", "corp.example", True),
        ("git.corp.example", ".corp.example", True),
        ("corp.example", ".corp.example", True),
        ("notcorp.example", "corp.example", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("2001:db8::1", "[2001:db8::1]", True),
        ("git.example", "", False),
    ],
)
def test_no_proxy_is_read_as_curl_reads_it(host, bypass, past, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://lower:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://upper:3128")
    monkeypatch.setenv("no_proxy", bypass)
    assert proxy_for(host) == ("" if past else "http://lower:3128")


async def test_git_is_told_which_proxy_to_use_and_never_asks_the_environment(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", "elsewhere.example")
    assert await check_url("https://git.example/x", allow_private=False) == {
        "http.proxy": "http://proxy.invalid:3128"
    }
    assert not {"HTTPS_PROXY", "NO_PROXY"} & git_environ(network=True).keys()
