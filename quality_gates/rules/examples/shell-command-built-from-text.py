import shlex
import subprocess

def archive(folder):
    # ruleid: shell-command-built-from-text
    subprocess.run(f"tar czf out.tgz {folder}", shell=True, check=True)

def size(folder):
    command = "du -s " + folder
    # ruleid: shell-command-built-from-text
    return subprocess.check_output(command, shell=True)

def listed(folder):
    # ok: shell-command-built-from-text
    subprocess.run(["tar", "czf", "out.tgz", folder], check=True)

def fixed():
    # ok: shell-command-built-from-text
    subprocess.run("ps aux | wc -l", shell=True)

def quoted(folder):
    # ok: shell-command-built-from-text
    subprocess.run(f"du -s {shlex.quote(folder)}", shell=True)
