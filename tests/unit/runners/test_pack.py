import ast
import io
import subprocess
import sys
import zipfile

from runners.pack import runner_pyz


def members():
    with zipfile.ZipFile(io.BytesIO(runner_pyz())) as archive:
        return {info.filename: (archive.read(info), info.date_time) for info in archive.infolist()}


def test_the_bytes_depend_on_the_sources_only():
    first = runner_pyz()
    runner_pyz.cache_clear()

    assert runner_pyz() == first
    assert list(members()) == sorted(members())
    assert {date for _, date in members().values()} == {(1980, 1, 1, 0, 0, 0)}


def test_everything_that_is_imported_is_packed_or_the_standard_library():
    packed = members()
    for name, (source, _) in packed.items():
        for node in ast.walk(ast.parse(source)):
            imported = [node.module] if isinstance(node, ast.ImportFrom) else []
            imported += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in imported:
                path = module.replace(".", "/")
                assert (
                    module.partition(".")[0] in sys.stdlib_module_names
                    or f"{path}.py" in packed
                    or f"{path}/__init__.py" in packed
                ), f"{name} imports {module}"


def test_it_runs_isolated_from_the_place_it_is_started_in(tmp_path):
    (tmp_path / "runner.pyz").write_bytes(runner_pyz())
    for name in ("json.py", "argparse.py", "runners.py"):
        (tmp_path / name).write_text("raise SystemExit('hijacked')")

    command = [sys.executable, "-I", tmp_path / "runner.pyz", "supervise", "--help"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(tmp_path)},
    )

    assert "supervise" in done.stdout
