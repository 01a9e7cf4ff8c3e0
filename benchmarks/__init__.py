"""How fast datarun is, held against its peers on the same machine in the same run.

``make bench`` runs everything and takes 45 minutes; ``make bench QUICK=1`` leaves out the slow
peers and takes a few minutes. No absolute time is worth keeping, since machines differ and are
noisy: what counts are ratios, medians of interleaved repeats. In each repeat every contender runs,
in turn, so that a slow minute hits all of them; plain RQ and datarun, which differ the least, run
there and back.

What a fold is, for everybody
-----------------------------
A workload is a folder: the train part and the held-out part of a data set as CSV, the row numbers
of each fold's train rows, and a submission, ``classifier.py``. One fold is: take the fold's train
rows, import the submission from its source, train it, predict the whole train set and the
held-out set, pack both predictions, and hand them to whoever asked (`fold_work`). After each run
every contender's predictions are compared with those of the others, so nobody can save work.

Two processes do the folds, with one thread each. All have what they need to import loaded before
the clock starts, but for those that are called cold and those that start a process a fold; and all
do a few folds that aren't measured right before each run.

- The **limit** is `joblib.Parallel` with the data loaded once per process. A ratio is a
  contender's time for all folds (the makespan) over the limit's in the same repeat. A **plain
  loop** split in two is as bare as it gets.
- The **task queues** (plain RQ, Celery) read the data in each job: a job may be one of any data
  set. They isolate nothing, and their caller has the results from Redis.
- **ramp-test** runs a kit of the same files and saves the predictions.
- **datarun** is a whole `datarun up` at full isolation. The clock starts with the POST, over HTTP,
  of all folds in one request, whose text was made before; it stops when the API shows that the
  last one has ended.

Predictions are packed with zlib at its default level, 6, by all but datarun, which packs as
`datarun_client.codec` says. Where that makes a difference (W4), the limit and plain RQ are also
measured with datarun's codec.

Parts
-----
- `workloads`: the data, submissions and targets; `fold_work`: one fold
- `contenders`: one file each; `workers`: the processes of those that have a queue
- `site`, `stack`, `idle_stack`: where a run happens; a whole datarun, with workers and without;
  `many_folds`: accounts that are full already; `session`: what the benches of a run share
- `benches`: what is measured and printed, one file each, in a registry
- `measurements`: medians and ratios; `memory`: what processes take; `reference`: the comparison
  with ``reference.json``; `tables`, `readme`: printing, and the README's table
- `__main__`: the command line
"""
