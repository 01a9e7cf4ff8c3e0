"""The seccomp filter of a sandbox: the system calls that no model needs.

It refuses what has been a way out of sandboxes: other processes' memory, mounts and namespaces,
keys, kernel interfaces that bring much code within reach (bpf, io_uring, userfaultfd), System V
objects, clocks, memory that no limit sees (memfd_create), and a CPU limit of one's own, at which
the kernel kills as if from outside. It answers EPERM, so that a library
that only tries goes on. The only sockets are those within the machine (AF_UNIX), which
multiprocessing needs, and that only where they can reach nobody outside. Calls of another
architecture (32-bit, x32) have other numbers and would pass by; they kill.

The filter is written as classic BPF here: libseccomp isn't part of a Python installation, and a
list of refusals needs five kinds of instructions. See seccomp(2) and linux/filter.h.
"""

import errno
import functools
import os
import struct

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_IF_GREATER_OR_EQUAL = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_IF_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_REFUSE = 0x00050000 | errno.EPERM
_UNKNOWN = 0x00050000 | errno.ENOSYS

# Offsets in struct seccomp_data; of an argument the lower half, little-endian.
_NUMBER, _ARCHITECTURE, _ARGUMENT_0, _ARGUMENT_1 = 0, 4, 16, 24

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the tables below and AUDIT_ARCH of each architecture."""

_X32_BIT = 0x40000000
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag
_AF_UNIX = 1
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_RLIMIT_CPU = 0
_CLONE, _CLONE3, _SOCKET, _IOCTL = (56, 220), (435, 435), (41, 198), (16, 29)
_SETRLIMIT, _PRLIMIT64 = (160, 164), (302, 261)

_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "setns": (308, 268),
    "unshare": (272, 97),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "fanotify_init": (300, 262),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "vhangup": (153, 58),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "lookup_dcookie": (212, 18),
}
"""Numbers on x86_64 and aarch64."""


@functools.cache
def build_filter(has_sockets: bool) -> bytes:
    """Build the filter for this machine's architecture.

    Parameters
    ----------
    has_sockets : bool
        Whether Unix sockets may be made.

    Raises
    ------
    KeyError
        Its system calls aren't in the tables.
    """
    column, architecture = _MACHINES[os.uname().machine]
    program = [
        _step(_LOAD, _ARCHITECTURE),
        *_unless(_JUMP_IF_EQUAL, architecture, _KILL),
        _step(_LOAD, _NUMBER),
        *_when(_JUMP_IF_GREATER_OR_EQUAL, _X32_BIT, _KILL),
    ]
    for numbers in _REFUSED.values():
        if (number := numbers[column]) is not None:
            program += _when(_JUMP_IF_EQUAL, number, _REFUSE)
    # glibc falls back to clone, whose flags can be read; clone3's lie in memory.
    program += _when(_JUMP_IF_EQUAL, _CLONE3[column], _UNKNOWN)
    program += _look_at_argument(
        _CLONE[column], _ARGUMENT_0, _when(_JUMP_IF_ANY_BIT, _NEW_NAMESPACES, _REFUSE)
    )
    socket_tests = _unless(_JUMP_IF_EQUAL, _AF_UNIX, _REFUSE)
    if not has_sockets:
        socket_tests = [_step(_RETURN, _REFUSE)]
    program += _look_at_argument(_SOCKET[column], _ARGUMENT_0, socket_tests)
    program += _look_at_argument(
        _IOCTL[column],
        _ARGUMENT_1,
        _when(_JUMP_IF_EQUAL, _TIOCSTI, _REFUSE) + _when(_JUMP_IF_EQUAL, _TIOCLINUX, _REFUSE),
    )
    no_cpu_limit = _when(_JUMP_IF_EQUAL, _RLIMIT_CPU, _REFUSE)
    program += _look_at_argument(_SETRLIMIT[column], _ARGUMENT_0, no_cpu_limit)
    program += _look_at_argument(_PRLIMIT64[column], _ARGUMENT_1, no_cpu_limit)
    return b"".join([*program, _step(_RETURN, _ALLOW)])


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _when(test: int, value: int, result: int) -> list[bytes]:
    """End with `result` when the test is true."""
    return [_step(test, value, 0, 1), _step(_RETURN, result)]


def _unless(test: int, value: int, result: int) -> list[bytes]:
    """End with `result` when the test is false."""
    return [_step(test, value, 1, 0), _step(_RETURN, result)]


def _look_at_argument(number: int, argument: int, tests: list[bytes]) -> list[bytes]:
    """Of one system call, let an argument decide."""
    body = [_step(_LOAD, argument), *tests, _step(_RETURN, _ALLOW)]
    return [_step(_JUMP_IF_EQUAL, number, 0, len(body)), *body]
