"""Makes the image that the in-memory engine runs: the runner's world on this machine's Python.

Usage: python runner_images/played/build.py FOLDER

The runner, pytest, coverage and ruff are real: those of the interpreter that runs this. Bandit,
semgrep, detect-secrets and the preparation of an environment are played (`tool.py`).
"""

import sys
from pathlib import Path

PYTHON = """\
#!/bin/sh
# This machine's interpreter, but for the programs that are played.
case "$*" in
*"/vsc/runner.pyz supervise") exec "{python}" "$@" --root "${{3%/vsc/runner.pyz}}" ;;
*" -m bandit "* | *"/scan_secrets.py "* | *"/vsc/prepare.py "*)
    exec "{python}" -I -S "{folder}/tool.py" "$@" ;;
esac
exec "{python}" "$@"
"""
SEMGREP = """\
#!/bin/sh
exec "{python}" -I -S "{folder}/tool.py" -m semgrep "$@"
"""


def main(folder: Path) -> int:
    """Write the image."""
    (folder / "bin").mkdir(parents=True)
    tool = Path(__file__).with_name("tool.py").read_text(encoding="utf-8")
    (folder / "tool.py").write_text(tool, encoding="utf-8")
    for name, text in (("python", PYTHON), ("semgrep", SEMGREP)):
        program = folder / "bin" / name
        program.write_text(text.format(python=sys.executable, folder=folder), encoding="utf-8")
        program.chmod(0o755)
    (folder / "bin" / "ruff").symlink_to(Path(sys.executable).with_name("ruff"))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
