"""Our semgrep rules, run by the image's semgrep: they find the marked lines and no others."""

import json
import re
from pathlib import Path

import docker
import pytest

from quality_gates import rules
from sandboxes.docker import images

pytestmark = pytest.mark.docker

FOLDER = Path(rules.__file__).parent
SCAN = """mkdir /tmp/rules && cp -r /vsc/rules/python /tmp/rules/
exec semgrep scan {engine} --config /tmp/rules/python --metrics=off --disable-version-check \
    --disable-nosem --no-git-ignore --max-target-bytes 0 --json --quiet /vsc/rules/examples/*.py"""


@pytest.fixture(scope="module", params=["", "--experimental"], ids=["semgrep", "experimental"])
def report(request):
    """What one scan of all examples by all rules says."""
    client = docker.from_env(timeout=300)
    container = client.containers.create(
        images.identity(client, "python"),
        ["/bin/sh", "-euc", SCAN.format(engine=request.param)],
        user="10001:10001",
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        tmpfs={"/tmp": "size=64m,mode=1777"},
        environment={"HOME": "/tmp", "PATH": "/opt/vsc/bin:/usr/bin:/bin"},
        volumes={str(FOLDER): {"bind": "/vsc/rules", "mode": "ro"}},
        working_dir="/tmp",
        pids_limit=256,
        mem_limit="2g",
    )
    try:
        container.start()
        code = container.wait(timeout=280)["StatusCode"]
        assert code == 0, container.logs(stdout=False, stderr=True).decode()
        yield json.loads(container.logs(stdout=True, stderr=False))
    finally:
        container.remove(force=True, v=True)
        client.close()


def test_every_rule_finds_what_its_examples_mark_and_nothing_else_there(report):
    found = {
        (Path(result["path"]).stem, result["start"]["line"])
        for result in report["results"]
        if result["check_id"].rsplit(".")[-1] == Path(result["path"]).stem
    }

    assert found == {
        (example.stem, number + 1)
        for example in (FOLDER / "examples").glob("*.py")
        for number, line in enumerate(example.read_text().splitlines(), start=1)
        if re.match(r"\s*# ruleid: ", line)
    }


def test_every_rule_parses_and_every_example_is_scanned(report):
    assert report["errors"] == []
    assert {Path(path).name for path in report["paths"]["scanned"]} == {
        path.name for path in (FOLDER / "examples").glob("*.py")
    }
