"""The steps of `prepare`, inside its sandbox: `python -I prepare.py STEP`, not imported by us.

Standard library only.

What it writes in /out/prepare.json is a courtesy for people: facts are computed from the layers by
the control plane.
"""

import json
import os
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Recipe = dict[str, Any]

RECIPE = Path("/vsc/prepare.json")
TARGET = Path("/out/env")
HOME = Path("/env")
SCRATCH = Path("/out/tmp")
NOTES = Path("/out/prepare.json")
WHEELS = Path("/opt/vsc/wheels")
WORKSPACE = Path("/workspace")
INTERPRETER = "/usr/bin/python3"
BUILDERS = ("setuptools", "wheel")
MADE = "share/vsc-made"
"""Below the environment: what the build wrote into the workspace."""
MADE_FILES, MADE_BYTES = 2000, 64 * 2**20


AWAY = 75
"""EX_TEMPFAIL: the index did not answer, so nobody knows what could be installed."""
AWAY_S, LOOK_S, TRIES = 120.0, 2.0, 3
ERROR = b"ERROR: "
last_error = ""
"""What pip said last when it failed, for a note."""
BROKEN = b"after connection broken by"
"""As pip tells of a connection that failed under it."""


def pip(*arguments: str) -> tuple[int, bool]:
    """Run our pip on the project's interpreter: exit code, and whether a connection broke."""
    command = [
        sys.executable,
        "-I",
        "-m",
        "pip",
        "--python",
        str(TARGET / "bin" / "python"),
        *arguments,
    ]
    print("+ pip", *arguments, flush=True)
    global last_error  # noqa: PLW0603 -- a program of its own: its notes are made here and there
    broken = False
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        for line in running.stdout or ():
            broken |= BROKEN in line
            if line.lstrip().startswith(ERROR):
                last_error = line.partition(ERROR)[2].decode(errors="replace").strip()[:300]
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    return running.returncode, broken


def install(*arguments: str) -> int:
    """Install into the environment; bytecode is made once, at the end.

    What fails while the index is away says nothing of the project: it is tried again when the index
    answers. SystemExit(AWAY): it does not.
    """
    for _ in range(TRIES):
        code, broken = pip(
            *("install", "--no-compile", "--no-warn-script-location", "--progress-bar", "off"),
            *arguments,
        )
        if code == 0 or (not broken and index_answers()):
            return code
        until = time.monotonic() + AWAY_S
        while not index_answers() and time.monotonic() < until:
            time.sleep(LOOK_S)
    print("the package index does not answer", flush=True)
    raise SystemExit(AWAY)


def index_answers() -> bool:
    """Whether there is an index, and it says anything at all. True: nothing is to be fetched."""
    index = urllib.parse.urlsplit(os.environ.get("PIP_INDEX_URL", ""))
    if not index.hostname:
        return True
    # Without a password: to be refused is an answer, too.
    page = index._replace(netloc=index.netloc.rpartition("@")[2], path=f"{index.path}/pip/")
    try:
        with urllib.request.urlopen(page.geturl(), timeout=30):  # noqa: S310 -- the machine's own index
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except urllib.error.URLError as error:
        # A certificate is somebody's answer. Whether it will do, pip decides; newer Pythons are
        # stricter here than pip is.
        return isinstance(error.reason, ssl.SSLCertVerificationError)
    except OSError:
        return False


def note(*lines: str) -> None:
    """Remember something for the people who read the report."""
    known = json.loads(NOTES.read_text()) if NOTES.exists() else {"notes": []}
    known["notes"] += lines
    NOTES.write_text(json.dumps(known))


def start(_: Recipe) -> int:
    """An empty virtual environment without absolute links: it is moved to /env as an archive."""
    SCRATCH.mkdir()
    command = [INTERPRETER, "-I", "-m", "venv", "--copies", "--without-pip", str(TARGET)]
    return subprocess.run(command, check=False).returncode


def dependencies(recipe: Recipe) -> int:
    """Everything in one resolution.

    If that has no answer, the runtime ones, then each test requirement that can be had.
    """
    runtime, test = recipe["runtime"], recipe["test"]
    if not runtime and not test:
        return 0
    if recipe["locked"]:
        if install(*requirements(runtime + test), *constraints(recipe["locked"])) == 0:
            return 0
        note("the versions of the lock file cannot be installed here; others were taken")
    if install(*requirements(runtime + test)) == 0:
        return 0
    if runtime and (code := install(*requirements(runtime))) != 0:
        return code
    for line in test:
        if install(*requirements([line])) != 0:
            note(f"test requirement could not be installed: {line} ({last_error})")
    return 0


def requirements(lines: list[str]) -> list[str]:
    """The lines as a file, so that none can be taken for an option of pip's command line."""
    path = SCRATCH / "requirements.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return ["--requirement", str(path)]


def constraints(lines: list[str]) -> list[str]:
    """The lines as versions for whatever is installed."""
    path = SCRATCH / "constraints.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return ["--constraint", str(path)]


def tools(_: Recipe) -> int:
    """Our coverage, whatever the project brought, and our pytest where it brought none."""
    ours = next(path.name.split("-")[1] for path in WHEELS.glob("coverage-*.whl"))
    return install("--no-index", "--find-links", str(WHEELS), "pytest", f"coverage=={ours}")


