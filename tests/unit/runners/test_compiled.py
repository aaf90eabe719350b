import subprocess
import sys
import zipfile

from runners.compiled import sources, with_bytecode
from runners.pack import runner_pyz


def test_bytecode_lies_beside_every_source_and_changes_none():
    compiled = with_bytecode(runner_pyz(), "/vsc/runner.pyz")

    assert sources(compiled) == sources(runner_pyz())
    assert with_bytecode(runner_pyz(), "/vsc/runner.pyz") == compiled


def test_its_interpreter_takes_the_bytecode_and_another_would_take_the_sources(tmp_path):
    place = tmp_path / "runner.pyz"
    place.write_bytes(runner_pyz())
    into = tmp_path / "compiled.pyz"
    command = [
        sys.executable,
        "-I",
        "-S",
        str(place),
        "compile",
        "--pyz",
        str(place),
        "--into",
        str(into),
    ]
    subprocess.run(command, check=True)
    with_syntax_errors = tmp_path / "only-bytecode-works.pyz"
    wrong_magic = tmp_path / "only-sources-work.pyz"
    with (
        zipfile.ZipFile(into) as good,
        zipfile.ZipFile(with_syntax_errors, "w") as first,
        zipfile.ZipFile(wrong_magic, "w") as second,
    ):
        for name in good.namelist():
            data = good.read(name)
            first.writestr(name, data if name.endswith(".pyc") else b"not python(")
            second.writestr(name, b"\0" * 4 + data[4:] if name.endswith(".pyc") else data)

    for pyz in (with_syntax_errors, wrong_magic):
        helped = subprocess.run(
            [sys.executable, "-I", str(pyz), "--help"], capture_output=True, text=True, check=True
        )
        assert "supervise" in helped.stdout
