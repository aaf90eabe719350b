"""What a command says on stdout, and to whom."""

import os
import subprocess
import sys

SAYS = """
import sys
from control_plane.cli.output import Output
output = Output(as_json=True)
output.document({"much": "x" * 1_000_000})
output.text("more")
sys.exit(3)
"""


def test_a_reader_that_goes_away_changes_nothing_of_what_was_judged():
    """`vsc check --json | head`: the exit code is the verdict's, and nothing else is said."""
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SAYS], stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    os.read(read, 10)
    os.close(read)
    _, said = process.communicate(timeout=60)

    assert (process.returncode, said) == (3, b"")
