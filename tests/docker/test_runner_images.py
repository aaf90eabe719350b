"""The runner images as a sandbox meets them: no network, no capability, no home, a fixed root."""

import json
import os
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from sandboxes.docker import images
from sandboxes.errors import ImageMissing

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def client():
    client = docker.from_env(timeout=120)
    yield client
    client.close()


def hardened(client, *command, image="python", user="10001:10001", environ=None):
    """Output and exit code of a command in a container locked down as sandboxes are."""
    container = client.containers.create(
        images.identity(client, image),
        list(command),
        user=user,
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        tmpfs={"/tmp": "size=64m,mode=1777"},
        environment={"HOME": "/nonexistent"} if environ is None else environ,
        working_dir="/tmp",
        pids_limit=256,
        mem_limit="1g",
    )
    try:
        container.start()
        code = container.wait(timeout=120)["StatusCode"]
        return (
            container.logs(stdout=True, stderr=False).decode(),
            code,
            container.logs(stdout=False, stderr=True).decode(),
        )
    finally:
        container.remove(force=True, v=True)


def in_shell(client, script, **options):
    out, code, err = hardened(client, "/bin/sh", "-euc", script, **options)
    assert code == 0, f"{out}\n{err}"
    return out


@pytest.fixture(scope="module")
def manifest(client):
    return json.loads(in_shell(client, "cat /opt/vsc/manifest.json"))


def test_the_manifest_says_what_pip_finds_installed(client, manifest):
    listed = json.loads(
        in_shell(client, "/opt/vsc/bin/python -m pip --isolated list --format json")
    )

    assert manifest["packages"] == {
        package["name"].lower(): package["version"] for package in listed
    }
    assert manifest["tools"].keys() == {
        "bandit",
        "coverage",
        "detect-secrets",
        "pip",
        "ruff",
        "semgrep",
    }
    assert manifest["python"].startswith("3.13.")


@pytest.mark.parametrize("tool", ["ruff", "bandit", "semgrep", "detect-secrets", "coverage"])
def test_a_tool_has_the_manifests_version(client, manifest, tool):
    # Without a home, and semgrep without its look for a newer one, which takes 98 s where there is
    # no network.
    settings = {
        "HOME": "/nonexistent",
        "SEMGREP_SETTINGS_FILE": "/tmp/settings.yml",
        "SEMGREP_LOG_FILE": "/tmp/semgrep.log",
    }
    only = "--disable-version-check" if tool == "semgrep" else ""
    out = in_shell(client, f"/opt/vsc/bin/{tool} --version {only}", environ=settings)

    assert manifest["tools"][tool] in out


def test_the_tools_find_what_is_wrong(client):
    source = r"""code='import os\nimport pickle\npickle.loads(b"")\neval(input())\nkey = "AKIA%s"\n'
printf "$code" IOSFODNN7REALKEY > a.py
printf 'rules: [{id: e, languages: [python], severity: ERROR, message: m, %s}]\n' \
    'pattern: eval(...)' > r.yaml
cd /tmp; PATH=/usr/bin:/bin
/opt/vsc/bin/ruff check --isolated --no-cache --output-format json a.py > ruff.json || true
/opt/vsc/bin/bandit -f json -o bandit.json a.py > /dev/null 2>&1 || true
HOME=/tmp /opt/vsc/bin/semgrep scan --config r.yaml --metrics=off --disable-version-check \
    --json a.py > semgrep.json 2> /dev/null
HOME=/tmp /opt/vsc/bin/semgrep scan --experimental --config r.yaml --metrics=off \
    --json a.py > fast.json 2> /dev/null
/opt/vsc/bin/detect-secrets scan --no-verify a.py > secrets.json
/opt/vsc/bin/python - <<'END'
import json
read = lambda name: json.load(open(name))
print(json.dumps({
    "ruff": [one["code"] for one in read("ruff.json")],
    "bandit": [one["test_id"] for one in read("bandit.json")["results"]],
    "semgrep": [one["start"]["line"] for one in read("semgrep.json")["results"]],
    "fast": [one["start"]["line"] for one in read("fast.json")["results"]],
    "secrets": [one["type"] for one in read("secrets.json")["results"]["a.py"]],
}))
END"""

    found = json.loads(in_shell(client, source))

    assert "F401" in found["ruff"]
    assert {"B301", "B307"} <= set(found["bandit"])
    assert found["semgrep"] == found["fast"] == [4]
    assert "AWS Access Key" in found["secrets"]


def test_the_projects_interpreter_gets_pytest_and_coverage_without_a_network(client):
    install = """python3 -m venv --without-pip /tmp/env
set -- /opt/vsc/wheels/pip-*.whl
/tmp/env/bin/python "$1/pip" --isolated install --quiet --no-index \
    --find-links /opt/vsc/wheels --require-hashes \
    --no-cache-dir --requirement /opt/vsc/wheels/requirements.txt
printf 'def test_one():\n    assert 1 + 1 == 2\n' > test_one.py
/tmp/env/bin/python -m coverage run --data-file /tmp/data -m pytest -q -p no:cacheprovider \
    test_one.py"""

    assert "1 passed" in in_shell(client, install)


def test_an_import_of_a_tool_compiles_nothing(client):
    check = (
        "/opt/vsc/bin/python -v -c 'import bandit, semgrep, coverage, detect_secrets' 2>&1 | "
        "grep -c 'wrote\\|could not write' || true"
    )

    assert in_shell(client, check).strip() == "0"


@pytest.mark.parametrize("image", ["base", "python"])
def test_no_file_changes_who_runs_it_and_none_can_be_written(client, image):
    look = (
        "/bin/find / -xdev ( -type f -o -type d ) ( -perm /6000 -o -perm -0002 ) ! -path /tmp ! "
        "-path /var/tmp ! -path /run/lock"
    )
    out, _, err = hardened(client, *look.split(), image=image, user="0:0")

    assert [line for line in out.splitlines() if not line.startswith(("/proc/", "/dev/"))] == [], (
        err
    )


