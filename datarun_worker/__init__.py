"""The worker of datarun: runs folds and data jobs, beside `rq worker`.

Theory of operation
-------------------
::

    Redis ──job: ids──►  RQ worker            worker.Worker: only our tasks, JSON only
                            │ same process
    API  ◄──HTTP, token──► work horse         work_horse.WorkHorse: claims, measures, reports
                            │ socket, open files
                         sandbox              sandbox.Sandbox: one child a fold, runs their code

- The **RQ worker** takes jobs, which carry ids and nothing else. Redis only wakes it: what to do,
  and with what, it asks the API. It doesn't fork for a job, because what can go wrong there
  happens in a sandbox; its heartbeats come from a thread.
- The **work horse** is the trusted code that carries out one job, in the worker's own process. It
  holds the API's token. It claims, has the inputs fetched once per machine (`cache`), and runs a
  fold (`fold_run`), a split (`split_run`) or a scoring (`scoring_run`) in a sandbox. It moves
  bytes, cuts labels to the fold's train rows and checks what comes back; it imports neither pandas
  nor scikit-learn and never unpickles.
- The **sandbox** is a child process for one fold or one data job, forked by the **zygote**, a clean
  process that has imported what most need (`zygote`, `child`, `confine`). Whatever is heavy or
  foreign runs there: reading a CSV, a data set's reader, a submission, a scorer. It gets open files
  and answers with JSON and raw bytes (`programs` is what it can be told to do).

A claimed attempt is held by a lease, which a thread renews until the result is delivered
(`attempts`). The result is on the disk before it is sent (`spool`, `delivery`), and another thread
tells the API that the worker lives (`heartbeat`). So whatever ends early, the API or the next
worker knows what to do: what was computed is delivered, what wasn't runs elsewhere.

A quick fold is spared what it doesn't need. Before a result is delivered the worker takes the
next job, and the answer to the result is that fold's claim (`worker`, `delivery`). A sandbox dies
while its result is on its way, and the next one is made meanwhile (`spares`). Threads that
renew, report and send heartbeats begin only once there is something to do for them (`late`), and
Redis hears that a job runs only if it runs longer.

`local` runs the same code without a server (``datarun run-local``), `check` tries a machine's
isolation, `join` makes a machine a compute machine.

Run it by ``rq worker -w datarun_worker.Worker high low``; `config` lists the settings.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datarun_worker.worker import Worker

__all__ = ["Worker"]


def __getattr__(name: str) -> Any:
    """Import the worker class when it is asked for, so that a sandbox needn't import RQ."""
    if name == "Worker":
        from datarun_worker.worker import Worker

        return Worker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
