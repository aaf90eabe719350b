import json

import pytest

from control_plane.repos.environments.detect import detect
from control_plane.repos.environments.index import (
    NoPackageIndex,
    PackageAccess,
    allowed,
    file_hosts,
)
from control_plane.repos.environments.index import _checked as checked
from control_plane.repos.environments.prepare import preparation

ACCESS = PackageAccess(
    "https://index.invalid/simple",
    ("https://extra.invalid/simple",),
    b"CERTIFICATES",
    ("files.invalid:443", "index.invalid:443"),
)
OFFLINE = detect({"setup.py": b"setup()"}, {"setup.py": b"setup()"}, {"x.py": "100644"})
ONLINE = detect({}, {"test-requirements.txt": b"pytest\n"}, {"x.py": "100644"})


def test_a_recipe_that_fetches_nothing_gets_no_way_out_whatever_is_offered():
    run = preparation(OFFLINE, ACCESS)

    assert (run.relay, run.allow) == (False, ())
    assert "/vsc/ca.pem" not in run.inputs
    assert all(tool.environ["PIP_NO_INDEX"] == "1" for tool in run.driver.tools)
    assert "invalid" not in json.dumps([tool.environ for tool in run.driver.tools])


def test_a_recipe_that_fetches_reaches_the_index_through_the_door_and_takes_wheels_only():
    run = preparation(ONLINE, ACCESS)

    environ = run.driver.tools[0].environ
    assert (run.relay, run.allow) == (True, ACCESS.allow)
    assert run.inputs["/vsc/ca.pem"] == b"CERTIFICATES"
    assert environ["HTTPS_PROXY"] == "http://127.0.0.1:8377"
    assert environ["PIP_INDEX_URL"] == ACCESS.index_url
    assert environ["PIP_ONLY_BINARY"] == ":all:"


def test_without_an_index_it_says_so_before_anything_starts():
    with pytest.raises(ValueError, match="which index"):
        preparation(ONLINE, None)


def test_every_step_has_a_deadline_and_an_absolute_program():
    assert [tool.name for tool in preparation(OFFLINE, None).driver.tools] == [
        "start",
        "dependencies",
        "tools",
        "project",
        "finish",
    ]
    assert all(
        tool.argv[0].startswith("/") and 0 < tool.timeout_s <= 900
        for tool in preparation(OFFLINE, None).driver.tools
    )


def test_the_index_says_where_its_files_are():
    page = "https://index.invalid/simple/pip/"
    document = {
        "files": [
            {"url": "https://files.invalid/a.whl"},
            {"url": "../../f/b.whl"},
            {"url": "http://plain.invalid/c.whl"},
            {"url": 3},
            4,
        ]
    }
    html = (
        b'<a href="https://cdn.invalid:8443/a.whl#sha256=0">a</a><a>none</a><link '
        b'href="https://not.invalid/">'
    )

    assert file_hosts(
        page, "application/vnd.pypi.simple.v1+json", json.dumps(document).encode()
    ) == {
        "files.invalid:443",
        "index.invalid:443",
    }
    assert file_hosts(page, "text/html", html) == {"cdn.invalid:8443"}


@pytest.mark.parametrize(
    "url",
    [
        "http://index.invalid/simple",
        "file:///wheels",
        "https://user:secret@index.invalid/simple",
        "",
    ],
)
def test_an_index_that_a_sandbox_must_not_use_is_refused_without_its_secret(url):
    with pytest.raises(NoPackageIndex) as refused:
        checked(url)

    assert "secret" not in str(refused.value)


async def test_a_private_index_is_trusted_with_its_files_and_a_public_one_is_not():
    inside, outside = (
        "127.0.0.1:8443",
        "192.0.0.9:443",
    )  # the second is a public address (RFC 7723); nothing is dialled

    assert await allowed([inside], [inside, outside]) == (f"{inside},private", outside)
    assert await allowed([outside], [inside, outside]) == (inside, outside)
