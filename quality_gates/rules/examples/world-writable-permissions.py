import os

# ruleid: world-writable-permissions
os.chmod("report.txt", 0o666)
# ruleid: world-writable-permissions
os.chmod("shared", 0o777)
# ok: world-writable-permissions
os.chmod("report.txt", 0o644)
# ok: world-writable-permissions
os.chmod("program", 0o755)
