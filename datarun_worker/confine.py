"""What a zygote and its children give up, in order, until a stranger's code may run.

Theory of operation
-------------------
Everything happens in three places, each of which can do less than the one before.

1. **The zygote enters** (`enter`) right after exec, before it imports anything big. A root worker's
   zygote becomes `SANDBOX_USER`. It leaves all namespaces for new ones, in a user namespace of
   its own, and puts together a root that holds the interpreter and its libraries read-only, a few
   devices and nothing else. So a library that isn't in there is missed at the start, not in a fold.
   The one thing kept of the old world is an open directory, a read-only copy of the mount of the
   worker's cache, which goes to the worker: files that are opened through it can't be opened anew
   for writing or have their mode changed, whoever holds them.
2. **A child prepares** (`prepare`) right after the fork, still ours and with the capabilities of
   the zygote's user namespace: mounts, network, IPC and host name of its own, its own /proc (it is
   the first process of a PID namespace, so that its end is the end of all its descendants), and
   one tmpfs that is its scratch folder, /tmp and /dev/shm. All that takes milliseconds and is done
   for the spare child, before anybody waits for it.
3. **A child finishes** (`finish`) when it has got the submission's files and its limits: the files
   become read-only, the tmpfs gets its size, and then it gives up, for good, in this order:
   resource limits, capabilities, new privileges, paths (Landlock), system calls (seccomp).
   Namespaces and Landlock each keep it in by themselves; either may have a hole.

What is the same for all children the zygote works out before it forks (`Plan`): whatever a child
executes costs it a copy of each page that it touches, if only to count a reference.

Everything fails closed: an error on the way ends the process before the stranger's code is read.

All of it is unshare, mount and a few calls more (`datarun_worker.kernel`), without bubblewrap: it
confines what it executes, and could only start the zygote; the children, forked without exec, would
need the code below all the same.
"""

import importlib.util
import math
import os
import resource
import socket
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from threadpoolctl import ThreadpoolController

from datarun_worker import kernel
from datarun_worker.isolation import Layer
from datarun_worker.kernel import Clone, Mount
from datarun_worker.system_calls import build_filter

MIB = 1024 * 1024

SANDBOX_USER = 65533
"""The user and group that sandboxes of a root worker run as; nothing should belong to it."""

FOLDER = Path("/sandbox")
"""Where a child with a root of its own has its files."""

_PROC, _TMP, _SHM = Path("/proc"), Path("/tmp"), Path("/dev/shm")  # noqa: S108 -- a sandbox's
_INNER_USER = 1000
_NAMESPACES = {
    Layer.MOUNT: Clone.MOUNT,
    Layer.PID: Clone.PID,
    Layer.NETWORK: Clone.NETWORK,
    Layer.IPC: Clone.IPC,
    Layer.UTS: Clone.UTS,
}
_HARMLESS = Mount.NO_SETUID | Mount.NO_DEVICES
_READ_ONLY = _HARMLESS | Mount.READ_ONLY
_PROC_FLAGS = _HARMLESS | Mount.NO_EXEC
_REMOUNT = Mount.REMOUNT | _HARMLESS
_REMOUNT_READ_ONLY = Mount.REMOUNT | Mount.BIND | _READ_ONLY

