"""The machine's pip and a real index are asked.

The machine here is an environment that the test sets.
"""

import pytest
from package_index import package_index

from control_plane.repos.environments.index import NoPackageIndex, ask


@pytest.fixture
def index(tmp_path, monkeypatch):
    for name in [
        "PIP_EXTRA_INDEX_URL",
        "PIP_NO_INDEX",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ]:
        monkeypatch.delenv(name, raising=False)
    with package_index(tmp_path) as access:
        (tmp_path / "ca.pem").write_bytes(access.ca_bundle)
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_INDEX_URL", access.index_url)
        monkeypatch.setenv("PIP_CERT", str(tmp_path / "ca.pem"))
        yield access


async def test_the_index_of_the_machines_pip_is_found_with_its_files_and_its_certificates(index):
    assert await ask() == index


async def test_an_index_of_another_authority_is_not_believed(index, tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_CERT")
    with package_index(tmp_path) as other:  # a new authority in the same folder
        (tmp_path / "other.pem").write_bytes(other.ca_bundle)
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "other.pem"))

    with pytest.raises(NoPackageIndex, match="does not answer"):
        await ask()


async def test_a_configuration_file_counts_as_it_does_for_pip(index, tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_INDEX_URL")
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {index.index_url}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))

    assert (await ask()).index_url == index.index_url


async def test_a_machine_without_an_index_and_a_python_without_pip_say_so(index, monkeypatch):
    with pytest.raises(NoPackageIndex, match="no pip that answers"):
        await ask("/bin/false")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(NoPackageIndex, match="no-index"):
        await ask()
