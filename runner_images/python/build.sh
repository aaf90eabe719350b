#!/bin/sh
# Install the gate tools under /opt/vsc. Runs as root in a container of the parent with no network; inputs lie in /mnt.
set -eu
python3 -m venv --without-pip /opt/vsc
set -- /mnt/tools/pip-*.whl  # pip runs from its own wheel, so that nothing unpinned installs the pinned
PYTHONDONTWRITEBYTECODE=1 /opt/vsc/bin/python "$1/pip" --isolated install --quiet --no-index --find-links /mnt/tools \
    --require-hashes --no-compile --no-cache-dir --root-user-action ignore --requirement /mnt/tools.txt

# Compiled here, as the root is read-only where the tools run; by hash, as an image's timestamps may be rewritten.
/opt/vsc/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/vsc/lib

mkdir /opt/vsc/wheels
cp /mnt/project/*.whl /opt/vsc/wheels/
cp /mnt/project.txt /opt/vsc/wheels/requirements.txt
chmod -R a+rX /opt/vsc
/opt/vsc/bin/python -I /mnt/manifest.py > /opt/vsc/manifest.json
chmod 0644 /opt/vsc/manifest.json
rm -rf /tmp/* /root/.cache /var/tmp/*