# The mount_setattr(2) flags READ_ONLY, NO_SETUID, NO_DEVICES have the same numbers.
_SYSTEM_PATHS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SETTINGS_PATHS = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_SCRATCH_FOLDERS = ((f"{FOLDER}/tmp", _TMP), (f"{FOLDER}/shm", _SHM))  # noqa: S108 -- as above
_MAX_INODES = 100_000
_MAX_OPEN_FILES = 4096


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use.

    Attributes
    ----------
    time : float
        Seconds of all its calls together.
    memory : int
        Bytes of its process tree, beyond an idle sandbox.
    processes : int
        Processes and threads at one time.
    scratch : int
        Bytes in its scratch folder, /tmp and /dev/shm together; they are in memory too.
    output : int
        Bytes of each file that it writes, those that a call gives it included.
    log : int
        Bytes of printed text that are kept, the first half and the last half.
    threads : int
        Threads that BLAS, OpenMP and joblib use by themselves.
    """

    time: float = 3600.0
    memory: int = 4096 * MIB
    processes: int = 256
    scratch: int = 1024 * MIB
    output: int = 8192 * MIB
    log: int = MIB
    threads: int = 1


@dataclass(frozen=True)
class Plan:
    """What a zygote has worked out for all its children.

    Attributes
    ----------
    layers : frozenset of Layer
    namespaces : Clone
        What a child leaves for new ones.
    hidden : tuple of pathlib.Path
        What Python needs of the machine's /tmp, which a child's own would hide.
    rules : FileRules or None
        Landlock's, for what submitted code may read of the machine.
    system_calls : bytes
        The filter of system calls; empty for none.
    """

    layers: frozenset[Layer]
    namespaces: Clone
    hidden: tuple[Path, ...]
    rules: "FileRules | None"
    system_calls: bytes

    @property
    def has_own_root(self) -> bool:
        """Whether a child has a root, and so `FOLDER`, of its own."""
        return Layer.MOUNT in self.layers


@dataclass
class _View:
    """The parts of the machine that a root is put together from, as copies of their mounts."""

    trees: dict[Path, int] = field(default_factory=dict)
    links: dict[Path, Path] = field(default_factory=dict)
    cache: int | None = None


# --- 1. the zygote ---------------------------------------------------------------------------


def enter(layers: frozenset[Layer], modules: Iterable[str], cache: Path | None) -> int | None:
    """Confine this process, which is to be a zygote, before it imports `modules`.

    Returns
    -------
    int or None
        A read-only way into the folder `cache`, open; None without a mount namespace.
    """
    namespaces = Clone(0)
    for layer in layers & _NAMESPACES.keys():
        namespaces |= _NAMESPACES[layer]
    modules = tuple(modules)
    view = None
    if os.geteuid() == 0 and layers:
        # Root reads what is in root's home; the user that it becomes doesn't.
        view = _clone_view(layers, modules, cache) if Layer.MOUNT in layers else None
        _become_sandbox_user()
    if namespaces:
        _enter_namespaces(namespaces)
    if Layer.MOUNT not in layers:
        return None
    view = view or _clone_view(layers, modules, cache)
    _build_root(view)
    return view.cache


def make_plan(layers: frozenset[Layer], modules: Iterable[str]) -> Plan:
    """Work out, before the forks, what is the same for all children.

    Parameters
    ----------
    layers : frozenset of Layer
    modules : iterable of str
        What is imported.
    """
    namespaces = Clone(0)
    # No capability is left to change the zygote's network and host name, so those will do.
    for layer in layers & {Layer.MOUNT, Layer.IPC}:
        namespaces |= _NAMESPACES[layer]
    readable = list_readable_paths(modules)
    return Plan(
        layers=layers,
        namespaces=namespaces,
        # Python itself may be installed below /tmp.
        hidden=tuple(path for path in readable if _TMP in path.parents),
        rules=FileRules.for_machine(readable) if Layer.LANDLOCK in layers else None,
        system_calls=build_filter(_may_use_sockets(layers)) if Layer.SECCOMP in layers else b"",
    )


def _become_sandbox_user() -> None:
    os.setgroups([])
    os.setresgid(SANDBOX_USER, SANDBOX_USER, SANDBOX_USER)
    os.setresuid(SANDBOX_USER, SANDBOX_USER, SANDBOX_USER)
    # The change took it away; without it the files in /proc that follow stay root's.
    kernel.set_dumpable(True)


def _enter_namespaces(namespaces: Clone) -> None:
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(namespaces | Clone.USER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_INNER_USER} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{_INNER_USER} {group} 1")
    if Clone.UTS in namespaces:
        socket.sethostname("sandbox")
    if Clone.PID in namespaces:
        _go_on_in_child()


def _go_on_in_child() -> None:
    """Fork, as a PID namespace begins with a child; this process only waits for it from then on.

    Neither outlives the worker: the end of the namespace's first process ends all in it.
    """
    kernel.die_with_parent()
    pid = os.fork()
    if pid:
        os.closerange(0, os.sysconf("SC_OPEN_MAX"))
        _, status = os.waitpid(pid, 0)
        os._exit(max(0, os.waitstatus_to_exitcode(status)))
    kernel.die_with_parent()


def list_readable_paths(modules: Iterable[str]) -> list[Path]:
    """List what Python programs need to read: the system's libraries, and Python with its own.

    Of `modules` and of datarun only their own folders, as more may lie beside them.
    """
    paths = [*_SYSTEM_PATHS, *_SETTINGS_PATHS, sys.prefix, sys.exec_prefix, sys.base_prefix]
    paths += [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    for module in ("datarun_client", "datarun_worker", *modules):
        spec = importlib.util.find_spec(module.partition(".")[0])
        if spec is not None and spec.submodule_search_locations:
            paths += spec.submodule_search_locations
        elif spec is not None and spec.has_location and spec.origin:
            paths.append(spec.origin)
    found: list[Path] = []
    for path in sorted({Path(path) for path in paths} | {Path(path).resolve() for path in paths}):
        if path.exists() and not any(path.is_relative_to(parent) for parent in found):
            found.append(path)
    return found


def _clone_view(layers: frozenset[Layer], modules: Iterable[str], cache: Path | None) -> _View:
    view = _View()
    for path in list_readable_paths(modules):
        if path.is_symlink():
            view.links[path] = path.readlink()
        else:
            view.trees[path] = kernel.clone_tree(path, _READ_ONLY)
    for device in _DEVICES:
        view.trees[Path(device)] = kernel.clone_tree(device, Mount.NO_SETUID)
    if Layer.PID not in layers:
        # Only who has its own processes may mount /proc.
        view.trees[_PROC] = kernel.clone_tree(_PROC, _READ_ONLY | Mount.NO_EXEC)
    if cache is not None:
        view.cache = kernel.clone_tree(cache, _READ_ONLY | Mount.NO_EXEC)
    return view


def _build_root(view: _View) -> None:
    """Put a root together and make it this process's."""
    kernel.mount(None, "/", None, Mount.RECURSIVE | Mount.PRIVATE)
    # Any folder will do to stand on; the copies don't mind that it is hidden.
    root = _TMP
    kernel.mount("root", root, "tmpfs", _HARMLESS, "mode=755,size=1m")
    for folder in ("proc", "tmp", "dev/shm", "etc", FOLDER.name):
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text(f"sandbox:x:{_INNER_USER}:{_INNER_USER}::{FOLDER}:\n")
    (root / "etc/group").write_text(f"sandbox:x:{_INNER_USER}:\n")
    for path, link in view.links.items():
        inside = root / path.relative_to("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.symlink_to(link)
    for path, tree in view.trees.items():
        _attach(tree, root / path.relative_to("/"))
    for name, target in _DEVICE_LINKS.items():
        (root / "dev" / name).symlink_to(target)
    if _PROC not in view.trees:
        kernel.mount("proc", root / "proc", "proc", _PROC_FLAGS)
    # Libraries try out semaphores and temporary files when they are imported.
    for folder in ("tmp", "dev/shm"):
        if not any((root / folder).iterdir()):
            kernel.mount("trial", root / folder, "tmpfs", _HARMLESS, "size=1m")
    kernel.change_root(root)
    kernel.mount(None, "/", None, _REMOUNT_READ_ONLY)


def _attach(tree: int, target: Path) -> None:
    """Mount a copy on a new folder or file, whichever it is."""
    if stat.S_ISDIR(os.fstat(tree).st_mode):
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    kernel.attach_tree(tree, target)
    os.close(tree)


# --- 2. a child, before it is known what it will run -----------------------------------------


def prepare(plan: Plan) -> None:
    """Enter what a child has of its own; it is the first of a PID namespace already."""
    os.setsid()
    if plan.namespaces:
        kernel.unshare(plan.namespaces)
    if plan.has_own_root:
        _mount_scratch(plan.hidden)
        if Layer.PID in plan.layers:
            kernel.mount("proc", "/proc", "proc", _PROC_FLAGS)
    # The zygote's other forks share numpy's state; Python's own generator parts by itself.
    if (numpy := sys.modules.get("numpy")) is not None:
        # Without an argument it takes a hundred times as long.
        numpy.random.seed(int.from_bytes(os.urandom(4), "little"))


def _mount_scratch(hidden: Iterable[Path]) -> None:
    """Mount one tmpfs as the sandbox's folder, /tmp and /dev/shm."""
    trees = {path: kernel.clone_tree(path, _READ_ONLY) for path in hidden}
    kernel.mount("sandbox", FOLDER, "tmpfs", _HARMLESS, "mode=755")
    for folder, target in _SCRATCH_FOLDERS:
        os.mkdir(folder)
        kernel.mount(folder, target, None, Mount.BIND)
    for path, tree in trees.items():
        _attach(tree, path)


# --- 3. a child, just before a stranger's code -----------------------------------------------


def finish(plan: Plan, folder: str, limits: Limits) -> None:
    """Give up the rest, for good.

    Parameters
    ----------
    plan : Plan
    folder : str
        Holds `source`, the submission's files; gets `scratch`, the working folder.
    limits : Limits
    """
    scratch, source = f"{folder}/scratch", f"{folder}/source"
    os.mkdir(scratch)
    os.chdir(scratch)
    os.environ["HOME"] = scratch
    os.environ["TMPDIR"] = str(_TMP) if plan.has_own_root else scratch
    _set_threads(limits.threads)
    if plan.has_own_root:
        _bound_folder(source, limits.scratch)
    if Layer.RLIMITS in plan.layers:
        _set_resource_limits(limits)
    if plan.layers:
        kernel.drop_capabilities()
        kernel.forbid_new_privileges()
        # Its files in /proc become its own, so that it, and the worker, can read them.
        kernel.set_dumpable(True)
    if plan.rules is not None:
        processes = "/proc" if Layer.PID in plan.layers else f"/proc/{os.getpid()}"
        writable = [scratch, str(_TMP), str(_SHM)] if plan.has_own_root else [scratch]
        plan.rules.enforce(folders=[processes, source], writable=writable)
    if plan.system_calls:
        kernel.filter_system_calls(plan.system_calls)


def _may_use_sockets(layers: frozenset[Layer]) -> bool:
    """Tell whether Unix sockets reach nobody; elsewhere one may reach a server of the machine's."""
    return {Layer.MOUNT, Layer.NETWORK} <= layers


def _bound_folder(source: str, size: int) -> None:
    """Make the source read-only and give the tmpfs its size, the source not counted."""
    status = os.statvfs(FOLDER)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    kernel.mount(source, source, None, Mount.BIND)
    kernel.mount(None, source, None, _REMOUNT_READ_ONLY)
    options = f"size={used + size},nr_inodes={_MAX_INODES}"
    kernel.mount(None, FOLDER, None, _REMOUNT, options)


def _set_resource_limits(limits: Limits) -> None:
    wanted = {
        resource.RLIMIT_CORE: 0,
        # For a worker that is stopped itself and can't look at the clock.
        resource.RLIMIT_CPU: math.ceil(limits.time * (os.cpu_count() or 1)) + 60,
        resource.RLIMIT_FSIZE: limits.output,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NOFILE: _MAX_OPEN_FILES,
        # The zygote and its other children are the same user's.
        resource.RLIMIT_NPROC: limits.processes + 8,
        resource.RLIMIT_RTPRIO: 0,
    }
    for kind, value in wanted.items():
        _, hard = resource.getrlimit(kind)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))


