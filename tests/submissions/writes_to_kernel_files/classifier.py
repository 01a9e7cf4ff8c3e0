import os
from pathlib import Path

from attempts import attempt, tell
from honest import HonestClassifier

# Opened for writing, never written to.
PATHS = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/vm/drop_caches",
    "/proc/sysrq-trigger",
    "/proc/kcore",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/kernel/mm/ksm/run",
    "/sys/power/state",
    "/dev/mem",
    "/dev/kmsg",
    "/dev/fuse",
    "/dev/kvm",
)


def open_to_write(path):
    os.close(os.open(path, os.O_WRONLY))


class Classifier(HonestClassifier):
    def fit(self, X, y):
        for path in PATHS:
            attempt(path, open_to_write, path)
        # Its own process's: less likely to be killed, other users, other limits.
        attempt("oom_score_adj", Path("/proc/self/oom_score_adj").write_text, "-999")
        for name in ("uid_map", "gid_map"):
            attempt(name, Path(f"/proc/self/{name}").write_text, "0 0 1")
        attempt("setgroups", Path("/proc/self/setgroups").write_text, "allow")
        attempt("priority", os.setpriority, os.PRIO_PROCESS, 0, -20)
        groups = Path("/sys/fs/cgroup")
        tell(not groups.exists(), "control groups", groups)
        super().fit(X, y)
