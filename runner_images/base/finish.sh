#!/bin/sh
# Turn a fresh Debian root into a root for hostile code. Runs as root inside that root, and nowhere else.
set -eu
[ -e /.vsc-image-root ] || { echo "finish.sh: not inside an image root" >&2; exit 1; }

groupadd --gid 10001 sandbox
useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --no-log-init --shell /bin/sh sandbox
mkdir -p /workspace /vsc /env /out /run/vsc

# No program may change who runs it. The sandbox forbids it too (no-new-privileges); an image is not its only user.
find / -xdev \( -type f -o -type d \) -perm /6000 -exec chmod ug-s {} +

# What the machine that built this wrote for itself: its mirror, its name, its resolver, its logs.
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old \
    /var/log/* /var/lib/dpkg/*-old /etc/machine-id /var/lib/dbus/machine-id
rm -f /etc/resolv.conf /etc/hostname 2> /dev/null || true # in a container they are the engine's, and not in the image
: > /etc/machine-id

# What nobody reads in a sandbox. Licences (copyright files) stay.
rm -rf /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian /usr/share/bash-completion \
    /usr/share/git-core/contrib /usr/share/gitweb /usr/share/perl5/Git* /usr/lib/python3/dist-packages/lsb_release.py
find /usr/share/doc -depth -type f ! -name copyright -delete
find /usr/share/doc -depth -type d -empty -delete
find /usr/share/i18n /usr/lib/x86_64-linux-gnu/gconv -type f ! -name 'UTF*' ! -name 'gconv-modules*' -delete 2>/dev/null || true
rm -f /.vsc-image-root