def test_the_paths_of_a_sandbox_are_there_and_empty(client):
    assert (
        in_shell(
            client, "ls -A /workspace /vsc /env /out /run/vsc | grep -v ':$' | grep -v '^$' || true"
        )
        == ""
    )
    assert in_shell(client, "id -u; id -g").split() == ["10001", "10001"]


@pytest.mark.parametrize("image", ["base", "python"])
def test_nothing_of_this_machine_is_in_the_image(client, image):
    """Neither its certificates, nor its proxies and package settings, nor its mirror and name."""
    found = client.images.get(images.identity(client, image))
    assert sorted(found.attrs["Config"]["Env"]) == [
        "LANG=C.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]
    # A volume would be a writable hole in a read-only root.
    assert not found.attrs["Config"].get("Volumes")
    assert {layer["CreatedBy"] for layer in found.history()} <= {"", "sleep infinity"}
    look = """cd /
ls -A usr/local/share/ca-certificates etc/apt/sources.list.d var/lib/apt/lists mnt |
    grep -v -e ':$' -e '^$' || true
ls /etc/apt/sources.list /etc/pip.conf /root/.config /root/.pip /root/.cache 2> /dev/null || true
grep -rl . /etc/apt/auth.conf.d 2> /dev/null || true
grep -rliE '^[^#]*(proxy|index-url)' /etc/apt /etc/environment /etc/profile.d 2> /dev/null ||
    true"""
    out, code, err = hardened(client, "/bin/sh", "-uc", look, image=image, user="0:0")

    assert (out, code) == ("", 0), err


@pytest.mark.parametrize("image", ["base", "python"])
def test_the_certificates_are_debians_own(client, image):
    """Every authority of the bundle is one of the ca-certificates package.

    A machine's own would be one more.
    """
    count = """grep -c BEGIN.CERT /etc/ssl/certs/ca-certificates.crt
cat /usr/share/ca-certificates/mozilla/*.crt | grep -c BEGIN.CERT"""
    bundle, packaged = in_shell(client, count, image=image).split()

    assert int(bundle) == int(packaged) > 50


def test_a_second_build_does_nothing(client, tmp_path):
    said = []
    before = {name: images.identity(client, name) for name in images.names()}

    assert images.build(client, images.names(), say=said.append, logs=tmp_path) == before
    assert said == []


def test_an_image_that_nobody_built_says_what_to_do(client, tmp_path):
    image = tmp_path / "nobody"
    image.mkdir()
    (image / "image.toml").write_text("")

    with pytest.raises(ImageMissing, match="make images"):
        images.identity(client, "nobody", tmp_path)


@pytest.fixture
def small_image(tmp_path):
    """A folder that stands on `base` and takes a second to build."""
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "base").symlink_to(images.FOLDER / "base")
    (folder / "small").mkdir()
    (folder / "small" / "image.toml").write_text('parent = "base"\npython = "3.13"\nlocks = []\n')
    return folder


def forget(client, folder):
    client.images.remove(images.tag("small", folder), force=True)


def test_a_build_sees_its_inputs_and_no_network_and_keeps_only_what_it_made(
    client, small_image, tmp_path
):
    (small_image / "small" / "build.sh").write_text(
        "set -eu\n[ -f /mnt/image.toml ]\nls /sys/class/net > /opt/net\nenv | sort > /opt/env\n"
    )
    built = images.build(
        client, ["small"], say=lambda _: None, logs=tmp_path / "log", folder=small_image
    )["small"]
    try:
        ran = client.containers.run(
            built,
            ["sh", "-c", "cat /opt/net /opt/env; ls -A /mnt"],
            network_mode="none",
            remove=True,
        )
    finally:
        forget(client, small_image)

    assert ran.decode().splitlines()[0] == "lo"
    assert {line.partition("=")[0] for line in ran.decode().splitlines()[1:]} <= {
        "HOME",
        "HOSTNAME",
        "LANG",
        "PATH",
        "PWD",
        "SHLVL",
        "_",
    }


def test_a_build_that_fails_leaves_no_image_and_says_why(client, small_image, tmp_path):
    (small_image / "small" / "build.sh").write_text("echo the disk is on fire; exit 3\n")

    with pytest.raises(images.BuildFailed, match=r"the disk is on fire[\s\S]*ended with 3"):
        images.build(
            client, ["small"], say=lambda _: None, logs=tmp_path / "log", folder=small_image
        )

    with pytest.raises(ImageMissing):
        images.identity(client, "small", small_image)
    assert not client.containers.list(all=True, filters={"name": "^vsc-build-small$"})


def test_two_builds_at_once_make_one_image(client, small_image, tmp_path):
    (small_image / "small" / "build.sh").write_text(
        "sleep 1; head -c 16 /dev/urandom > /opt/once\n"
    )
    program = f"""
import docker
from pathlib import Path
from sandboxes.docker import images
logs, folder = Path({str(tmp_path / "log")!r}), Path({str(small_image)!r})
built = images.build(docker.from_env(), ["small"], say=lambda _: None, logs=logs, folder=folder)
print(built["small"])
"""
    run = [sys.executable, "-c", program]
    environ = {**os.environ, "PYTHONPATH": str(Path(images.__file__).parents[2])}
    builders = [
        subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ)
        for _ in range(2)
    ]
    answers = [builder.communicate(timeout=120) for builder in builders]
    try:
        assert len({out for out, _ in answers}) == 1, answers
        assert answers[0][0].startswith(b"sha256:"), answers
    finally:
        forget(client, small_image)
