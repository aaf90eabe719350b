"""Loop devices and mounts by system call: a slot costs what the kernel costs, and no program."""

import ctypes
import errno
import fcntl
import os
import re
import stat
import struct
from contextlib import suppress
from pathlib import Path

MS_NOSUID, MS_NODEV, MS_NOATIME = 2, 4, 1024
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_SET_FD = 0x4C00
_LOOP_CLR_FD = 0x4C01
_LOOP_SET_STATUS64 = 0x4C04
_LO_FLAGS_AUTOCLEAR = 4
_LOOP_MAJOR = 7
_ATTEMPTS = 64


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str, flags: int, options: str) -> None:
    """The system call of that name. Raises OSError."""
    done = _libc().mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode(),
        ctypes.c_ulong(flags),
        os.fsencode(options),
    )
    _check(done, target)


def unmount(target: Path) -> None:
    """Take away everything that is mounted at `target`.

    What still holds it open keeps it alive a moment longer.
    """
    while True:
        done = _libc().umount2(os.fsencode(target), MNT_DETACH | UMOUNT_NOFOLLOW)
        if done and ctypes.get_errno() in {errno.EINVAL, errno.ENOENT}:
            return  # nothing (more) is mounted there
        _check(done, target)


def mount_image(image: Path, target: Path, options: str) -> None:
    """Mount the ext4 in `image` by a loop device that frees itself after the last unmount."""
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        device, path = _attach(backing, image)
        try:
            mount(path, target, "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME, options)
        finally:
            os.close(device)  # the mount holds the device now; without one, this frees it
    finally:
        os.close(backing)


def mounted_below(root: Path) -> list[Path]:
    """The mount points under `root`, innermost first."""
    prefix = f"{root}/"
    points = (
        _unescape(line.split(" ", 5)[4])
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    )
    return [
        Path(point) for point in sorted(points, key=len, reverse=True) if point.startswith(prefix)
    ]


def _attach(backing: int, image: Path) -> tuple[int, str]:
    for _ in range(_ATTEMPTS):
        with open(("/dev/loop-control"), "rb") as control:  # noqa: PTH123 - a device, not a path to walk
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
        path = f"/dev/loop{number}"
        with suppress(FileExistsError):
            os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(_LOOP_MAJOR, number))
        device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(device, _LOOP_SET_FD, backing)
        except OSError as taken:
            os.close(device)
            if taken.errno != errno.EBUSY:
                raise
            continue  # somebody else got this device first
        try:
            fcntl.ioctl(device, _LOOP_SET_STATUS64, _status(image))
        except OSError:
            fcntl.ioctl(device, _LOOP_CLR_FD)
            os.close(device)
            raise
        return device, path
    raise OSError(errno.EBUSY, "no free loop device after many attempts", str(image))


def _status(image: Path) -> bytes:
    """`struct loop_info64` with only the flags and the name (`losetup -a` shows it) filled in."""
    name = os.fsencode(image)[-63:]
    return struct.pack(
        "=5Q4I64s64s32s2Q", 0, 0, 0, 0, 0, 0, 0, 0, _LO_FLAGS_AUTOCLEAR, name, b"", b"", 0, 0
    )


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), field)


def _check(done: int, target: Path) -> None:
    if done:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
