"""How submitted code can be confined: the layers, and the levels that they make."""

from enum import StrEnum


class Layer(StrEnum):
    """One thing that stands between submitted code and the machine.

    All namespaces lie in a user namespace, in which the sandbox is an unprivileged user, too.
    """

    MOUNT = "mount"
    """A root of its own, with the interpreter read-only and a scratch folder of bounded size."""
    PID = "pid"
    """No other process can be seen or named, and all end with the first."""
    NETWORK = "network"
    """No network interface, no abstract socket of others."""
    IPC = "ipc"
    """No System V and POSIX objects of others."""
    UTS = "uts"
    """A host name of its own."""
    LANDLOCK = "landlock"
    """Files by path, TCP, signals and abstract sockets, decided by a second judge."""
    SECCOMP = "seccomp"
    """Only the system calls that a model needs."""
    RLIMITS = "rlimits"
    """Bounds on what each process may hold."""


class Isolation(StrEnum):
    """How well a worker confines submitted code; the API shows it."""

    FULL = "full"
    """Every layer."""
    NAMESPACES = "namespaces"
    """Every layer but Landlock. To be asked for by name."""
    LANDLOCK = "landlock"
    """No namespaces. Sizes and names of the machine's files can be seen, its processes too;
    scratch space is bounded by file only. To be asked for by name."""
    NONE = "none"
    """A plain process of the worker's user. Only for code that one would run oneself."""

    @property
    def layers(self) -> frozenset[Layer]:
        """The layers that stand at this level."""
        if self is Isolation.FULL:
            return frozenset(Layer)
        if self is Isolation.NAMESPACES:
            return frozenset(Layer) - {Layer.LANDLOCK}
        if self is Isolation.LANDLOCK:
            return frozenset({Layer.LANDLOCK, Layer.SECCOMP, Layer.RLIMITS})
        return frozenset()