def _set_threads(threads: int) -> None:
    """Let BLAS, OpenMP and joblib use this many; the zygote has them at one."""
    os.environ["OMP_NUM_THREADS"] = os.environ["LOKY_MAX_CPU_COUNT"] = str(threads)
    if threads > 1:
        for library in ThreadpoolController().lib_controllers:
            library.set_num_threads(threads)


# Rights of Landlock, by the version that knows them; see linux/landlock.h.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_ALL_OF_VERSION_1 = (1 << 13) - 1
_ALL_NETWORK, _ALL_SCOPES = 0b11, 0b11
_MAKE_DEVICES = 1 << 6 | 1 << 11
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE


@dataclass(frozen=True)
class FileRules:
    """What Landlock leaves a process: some paths, a few devices, and nothing else.

    Attributes
    ----------
    handled, network, scopes : int
        What is forbidden unless allowed, of what this kernel can forbid.
    allowed : dict of str to int
        The machine's paths, and what may be done there.
    """

    handled: int
    network: int
    scopes: int
    allowed: dict[str, int]

    @classmethod
    def for_machine(cls, readable: Iterable[Path]) -> Self:
        """Make the rules for paths that may be read.

        Raises
        ------
        OSError
            If this kernel has no Landlock.
        """
        version = kernel.read_landlock_version()
        if version == 0:
            raise OSError("this kernel has no Landlock")
        handled = _ALL_OF_VERSION_1
        for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEVICE)):
            handled |= right if version >= since else 0
        allowed = {str(path): _READ if path.is_dir() else _READ & _ON_FILES for path in readable}
        allowed |= dict.fromkeys(_DEVICES, _READ_FILE | _WRITE_FILE)
        network = _ALL_NETWORK if version >= 4 else 0
        scopes = _ALL_SCOPES if version >= 6 else 0
        return cls(handled, network, scopes, allowed)

    def enforce(self, folders: Iterable[str], writable: Iterable[str]) -> None:
        """Put this process under them, for good, with folders of its own to read and to write."""
        everything = self.handled & ~(_MAKE_DEVICES | _IOCTL_DEVICE)
        allowed = self.allowed | dict.fromkeys(folders, _READ)
        allowed |= dict.fromkeys(writable, everything)
        kernel.restrict_files(self.handled, self.network, self.scopes, allowed)
