"""The calls of the Linux kernel that Python doesn't have, as thin as can be.

The numbers are those of the kernel's headers: linux/prctl.h, linux/mount.h, linux/sched.h,
linux/landlock.h. System calls without a function in libc have one number on all architectures
when they are younger than 2019 (open_tree and later).
"""

import contextlib
import ctypes
import itertools
import mmap
import os
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_CAPABILITY_HEADER = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, of this process
_NO_CAPABILITIES = (ctypes.c_uint32 * 6)()

_SIGKILL = 9
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2

_OPEN_TREE = 428
_MOVE_MOUNT = 429
_MOUNT_SETATTR = 442
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_LANDLOCK_RULE_PATH_BENEATH = 1
_LANDLOCK_CREATE_RULESET_VERSION = 1
_MADV_COLLAPSE = 25
_READ_SIZE = 64 * 1024

HUGE_PAGE = 2 * 1024 * 1024
"""Bytes of a huge page on x86_64, and on aarch64 with pages of 4 KiB."""


class Clone(IntFlag):
    """Namespaces to leave, see unshare(2)."""

    MOUNT = 0x00020000
    UTS = 0x04000000
    IPC = 0x08000000
    USER = 0x10000000
    PID = 0x20000000
    NETWORK = 0x40000000


class Mount(IntFlag):
    """What mount(2) is told."""

    READ_ONLY = 1
    NO_SETUID = 2
    NO_DEVICES = 4
    NO_EXEC = 8
    REMOUNT = 32
    BIND = 4096
    RECURSIVE = 16384
    PRIVATE = 1 << 18


class _MountAttributes(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


class _Ruleset(ctypes.Structure):
    _fields_ = [
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    ]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


class _FilterProgram(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(what: str, number: int, *arguments: object) -> int:
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *words), what)


def _prctl(what: str, option: int, *arguments: object) -> None:
    words = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in arguments]
    padding = [ctypes.c_ulong(0)] * (4 - len(words))
    _check(_libc.prctl(ctypes.c_int(option), *words, *padding), what)


def die_with_parent() -> None:
    """Be killed when the thread that made this process ends, however it ends."""
    _prctl("prctl(PR_SET_PDEATHSIG)", _PR_SET_PDEATHSIG, _SIGKILL)


def become_subreaper() -> None:
    """Become the parent of every orphan among this process's descendants."""
    _prctl("prctl(PR_SET_CHILD_SUBREAPER)", _PR_SET_CHILD_SUBREAPER, 1)


def set_dumpable(dumpable: bool) -> None:
    """Say whether this process's files in /proc belong to its own user."""
    _prctl("prctl(PR_SET_DUMPABLE)", _PR_SET_DUMPABLE, int(dumpable))


