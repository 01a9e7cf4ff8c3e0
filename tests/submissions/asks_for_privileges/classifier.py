import os
from pathlib import Path

from attempts import CANARIES, LIBC, attempt, attempt_call, in_child, tell, tell_result
from honest import HonestClassifier

NEW_USER, NEW_MOUNT, NEW_NETWORK = 0x10000000, 0x00020000, 0x40000000
TRACE_ME, SEIZE = 0, 0x4206

# Numbers on x86_64 and aarch64, and arguments that do nothing.
CALLS = {
    "bpf": ((321, 280), 9999, 0, 0),
    "keyctl": ((250, 219), 0, -3, 0),
    "add_key": ((248, 217), 0, 0, 0, 0, -3),
    "request_key": ((249, 218), 0, 0, 0, -3),
    "io_uring_setup": ((425, 425), 0, 0),
    "userfaultfd": ((323, 282), 0x7FFF0000),
    "perf_event_open": ((298, 241), 0, 0, -1, -1, 0),
    "init_module": ((175, 105), 0, 0, 0),
    "finit_module": ((313, 273), -1, 0, 0),
    "delete_module": ((176, 106), 0, 0),
    "process_vm_readv": ((310, 270), 1, 0, 0, 0, 0, 9999),
    "process_vm_writev": ((311, 271), 1, 0, 0, 0, 0, 9999),
    "pidfd_getfd": ((438, 438), -1, -1, 9999),
    "kcmp": ((312, 272), 0, 0, 9999, 0, 0),
    "open_by_handle_at": ((304, 265), -1, 0, 0),
    "setns": ((308, 268), -1, 0),
    "pivot_root": ((155, 41), 0, 0),
    "move_mount": ((429, 429), -1, 0, -1, 0, 0),
    "fsopen": ((430, 430), 0, 9999),
    "mount_setattr": ((442, 442), -1, 0, 9999, 0, 0),
    "clone3": ((435, 435), 0, 0),
    "quotactl": ((179, 60), 0, 0, 0, 0),
    "shmget": ((29, 194), 0, 0, 0),
    "memfd_secret": ((447, 447), 9999),
    "personality": ((135, 92), 0xFFFFFFFF),
}


def trace_others():
    tell_result("ptrace of the canary", LIBC.ptrace(SEIZE, CANARIES["process"], 0, 0))


class Classifier(HonestClassifier):
    def fit(self, X, y):
        for name, (numbers, *args) in CALLS.items():
            attempt_call(name, numbers, *args)
        for name, flags in (("user", NEW_USER), ("mount", NEW_MOUNT), ("network", NEW_NETWORK)):
            in_child(lambda n=name, f=flags: tell_result(f"unshare of {n}", LIBC.unshare(f)))
        in_child(lambda: tell_result("ptrace", LIBC.ptrace(TRACE_ME, 0, 0, 0)))
        in_child(trace_others)
        in_child(lambda: attempt("chroot", os.chroot, "."))
        in_child(lambda: attempt("setuid", os.setuid, 0))
        in_child(lambda: attempt("setgroups", os.setgroups, [0]))
        tell_result("mount", LIBC.mount(b"", b"/nowhere", b"", 0, 0))
        tell_result("umount", LIBC.umount2(b"/nowhere", 0))
        status = Path("/proc/self/status").read_text()
        # What bounds the capabilities of programs with privileges: there are no such, see below.
        for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            tell(f"{name}:\t{'0' * 16}\n" in status, name)
        tell("NoNewPrivs:\t1" in status, "new privileges")
        tell(os.geteuid() != 0 and os.getuid() != 0, "being root")
        super().fit(X, y)
