import tempfile

# ruleid: temporary-name-without-file
name = tempfile.mktemp(suffix=".txt")
# ok: temporary-name-without-file
handle, path = tempfile.mkstemp(suffix=".txt")