def forbid_new_privileges() -> None:
    """Never gain anything by executing a file, for good."""
    _prctl("prctl(PR_SET_NO_NEW_PRIVS)", _PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up every capability, see capset(2)."""
    _check(_libc.capset(_CAPABILITY_HEADER, _NO_CAPABILITIES), "capset")


def unshare(namespaces: Clone) -> None:
    """Leave namespaces for new ones; a new PID namespace begins with the next child."""
    _check(_libc.unshare(ctypes.c_int(namespaces)), "unshare")


def enter_namespace(descriptor: int, kind: Clone) -> None:
    """Go into an open namespace; of a PID namespace, with the next child."""
    _check(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), "setns")


def mount(
    source: str | Path | None, target: str | Path, kind: str | None, flags: int, options: str = ""
) -> None:
    """Mount, see mount(2)."""
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    result = _libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None)
    _check(result, f"mount on {target}")


def clone_tree(path: str | Path, attributes: Mount) -> int:
    """Copy the mounts at and below a path, private and with more `attributes`, mounted nowhere.

    Returns
    -------
    int
        An open directory or file, a way into the copy; `attach_tree` mounts it.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
    tree = _syscall(f"open_tree({path})", _OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)
    wanted = _MountAttributes(attributes, 0, Mount.PRIVATE, 0)
    _syscall(
        f"mount_setattr({path})",
        _MOUNT_SETATTR,
        tree,
        b"",
        _AT_EMPTY_PATH | _AT_RECURSIVE,
        ctypes.byref(wanted),
        ctypes.sizeof(wanted),
    )
    return tree


def attach_tree(tree: int, target: str | Path) -> None:
    """Mount what `clone_tree` gave."""
    arguments = (tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    _syscall(f"move_mount({target})", _MOVE_MOUNT, *arguments)


def change_root(root: str | Path) -> None:
    """Make a mounted folder the root of this mount namespace, and forget the old root."""
    os.chdir(root)
    # The old root lands on top of the new one, from where it is taken away: pivot_root(2).
    _check(_libc.syscall(ctypes.c_long(_get_pivot_root()), b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", ctypes.c_int(2)), "umount2")
    os.chdir("/")


def _get_pivot_root() -> int:
    return {"x86_64": 155, "aarch64": 41}[os.uname().machine]


def read_landlock_version() -> int:
    """Give the version of Landlock that the kernel speaks; 0 is none."""
    result = _libc.syscall(
        ctypes.c_long(_LANDLOCK_CREATE_RULESET),
        None,
        ctypes.c_long(0),
        ctypes.c_long(_LANDLOCK_CREATE_RULESET_VERSION),
    )
    return max(0, result)


def restrict_files(handled: int, network: int, scoped: int, allowed: dict[str, int]) -> None:
    """Put this process under Landlock, for good; see landlock(7).

    Parameters
    ----------
    handled, network, scoped : int
        What is forbidden unless allowed: of files, of TCP, of reaching other processes.
    allowed : dict of str to int
        What is allowed at and below which path; a path that isn't there is left out.
    """
    wanted = _Ruleset(handled, network, scoped)
    size = ctypes.sizeof(wanted)
    ruleset = _syscall(
        "landlock_create_ruleset", _LANDLOCK_CREATE_RULESET, ctypes.byref(wanted), size, 0
    )
    for path, access in allowed.items():
        try:
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        rule = _PathBeneath(access, parent)
        kind = _LANDLOCK_RULE_PATH_BENEATH
        arguments = (ruleset, kind, ctypes.byref(rule), 0)
        _syscall(f"landlock_add_rule({path})", _LANDLOCK_ADD_RULE, *arguments)
        os.close(parent)
    _syscall("landlock_restrict_self", _LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def filter_system_calls(program: bytes) -> None:
    """Put this process under a seccomp filter, for good.

    Parameters
    ----------
    program : bytes
        Instructions of classic BPF, eight bytes each.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    filter_program = _FilterProgram(len(program) // 8, ctypes.addressof(buffer))
    arguments = (_SECCOMP_MODE_FILTER, ctypes.byref(filter_program))
    _prctl("prctl(PR_SET_SECCOMP)", _PR_SET_SECCOMP, *arguments)


def join_mappings() -> None:
    """Have fewer mappings of libraries: each costs every fork, and every end of a child.

    A library lies in memory in pieces that differ in what may be done with them: that makes it
    harder to take a program over by a fault in it. Whoever runs submitted code has no use for it,
    as that may do what it likes inside its process. So constants become executable, like the code
    beside them, and what the loader has filled in becomes writable again, like the variables
    behind it; and the kernel makes one of neighbours that are alike.
    """
    mappings = _list_mappings()
    for one, two in itertools.pairwise(mappings):
        if not one.goes_on_in(two):
            continue
        match one.access, two.access:
            case "r--p", "rw-p":
                changed, protection = one, mmap.PROT_READ | mmap.PROT_WRITE
            case "r--p", "r-xp":
                changed, protection = one, mmap.PROT_READ | mmap.PROT_EXEC
            case "r-xp", "r--p":
                changed, protection = two, mmap.PROT_READ | mmap.PROT_EXEC
            case _:
                continue
        with contextlib.suppress(OSError):
            _mprotect(changed.start, changed.end - changed.start, protection)


def collapse_memory() -> None:
    """Put this process's own memory into huge pages, as far as the kernel does that.

    A fork copies an entry of the page table per page, so it has five hundred times less to copy.
    What a child then changes is still copied by the small page. Needs Linux 6.1, otherwise nothing
    happens.
    """
    for mapping in _list_mappings():
        # The private, writable ones that no file stands behind.
        if mapping.access != "rw-p" or mapping.name not in ("", "[heap]"):
            continue
        first = -(-mapping.start // HUGE_PAGE) * HUGE_PAGE
        last = mapping.end // HUGE_PAGE * HUGE_PAGE
        for place in range(first, last, HUGE_PAGE):
            with contextlib.suppress(OSError):
                _madvise(place, HUGE_PAGE, _MADV_COLLAPSE)


@dataclass(frozen=True)
class _Mapping:
    """A piece of this process's memory, a line of /proc/self/maps."""

    start: int
    end: int
    access: str
    offset: int
    name: str

    def goes_on_in(self, other: "_Mapping") -> bool:
        """Tell whether another one is what follows, both here and in the file."""
        return (
            self.name.startswith("/")
            and self.name == other.name
            and self.end == other.start
            and self.offset + self.end - self.start == other.offset
        )


def _list_mappings() -> list[_Mapping]:
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, access, offset, _, _, *name = line.split(maxsplit=5)
        start, end = (int(word, 16) for word in place.split("-"))
        found.append(_Mapping(start, end, access, int(offset, 16), "".join(name)))
    return found


def _mprotect(start: int, length: int, protection: int) -> None:
    arguments = (ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(protection))
    _check(_libc.mprotect(*arguments), "mprotect")


def _madvise(start: int, length: int, advice: int) -> None:
    arguments = (ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(advice))
    _check(_libc.madvise(*arguments), "madvise")


def list_children(pid: int) -> list[int]:
    """List the living children of a process, those of all its threads."""
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            children += map(int, read_file(f"/proc/{pid}/task/{thread}/children").split())
    except OSError:
        # It, or one of its threads, ended meanwhile.
        pass
    return children


def read_file(path: str) -> bytes:
    """Read a file of /proc, as quickly as can be: watchers do so many times a second."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"".join(iter(lambda: os.read(descriptor, _READ_SIZE), b""))
    finally:
        os.close(descriptor)
