"""Runs inside a sandbox: tries what must not work, measures what it has, writes /out/probe.json."""

# A probe does by hand what programs must not do.
# ruff: noqa: PTH101, PTH123, PTH208, S103
import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import socket
import stat
import subprocess
import sys

libc = ctypes.CDLL(None, use_errno=True)
found = {}


def probe(name, call):
    """The value of `call`, or the name of the error that it met."""
    try:
        value = call()
    except OSError as error:
        value = errno.errorcode.get(error.errno, str(error))
    except subprocess.CalledProcessError as error:
        value = f"exit {error.returncode}"
    found[name] = value


def syscall(number, *arguments):
    def call():
        if libc.syscall(number, *arguments) == -1:
            raise OSError(ctypes.get_errno(), "")
        return "allowed"

    return call


X86 = {  # numbers of x86-64; arm64's are other
    "ptrace": (101, 0, 0, 0, 0),
    "process_vm_readv": (310, os.getpid(), 0, 0, 0, 0, 0),
    "process_vm_writev": (311, os.getpid(), 0, 0, 0, 0, 0),
    "io_uring_setup": (425, 1, 0),
    "io_uring_enter": (426, 0, 0, 0, 0, 0, 0),
    "io_uring_register": (427, 0, 0, 0, 0),
    "mount": (165, b"none", b"/tmp", b"tmpfs", 0, 0),
    "umount2": (166, b"/tmp", 0),
    "pivot_root": (155, b"/tmp", b"/tmp"),
    "chroot": (161, b"/tmp"),
    "fsopen": (430, b"tmpfs", 0),
    "open_tree": (428, -100, b"/tmp", 1),
    "move_mount": (429, -1, b"", -1, b"", 0),
    "mount_setattr": (442, -100, b"/tmp", 0, 0, 0),
    "setns": (308, 0, 0),
    "unshare_user": (272, 0x10000000),
    "unshare_mount": (272, 0x00020000),
    "clone_user": (56, 0x10000000 | 17, 0, 0, 0, 0),
    "clone_net": (56, 0x40000000 | 17, 0, 0, 0, 0),
    "open_by_handle_at": (304, -100, 0, 0),
    "bpf": (321, 0, 0, 0),
    "userfaultfd": (323, 0),
    "keyctl": (250, 0, 0, 0, 0, 0),
    "add_key": (248, b"user", b"x", b"x", 1, -3),
    "request_key": (249, b"user", b"x", 0, -3),
    "perf_event_open": (298, 0, 0, -1, -1, 0),
    "kexec_load": (246, 0, 0, 0, 0),
    "init_module": (175, 0, 0, b""),
    "finit_module": (313, 0, b"", 0),
    "settimeofday": (164, 0, 0),
    "reboot": (169, 0, 0, 0, 0),
    "swapon": (167, b"/tmp/x", 0),
    "quotactl": (179, 0, 0, 0, 0),
    "fanotify_init": (300, 0, 0),
    "syslog": (103, 3, 0, 0),
    "kcmp": (312, 1, 1, 0, 0, 0),
    "pidfd_getfd": (438, 0, 0, 0),
    "acct": (163, 0),
    "sethostname": (170, b"x", 1),
    "iopl": (172, 3),
    "modify_ldt": (154, 0, 0, 0),
}
if platform.machine() == "x86_64":
    for name, arguments in X86.items():
        probe(f"call:{name}", syscall(*arguments))
    probe("clone3", syscall(435, 0, 0))

for name, arguments in {
    "netlink": (socket.AF_NETLINK, socket.SOCK_RAW),
    "packet": (socket.AF_PACKET, socket.SOCK_RAW),
    "vsock": (40, socket.SOCK_STREAM),
    "alg": (38, socket.SOCK_SEQPACKET),
    "bluetooth": (31, socket.SOCK_RAW),
    "raw4": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "raw6": (socket.AF_INET6, socket.SOCK_RAW, 58),
}.items():
    probe(
        f"socket:{name}",
        lambda arguments=arguments: socket.socket(*arguments).fileno() and "allowed",
    )


def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as one:
        one.settimeout(3)
        one.connect(address)
        if kind == socket.SOCK_DGRAM:
            one.send(b"x")
    return "reached"


def own_loopback(host, family):
    with (
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]),
    ):
        return "works"


