import tempfile
from pathlib import Path

def write(text):
    # ruleid: fixed-name-in-shared-temporary-folder
    with open("/tmp/report.txt", "w") as report:
        report.write(text)
    # ruleid: fixed-name-in-shared-temporary-folder
    Path("/var/tmp/report.txt").write_text(text)
    # ok: fixed-name-in-shared-temporary-folder
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as report:
        report.write(text)
    # ok: fixed-name-in-shared-temporary-folder
    return open("/tmp/report.txt").read()