def project(recipe: Recipe) -> int:
    """The project, editable: metadata and entry points here, modules in /workspace."""
    if not recipe["builds"]:
        note("not a project with a build: its modules are found by path")
        return by_path(recipe)
    before = files()
    built = offline_build(recipe) or (recipe["fetches"] and isolated_build(recipe))
    if not built:
        note(
            f"the project could not be built ({last_error}); its modules are found by path, and it"
            " has no metadata"
        )
        return by_path(recipe)
    keep(sorted(files() - before))
    return 0


def keep(made: list[str]) -> None:
    """What the build has written beside the project's own files lies in every test's workspace."""
    if not made:
        return
    listed = ", ".join(made[:20])
    size = sum((WORKSPACE / path).lstat().st_size for path in made)
    if len(made) > MADE_FILES or size > MADE_BYTES:
        note(f"the build made too much for the judge's workspace, {size} bytes: {listed}")
        return
    for path in made:
        (TARGET / MADE / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(WORKSPACE / path, TARGET / MADE / path, follow_symlinks=False)
    note(f"made by the build, and there in every test's workspace: {listed}")


def offline_build(recipe: Recipe) -> bool:
    """With the back end that the image carries, lent for the build: it is not installed."""
    if recipe["isolated_build"]:
        return False
    builders = SCRATCH / "builders"
    for name in BUILDERS:
        with zipfile.ZipFile(next(WHEELS.glob(f"{name}-*.whl"))) as wheel:
            wheel.extractall(builders)
    dynamic = recipe["dynamic"] and recipe["fetches"]
    os.environ["PYTHONPATH"] = str(builders)
    try:
        return (
            install(
                "--no-build-isolation",
                *(() if dynamic else ("--no-deps", "--no-index")),
                "--editable",
                str(WORKSPACE),
            )
            == 0
        )
    finally:
        del os.environ["PYTHONPATH"]


def isolated_build(recipe: Recipe) -> bool:
    """With the back end that the project names, from the index."""
    return (
        install(*(() if recipe["dynamic"] else ("--no-deps",)), "--editable", str(WORKSPACE)) == 0
    )


def by_path(recipe: Recipe) -> int:
    """Put the project's roots on the interpreter's path, as a built project would be."""
    site = next((TARGET / "lib").glob("python3*/site-packages"))
    (site / "vsc_project.pth").write_text("".join(f"{root}\n" for root in recipe["roots"]))
    return 0


def finish(_: Recipe) -> int:
    """Make the environment movable, compile it by content (archives have no times), list it."""
    rewrite((TARGET / "bin").iterdir())
    rewrite([TARGET / "pyvenv.cfg"])
    forget_requests()
    code = subprocess.run(
        [
            str(TARGET / "bin" / "python"), "-I", "-m", "compileall", "-q", "-j", "0",
            "-s", str(TARGET), "-p", str(HOME),
            "--invalidation-mode", "unchecked-hash", str(TARGET / "lib"),
        ],
        check=False,
    ).returncode  # fmt: skip
    if code != 0:
        note("some files of the dependencies do not compile; that is usual for templates")
    shutil.rmtree(SCRATCH, ignore_errors=True)
    known = json.loads(NOTES.read_text()) if NOTES.exists() else {"notes": []}
    NOTES.write_text(json.dumps({**known, "installed": sorted(installed())}))
    return 0


def rewrite(paths: Iterable[Path]) -> None:
    """Scripts name the place where the environment was made.

    Let them name the place where it will lie.
    """
    for path in paths:
        content = b"\0" if path.is_symlink() or not path.is_file() else path.read_bytes()
        if b"\0" not in content and bytes(TARGET) in content:
            path.write_bytes(content.replace(bytes(TARGET), bytes(HOME)))


def forget_requests() -> None:
    """Forget whether somebody asked for a distribution: its layer is the same for all."""
    for asked in TARGET.glob("lib/python3*/site-packages/*.dist-info/REQUESTED"):
        record = asked.with_name("RECORD")
        if record.is_file():
            lines = record.read_text(encoding="utf-8", errors="surrogateescape").splitlines(True)
            kept = [line for line in lines if ".dist-info/REQUESTED," not in line]
            record.write_text("".join(kept), encoding="utf-8", errors="surrogateescape")
        asked.unlink()


def installed() -> set[str]:
    """Names of the distributions in the environment."""
    site = next((TARGET / "lib").glob("python3*/site-packages"))
    return {path.name.split("-")[0].lower().replace("_", "-") for path in site.glob("*.dist-info")}


def files() -> set[str]:
    """What lies in the workspace, without git's own and compiled files."""
    return {
        str((Path(folder) / name).relative_to(WORKSPACE))
        for folder, _, names in os.walk(WORKSPACE)
        for name in names
        if "/.git" not in folder and "__pycache__" not in folder
    }


STEPS = {step.__name__: step for step in (start, dependencies, tools, project, finish)}

if __name__ == "__main__":
    sys.exit(STEPS[sys.argv[1]](json.loads(RECIPE.read_text())))