for name, family, address, kind in (
    ("tcp4", socket.AF_INET, ("192.0.2.1", 80), socket.SOCK_STREAM),
    ("udp4", socket.AF_INET, ("192.0.2.1", 53), socket.SOCK_DGRAM),
    ("tcp6", socket.AF_INET6, ("2001:db8::1", 80), socket.SOCK_STREAM),
    ("bridge", socket.AF_INET, ("172.17.0.1", 22), socket.SOCK_STREAM),
    ("hosts_loopback", socket.AF_INET, ("127.0.0.1", int(sys.argv[1])), socket.SOCK_STREAM),
    ("abstract", socket.AF_UNIX, "\0" + sys.argv[2], socket.SOCK_STREAM),
):
    probe(f"net:{name}", lambda f=family, a=address, k=kind: connect(f, a, k))
probe("net:dns", lambda: socket.getaddrinfo("example.invalid", 80) and "resolved")
probe("net:own_loopback", lambda: own_loopback("127.0.0.1", socket.AF_INET))
probe("net:own_loopback6", lambda: own_loopback("localhost", socket.AF_INET6))
found["has_ipv6"] = "ipv6" in os.listdir("/proc/sys/net")
for name in ("localhost", socket.gethostname()):
    probe(f"name:{name}", lambda n=name: socket.gethostbyname(n))
with open("/etc/resolv.conf") as file:
    found["nameservers"] = [line.split()[1] for line in file if line.startswith("nameserver")]
found["interfaces"] = sorted(os.listdir("/sys/class/net"))


def write(path):
    def call():
        with open(path, "w") as file:
            file.write("x")
        return "written"

    return call


for path in (
    "/rootfs", "/etc/passwd", "/usr/bin/x", "/opt/vsc/x", "/home/x", "/var/tmp/x", "/run/x",
    "/vsc/x", "/env/x", "/run/vsc/x", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger",
    "/proc/sys/vm/overcommit_memory", "/sys/kernel/x",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/pids/x", "/proc/1/oom_score_adj_x", "/dev/new",
):  # fmt: skip
    probe(f"write:{path}", write(path))
for path in ("/workspace/x", "/out/x", "/tmp/x", "/dev/shm/x"):
    probe(f"may:{path}", write(path))


def read(path):
    def call():
        with open(path, "rb") as file:
            return len(file.read(64))

    return call


for path in (
    "/dev/mem", "/dev/kmsg", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/latency_stats",
    "/proc/sched_debug", "/var/run/docker.sock", "/run/containerd/containerd.sock",
    "/var/run/secrets/kubernetes.io/serviceaccount/token", "/etc/shadow", "/dev/vda", "/dev/loop0",
    "/dev/loop-control",
):  # fmt: skip
    probe(f"read:{path}", read(path))
probe("list:/sys/firmware", lambda: os.listdir("/sys/firmware"))

probe("mknod", lambda: os.mknod("/tmp/disk", stat.S_IFBLK | 0o666, os.makedev(254, 0)) or "made")
probe("chown", lambda: os.chown("/tmp/x", 0, 0) or "done")
probe("setuid", lambda: os.setuid(0) or "root")
os.chmod("/tmp/x", 0o4755)
with open("/proc/self/status") as status:
    found["status"] = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
found["ids"] = [os.getuid(), os.geteuid(), os.getgid(), os.getgroups()]
found["limits"] = {
    name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
    for name in ("NOFILE", "CORE", "MEMLOCK", "MSGQUEUE")
}
shm = os.statvfs("/dev/shm")
found["shm_bytes"] = shm.f_frsize * shm.f_blocks
tmp = os.statvfs("/tmp")
found["tmp"] = [tmp.f_frsize * tmp.f_blocks, tmp.f_files]
found["hostname"] = socket.gethostname()
found["pids"] = [name for name in os.listdir("/proc") if name.isdigit()]
with open("/proc/self/mountinfo") as mountinfo:
    found["mounts"] = {line.split()[4]: [line.split()[3], line.split()[5]] for line in mountinfo}
with open("/proc/self/cgroup") as cgroup:
    found["cgroup"] = cgroup.read()
with open("/proc/1/environ", "rb") as environ:
    found["environ"] = environ.read().decode()
found["locked"] = mmap.mmap(-1, 2**20) and libc.mlockall(3)
found["inherited"] = sorted(os.listdir("/proc/1/fd"))

with open("/out/probe.json", "w") as file:
    json.dump(found, file)
